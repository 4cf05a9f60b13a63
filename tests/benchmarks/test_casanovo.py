"""Ours against the program on PyPI; the race itself needs an environment with that program, named by MSFORMERS_CASANOVO."""

from __future__ import annotations

import importlib
import os
from typing import Any

import numpy as np
import pytest
import torch
from peptide_ladders import PEPTIDES, mgf, peptide_spectrum


@pytest.fixture
def spectra(tmp_path: Any) -> Any:
    path = tmp_path / "spectra.mgf"
    good = [peptide_spectrum(peptide, seed=i) for i, peptide in enumerate(PEPTIDES)]
    few = peptide_spectrum(PEPTIDES[0])
    few.mz, few.intensity = few.mz[:3], few.intensity[:3]
    path.write_text(mgf(*good, few))
    return path


def test_both_sides_get_the_same_batches(spectra: Any) -> None:
    race, sides = importlib.import_module("casanovo"), importlib.import_module("casanovo_sides")
    prepared = sides.prepared(spectra, 10)
    assert len(prepared) == 4  # the one of three peaks is left out
    sizes = [inputs["peaks"].shape[1] for inputs in prepared]
    (batch,) = race.by_length([0, 1, 2, 3], prepared)
    assert sorted(batch) == [0, 1, 2, 3] and [sizes[i] for i in batch] == sorted(sizes, reverse=True)
    assert [len(rows) for rows in race.in_order(range(70))] == [32, 32, 6]


def test_our_side_encodes_what_the_model_encodes(spectra: Any, tiny_casanovo: Any) -> None:
    sides = importlib.import_module("casanovo_sides")
    prepared = sides.prepared(spectra, 4)
    ours = sides.Ours(tiny_casanovo, prepared)
    clocks = ours.encode([[0, 1], [2, 3]], half=False)
    assert set(clocks) == {"seconds", "cpu_seconds"} and all(value > 0 for value in clocks.values())
    with torch.inference_mode():
        output = ours.model.model(torch.from_numpy(prepared[2]["peaks"]))
    found = np.concatenate(ours.vectors)
    assert np.allclose(found[2, :32], output.last_hidden_state[0, 0].numpy(), atol=1e-5)
    assert np.allclose(found[2, 32:], output.pooler_output[0].numpy(), atol=1e-5)
    assert ours.decode([[0, 1, 2, 3]], beams=2, steps=4)["seconds"] > 0


@pytest.mark.slow
def test_the_race_finds_equal_vectors(spectra: Any, tmp_path: Any) -> None:
    interpreter = os.environ.get("MSFORMERS_CASANOVO")
    if not interpreter:
        pytest.skip("set MSFORMERS_CASANOVO to the Python of an environment with casanovo")
    race = importlib.import_module("casanovo")
    options = ["--n", "4", "--n-search", "2", "--chunk", "2", "--layers", "1", "--steps", "4"]
    rows = race.main(
        ["--peer", interpreter, "--data", str(spectra), *options, "--output", str(tmp_path / "race")]
    )
    ours = next(row for row in rows if row["part"] == "encoder" and row["contender"] == "ours")
    assert float(ours["max_difference"]) < 1e-5 and float(ours["least_cosine"]) > 0.99999
    assert {row["part"] for row in rows} == {"encoder", "greedy", "5 beams"}
    assert (tmp_path / "race.csv").is_file()
