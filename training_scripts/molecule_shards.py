"""What a conversion of molecules writes: Parquet shards, each whole or absent, failures, and the summary."""

from __future__ import annotations

import csv
import json
import re
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from msformers.tokenization.selfies import TOKEN_PATTERN

FAILURE_FIELDS = ("index", "line", "path", "smiles", "reason")
COUNTS = ("read", "converted", "dropped", "failed", "seconds")
TOKENS = {"selfies": re.compile(TOKEN_PATTERN), "smiles": re.compile(r"\[[^\]]*\]|Br|Cl|%\d\d|[\s\S]")}
"""Tokens of each kind of text, for counting; of SMILES with every bracket atom as one."""


@dataclass(frozen=True, slots=True)
class Row:
    """A record of the source.

    Attributes:
        index, line, path: its place.
        smiles: as given, canonical once converted.
        key: first InChIKey block, if known.
        selfies: None before conversion, where it failed, and where SMILES are wanted.
        reason: why it could not be converted, else "".
        dropped: held back. waiting: not converted yet.
    """

    index: int
    smiles: str
    line: int | None = None
    path: str | None = None
    key: str | None = None
    selfies: str | None = None
    reason: str = ""
    dropped: bool = False
    waiting: bool = False


def write_shard(folder: Path, number: int, rows: Iterable[Row], kind: str) -> None:
    """Write one shard, its failures, and last its counts, which say that it is whole.

    Args:
        folder: of the shards.
        number: of the shard.
        rows: all its records, converted as they are taken.
        kind: "selfies" or "smiles".
    """
    began = time.perf_counter()
    good: list[Row] = []
    failed: list[Row] = []
    read = 0
    for row in rows:
        read += 1
        if not row.dropped:
            (failed if row.reason else good).append(row)
    texts = [str(getattr(row, kind)) for row in good]
    found = [TOKENS[kind].findall(text) for text in texts]
    lengths = [len(tokens) for tokens in found]
    columns = {"smiles": pa.array([row.smiles for row in good], pa.string())}
    columns |= {kind: pa.array(texts, pa.string())}
    columns["inchikey14"] = pa.array([row.key for row in good], pa.string())
    columns["n_tokens"] = pa.array(lengths, pa.int32())
    path = folder / f"molecules-{number:05d}.parquet"
    part = path.with_suffix(".part")
    pq.write_table(pa.table(columns), part, compression="zstd")
    part.replace(path)
    with _state(folder, number, "csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([getattr(row, name) for name in FAILURE_FIELDS] for row in failed)
    counts = (read, len(good), read - len(good) - len(failed), len(failed), time.perf_counter() - began)
    tally: dict[str, Any] = dict(zip(COUNTS, counts, strict=True))
    tally["tokens"] = Counter(token for tokens in found for token in tokens)
    tally["lengths"] = Counter(lengths)
    tally["reasons"] = Counter(re.sub(r"'[^']*'", "…", row.reason) for row in failed)
    _write_json(_state(folder, number, "json"), tally)


def _state(folder: Path, number: int, suffix: str) -> Path:
    return folder / "state" / f"{number:05d}.{suffix}"


def _write_json(path: Path, content: Any) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1), encoding="utf-8")
    part.replace(path)


def whole_shards(folder: Path) -> int:
    """Shards that are complete, counted from the first."""
    number = 0
    while _state(folder, number, "json").is_file():
        number += 1
    return number


def keep_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Write the settings into a folder, so that nobody goes on with others.

    Raises:
        ValueError: the folder was begun with others; says which.
    """
    path = folder / "state" / "settings.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else settings
    other = [
        f"{name} was {before.get(name)!r}, not {value!r}"
        for name, value in settings.items()
        if before.get(name) != value
    ]
    if other:
        raise ValueError(f"{folder} was begun with other settings: {'; '.join(other)}. Give another --output")
    _write_json(path, settings)


def summarise(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Join what all shards say into ``failures.csv`` and ``summary.json``; returns the summary."""
    numbers = range(whole_shards(folder))
    tallies = [json.loads(_state(folder, number, "json").read_text(encoding="utf-8")) for number in numbers]
    summed = {
        name: sum((Counter(tally[name]) for tally in tallies), Counter())
        for name in ("tokens", "lengths", "reasons")
    }
    with (folder / "failures.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerow(FAILURE_FIELDS)
        for number in numbers:
            file.write(_state(folder, number, "csv").read_bytes().decode("utf-8"))
    summary = {name: sum(tally[name] for tally in tallies) for name in COUNTS}
    summary |= {
        "molecules_per_second": round(summary["read"] / max(summary["seconds"], 1e-9), 1),
        "shards": len(tallies),
        "settings": settings,
        "versions": {name: version(name) for name in ("rdkit", "selfies")},
        "reasons": dict(summed["reasons"].most_common()),
        "n_tokens": {length: summed["lengths"][length] for length in sorted(summed["lengths"], key=int)},
        "alphabet": dict(sorted(summed["tokens"].items(), key=lambda item: (-item[1], item[0]))),
    }
    _write_json(folder / "summary.json", summary)
    return summary
