from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from msformers.inference.inputs import as_list, as_spectrum, why
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


def test_lists_datasets_and_slices_of_datasets() -> None:
    datasets = pytest.importorskip("datasets")
    rows = [
        {"mz": [1.0, 2.0], "intensity": [1.0, 1.0], "adduct": "a"},
        {"mz": [3.0], "intensity": [1.0], "adduct": "b"},
    ]
    table = datasets.Dataset.from_list(rows)
    assert as_list(table) == rows == as_list(table[:2]) == as_list(tuple(rows))
    assert as_list(rows[0]) is None and as_list(table[0]) is None


def test_why_leaves_out_what_is_empty() -> None:
    assert why(Problem(0, None, "", "PEPMASS", "abc", "is not a number", None, "write one")) == (
        "PEPMASS 'abc' is not a number; write one"
    )
    assert why(Problem(0, None, "", "", "", "is nothing")) == "is nothing"
