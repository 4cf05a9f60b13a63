"""Molecule files, streamed: .smi, .csv/.tsv, .parquet and .sdf, plain or gzipped, one molecule or `Problem` at a time."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from ...spectra import source as byte_source
from ...spectra.source import SourceError
from ...spectra.spectrum import Problem

SMILES_COLUMNS = (
    "smiles",
    "canonical_smiles",
    "smiles_2d",
    "isomeric_smiles",
    "structure_smiles",
    "structure",
)
NAME_COLUMNS = (
    "name",
    "compound_name",
    "preferred_name",
    "title",
    "id",
    "identifier",
    "cid",
    "zinc_id",
    "chembl_id",
)
FORMATS = {
    ".smi": "smi",
    ".smiles": "smi",
    ".ism": "smi",
    ".txt": "smi",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".sdf": "sdf",
    ".sd": "sdf",
}


@dataclass(frozen=True, slots=True)
class SourceMolecule:
    """One molecule as its file writes it: SMILES, name ("" if none), position in the source, line and file."""

    smiles: str
    name: str = ""
    index: int = 0
    line: int | None = None
    path: str | None = None


Entry = SourceMolecule | Problem
Source = str | Path | Sequence[Path] | Iterable[object]


def read_molecules(
    source: Source, smiles_column: str | None = None, name_column: str | None = None
) -> Iterator[Entry]:
    """Stream molecules from a file, several files, or Python values; memory does not grow with the file.

    Args:
        source: a path (str or Path), a sequence of `Path`, or an iterable of SMILES, of (SMILES, name) pairs or of
            mappings with "smiles" and perhaps "name". A str inside a list is a SMILES, a `Path` is a file.
        smiles_column: column of a table that holds the SMILES; by default the first of `SMILES_COLUMNS`.
        name_column: column of a table that holds the names; by default the first of `NAME_COLUMNS`.

    Yields:
        `SourceMolecule`, or a `Problem` with path and line for a record that holds no SMILES.

    Raises:
        SourceError: a file is missing, of unknown format, or has no column of SMILES.
    """
    files = source_files(source)
    if files is None:
        yield from _from_values(cast("Iterable[object]", source))
        return
    index = 0
    for path in files:
        for entry in _from_file(path, smiles_column, name_column, index):
            yield entry
            index += 1


def source_files(source: Source) -> list[Path] | None:
    """The files a source names, checked to exist and to be of a known format; None for Python values."""
    if isinstance(source, str | Path):
        files = [Path(source)]
    elif isinstance(source, Sequence) and source and all(isinstance(item, Path) for item in source):
        files = [cast("Path", item) for item in source]
    else:
        return None
    for path in files:
        if not path.is_file():
            raise SourceError(
                f"{path}: no such molecule file", "give a .smi, .csv, .tsv, .parquet or .sdf (.gz too)"
            )
        file_format(path)
    return files


def file_format(path: Path) -> str:
    """One of smi, csv, parquet, sdf, from the name without .gz.

    Raises:
        SourceError: the suffix is none of `FORMATS`.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    kind = FORMATS.get(suffixes[-1]) if suffixes else None
    if kind is None:
        raise SourceError(
            f"{path}: unknown molecule format",
            f"known are {', '.join(FORMATS)}, all but .parquet also with .gz",
        )
    return kind


def _from_values(values: Iterable[object]) -> Iterator[Entry]:
    for index, value in enumerate(values):
        smiles, name = value, ""
        if isinstance(value, Mapping):
            smiles, name = value.get("smiles"), str(value.get("name") or "")
        elif isinstance(value, tuple | list) and len(value) == 2:
            smiles, name = value[0], str(value[1] or "")
        if isinstance(smiles, str) and smiles.strip():
            yield SourceMolecule(smiles.strip(), name, index)
        else:
            yield Problem(index, None, name, "SMILES", repr(value)[:80], "is no SMILES", None, "give text")


_Raw = tuple[str, str, int | None, str]  # name, SMILES, line, reason


def _from_file(path: Path, smiles_column: str | None, name_column: str | None, start: int) -> Iterator[Entry]:
    kind, index, last_line = file_format(path), start, None
    file = byte_source.Source(path)
    if kind == "parquet":
        entries = _parquet(path, smiles_column, name_column)
    elif kind == "sdf":
        entries = _sdf(file)
    elif kind == "csv":
        entries = _csv(file, smiles_column, name_column)
    else:
        entries = _smi(file)
    for name, smiles, line, reason in entries:
        last_line = line
        if reason or not smiles:
            why = reason or "is empty"
            yield Problem(index, line, name, "SMILES", smiles[:80], why, str(path), "record left out")
        else:
            yield SourceMolecule(smiles, name, index, line, str(path))
        index += 1
    if file.fault is not None:
        fault = file.fault
        yield Problem(index, last_line, "", "file", path.name, fault.reason, str(path), fault.remedy)


def _smi(file: byte_source.Source) -> Iterator[_Raw]:
    for number, text in enumerate(file.lines(), start=1):
        stripped = text.strip()
        if not stripped or stripped.startswith("#"):
            continue
        parts = stripped.split("\t") if "\t" in stripped else stripped.split(None, 1)
        if number == 1 and parts[0].strip().lower() in SMILES_COLUMNS:
            continue
        yield (parts[1].strip() if len(parts) > 1 else ""), parts[0].strip(), number, ""


def _csv(file: byte_source.Source, smiles_column: str | None, name_column: str | None) -> Iterator[_Raw]:
    lines = file.lines()
    first = next(lines, "")
    delimiter = max("\t;,|", key=first.count)
    reader = csv.reader((text + "\n" for text in itertools.chain([first], lines)), delimiter=delimiter)
    header = [cell.strip() for cell in next(reader, [])]
    smiles_at, name_at = _columns(file.path, header, smiles_column, name_column)
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield "", "", line, f"is in a row that cannot be read ({error})"
            continue
        if not any(cell.strip() for cell in row):
            continue
        name = row[name_at].strip() if name_at is not None and name_at < len(row) else ""
        if smiles_at >= len(row):
            yield name, "", line, f"is missing: the row has {len(row)} of {len(header)} columns"
        else:
            yield name, row[smiles_at].strip(), line, ""


def _columns(
    path: str | Path, header: Sequence[str], smiles_column: str | None, name_column: str | None
) -> tuple[int, int | None]:
    """Positions of the SMILES and the name column, names compared without regard to case.

    Raises:
        SourceError: there is no column of SMILES, or a column asked for by name does not exist.
    """
    lower = [cell.lower() for cell in header]
    found: list[int | None] = []
    for wanted, known in ((smiles_column, SMILES_COLUMNS), (name_column, NAME_COLUMNS)):
        names = (wanted.lower(),) if wanted else known
        position = next((lower.index(name) for name in names if name in lower), None)
        if position is None and (wanted or known is SMILES_COLUMNS):
            raise SourceError(
                f"{path}: no column {wanted or 'of SMILES'!r} among {', '.join(header)[:200] or 'nothing'}",
                "name it with smiles_column/name_column (--smiles-column, --name-column)",
            )
        found.append(position)
    return cast("int", found[0]), found[1]


def _parquet(path: Path, smiles_column: str | None, name_column: str | None) -> Iterator[_Raw]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise SourceError(f"{path}: is no readable Parquet file ({error})") from error
    header = table.schema_arrow.names
    smiles_at, name_at = _columns(path, header, smiles_column, name_column)
    columns = [header[smiles_at]] + ([header[name_at]] if name_at is not None else [])
    row = 0
    for batch in table.iter_batches(batch_size=16384, columns=columns):
        smiles = batch.column(columns[0]).to_pylist()
        names = batch.column(columns[1]).to_pylist() if len(columns) > 1 else [None] * len(smiles)
        for text, name in zip(smiles, names, strict=True):
            row += 1
            yield str(name if name is not None else ""), str(text or "").strip(), row, ""


def _sdf(file: byte_source.Source) -> Iterator[_Raw]:
    block: list[str] = []
    start = 1
    for number, text in enumerate(file.lines(), start=1):
        if text.startswith("$$$$"):
            yield _sdf_record(block, start)
            block, start = [], number + 1
        else:
            block.append(text)
        if len(block) > 200_000:
            yield "", "", start, "is in a record of more than 200,000 lines without $$$$"
            block, start = [], number + 1
    if any(line.strip() for line in block):
        yield _sdf_record(block, start)


def _sdf_record(block: list[str], start: int) -> _Raw:
    from rdkit import Chem, rdBase

    name = block[0].strip() if block else ""
    for tag, value in itertools.pairwise(block):
        field = tag[tag.find("<") + 1 : tag.rfind(">")] if tag.startswith(">") else ""
        if not name and field.lower() in NAME_COLUMNS:
            name = value.strip()
    with rdBase.BlockLogs():
        molecule = Chem.MolFromMolBlock("\n".join(block) + "\n")
        if molecule is None or molecule.GetNumAtoms() == 0:
            return name, "", start, "cannot be derived: RDKit does not read the mol block"
        return name, Chem.MolToSmiles(molecule), start, ""
