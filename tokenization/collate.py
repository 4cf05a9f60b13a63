"""Spectra of similar length together, and the collator that turns a list of them into a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .spectrum import SpectrumBatch, SpectrumFeatureExtractor


def batch_by_length(lengths: Sequence[int], max_tokens: int, max_batch: int | None = None) -> list[list[int]]:
    """Group spectra so that batches hold little filler.

    Args:
        lengths: number of tokens of each spectrum.
        max_tokens: bound on spectra times longest length of a batch; a longer spectrum is a batch of its own.
        max_batch: bound on the spectra of a batch.

    Returns:
        Indices of each batch, longest spectra first (so that memory peaks at once, not hours later); every index once.

    Raises:
        ValueError: a bound is below 1.
    """
    if max_tokens < 1 or (max_batch is not None and max_batch < 1):
        raise ValueError(f"max_tokens and max_batch must be at least 1, got {max_tokens} and {max_batch}")
    batches: list[list[int]] = []
    room = 0
    for index in np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable").tolist():
        if room < 1:
            batches.append([])
            room = max(1, max_tokens // max(1, lengths[index]))
            room = room if max_batch is None else min(room, max_batch)
        batches[-1].append(index)
        room -= 1
    return batches


class SpectrumCollator:
    """A `data_collator` for Trainer: rows of a dataset to the extractor's batch, with the columns asked for.

    Args:
        extractor: prepares the spectra.
        label_columns: columns of the rows to pass on as tensors, under the same name.
    """

    def __init__(self, extractor: SpectrumFeatureExtractor, label_columns: Sequence[str] = ()) -> None:
        self.extractor = extractor
        self.label_columns = tuple(label_columns)

    def __call__(self, features: Sequence[Any]) -> SpectrumBatch:
        """Batch `features` as PyTorch tensors.

        Raises:
            KeyError: a row lacks a label column; names both.
        """
        batch = self.extractor(list(features), return_tensors="np")
        for column in self.label_columns:
            batch[column] = np.asarray([_label(row, column, number) for number, row in enumerate(features)])
        return batch.convert_to_tensors("pt")


def _label(row: Any, column: str, number: int) -> Any:
    value = row.get(column) if isinstance(row, Mapping) else getattr(row, column, None)
    if value is None:
        raise KeyError(f"row {number} has no {column!r}; drop the row or the label column")
    return value
