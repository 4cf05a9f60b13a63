"""Spectra to Parquet or Arrow, in the one schema of this project."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .spectrum import Problem, Spectrum

SCHEMA = pa.schema(
    [
        ("index", pa.int64()),
        ("native_id", pa.string()),
        ("mz", pa.list_(pa.float64())),
        ("intensity", pa.list_(pa.float32())),
        ("precursor_mz", pa.float64()),
        ("charge", pa.int32()),
        ("adduct", pa.string()),
        ("ion_mode", pa.string()),
        ("collision_energy", pa.float64()),
        ("retention_time", pa.float64()),
        ("ms_level", pa.int32()),
        ("instrument_type", pa.string()),
        ("name", pa.string()),
        ("smiles", pa.string()),
        ("inchikey", pa.string()),
        ("formula", pa.string()),
        ("path", pa.string()),
        ("line", pa.int64()),
        ("metadata", pa.string()),
        ("notes", pa.list_(pa.string())),
    ]
)
"""One row per spectrum; fields as in `Spectrum`, `metadata` as a JSON object."""

_ROWS = 4096
_PLAIN = [name for name in SCHEMA.names if name not in ("mz", "intensity", "metadata", "notes")]


def to_batches(
    spectra: Iterable[Spectrum | Problem], problems: list[Problem] | None = None
) -> Iterator[pa.RecordBatch]:
    """Arrow batches of `SCHEMA`; problems are left out, and appended to `problems` if given."""
    rows: list[Spectrum] = []
    for item in spectra:
        if isinstance(item, Problem):
            if problems is not None:
                problems.append(item)
            continue
        rows.append(item)
        if len(rows) == _ROWS:
            yield _batch(rows)
            rows = []
    if rows:
        yield _batch(rows)


def row_of(spectrum: Spectrum) -> dict[str, Any]:
    """One row of `SCHEMA` as a dict."""
    row = {name: getattr(spectrum, name) for name in SCHEMA.names}
    row["metadata"] = json.dumps(spectrum.metadata, ensure_ascii=False)
    row["notes"] = list(spectrum.notes)
    return row


def _batch(rows: list[Spectrum]) -> pa.RecordBatch:
    columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in SCHEMA.names}
    columns["metadata"] = [json.dumps(row.metadata, ensure_ascii=False) for row in rows]
    columns["notes"] = [list(row.notes) for row in rows]
    arrays = [pa.array(columns[field.name], field.type) for field in SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def write_table(spectra: Iterable[Spectrum | Problem], path: str | os.PathLike[str]) -> int:
    """Write spectra to a Parquet file, or to an Arrow file if the name ends in .arrow or .feather.

    Problems are left out. Nothing is kept in memory but one batch.

    Returns:
        the number of spectra written.
    """
    count = 0
    if Path(path).suffix in (".arrow", ".feather", ".ipc"):
        with pa.OSFile(os.fspath(path), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            for batch in to_batches(spectra):
                writer.write_batch(batch)
                count += batch.num_rows
        return count
    with pq.ParquetWriter(os.fspath(path), SCHEMA, compression="zstd") as writer:
        for batch in to_batches(spectra):
            writer.write_batch(batch)
            count += batch.num_rows
    return count
