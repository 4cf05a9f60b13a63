"""The corpus of a language model of molecules: in memory, or streamed from Parquet shards on disk or on the Hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import load_dataset
from molecule_text import (
    MOLECULE_KEYS,
    MoleculeTable,
    TokenizedMolecules,
    build_tokenizer,
    held_back,
    load_molecules,
    tokenized,
)
from streaming import SpectrumStream, StreamTrainer, location
from trainer import EpochTrainer
from transformers import PreTrainedTokenizerFast

from msformers.tokenization.selfies import encode_ids

CORPUS_KEYS = (*MOLECULE_KEYS, "streaming", "block", "mixed_shards", "alphabet_from")


@dataclass
class Corpus:
    """What a language model of molecules is trained on.

    Attributes:
        train: `TokenizedMolecules`, or a `MoleculeStream`.
        held_out: for validation.
        tokenizer: of SELFIES.
        lengths: tokens of each training molecule, None for a stream.
        trainer: class of Trainer that reads `train`.
    """

    train: Any
    held_out: TokenizedMolecules
    tokenizer: PreTrainedTokenizerFast
    lengths: list[int] | None
    trainer: type[EpochTrainer]


class NotHeldBack:
    """Keeps the rows of a block whose molecule is neither among `keys` (first InChIKey blocks) nor among `selfies`."""

    def __init__(self, keys: Sequence[str], selfies: Sequence[str]) -> None:
        held = {"inchikey14": sorted(keys), "selfies": sorted(selfies)}
        self.held = {name: pa.array(values, pa.string()) for name, values in held.items() if values}

    def __call__(self, table: pa.Table) -> pa.Table:
        """The rows that may be trained on."""
        for name, values in self.held.items():
            table = table.filter(pc.invert(pc.is_in(table[name], values)))
        return table


class MoleculeStream(SpectrumStream):
    """Molecules without end, as items like those of `TokenizedMolecules`, and the `place` behind each.

    Args:
        source: of `open_molecules`.
        choice: drops held-back molecules.
        tokenizer: molecules it has no tokens or no room for are passed over.
        seed, block, mixed_shards: as in `SpectrumStream`.
    """

    def __init__(self, source: Any, choice: NotHeldBack, tokenizer: Any, seed: int, **sizes: int) -> None:
        super().__init__(source, choice, None, seed, **sizes)  # type: ignore[arg-type]
        self.vocabulary, self.longest = tokenizer.get_vocab(), tokenizer.model_max_length
        self.unknown = tokenizer.unk_token_id

    def examples(self, table: pa.Table, seed: int, first: int) -> _Shifted:
        """The molecules of a block, the first of which has index `first`."""
        ids = encode_ids(table["selfies"].to_pylist(), self.vocabulary)
        fits = [row for row in ids if len(row) <= self.longest and self.unknown not in row]
        return _Shifted(TokenizedMolecules(fits, np.arange(first, first + len(fits))), first)


class _Shifted:
    """Items of a block under their index in the whole stream."""

    def __init__(self, molecules: TokenizedMolecules, first: int) -> None:
        self.molecules, self.first = molecules, first

    def __len__(self) -> int:
        return len(self.molecules)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        item = self.molecules[key]
        return {**item, "index": item["index"] + self.first}


def open_molecules(source: str | Path, held: bool) -> datasets.IterableDataset:
    """Open Parquet shards with a column selfies (`convert_molecules.py` writes them) for streaming.

    Args:
        source: a file, a folder of shards, a pattern, a URL, or the id of a dataset on the Hub.
        held: the column inchikey14 is needed too, to drop held-back molecules.

    Raises:
        ValueError: the source lacks a needed column.
    """
    options = location(str(source))
    columns = ["selfies", *(["inchikey14"] if held else [])]
    splits = load_dataset(**options, streaming=True)
    features = next(iter(splits.values())).features
    missing = [name for name in columns if name not in features]
    if missing:
        raise ValueError(
            f"{source} has no column {', '.join(missing)}; it has {', '.join(features)}. Write it with "
            "convert_molecules.py, or set data.drop_folds to [] where nothing is to be held back"
        )
    splits = load_dataset(**options, streaming=True, columns=columns)
    return datasets.concatenate_datasets(list(splits.values()))


def load_corpus(
    path: Path,
    data: dict[str, Any],
    seed: int,
    cache: Path,
    tokenizer: PreTrainedTokenizerFast | None = None,
) -> Corpus:
    """The corpus of a recipe's section `data` (its `CORPUS_KEYS`).

    Args:
        path: folder with the tables; the table of spectra there says what is held back.
        seed, cache: as in `load_molecules`.
        tokenizer: of an earlier stage; None builds one from the corpus, or from the first `alphabet_from` of a stream.
    """
    size = data.get("eval_size", 2000)
    if not data.get("streaming"):
        table = load_molecules(path, data, seed, cache)
        tokenizer = tokenizer or build_tokenizer(table, data)
        train, held_out = tokenized(table, tokenizer, size, seed)
        return Corpus(train, held_out, tokenizer, train.lengths.tolist(), EpochTrainer)
    held = held_back(path, data.get("drop_folds", ["val", "test"]))
    source = open_molecules(data.get("source", path), bool(held))
    kept = (row for row in source if row.get("inchikey14") not in held)
    first = [row["selfies"] for row in islice(kept, max(size, data.get("alphabet_from", 100_000)))]
    table = MoleculeTable([""] * len(first), first, [""] * len(first))
    tokenizer = tokenizer or build_tokenizer(table, data)
    head = MoleculeTable(table.smiles[:size], first[:size], table.inchikey14[:size])
    held_out = tokenized(head, tokenizer, size, seed)[1]
    sizes = {key: data[key] for key in ("block", "mixed_shards") if key in data}
    stream = MoleculeStream(source, NotHeldBack(sorted(held), head.selfies), tokenizer, seed, **sizes)
    return Corpus(stream, held_out, tokenizer, None, StreamTrainer)
