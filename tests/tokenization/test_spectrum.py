from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from msformers.spectra.spectrum import Spectrum
from msformers.tokenization.spectrum import SpectrumFeatureExtractor, as_peak_list, pad_rows, relative, trim

ROW = {
    "mz": [50.5, 60.25, 70.125],
    "intensity": [5.0, 20.0, 10.0],
    "precursor_mz": 99.5,
    "native_id": "scan=7",
}


def as_spectrum() -> Spectrum:
    return Spectrum(
        mz=np.array(ROW["mz"]),
        intensity=np.array(ROW["intensity"], dtype=np.float32),
        precursor_mz=99.5,
        native_id="scan=7",
    )


def as_matchms() -> Any:
    matchms = pytest.importorskip("matchms")
    return matchms.Spectrum(
        mz=np.array(ROW["mz"]), intensities=np.array(ROW["intensity"]), metadata={"precursor_mz": 99.5}
    )


def matchms_like() -> Any:
    peaks = SimpleNamespace(mz=np.array(ROW["mz"]), intensities=np.array(ROW["intensity"]))
    return SimpleNamespace(peaks=peaks, metadata={"precursor_mz": 99.5})


@pytest.mark.parametrize("make", [lambda: ROW, as_spectrum, as_matchms, matchms_like])
def test_every_form_of_a_spectrum_gives_the_same(make: Any) -> None:
    batch = SpectrumFeatureExtractor()(make())
    expected = [[[50.5, 0.25], [60.25, 1.0], [70.125, 0.5]]]
    assert batch["peaks"].tolist() == expected and batch["peaks"].dtype == torch.float32
    assert batch["attention_mask"].tolist() == [[1, 1, 1]] and batch["attention_mask"].dtype == torch.int64
    assert as_peak_list(make()).precursor_mz == 99.5


def test_rows_of_a_dataset_and_its_slices() -> None:
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_list([ROW, {**ROW, "mz": [10.0], "intensity": [1.0]}])
    extractor = SpectrumFeatureExtractor()
    whole, columns, rows = extractor(table), extractor(table[:2]), extractor([table[0], table[1]])
    for batch in (columns, rows):
        assert torch.equal(whole["peaks"], batch["peaks"])
    assert whole["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


def test_a_generator_and_an_empty_spectrum() -> None:
    batch = SpectrumFeatureExtractor()(row for row in [{"mz": [], "intensity": []}, ROW])
    assert batch["attention_mask"].tolist() == [[0, 0, 0], [1, 1, 1]] and not batch["peaks"][0].any()


def test_trimming_keeps_the_strongest_in_their_order() -> None:
    mz, intensity = np.array([1.0, 2.0, 3.0, 4.0]), np.array([5.0, 1.0, 9.0, 7.0])
    assert trim(mz, intensity, 2)[0].tolist() == [3.0, 4.0]
    assert trim(mz, intensity, 3)[0].tolist() == [1.0, 3.0, 4.0]
    assert trim(mz, intensity, None)[0] is mz
    # of equal peaks at the cut the later ones stay, on every machine
    assert trim(mz, np.ones(4), 2)[0].tolist() == [3.0, 4.0]


def test_relative_intensity_of_silence_is_silence() -> None:
    assert relative(np.zeros(3)).tolist() == [0.0, 0.0, 0.0]
    assert relative(np.array([2.0, 4.0])).tolist() == [0.5, 1.0]


def test_pad_rows() -> None:
    rows = [np.ones((1, 2), np.float32), np.ones((3, 2), np.float32)]
    assert pad_rows(rows).shape == (2, 3, 2) and pad_rows(rows, 5).shape == (2, 5, 2)
    assert pad_rows([np.zeros((0, 2), np.float32)]).shape == (1, 1, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mz": [50.5, float("nan"), 70.0]}, r"scan=7: mz\[1\] is nan; remove the peak"),
        ({"intensity": [1.0, -2.0, 3.0]}, r"scan=7: intensity\[1\] is -2\.0"),
        ({"intensity": [1.0]}, "scan=7: 3 m/z values but 1 intensities"),
        ({"precursor_mz": -4.0}, "scan=7: precursor_mz is -4"),
        ({"precursor_mz": float("inf")}, "scan=7: precursor_mz is inf"),
    ],
)
def test_bad_values_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpectrumFeatureExtractor()({**ROW, **change})


@pytest.mark.parametrize("thing", ["run.mgf", 3, {"mz": [1.0]}, [None]])
def test_what_is_no_spectrum_is_refused(thing: Any) -> None:
    with pytest.raises(TypeError, match="spectrum 0"):
        SpectrumFeatureExtractor()(thing)


def test_half_precision_batches_keep_the_mz() -> None:
    batch = SpectrumFeatureExtractor()(ROW)
    batch["weights"] = torch.ones(3)
    exact = batch["peaks"].clone()
    moved = batch.to(torch.bfloat16)
    assert moved["peaks"].dtype == torch.float32 and torch.equal(moved["peaks"], exact)
    assert moved["weights"].dtype == torch.bfloat16
    assert moved.to("cpu")["attention_mask"].dtype == torch.int64


def test_numpy_and_no_tensors() -> None:
    for kind in ("np", None):
        assert isinstance(SpectrumFeatureExtractor()(ROW, return_tensors=kind)["peaks"], np.ndarray)


def test_settings_are_checked_and_saved(tmp_path: Any) -> None:
    with pytest.raises(TypeError, match="n_higest_peaks"):
        SpectrumFeatureExtractor(n_higest_peaks=3)
    with pytest.raises(ValueError, match="at least 1"):
        SpectrumFeatureExtractor(n_highest_peaks=0)
    SpectrumFeatureExtractor(n_highest_peaks=2).save_pretrained(tmp_path)
    again = SpectrumFeatureExtractor.from_pretrained(tmp_path)
    assert again(ROW)["peaks"].shape == (1, 2, 2)
