from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msformers.tokenization.lsm1 import Lsm1FeatureExtractor, Lsm1MaskingCollator, choose_masked, token_ids

ROW = {"mz": [250.1239, 91.0542, 100.0763], "intensity": [30.0, 5.0, 100.0], "precursor_mz": 285.0786}


def row(n: int, seed: int = 0, **more: Any) -> dict[str, Any]:
    rng = np.random.default_rng([seed, n])
    spectrum = {
        "mz": rng.uniform(50, 900, n),
        "intensity": rng.uniform(1, 100, n),
        "precursor_mz": 400.0 + n / 100,
    }
    return {**spectrum, **more}


def test_precursor_first_then_peaks_by_mz() -> None:
    batch = Lsm1FeatureExtractor()([ROW, row(4)])
    assert batch["token_ids"][0].tolist() == [
        [285, 78, 1000],
        [91, 54, 50],
        [100, 76, 999],
        [250, 123, 300],
        [1000, 1000, 1001],
    ]
    expected = torch.tensor([[285.0786, 2.0], [91.0542, 0.05], [100.0763, 1.0], [250.1239, 0.3], [0.0, 0.0]])
    torch.testing.assert_close(batch["peaks"][0], expected)
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 0], [1] * 5]
    assert batch["token_ids"].dtype == torch.int64 and batch["peaks"].dtype == torch.float32


def test_the_order_in_the_file_does_not_count() -> None:
    reversed_row = {**ROW, "mz": ROW["mz"][::-1], "intensity": ROW["intensity"][::-1]}
    a, b = (Lsm1FeatureExtractor()(r) for r in (ROW, reversed_row))
    assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize(
    ("mz", "expected"),
    [
        (512.123, (512, 123)),  # in float32 it is 512.12299 and would be 122
        (100.9999999, (100, 999)),  # rounding would make it 1000
        (999.9995, (999, 999)),
        (1000.0, (999, 0)),  # the one m/z beyond the classes
        (0.5, (0, 500)),
        (57.0, (57, 0)),
    ],
)
def test_ids_are_floors_in_float64(mz: float, expected: tuple[int, int]) -> None:
    batch = Lsm1FeatureExtractor()({"mz": [mz], "intensity": [3.0], "precursor_mz": 999.5})
    assert tuple(batch["token_ids"][0, 1, :2].tolist()) == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 999.9999), st.floats(0, 1)), min_size=1, max_size=9))
def test_ids_give_the_peak_back(peaks: list[tuple[float, float]]) -> None:
    tokens = np.array([(500.0, 2.0), *peaks])
    ids = token_ids(tokens)
    assert ids.min() >= 0 and ids[1:].max() <= 999 and ids[0, 2] == 1000
    error = tokens[:, 0] - (ids[:, 0] + ids[:, 1] / 1000)
    assert (error > -1e-9).all() and (error < 0.001 + 1e-9).all()
    assert np.abs(tokens[1:, 1] - ids[1:, 2] / 999).max() <= 0.5 / 999 + 1e-9


def test_fragments_above_1000_are_dropped_before_anything_is_scaled() -> None:
    spectrum = {"mz": [70.0, 1000.5, 80.0], "intensity": [5.0, 100.0, 10.0], "precursor_mz": 600.0}
    ids = Lsm1FeatureExtractor(n_highest_peaks=2)(spectrum)["token_ids"][0]
    assert ids.tolist() == [[600, 0, 1000], [70, 0, 500], [80, 0, 999]]


def test_64_fragments_and_the_precursor() -> None:
    spectrum = row(10_000)
    batch = Lsm1FeatureExtractor()(spectrum)
    assert batch["peaks"].shape == (1, 65, 2) and batch["attention_mask"].all()
    strongest = np.sort(spectrum["mz"][np.argsort(spectrum["intensity"])[-64:]])
    np.testing.assert_allclose(batch["peaks"][0, 1:, 0], strongest, rtol=1e-6)


def test_no_peak_and_one_peak() -> None:
    batch = Lsm1FeatureExtractor()([row(0), row(1)])
    assert batch["attention_mask"].tolist() == [[1, 0], [1, 1]]
    assert batch["token_ids"][:, 1].tolist()[0] == [1000, 1000, 1001]
    assert batch["token_ids"][1, 1, 2] == 999


def test_peaks_without_any_intensity_are_class_zero() -> None:
    ids = Lsm1FeatureExtractor()({"mz": [70.0], "intensity": [0.0], "precursor_mz": 90.0})["token_ids"]
    assert ids[0, 1].tolist() == [70, 0, 0]


@pytest.mark.parametrize(
    ("precursor", "message"),
    [
        (None, "x9: precursor_mz is missing; LSM1 starts from the precursor"),
        (1000.25, "x9: precursor_mz is 1000.25, LSM1 reads up to 1000 Th; leave it out"),
    ],
)
def test_a_precursor_it_cannot_read_is_named(precursor: float | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Lsm1FeatureExtractor()({**ROW, "precursor_mz": precursor, "native_id": "x9"})


def test_settings() -> None:
    with pytest.raises(ValueError, match="at most 1000 Th, got 1500"):
        Lsm1FeatureExtractor(max_mz=1500.0)
    with pytest.raises(ValueError, match="between 0 and 1, got 25"):
        Lsm1MaskingCollator(Lsm1FeatureExtractor(), mask_fraction=25)
    saved = Lsm1FeatureExtractor(7, max_mz=500.0).to_dict()
    assert (saved["n_highest_peaks"], saved["max_mz"]) == (7, 500.0)


@pytest.mark.parametrize(
    ("n_peaks", "expected"), [(0, 0), (1, 1), (2, 1), (5, 1), (6, 2), (9, 2), (10, 2), (64, 16)]
)
def test_a_quarter_of_the_peaks_is_masked_but_at_least_one(n_peaks: int, expected: int) -> None:
    mask = np.array([[1] * (n_peaks + 1) + [0] * 3])
    chosen = choose_masked(mask, np.random.default_rng(0), 0.25)
    assert chosen.dtype == bool and chosen.sum() == expected


def test_precursor_and_padding_are_never_masked_and_peaks_evenly() -> None:
    mask, rng = np.array([[1] * 9 + [0] * 2, [1] * 3 + [0] * 8]), np.random.default_rng(0)
    counts = sum(choose_masked(mask, rng, 0.25).astype(int) for _ in range(800))
    assert not counts[:, 0].any() and not counts[mask == 0].any()
    assert counts[0, 1:9] == pytest.approx(np.full(8, 200), abs=50)
    assert counts[1, 1:3] == pytest.approx(np.full(2, 400), abs=70)
    assert not choose_masked(mask, rng, 0.0).any() and choose_masked(mask, rng, 1.0).sum() == 10


def test_the_collator_adds_a_mask_and_changes_nothing_else() -> None:
    extractor = Lsm1FeatureExtractor()
    batch, clean = Lsm1MaskingCollator(extractor)([row(20), row(7)]), extractor([row(20), row(7)])
    assert set(batch) == {*clean, "peak_mask"} and batch["peak_mask"].dtype == torch.bool
    assert batch["peak_mask"].sum(1).tolist() == [5, 2]
    assert all(torch.equal(batch[key], clean[key]) for key in clean)


def test_the_same_generator_gives_the_same_mask() -> None:
    collator, masks = Lsm1MaskingCollator(Lsm1FeatureExtractor(), seed=3), []
    for seed in (5, 5, 6):
        collator.rng = np.random.default_rng(seed)
        masks.append(collator([row(40)])["peak_mask"])
    assert torch.equal(masks[0], masks[1]) and not torch.equal(masks[0], masks[2])
