"""What the stages that learn from spectra share: their folds, and masks that depend on the recipe's seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from data import (
    OPEN_LICENCES,
    SPECTRA_FILE,
    Augmentation,
    SpectrumDataset,
    SpectrumTable,
    load_spectra_table,
    to_spectra,
)
from streaming import Choice, SpectrumStream, StreamTrainer, open_source
from trainer import EpochTrainer

FOLD_KEYS = (
    *("licences", "eval_licences", "min_peaks", "max_precursor_mz", "limit", "eval_limit"),
    *("train_folds", "eval_folds", "fold_column", "augmentation", "batch_by_length"),
)

READABLE_MZ = 999.9
"""Precursors that LSM1 and MS2Prop can read (to 1000 Th) and augmentation can move."""


def load_folds(
    path: Path,
    data: dict[str, Any],
    seed: int,
    extra_columns: Sequence[str] = (),
    min_peaks: int = 1,
    eval_limit: int | None = None,
) -> tuple[SpectrumTable, SpectrumTable]:
    """Training and validation spectra of a recipe's section `data` (its `FOLD_KEYS`).

    Args:
        path: folder with the tables.
        seed: of the samples, where there are limits.
        extra_columns: further columns to keep.
        min_peaks, eval_limit: used where the recipe says nothing.
    """
    return load_fold(path, data, seed, "train", extra_columns, min_peaks), load_fold(
        path, data, seed, "eval", extra_columns, min_peaks, eval_limit
    )


def load_fold(
    path: Path,
    data: dict[str, Any],
    seed: int,
    side: str,
    extra_columns: Sequence[str] = (),
    min_peaks: int = 1,
    limit: int | None = None,
) -> SpectrumTable:
    """One side of `load_folds`: "train" or "eval"."""
    column, choice = data.get("fold_column", "fold"), choice_of(data, side, min_peaks)
    return load_spectra_table(
        path,
        choice.among[column],
        choice.among["license"],
        choice.min_peaks,
        data.get("limit" if side == "train" else "eval_limit", limit),
        seed,
        column,
        extra_columns,
        choice.max_precursor_mz,
    )


def choice_of(data: dict[str, Any], side: str, min_peaks: int = 1) -> Choice:
    """What a recipe's section `data` (its `stages.FOLD_KEYS`) chooses for "train" or "eval"."""
    licences = data.get("licences", OPEN_LICENCES)
    folds = data.get(f"{side}_folds", ["train" if side == "train" else "val"])
    licences = licences if side == "train" else data.get("eval_licences", licences)
    among = {data.get("fold_column", "fold"): folds, "license": licences}
    return Choice(among, data.get("min_peaks", min_peaks), data.get("max_precursor_mz", np.inf))


@dataclass
class Unlabelled:
    """Spectra for a self-supervised stage.

    Attributes:
        train: a `SpectrumDataset` or, with ``data.streaming``, a `SpectrumStream`.
        lengths: peaks of each training spectrum, None for a stream.
        trainer: class of Trainer that reads `train`.
        held_out: validation spectra.
    """

    train: Any
    lengths: list[int] | None
    trainer: type[EpochTrainer]
    held_out: SpectrumTable


def load_unlabelled(
    path: Path, data: dict[str, Any], seed: int, min_peaks: int = 1, eval_limit: int = 1000
) -> Unlabelled:
    """Spectra of a recipe's section `data`, in memory or streamed.

    A stream comes from ``data.source`` or else from `path`; the validation spectra from the table at `path` or, where
    there is none, from the beginning of their folds of the stream.
    """
    augmentation = Augmentation.from_recipe(data.get("augmentation"))
    if not data.get("streaming"):
        tables = load_folds(path, data, seed, min_peaks=min_peaks, eval_limit=eval_limit)
        lengths = tables[0].n_peaks if data.get("batch_by_length", True) else None
        return Unlabelled(SpectrumDataset(tables[0], augmentation, seed), lengths, EpochTrainer, tables[1])
    source, choice = data.get("source", path), choice_of(data, "train", min_peaks)
    sizes = {key: data[key] for key in ("block", "mixed_shards") if key in data}
    train = SpectrumStream(open_source(source, choice), choice, augmentation, seed, **sizes)
    if path.is_file() or (path / SPECTRA_FILE).is_file():
        held_out = load_fold(path, data, seed, "eval", min_peaks=min_peaks, limit=eval_limit)
    else:
        choice = choice_of(data, "eval", min_peaks)
        held_out = first_of(open_source(path, choice), choice, data.get("eval_limit", eval_limit))
    return Unlabelled(train, None, StreamTrainer, held_out)


def first_of(source: datasets.IterableDataset, choice: Choice, count: int) -> SpectrumTable:
    """The first `count` chosen spectra of a source, in memory.

    Raises:
        ValueError: there is none.
    """
    blocks: list[pa.Table] = []
    for table in source.with_format("arrow").iter(batch_size=4096):
        blocks.append(choice(table))
        if sum(len(block) for block in blocks) >= count:
            break
    found = pa.concat_tables(blocks) if blocks else pa.table({})
    if not len(found):
        raise ValueError(f"no spectrum of the source has {choice}")
    return to_spectra(found.slice(0, count))


class ExactCollator:
    """A masking collator whose random choices depend on (seed, epoch, first index) alone.

    Args:
        collator: one with an attribute `rng`, a NumPy generator.
        seed: of the masks.
    """

    def __init__(self, collator: Any, seed: int) -> None:
        self.collator, self.seed = collator, seed

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Keys of the forward method of the model that is pre-trained."""
        first = features[0]
        self.collator.rng = np.random.default_rng([self.seed, 2, first["epoch"], first["index"]])
        return dict(self.collator(features))
