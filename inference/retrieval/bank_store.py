"""A finished bank on disk: manifest, memory-mapped embeddings, molecules read where they are needed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open

Floats = npt.NDArray[np.float32]
FORMAT = "msformers-molecule-bank"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
MOLECULES = "molecules.parquet"
TENSOR = "embeddings"
CACHED_SHARDS = 16


class BankError(ValueError):
    """A bank that cannot be built, read or searched with this model; says what to do."""


class Molecule(NamedTuple):
    """One molecule of a bank: SMILES, InChIKey, formula, name ("" if none), exact mass in Da."""

    smiles: str
    inchikey: str
    formula: str
    name: str
    exact_mass: float


def shard_name(number: int) -> str:
    """File name of a shard of embeddings."""
    return f"embeddings-{number:05d}.safetensors"


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished bank.

    Raises:
        BankError: the folder holds no bank, an unfinished one, or one of another format version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        unfinished = (folder / ".building").is_dir()
        what = "an unfinished molecule bank" if unfinished else "no molecule bank (no manifest.json)"
        do = (
            "run the same `msformers bank build` again to finish it"
            if unfinished
            else "build one: msformers bank build"
        )
        raise BankError(f"{folder}: {what}; {do}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BankError(f"{path}: is no JSON ({error}); build the bank again with --overwrite") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BankError(
            f"{path}: is not the manifest of a molecule bank; give a folder made by msformers bank build"
        )
    if manifest.get("format_version") != FORMAT_VERSION:
        found = manifest.get("format_version")
        raise BankError(
            f"{path}: format version {found}, this msformers reads {FORMAT_VERSION}; build the bank again"
        )
    return manifest


class EmbeddingStore:
    """The embeddings of a bank, (n, D) in shards, memory-mapped: only rows asked for are read.

    Args:
        folder: the bank.
        rows: molecules per shard.
        dim: D.

    Raises:
        BankError: a shard is missing, damaged, or of another shape than the manifest says.
    """

    def __init__(self, folder: Path, rows: list[int], dim: int) -> None:
        self.starts = np.concatenate([[0], np.cumsum(rows, dtype=np.int64)])
        self._shards = []
        for number, count in enumerate(rows):
            path = folder / shard_name(number)
            try:
                shard = safe_open(path, framework="numpy").get_slice(TENSOR)
            except (FileNotFoundError, SafetensorError) as error:
                raise BankError(
                    f"{path}: cannot be read ({error}); build the bank again with --overwrite"
                ) from error
            if list(shard.get_shape()) != [count, dim]:
                raise BankError(
                    f"{path}: shape {shard.get_shape()}, manifest says {[count, dim]}; build the bank again"
                )
            self._shards.append(shard)

    def read(self, start: int, stop: int) -> Floats:
        """Rows start..stop as float32."""
        parts = []
        for number, shard in enumerate(self._shards):
            first, last = int(self.starts[number]), int(self.starts[number + 1])
            low, high = max(start, first), min(stop, last)
            if low < high:
                parts.append(shard[low - first : high - first])
        width = self._shards[0].get_shape()[1] if self._shards else 0
        return np.concatenate([np.empty((0, width), np.float32), *parts], dtype=np.float32)

    def blocks(self, size: int = 65536) -> Iterator[tuple[int, Floats]]:
        """The whole bank in order as (first row, rows)."""
        total = int(self.starts[-1])
        for start in range(0, total, size):
            yield start, self.read(start, min(start + size, total))


class MoleculeStore:
    """The molecules of a bank, sorted by exact mass; recently used shards stay in memory.

    Args:
        path: molecules.parquet, whose row groups are the shards.

    Raises:
        BankError: the file is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = pq.ParquetFile(path, memory_map=True)
            self.masses: npt.NDArray[np.float64] = self._file.read(columns=["exact_mass"])[
                "exact_mass"
            ].to_numpy()
        except (FileNotFoundError, pa.ArrowInvalid, OSError, KeyError) as error:
            raise BankError(
                f"{path}: cannot be read ({error}); build the bank again with --overwrite"
            ) from error
        groups = [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(groups, dtype=np.int64)])
        self._group = lru_cache(CACHED_SHARDS)(self._read)

    def _read(self, number: int) -> dict[str, pa.Array]:
        """The columns of a shard, in one piece each: asking them for a cell is much faster than asking the table."""
        table = self._file.read_row_group(number)
        return {name: table[name].combine_chunks() for name in Molecule._fields}

    def __len__(self) -> int:
        return len(self.masses)

    def window(self, low: float, high: float) -> tuple[int, int]:
        """First row and row after the last with exact mass within [low, high] Da."""
        first, last = np.searchsorted(self.masses, low, "left"), np.searchsorted(self.masses, high, "right")
        return int(first), int(max(first, last))

    def get(self, rows: Iterable[int]) -> list[Molecule]:
        """The molecules of some rows, in the order asked for."""
        found = []
        for row in rows:
            number = int(np.searchsorted(self._starts, row, side="right")) - 1
            columns, at = self._group(number), row - int(self._starts[number])
            found.append(Molecule._make(column[at].as_py() for column in columns.values()))
        return found

    def formulas(self, first: int, last: int) -> list[str]:
        """The formulas of rows first..last."""
        formulas: list[str] = []
        for number in range(len(self._starts) - 1):
            start, stop = int(self._starts[number]), int(self._starts[number + 1])
            low, high = max(first, start), min(last, stop)
            if low < high:
                formulas.extend(self._group(number)["formula"][low - start : high - start].to_pylist())
        return formulas
