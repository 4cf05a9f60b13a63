"""Read spectra from files of any format: told by content, one `Spectrum` or `Problem` per record, in file order."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from .read_json import read_json
from .read_massbank import read_massbank
from .read_mgf import read_mgf
from .read_msp import read_msp
from .read_mzml import read_mzml
from .read_mzxml import read_mzxml
from .read_table import read_table
from .source import Source, SourceError
from .spectrum import Problem, Spectrum

logger = logging.getLogger(__name__)

PathLike = str | os.PathLike[str]
Reader = Callable[[Source, int], Iterator[Spectrum | Problem]]

READERS: dict[str, Reader] = {
    "mgf": read_mgf,
    "msp": read_msp,
    "massbank": read_massbank,
    "json": read_json,
    "mzml": read_mzml,
    "mzxml": read_mzxml,
    "table": read_table,
}
_SUFFIXES = {
    ".mgf": "mgf",
    ".msp": "msp",
    ".mzml": "mzml",
    ".mzxml": "mzxml",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "table",
    ".arrow": "table",
    ".feather": "table",
}
_MAGIC = (
    (b"PAR1", "table"),
    (b"ARROW1", "table"),
    (b"\xff\xff\xff\xff", "table"),
)
_FOREIGN = (
    (b"\x1f\x8b", "a gzip file inside a gzip file", "decompress it once"),
    (b"PK\x03\x04", "a zip archive", "unpack it first"),
    (b"BZh", "a bzip2 file", "decompress it, or compress it with gzip"),
    (b"\xfd7zXZ\x00", "an xz file", "decompress it, or compress it with gzip"),
    (b"(\xb5/\xfd", "a zstd file", "decompress it, or compress it with gzip"),
    (b"\x89HDF", "an HDF5 file", "export it to MGF, mzML or Parquet"),
    (b"SQLite format 3", "an SQLite database", "export it to MGF or mzML"),
    (b"\x01\xa1F\x00i\x00n\x00n\x00i\x00", "a Thermo RAW file", "convert it to mzML with msconvert"),
    (b"\xd0\xcf\x11\xe0", "a vendor file (OLE container)", "convert it to mzML with msconvert"),
    (b"CDF", "a netCDF file", "convert it to mzML with msconvert"),
    (b"%PDF", "a PDF", ""),
    (b"\x80\x04", "a pickle, which is never opened", "export it to MGF, JSON or Parquet"),
    (b"\x80\x05", "a pickle, which is never opened", "export it to MGF, JSON or Parquet"),
    (b"\x7fELF", "a program", ""),
)
_TEXT_SIGNS = (
    ("mgf", re.compile(r"^[ \t]*BEGIN IONS", re.I | re.M)),
    ("msp", re.compile(r"^[ \t]*num[ _]?peaks[ \t]*:", re.I | re.M)),
    ("massbank", re.compile(r"^(ACCESSION|RECORD_TITLE|CH\$NAME|PK\$PEAK): ?", re.M)),
    ("msp", re.compile(r"^(name|compound_?name|precursor_?mz|spectrum_?id)[ \t]*:", re.I | re.M)),
    ("mgf", re.compile(r"^(PEPMASS|TITLE|FEATURE_ID)=", re.M)),
)
KNOWN = "MGF, MSP, MassBank, JSON, mzML, mzXML, Parquet and Arrow"


def read(paths: PathLike | Iterable[PathLike]) -> Iterator[Spectrum | Problem]:
    """Read every spectrum of a file, a folder (all readable files in it, sorted), or several of these.

    Formats are told by content: MGF, MSP, MassBank, JSON, mzML, mzXML, Parquet, Arrow, each gzipped or not. One item
    comes out per record, in file order: a `Spectrum`, or a `Problem` that says where and why there is none; a file
    that cannot be read at all is one `Problem`. `index` counts through all files. MS1 scans of mzML and mzXML are
    left out; records of library formats are not, whatever their level.

    Raises:
        FileNotFoundError: a path does not exist; before anything is read.
    """
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    files = [file for path in given for file in _expand(Path(path))]
    return _read_all(files)


def _read_all(files: list[tuple[Path, bool]]) -> Iterator[Spectrum | Problem]:
    index = 0
    for path, asked_for in files:
        for item in read_file(path, index, report_unknown=asked_for):
            yield item
            index += 1


def _expand(path: Path) -> list[tuple[Path, bool]]:
    """The files of a path, and whether one was asked for by name or by a suffix of spectra."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    if not path.is_dir():
        return [(path, True)]
    inside = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    return [(file, _suffix(file) in _SUFFIXES) for file in inside]


def _suffix(path: Path) -> str:
    return Path(path.stem if path.suffix.lower() == ".gz" else path.name).suffix.lower()


def read_file(
    path: PathLike, start_index: int = 0, report_unknown: bool = True
) -> Iterator[Spectrum | Problem]:
    """Read one file; whatever happens to it ends in a `Problem`, not in an exception.

    Args:
        path: the file.
        start_index: index of its first record.
        report_unknown: whether a file of no known format is a problem, or only a line in the log.
    """
    source = Source(path)
    index = start_index
    try:
        kind = sniff(source)
        for item in READERS[kind](source, start_index):
            yield item
            index += 1
        if source.fault is not None:
            yield _file_problem(source, index, source.fault.reason, source.fault.remedy)
        elif index == start_index and kind not in ("mzml", "mzxml"):
            yield _file_problem(source, index, "holds no spectrum", "is it the right file?")
    except UnknownFormatError as error:
        if report_unknown:
            yield _file_problem(source, index, error.reason, error.remedy)
        else:
            logger.info("%s: %s", source.path, error.reason)
    except SourceError as error:
        yield _file_problem(source, index, error.reason, error.remedy)
    except Exception as error:  # one file must not cost the spectra of the others, whatever is wrong with it
        logger.debug("%s", source.path, exc_info=True)
        yield _file_problem(source, index, f"cannot be read: {type(error).__name__}: {error}"[:400], "")


def _file_problem(source: Source, index: int, reason: str, remedy: str) -> Problem:
    return Problem(index, None, f"index={index}", "file", Path(source.path).name, reason, source.path, remedy)


class UnknownFormatError(SourceError):
    """A file of no format that can be read here."""


def sniff(source: Source) -> str:
    """The format of a file by its content: a key of `READERS`.

    Raises:
        UnknownFormatError: none of them; says what it is where that is known.
    """
    head = source.head()
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    for magic, what, remedy in _FOREIGN:
        if head.startswith(magic):
            raise UnknownFormatError(f"is {what}", remedy)
    text = (
        head.decode(source.encoding(), "replace").lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    )
    bare = text.lstrip()
    if not bare:
        raise UnknownFormatError("is empty", "is it the right file?")
    if bare[0] == "<":
        if "<mzXML" in text or "<msRun" in text:
            return "mzxml"
        if "<mzML" in text or "<indexedmzML" in text:
            return "mzml"
    if bare[0] in "[{":
        return "json"
    for kind, sign in _TEXT_SIGNS:
        if sign.search(text):
            return kind
    guess = _SUFFIXES.get(_suffix(Path(source.path)))
    if guess in ("mgf", "msp", "mzml", "mzxml") and "\0" not in text:
        return guess
    raise UnknownFormatError("is of no known format", f"readable are {KNOWN}")
