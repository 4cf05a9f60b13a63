"""MGF (Mascot, GNPS, FBMN, SIRIUS, matchms): ``BEGIN IONS`` … ``END IONS``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from .clean import finish
from .keys import CANONICAL
from .record import Dialect, Draft, Fault, HeaderParser, Record
from .source import Source
from .spectrum import Problem, Spectrum

_BEGIN = "\nBEGIN IONS\n"
_END = "\nEND IONS"
_FIRST_PEAK = re.compile(r"\n(?=[0-9.])")
_COMMENT = ("#", ";", "!", "/")
_GLOBAL = ("charge", "ion_mode", "adduct", "collision_energy", "instrument_type", "instrument", "ms_level")
_MAX_PIECE = 8 * 2**20


def _split(line: str) -> tuple[str, str] | None:
    key, sign, value = line.partition("=")
    return (key, value.strip()) if sign else None


DIALECT = Dialect("MGF", _split)


def read_mgf(source: Source, start_index: int = 0) -> Iterator[Spectrum | Problem]:
    """Read an MGF file, one spectrum or problem per ``BEGIN IONS``, in order and in constant memory.

    Parameters before the first record (``CHARGE=2+``) hold for every record that does not say otherwise.
    """
    return finish(_records(source), source.path, start_index, DIALECT)


def _records(source: Source) -> Iterator[Record]:
    """Cut the text at ``BEGIN IONS``; what is not perfectly regular goes line by line."""
    defaults: dict[str, str] = {}
    parser = HeaderParser("=")
    line = 0
    rest = "\n"
    started = False
    chunks = source.chunks()
    for text in chunks:
        *pieces, rest = (rest + text).split(_BEGIN)
        for piece in pieces:
            record = _regular(piece, line, parser) if started else None
            if record is None:
                yield from _by_line(piece.split("\n"), line, started, defaults)
            else:
                if defaults:
                    record.fields = defaults | record.fields
                yield record
            line += piece.count("\n") + 2
            started = True
        if len(rest) > _MAX_PIECE:
            yield from _by_line(_lines(rest, chunks), line, started, defaults, last=True)
            return
    yield from _by_line(rest.split("\n"), line, started, defaults, last=True)


def _lines(rest: str, chunks: Iterator[str]) -> Iterator[str]:
    """The lines of what is left of a file, endless ones in pieces."""
    for text in chunks:
        *lines, rest = (rest + text).split("\n")
        yield from lines
        if len(rest) > _MAX_PIECE:
            yield rest
            rest = ""
    yield from rest.split("\n")


def _regular(piece: str, line: int, parser: HeaderParser) -> Record | None:
    """The text from `line` on to the next ``BEGIN IONS`` as one record, or None if it is not perfectly regular."""
    end = piece.find(_END)
    first = _FIRST_PEAK.search(piece)
    if first is None or first.start() >= end or piece[end + 9 :].strip():
        return None
    header = piece[: first.start()]
    fields = parser.parse(header)
    peaks = piece[first.end() : end]
    if fields is None or "=" in peaks:
        return None
    peaks = peaks.replace(" \n", "\n").rstrip()
    return Record(line - 1, fields, peaks, header, line, line + header.count("\n") + 1)


def _by_line(
    lines: Iterable[str], number: int, inside: bool, defaults: dict[str, str], last: bool = False
) -> Iterator[Record]:
    """Read line by line, with all that may go wrong; `number` is the line of the first of `lines`."""
    draft = Draft(number - 1, number) if inside else None
    for place, line in enumerate(lines, number):
        bare = line.strip()
        word = bare[:10].upper()
        if word == "BEGIN IONS":
            if draft is not None:
                yield _done(draft, defaults, "END IONS is missing")
            draft = Draft(place, place + 1)
        elif word.startswith("END IONS"):
            if draft is not None:
                yield _done(draft, defaults)
            draft = None
        elif draft is not None:
            _add(draft, bare, place)
        elif bare and not bare.startswith(_COMMENT):
            pair = _split(bare)
            if pair is not None and CANONICAL[pair[0]] in _GLOBAL:
                defaults[CANONICAL[pair[0]]] = pair[1]
    if draft is not None:
        yield _done(draft, defaults, "END IONS is missing", truncated=last)


def _add(draft: Draft, bare: str, place: int) -> None:
    pair = _split(bare)
    if not bare or bare.startswith(_COMMENT):
        draft.add_header(bare, "", "")
    elif pair is not None and not bare[0].isdigit():
        draft.add_header(bare, CANONICAL[pair[0]], pair[1])
    else:
        draft.add_peak(bare, place)


def _done(draft: Draft, defaults: dict[str, str], note: str | None = None, truncated: bool = False) -> Record:
    if note is not None:
        draft.notes.append(note)
    draft.fields = defaults | draft.fields
    fault = None
    if truncated:
        remedy = "the file is cut off; get the whole file, or end the record with END IONS"
        fault = Fault("END IONS", "", "is missing at the end of the file", remedy, draft.line)
    return draft.record(fault)
