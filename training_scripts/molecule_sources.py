"""Where the molecules of a conversion come from: files, folders of shards and the Hub, streamed; and keys to leave out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from msformers.inference.retrieval.bank_sources import SMILES_COLUMNS, Entry, file_format, read_molecules

KEY_COLUMNS = ("inchikey14", "inchikey")
BLOCK = re.compile(r"[A-Z]{14}(-|$)")
"""An InChIKey or its first block."""


@dataclass(frozen=True, slots=True)
class Molecules:
    """A source of molecules, opened.

    Attributes:
        entries: its records; where `keyed`, their names are InChIKeys.
        keyed: whether it says the InChIKeys.
        total: number of records, None where only reading would tell.
    """

    entries: Iterator[Entry]
    keyed: bool
    total: int | None = None


def open_molecules(source: str, smiles_column: str | None, key_column: str | None) -> Molecules:
    """Open a molecule file, a folder of Parquet shards or a dataset of the Hub (all its splits) for streaming.

    Raises:
        ValueError: no such file or folder, and not the id of a dataset either; or an empty folder.
    """
    path = Path(source)
    if not path.exists():
        if path.suffix or source.count("/") != 1:
            raise ValueError(f"{source}: no such file or folder; give one, or a Hub dataset as owner/name")
        return _open_hub(source, smiles_column, key_column)
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"{path}: the folder holds no .parquet file")
    total = None
    if file_format(files[0]) == "parquet":
        names = pq.read_schema(files[0]).names
        key_column = key_column or next((name for name in KEY_COLUMNS if name in names), None)
        total = sum(pq.read_metadata(file).num_rows for file in files)
    return Molecules(read_molecules(files, smiles_column, key_column), key_column is not None, total)


def source_size(source: str) -> int | None:
    """Bytes of the files of a source, None for a dataset of the Hub."""
    path = Path(source)
    files = path.glob("*.parquet") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files) if path.exists() else None


def _open_hub(source: str, smiles_column: str | None, key_column: str | None) -> Molecules:
    from datasets import load_dataset

    splits = load_dataset(source, streaming=True)
    first = next(iter(splits.values()))
    names = list(first.features or next(iter(first)))
    column = smiles_column or next((name for name in names if name.lower() in SMILES_COLUMNS), None)
    if column not in names:
        raise ValueError(
            f"{source}: no column {smiles_column or 'of SMILES'!r} among {', '.join(names)}; give --smiles-column"
        )
    key = key_column or next((name for name in KEY_COLUMNS if name in names), None)
    rows = (row for split in splits.values() for row in split)
    values = ({"smiles": row[column], "name": row[key] if key else ""} for row in rows)
    return Molecules(read_molecules(values), key is not None)


def read_keys(path: Path, column: str | None) -> set[str]:
    """First InChIKey blocks of a Parquet, CSV or TSV file.

    Raises:
        ValueError: no such column, or an entry that is no InChIKey.
    """
    if path.suffix == ".parquet":
        table = pq.read_table(path)
    else:
        delimiter = "\t" if path.suffix == ".tsv" else ","
        table = pa_csv.read_csv(path, parse_options=pa_csv.ParseOptions(delimiter=delimiter))
    name = column or next((name for name in KEY_COLUMNS if name in table.column_names), None)
    if name not in table.column_names:
        found = ", ".join(table.column_names)
        raise ValueError(f"{path}: no column {name or 'of InChIKeys'} among {found}; give --drop-column")
    keys = table[name].drop_null().to_pylist()
    for row, key in enumerate(keys):
        if not BLOCK.match(str(key)):
            raise ValueError(f"{path}: {name} {key!r} (entry {row}) is no InChIKey; nothing was dropped")
    return {key[:14] for key in keys}
