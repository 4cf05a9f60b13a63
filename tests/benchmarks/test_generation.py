"""The race of beam searches, small."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import msformers
from msformers.tokenization.selfies import build_selfies_tokenizer

SIZES = ["--n", "3", "--batch", "2", "--beams", "5", "--max-length", "20"]


@pytest.fixture(scope="module")
def script() -> Any:
    module = importlib.import_module("generation")
    module.EXPECTED_LENGTH = 8
    return module


def test_random_weights(script: Any, tmp_path: Path) -> None:
    rows = script.main([*SIZES, "--output", str(tmp_path / "race")])
    assert [row["contender"] for row in rows] == ["generate", "ours", "matrix products"]
    assert all(row["spectra"] == 3 and row["cpu_seconds_per_spectrum"] > 0 for row in rows)
    assert rows[1]["same_sequences"] == 1.0 and rows[1]["spectra_all_same"] == 3
    assert 4 < rows[1]["mean_length"] < 18 and float(rows[1]["max_score_difference"]) < 1e-4
    assert rows[0]["ratio_cpu"] == 1.0 < rows[2]["ratio_cpu"]
    assert (tmp_path / "race.csv").is_file()


def test_a_difference_is_seen(script: Any) -> None:
    both = script.Sides(None, None, None, None)
    ids = [np.array([1, 5, 2]), np.array([1, 6, 2])]
    padded = [np.array([1, 5, 2, 2]), np.array([1, 7, 2, 2])]
    both.ours.sequences, both.theirs.sequences = [ids], [padded]
    both.ours.scores, both.theirs.scores = [np.array([-0.1, -0.2])], [np.array([-0.1, -0.25])]
    found = both.compare()
    assert (found["same_sequences"], found["spectra_all_same"]) == (0.5, 0)
    assert float(found["max_score_difference"]) == pytest.approx(0.05)
    both.ours.sequences = [ids[:1]]
    with pytest.raises(ValueError, match="1 sequences against 2"):
        both.compare()


def test_a_decoder_with_contexts_of_molecules(script: Any, shared: Path, tmp_path: Path) -> None:
    tokenizer = build_selfies_tokenizer(["[C]", "[=C]", "[O]", "[N]", "[Ring1]", "[Branch1]"], max_length=64)
    torch.manual_seed(0)
    for name, auto in (("selfies-bert", "AutoModel"), ("selfies-gpt2", "AutoModelForCausalLM")):
        entry = msformers.MODELS[name]
        longest = {"max_position_embeddings": 300} if name == "selfies-bert" else {}
        config = entry.tiny_config(vocab_size=len(tokenizer), **longest)
        model: Any = entry.model_class(config) if auto == "AutoModel" else entry.heads[auto](config)
        model.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    options = ["--model", str(tmp_path / "selfies-gpt2"), "--encoder", str(tmp_path / "selfies-bert")]
    rows = script.main([*SIZES, *options, "--data", str(shared / "data"), "--output", str(tmp_path / "race")])
    assert rows[1]["same_sequences"] == 1.0 and rows[1]["model"] == "selfies-gpt2"
