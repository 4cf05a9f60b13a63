"""The molecules of a bank: canonical form in resumable chunks, duplicates merged, all sorted by exact mass."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.parquet as pq

from ...spectra.molecules import MoleculeError, molecule_record
from ...spectra.spectrum import Problem
from .bank_sources import Entry, SourceMolecule

COLUMNS = pa.schema(
    [
        ("smiles", pa.string()),
        ("inchikey", pa.string()),
        ("formula", pa.string()),
        ("name", pa.string()),
        ("exact_mass", pa.float64()),
    ]
)
CANONICAL = COLUMNS.append(pa.field("order", pa.int64())).append(pa.field("key", pa.uint64()))
GROUP_ROWS = 1 << 20


@dataclass(frozen=True, slots=True)
class Counts:
    """What happened to the records of the source: read, left out with a problem, merged as duplicates."""

    read: int
    problems: int
    duplicates: int
    molecules: int


def canonicalise(
    entries: Iterator[Entry], folder: Path, chunk: int, desalt: bool, workers: int, bar: Any
) -> None:
    """Write canonical molecules of `entries` as numbered chunk files; chunks that exist already are skipped.

    Args:
        entries: the source from its beginning.
        folder: working folder; gets ``canonical-00000.parquet`` and ``problems-00000.jsonl`` per chunk.
        chunk: source records per chunk file.
        desalt: keep the largest organic fragment, neutralised, instead of the molecule as written.
        workers: processes; 1 works in this one.
        bar: progress bar counting records.
    """
    done = 0
    while _chunk_file(folder, done).exists():
        done += 1
    bar.update(sum(1 for _ in islice(entries, done * chunk)))
    tasks = _numbered(entries, chunk, done)
    if workers <= 1:
        for number, part in tasks:
            _write_chunk(folder, number, part, desalt)
            bar.update(len(part))
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        running: deque[tuple[Future[None], int]] = deque()
        for number, part in tasks:
            running.append((pool.submit(_write_chunk, folder, number, part, desalt), len(part)))
            if len(running) > 2 * workers:
                _finish(running, bar)
        while running:
            _finish(running, bar)


def _finish(running: deque[tuple[Future[None], int]], bar: Any) -> None:
    future, count = running.popleft()
    future.result()
    bar.update(count)


def _numbered(entries: Iterator[Entry], chunk: int, start: int) -> Iterator[tuple[int, list[Entry]]]:
    number = start
    while part := list(islice(entries, chunk)):
        yield number, part
        number += 1


def _chunk_file(folder: Path, number: int) -> Path:
    return folder / f"canonical-{number:05d}.parquet"


def _write_chunk(folder: Path, number: int, part: Sequence[Entry], desalt: bool) -> None:
    rows: list[dict[str, Any]] = []
    problems: list[Problem] = []
    for entry in part:
        if isinstance(entry, Problem):
            problems.append(entry)
            continue
        try:
            record = molecule_record(entry.smiles, parent=desalt)
        except MoleculeError as error:
            problems.append(_problem(entry, str(error)))
            continue
        rows.append(
            {
                "smiles": record.smiles,
                "inchikey": record.inchikey,
                "formula": record.formula,
                "name": entry.name,
                "exact_mass": record.exact_mass,
                "order": entry.index,
                "key": _key(record.inchikey),
            }
        )
    text = "".join(json.dumps(asdict(problem)) + "\n" for problem in problems)
    write_text(folder / f"problems-{number:05d}.jsonl", text)
    table = pa.Table.from_pylist(rows, schema=CANONICAL)
    table = table.replace_schema_metadata({"read": str(len(part)), "problems": str(len(problems))})
    target = _chunk_file(folder, number)
    pq.write_table(table, target.with_suffix(".tmp"))
    os.replace(target.with_suffix(".tmp"), target)


def _problem(entry: SourceMolecule, reason: str) -> Problem:
    return Problem(
        entry.index,
        entry.line,
        entry.name,
        "SMILES",
        entry.smiles[:200],
        reason,
        entry.path,
        "record left out",
    )


def _key(inchikey: str) -> int:
    """The first block of an InChIKey (14 letters, 65.8 bits) folded into 64 bits."""
    value = 0
    for letter in inchikey[:14]:
        value = (value * 26 + ord(letter) - 65) & 0xFFFFFFFFFFFFFFFF
    return value


def merge_and_sort(folder: Path, target: Path, shard_rows: int) -> tuple[Counts, list[int]]:
    """Merge duplicates (same first InChIKey block) and write all molecules sorted by exact mass.

    The first uncharged occurrence (else the first) gives SMILES and mass, all occurrences their names. Only a key
    and a mass per molecule are held in memory (about 70 bytes each at the peak) and a million rows at a time.

    Args:
        folder: working folder with the chunk files.
        target: Parquet file to write; its row groups are the shards of the bank.
        shard_rows: molecules per shard, about.

    Returns:
        counts, and the number of molecules of each shard.
    """
    files = sorted(folder.glob("canonical-*.parquet"))
    read, problems = (sum(int(_metadata(file)[field]) for file in files) for field in (b"read", b"problems"))
    if not files:
        return Counts(0, 0, 0, 0), []
    columns = [_sorting_columns(file) for file in files]
    sizes = [len(keys) for keys, _, _ in columns]
    keys, masses, charged = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    del columns
    preferred = np.argsort(charged, kind="stable")
    _, first, inverse = np.unique(keys[preferred], return_index=True, return_inverse=True)
    first, inverse[preferred] = preferred[first], inverse.copy()
    borders = np.sort(masses[first])[shard_rows::shard_rows]
    shard = np.searchsorted(borders, masses[first][inverse], side="right").astype(np.int32)
    del masses, inverse, keys
    rows: list[int] = []
    with pq.ParquetWriter(target.with_suffix(".tmp"), COLUMNS, compression="zstd") as writer:
        step = max(1, GROUP_ROWS // shard_rows)
        for start in range(0, len(borders) + 1, step):
            group, group_shard = _gather(files, sizes, shard, start, start + step)
            for number in range(start, min(start + step, len(borders) + 1)):
                merged = _merge(group.filter(pa.array(group_shard == number)))
                if len(merged):
                    writer.write_table(merged, row_group_size=len(merged))
                    rows.append(len(merged))
    os.replace(target.with_suffix(".tmp"), target)
    total = sum(rows)
    return Counts(read, problems, read - problems - total, total), rows


def _sorting_columns(
    file: Path,
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Key, mass and whether charged, of the molecules of one chunk file."""
    table = pq.read_table(file, columns=["key", "exact_mass", "formula"])
    charged = compute.match_substring_regex(table["formula"], "[+-]")
    return table["key"].to_numpy(), table["exact_mass"].to_numpy(), charged.to_numpy().astype(bool)


def _charged(row: dict[str, Any]) -> bool:
    return "+" in row["formula"] or "-" in row["formula"]


def _metadata(file: Path) -> dict[bytes, bytes]:
    return dict(pq.read_schema(file).metadata)


def _gather(
    files: Sequence[Path], sizes: Sequence[int], shard: npt.NDArray[np.int32], start: int, stop: int
) -> tuple[pa.Table, npt.NDArray[np.int32]]:
    """The rows of shards start..stop from all chunk files, with the shard of each."""
    tables, shards, at = [CANONICAL.empty_table()], [np.empty(0, np.int32)], 0
    for file, size in zip(files, sizes, strict=True):
        here = shard[at : at + size]
        at += size
        wanted = (here >= start) & (here < stop)
        if wanted.any():
            tables.append(pq.read_table(file).replace_schema_metadata(None).filter(pa.array(wanted)))
            shards.append(here[wanted])
    return pa.concat_tables(tables), np.concatenate(shards)


def _merge(table: pa.Table) -> pa.Table:
    """One row per first InChIKey block, names joined by "; ", sorted by exact mass, then InChIKey."""
    found: dict[str, dict[str, Any]] = {}
    names: dict[str, dict[str, None]] = {}
    for row in table.sort_by("order").to_pylist():
        block = row["inchikey"][:14]
        if block not in found or (_charged(found[block]) and not _charged(row)):
            found[block] = row
        if row["name"]:
            names.setdefault(block, {})[row["name"]] = None
    for block, row in found.items():
        row["name"] = "; ".join(names.get(block, ()))
    ordered = sorted(found.values(), key=lambda row: (row["exact_mass"], row["inchikey"]))
    return pa.Table.from_pylist(
        [{name: row[name] for name in COLUMNS.names} for row in ordered], schema=COLUMNS
    )


def write_text(path: Path, text: str) -> None:
    """Write a file so that a killed process leaves the old one or the new one, never half of it."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
