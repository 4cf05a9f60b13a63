from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msformers.tokenization.collate import SpectrumCollator, batch_by_length
from msformers.tokenization.dreams import DreamsFeatureExtractor

ROWS: list[dict[str, Any]] = [
    {"mz": [50.0], "intensity": [1.0], "precursor_mz": 80.0, "label": 1.5, "kind": 3},
    {"mz": [50.0, 60.0], "intensity": [1.0, 2.0], "precursor_mz": 90.0, "label": -2.0, "kind": 4},
]


@given(
    st.lists(st.integers(0, 120), max_size=80), st.integers(1, 500), st.one_of(st.none(), st.integers(1, 9))
)
def test_every_index_once_and_no_batch_too_large(
    lengths: list[int], max_tokens: int, max_batch: int | None
) -> None:
    batches = batch_by_length(lengths, max_tokens, max_batch)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[index] for index in batch)
        assert len(batch) == 1 or longest * len(batch) <= max_tokens
        assert max_batch is None or len(batch) <= max_batch


def test_similar_lengths_travel_together_longest_first() -> None:
    assert batch_by_length([3, 50, 4, 51], 102) == [[3, 1], [2, 0]]


@pytest.mark.parametrize("bounds", [(0, None), (5, 0)])
def test_bounds_are_checked(bounds: tuple[int, int | None]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        batch_by_length([1], *bounds)


def test_the_collator_passes_labels_on() -> None:
    batch = SpectrumCollator(DreamsFeatureExtractor(5), ["label", "kind"])(ROWS)
    assert batch["label"].tolist() == [1.5, -2.0] and batch["kind"].tolist() == [3, 4]
    assert batch["peaks"].shape == (2, 4, 2)
    assert "label" not in SpectrumCollator(DreamsFeatureExtractor(5))(ROWS)


def test_a_missing_label_is_named() -> None:
    with pytest.raises(KeyError, match="row 1 has no 'label'"):
        SpectrumCollator(DreamsFeatureExtractor(5), ["label"])([ROWS[0], {**ROWS[1], "label": None}])
