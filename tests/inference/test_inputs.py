from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
from transformers.pipelines.pt_utils import KeyDataset

from msformers.inference.inputs import as_spectra, as_spectrum, why
from msformers.spectra.spectrum import Problem, Spectrum


def test_a_mapping_becomes_a_spectrum_sorted_and_relative() -> None:
    given = {
        "mz": [200.0, 100.0],
        "intensity": [5, 50],
        "precursor_mz": "300.5",
        "adduct": "[M-H]-",
        "charge": "-1",
    }
    spectrum = as_spectrum(given, 7)
    assert isinstance(spectrum, Spectrum)
    assert spectrum.mz.tolist() == [100.0, 200.0] and np.allclose(spectrum.intensity, [1.0, 0.1])
    assert (spectrum.precursor_mz, spectrum.charge, spectrum.index) == (300.5, -1, 7)
    assert spectrum.ion_mode == "negative"


@pytest.mark.parametrize("value", [{"mz": [1.0]}, {"mz": [1.0, 2.0], "intensity": [1.0]}, 3, None, "text"])
def test_what_is_no_spectrum_is_a_problem_and_not_an_exception(value: object) -> None:
    problem = as_spectrum(value, 2)
    assert isinstance(problem, Problem) and problem.index == 2 and why(problem)


def test_matchms_spectra_by_their_shape() -> None:
    peaks = SimpleNamespace(mz=np.array([50.0, 60.0]), intensities=np.array([1.0, 0.5]))
    metadata = {"precursor_mz": 70.0, "ionmode": "Positive", "adduct": "[M+H]+", "spectrum_id": "s1"}
    spectrum = as_spectrum(SimpleNamespace(peaks=peaks, metadata=metadata))
    assert isinstance(spectrum, Spectrum)
    assert (spectrum.ion_mode, spectrum.native_id, spectrum.adduct) == ("positive", "s1", "[M+H]+")


ROWS: list[dict[str, Any]] = [
    {"mz": [1.0, 2.0], "intensity": [1.0, 1.0], "native_id": "a"},
    {"mz": [3.0], "intensity": [1.0], "native_id": "b"},
]
TABLE = datasets.Dataset.from_list(ROWS)


@pytest.mark.parametrize(
    "several",
    [ROWS, tuple(ROWS), TABLE, TABLE[:2], TABLE.with_format("numpy")[:2], TABLE.with_format("torch")],
    ids=["list", "tuple", "dataset", "slice", "numpy slice", "torch rows"],
)
def test_what_holds_several_spectra(several: Any) -> None:
    found = as_spectra(several)
    assert isinstance(found, list)
    assert [(one.index, one.native_id, len(one)) for one in found] == [(0, "a", 2), (1, "b", 1)]


def test_streams_are_read_one_by_one() -> None:
    taken = []

    def rows() -> Iterator[Any]:
        for row in ROWS:
            taken.append(row["native_id"])
            yield row

    found = as_spectra(rows())
    assert not isinstance(found, list) and next(found).native_id == "a" and taken == ["a"]
    streams = (TABLE.to_iterable_dataset(), iter(ROWS), KeyDataset([{"x": row} for row in ROWS], "x"))
    for stream in streams:
        found = as_spectra(stream)
        assert not isinstance(found, list) and [one.native_id for one in found] == ["a", "b"]


@pytest.mark.parametrize("single", [ROWS[0], TABLE[0], Spectrum(np.ones(1), np.ones(1, np.float32)), 3, b"x"])
def test_a_single_spectrum_is_not_several(single: Any) -> None:
    assert as_spectra(single) is None


def test_a_path_is_read_with_its_problems(tmp_path: Path) -> None:
    path = tmp_path / "two.mgf"
    path.write_text("BEGIN IONS\nTITLE=a\nPEPMASS=x\n1 1\nEND IONS\nBEGIN IONS\nTITLE=b\n50 1\nEND IONS\n")
    problem, spectrum = as_spectra(path)
    assert isinstance(problem, Problem) and problem.native_id == "a" and spectrum.native_id == "b"
    with pytest.raises(FileNotFoundError):
        as_spectra("no such file.mgf")


def test_numbers_that_cannot_be_whole_stay_unknown() -> None:
    found = as_spectrum({**ROWS[0], "ms_level": float("inf"), "index": float("nan")}, 4)
    assert isinstance(found, Spectrum) and found.ms_level is None and found.index == 4


def test_why_leaves_out_what_is_empty() -> None:
    assert why(Problem(0, None, "", "PEPMASS", "abc", "is not a number", None, "write one")) == (
        "PEPMASS 'abc' is not a number; write one"
    )
    assert why(Problem(0, None, "", "", "", "is nothing")) == "is nothing"
