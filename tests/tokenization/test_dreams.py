from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msformers.tokenization.dreams import (
    DreamsFeatureExtractor,
    DreamsPreTrainingCollator,
    choose_masked,
    mz_bins,
)

ROW = {"mz": [70.0, 50.0, 60.0], "intensity": [10.0, 5.0, 20.0], "precursor_mz": 99.5}


def row(n: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng([seed, n])
    return {"mz": rng.uniform(50, 900, n), "intensity": rng.uniform(1, 100, n), "precursor_mz": 400.0 + n}


@pytest.fixture(scope="module")
def golden(shared: Path) -> Any:
    return np.load(shared / "golden" / "dreams_golden.npz")


@pytest.mark.parametrize("n", [60, 100])
def test_preparation_equals_the_reference(golden: Any, n: int) -> None:
    raw = [
        {
            "mz": golden[f"raw_{i:03d}_mz"],
            "intensity": golden[f"raw_{i:03d}_intensity"],
            "precursor_mz": golden["precursor_mz"][i],
        }
        for i in range(int(golden["n_spectra"]))
    ]
    peaks = DreamsFeatureExtractor(n, padding="max_length")(raw, return_tensors="np")["peaks"]
    expected, strict = golden[f"prep_{n}"], golden[f"strict_{n}"]
    assert np.array_equal(peaks[strict], expected[strict])
    # where intensities tie at the cut the reference sorts unstably: the kept intensities agree
    assert np.array_equal(np.sort(peaks[..., 1]), np.sort(expected[..., 1]))


def test_bins_equal_the_reference(golden: Any) -> None:
    assert np.array_equal(mz_bins(golden["bin_mz"]), golden["bin_class"])
    masked = golden["prep_60"][golden["mask_60"]][:, 0]
    assert np.array_equal(mz_bins(masked), golden["masked_target_class"])


def test_precursor_first_then_peaks_in_their_order() -> None:
    batch = DreamsFeatureExtractor(5, padding="max_length")(ROW)
    expected = [[99.5, 1.1], [70.0, 0.5], [50.0, 0.25], [60.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
    torch.testing.assert_close(batch["peaks"][0], torch.tensor(expected))
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 0, 0]]
    assert batch["token_counts"].tolist() == [[1.0] * 6]


def test_collapsed_padding_counts_what_it_stands_for() -> None:
    batch = DreamsFeatureExtractor(5)([ROW, row(1), row(9), {**ROW, "mz": [], "intensity": []}])
    assert batch["token_counts"].tolist() == [
        [1, 1, 1, 1, 2, 0],
        [1, 1, 4, 0, 0, 0],
        [1, 1, 1, 1, 1, 1],
        [1, 5, 0, 0, 0, 0],
    ]
    assert batch["attention_mask"].tolist() == [
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1] * 6,
        [1, 0, 0, 0, 0, 0],
    ]
    assert batch["token_counts"].dtype == torch.float32


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 15), min_size=1, max_size=6), st.integers(1, 12))
def test_counts_always_complete_the_spectrum(sizes: list[int], n_highest: int) -> None:
    batch = DreamsFeatureExtractor(n_highest)([row(n) for n in sizes], return_tensors="np")
    assert (batch["token_counts"].sum(axis=1) == n_highest + 1).all()
    real = batch["attention_mask"].sum(axis=1)
    assert real.tolist() == [min(n, n_highest) + 1 for n in sizes]
    assert (batch["token_counts"][batch["attention_mask"] == 1] == 1).all()
    assert not batch["peaks"][batch["attention_mask"] == 0].any()


def test_a_peak_at_mz_zero_is_padding_as_published() -> None:
    batch = DreamsFeatureExtractor(3)({"mz": [0.0, 80.0], "intensity": [1.0, 2.0], "precursor_mz": 99.0})
    assert batch["attention_mask"].tolist() == [[1, 0, 1, 0]] and batch["token_counts"].tolist() == [
        [1, 1, 1, 1]
    ]


def test_a_missing_precursor_is_named() -> None:
    with pytest.raises(ValueError, match="x9: precursor_mz is missing"):
        DreamsFeatureExtractor()({**ROW, "precursor_mz": None, "native_id": "x9"})


def test_settings() -> None:
    with pytest.raises(ValueError, match="collapsed, max_length"):
        DreamsFeatureExtractor(padding="longest")
    saved = DreamsFeatureExtractor(7, precursor_intensity=2.0).to_dict()
    assert (saved["n_highest_peaks"], saved["precursor_intensity"], saved["padding"]) == (7, 2.0, "collapsed")


def test_base_peak_and_precursor_are_never_masked() -> None:
    tokens = DreamsFeatureExtractor(20).collate(
        [np.array([[99, 1.1], [1, 0.2], [2, 1.0], [3, 0.5]], np.float32)]
    )
    rng = np.random.default_rng(0)
    chosen = {int(i) for _ in range(50) for i in choose_masked(tokens["peaks"][0], rng)}
    assert chosen == {1, 3}


@pytest.mark.parametrize(("n_eligible", "expected"), [(0, 0), (1, 1), (2, 2), (5, 2), (10, 3), (60, 18)])
def test_how_many_are_masked(n_eligible: int, expected: int) -> None:
    tokens = np.stack([np.arange(n_eligible) + 50.0, np.full(n_eligible, 0.5)], axis=1).astype(np.float32)
    chosen = choose_masked(tokens, np.random.default_rng(0))
    assert len(chosen) == len(set(chosen.tolist())) == expected


def test_strong_peaks_are_masked_more_often() -> None:
    tokens = np.array([[50 + i, 0.9 if i < 3 else 0.1] for i in range(9)], np.float32)
    rng = np.random.default_rng(0)
    counts = np.bincount(np.concatenate([choose_masked(tokens, rng) for _ in range(400)]), minlength=9)
    assert counts[:3].min() > 2 * counts[3:].max()


def test_the_collator_masks_mz_and_keeps_intensity() -> None:
    extractor = DreamsFeatureExtractor(60)
    batch = DreamsPreTrainingCollator(extractor, shift_probability=0.0)([row(20), row(7)])
    clean, masked = extractor([row(20), row(7)]), batch["mz_labels"] != -100
    assert masked.sum(1).tolist() == [6, 2] and batch["mz_labels"].dtype == torch.int64
    assert (batch["peaks"][masked][:, 0] == -1).all()
    assert torch.equal(batch["peaks"][..., 1], clean["peaks"][..., 1])
    assert torch.equal(batch["peaks"][~masked], clean["peaks"][~masked])
    expected = mz_bins(clean["peaks"][masked][:, 0].numpy())
    assert batch["mz_labels"][masked].tolist() == expected.tolist()
    assert "order_pairs" not in batch


def test_the_shift_moves_every_token_the_padding_too() -> None:
    extractor = DreamsFeatureExtractor(60)
    collator = DreamsPreTrainingCollator(extractor, mask_fraction=0.0, shift_probability=1.0, max_shift=50.0)
    batch, clean = collator([row(20), row(7)]), extractor([row(20), row(7)])
    kept = (batch["mz_labels"] == -100) & (clean["token_counts"] > 0)
    for one in range(2):
        shift = (batch["peaks"] - clean["peaks"])[one][kept[one]][:, 0]
        assert 0 < shift[0] < 50 and torch.allclose(shift, shift[0].expand_as(shift), atol=1e-3)
    # a shifted padding token is a token like any other, still counted as often
    assert torch.equal(batch["attention_mask"], (clean["token_counts"] > 0).long())
    assert torch.equal(batch["token_counts"], clean["token_counts"])


def test_pairs_keep_first_and_second_apart() -> None:
    pairs = [{"first": row(5), "second": row(9), "order": 1}, {"first": row(3), "second": row(4), "order": 0}]
    batch = DreamsPreTrainingCollator(DreamsFeatureExtractor(60), shift_probability=0.0)(pairs)
    assert batch["order_pairs"].tolist() == [[0, 2], [1, 3]] and batch["order_labels"].tolist() == [1, 0]
    assert batch["attention_mask"].sum(1).tolist() == [6, 4, 10, 5]


def test_the_same_seed_gives_the_same_batch() -> None:
    batches = [DreamsPreTrainingCollator(DreamsFeatureExtractor(60), seed=3)([row(20)]) for _ in range(2)]
    assert torch.equal(batches[0]["peaks"], batches[1]["peaks"])
