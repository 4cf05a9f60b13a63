"""Result tables as JSON lines, TSV, CSV and Parquet, written as the rows come and read back equal."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, fields
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO, TypeVar

from .records import AnnotationRecord

RowT = TypeVar("RowT")
SUFFIXES = (".jsonl", ".tsv", ".csv", ".parquet")
ROWS_PER_GROUP = 8192
_FORMULA_STARTS = ("=", "@", "+", "-", "'", "\t", "\r")


class TableError(ValueError):
    """A table that cannot be written or read; names the path and the remedy."""


class Column(NamedTuple):
    """What a column holds: "int", "float", "str" or "bool", and whether every row has it."""

    kind: str
    required: bool


def columns_of(row: type) -> dict[str, Column]:
    """The columns of a dataclass of rows, in table order."""
    types = {field.name: str(field.type) for field in fields(row)}
    return {name: Column(text.partition(" |")[0], "None" not in text) for name, text in types.items()}


def write_table(records: Iterable[Any], path: str | Path, row: type = AnnotationRecord) -> int:
    """Write rows as they come; the ending of the path chooses the format.

    The file appears under its name only when it is complete: until then it is ``NAME.part``.

    Args:
        records: the rows.
        path: ending in .jsonl, .tsv, .csv or .parquet.
        row: their dataclass, with fields of int, float, str and bool, or None.

    Returns:
        The number of rows.

    Raises:
        TableError: the ending is none of these, or the folder does not exist.
    """
    path = Path(path)
    columns = columns_of(row)
    writers: dict[str, Callable[[Iterable[Any], Path], int]] = {
        ".jsonl": _write_jsonl_file,
        ".tsv": lambda rows, target: _write_text(rows, target, columns, "\t"),
        ".csv": lambda rows, target: _write_text(rows, target, columns, ","),
        ".parquet": lambda rows, target: _write_parquet(rows, target, columns),
    }
    if path.suffix.lower() not in writers:
        raise TableError(
            f"{path}: cannot write {path.suffix or 'a file without ending'!r}; use {', '.join(SUFFIXES)}"
        )
    if not path.parent.is_dir():
        raise TableError(f"{path}: folder {str(path.parent)!r} does not exist; create it first")
    partial = path.with_name(f"{path.name}.part")
    count = writers[path.suffix.lower()](records, partial)
    os.replace(partial, path)
    return count


def write_jsonl(records: Iterable[Any], stream: TextIO) -> int:
    """Write one JSON object per line (UTF-8 text, no NaN) to an open stream; the number of rows is returned."""
    count = 0
    for record in records:
        stream.write(json.dumps(asdict(record), ensure_ascii=False, allow_nan=False))
        stream.write("\n")
        count += 1
    return count


def read_table(path: str | Path, row: type[RowT] = AnnotationRecord) -> list[RowT]:  # type: ignore[assignment]
    """The rows of a table that `write_table` wrote, as objects of the dataclass `row`.

    Raises:
        TableError: the ending is unknown, a column is missing, or a cell does not have its column's type.
        OSError: the file cannot be opened.
    """
    path = Path(path)
    columns = columns_of(row)
    readers: dict[str, Callable[[Path], Iterable[dict[str, Any]]]] = {
        ".jsonl": _rows_of_jsonl,
        ".tsv": lambda source: _rows_of_text(source, columns, "\t"),
        ".csv": lambda source: _rows_of_text(source, columns, ","),
        ".parquet": _rows_of_parquet,
    }
    if path.suffix.lower() not in readers:
        raise TableError(
            f"{path}: cannot read {path.suffix or 'a file without ending'!r}; use {', '.join(SUFFIXES)}"
        )
    found = []
    for number, cells in enumerate(readers[path.suffix.lower()](path), start=1):
        missing = [name for name in columns if name not in cells]
        if missing:
            raise TableError(
                f"{path}: row {number} lacks column {missing[0]!r}; was it written by msformers?"
            )
        found.append(row(**{name: cells[name] for name in columns}))
    return found


def _write_jsonl_file(records: Iterable[Any], path: Path) -> int:
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        return write_jsonl(records, stream)


def _write_text(records: Iterable[Any], path: Path, columns: dict[str, Column], delimiter: str) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="") as stream:
        plain = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
        # csv quotes a lone carriage return only from Python 3.13 on
        quoted = csv.writer(stream, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
        plain.writerow(columns)
        for record in records:
            cells = [_cell(getattr(record, name)) for name in columns]
            (quoted if any("\r" in cell for cell in cells) else plain).writerow(cells)
            count += 1
    return count


def _cell(value: object) -> str:
    """A cell's text; None is empty, and text that a spreadsheet would run as a formula gets a leading apostrophe."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    return str(value)


def _rows_of_text(path: Path, columns: dict[str, Column], delimiter: str) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream, delimiter=delimiter):
            given = [name for name in columns if row.get(name) is not None]
            yield {name: _value(path, name, columns[name], row[name]) for name in given}


def _value(path: Path, name: str, column: Column, text: str) -> object:
    if column.kind == "str":
        if text == "":
            return "" if column.required else None
        return text[1:] if text.startswith("'") else text
    if text == "":
        return None
    if column.kind == "bool":
        return text == "true"
    try:
        return int(text) if column.kind == "int" else float(text)
    except ValueError:
        raise TableError(f"{path}: {name} {text!r} is not a number; was the table edited by hand?") from None


def _rows_of_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                try:
                    yield json.loads(line)
                except json.JSONDecodeError as error:
                    raise TableError(
                        f"{path}:{number}: not JSON ({error.msg}); was the table cut off?"
                    ) from None


def _write_parquet(records: Iterable[Any], path: Path, columns: dict[str, Column]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"int": pa.int64(), "float": pa.float64(), "str": pa.string(), "bool": pa.bool_()}
    schema = pa.schema([(name, types[column.kind]) for name, column in columns.items()])
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        stream = iter(records)
        while rows := list(islice(stream, ROWS_PER_GROUP)):
            writer.write_table(pa.Table.from_pylist([asdict(row) for row in rows], schema=schema))
            count += len(rows)
    return count


def _rows_of_parquet(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as source:
        for batch in source.iter_batches(ROWS_PER_GROUP):
            yield from batch.to_pylist()
