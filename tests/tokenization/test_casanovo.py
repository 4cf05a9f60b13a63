from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msformers.spectra.spectrum import Spectrum
from msformers.tokenization.casanovo import CasanovoFeatureExtractor, near_precursor


def peaks(n: int, **fields: Any) -> dict[str, Any]:
    rng = np.random.default_rng(n)
    mz = np.sort(rng.uniform(100, 1500, n))
    return {
        "mz": mz,
        "intensity": rng.uniform(50, 100, n),
        "precursor_mz": 30.0,
        "charge": 2,
        "native_id": "s1",
    } | fields


@pytest.fixture(params=["4", "5"])
def version(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def golden(shared: Path, version: str) -> Any:
    return np.load(shared / "golden" / f"casanovo_v{version}_golden.npz")


def test_preparation_equals_the_published_programs(golden: Any, version: str) -> None:
    spectra = [
        {
            "mz": golden[f"raw_{row:03d}_mz"],
            "intensity": golden[f"raw_{row:03d}_intensity"],
            "precursor_mz": golden["precursor_mz"][row],
            "charge": golden["charge"][row],
        }
        for row in range(6)
    ]
    batch = CasanovoFeatureExtractor(version)(spectra, return_tensors="np")
    expected = golden["spectra"] if version == "4" else np.stack([golden["mz"], golden["intensity"]], axis=-1)
    np.testing.assert_array_equal(batch["peaks"], expected)
    np.testing.assert_array_equal(batch["precursors"], golden["precursors"])
    np.testing.assert_array_equal(batch["attention_mask"], expected.sum(-1) != 0)


def test_unsorted_noisy_spectra_equal_the_published_programs(golden: Any, version: str) -> None:
    spectrum = {
        "mz": golden["stress_raw_mz"],
        "intensity": golden["stress_raw_intensity"],
        "precursor_mz": float(golden["stress_precursor_mz"]),
        "charge": int(golden["stress_charge"]),
    }
    found = CasanovoFeatureExtractor(version)(spectrum, return_tensors="np")["peaks"][0]
    expected = (
        golden["stress_spectrum"]
        if version == "4"
        else np.stack([golden["stress_mz"], golden["stress_intensity"]], axis=-1)
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("count", [19, 20])
def test_the_least_number_of_peaks_is_that_of_the_published_program(shared: Path, count: int) -> None:
    golden = np.load(shared / "golden" / "casanovo_v5_golden.npz")
    spectrum = {
        "mz": golden[f"min_peaks_{count}_raw_mz"],
        "intensity": golden[f"min_peaks_{count}_raw_intensity"],
        "precursor_mz": float(golden["min_peaks_precursor_mz"]),
        "charge": int(golden["min_peaks_charge"]),
        "native_id": "few",
    }
    if golden[f"min_peaks_{count}_n_out"] == 2:
        assert CasanovoFeatureExtractor("5")(spectrum)["peaks"].shape == (1, count, 2)
    else:
        with pytest.raises(ValueError, match=r"few: 19 of 19 peaks are left.*needs 20"):
            CasanovoFeatureExtractor("5")(spectrum)


def test_an_unusable_spectrum_is_a_dummy_peak_in_version_4(shared: Path) -> None:
    golden = np.load(shared / "golden" / "casanovo_v4_golden.npz")
    for mz in ([], [40.0, 2600.0], [29.5]):
        found = CasanovoFeatureExtractor("4")(peaks(0, mz=mz, intensity=[1.0] * len(mz)), return_tensors="np")
        np.testing.assert_array_equal(found["peaks"][0], golden["dummy_spectrum"])
        assert found["attention_mask"].tolist() == [[1]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"charge": None}, r"s1: charge is missing.*add it"),
        ({"charge": 0}, "s1: charge is missing"),
        ({"charge": float("nan")}, "s1: charge is missing"),
        ({"charge": 11}, "s1: charge 11 is above the highest this model knows"),
        ({"charge": -2}, "s1: a negative ion"),
        ({"ion_mode": "negative"}, "s1: a negative ion"),
        ({"charge": "two"}, "s1: charge 'two' is not a whole number"),
        ({"charge": 2.5}, "s1: charge 2.5 is not a whole number"),
        ({"precursor_mz": None}, "s1: precursor_mz is missing"),
    ],
)
def test_what_the_model_cannot_read_is_named(version: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CasanovoFeatureExtractor(version)(peaks(30, **change))


def test_charge_limits_are_those_of_the_version() -> None:
    assert CasanovoFeatureExtractor("4")(peaks(30, charge=10))["precursors"][0, 1] == 10
    with pytest.raises(ValueError, match="highest this model knows, 4"):
        CasanovoFeatureExtractor("5")(peaks(30, charge=5))
    assert CasanovoFeatureExtractor("5", max_charge=6)(peaks(30, charge="5"))["precursors"][0, 1] == 5


def test_ten_thousand_peaks_are_the_150_highest(version: str) -> None:
    spectrum = peaks(10_000)
    found = CasanovoFeatureExtractor(version)(spectrum, return_tensors="np")["peaks"][0]
    assert found.shape == (150, 2) and (np.diff(found[:, 0]) > 0).all()
    assert np.linalg.norm(found[:, 1]) == pytest.approx(1)
    highest = np.sort(spectrum["mz"][np.argsort(spectrum["intensity"])[-150:]])
    np.testing.assert_array_equal(found[:, 0], highest.astype(np.float32))


def test_the_noise_filter_is_before_the_root_in_4_and_after_it_in_5() -> None:
    spectrum = peaks(30)
    spectrum["intensity"][:5] = 0.5  # 0.5 % of the base peak: 7 % of it after the root
    spectrum["intensity"][5] = 100
    counts = [CasanovoFeatureExtractor(v)(spectrum)["peaks"].shape[1] for v in ("4", "5")]
    assert counts == [25, 30]


def test_peaks_near_the_precursor_go_in_every_charge_state() -> None:
    mz = np.array([250.0, 499.0, 501.0, 503.0, 995.0, 998.9, 1003.0])
    assert near_precursor(mz, 500.0, 2, 2.0).tolist() == [False, True, True, False, False, True, False]


def test_a_read_spectrum_gives_what_its_arrays_give(version: str) -> None:
    raw = peaks(40)
    relative = (raw["intensity"] / raw["intensity"].max()).astype(np.float32)
    spectrum = Spectrum(mz=raw["mz"], intensity=relative, precursor_mz=30.0, charge=2, native_id="s1")
    extractor = CasanovoFeatureExtractor(version)
    found, expected = extractor(spectrum, return_tensors="np"), extractor(raw, return_tensors="np")
    np.testing.assert_allclose(found["peaks"], expected["peaks"], atol=1e-7)
    np.testing.assert_array_equal(found["precursors"], expected["precursors"])


def test_half_precision_leaves_peaks_and_precursors_alone() -> None:
    import torch

    batch = CasanovoFeatureExtractor("4")(peaks(30)).to(torch.bfloat16)
    assert batch["peaks"].dtype == batch["precursors"].dtype == torch.float32


def test_settings_are_checked_and_saved(tmp_path: Path, version: str) -> None:
    with pytest.raises(ValueError, match="version must be one of 4, 5, got '6'"):
        CasanovoFeatureExtractor("6")
    extractor = CasanovoFeatureExtractor(version, min_mz=140.0, max_charge=3)
    extractor.save_pretrained(tmp_path)
    assert CasanovoFeatureExtractor.from_pretrained(tmp_path).to_dict() == extractor.to_dict()
