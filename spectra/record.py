"""What readers hand on: a record as its file gives it, before anything is believed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .fields import is_missing
from .keys import CANONICAL

MAX_RECORD = 8 * 2**20
"""Characters allowed in one record."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a record cannot be read: a `Problem` before it knows its index and path."""

    field: str
    value: str
    reason: str
    remedy: str = ""
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a format says of its own texts.

    Attributes:
        name: of the format.
        split: one header line to (raw key, value), None if it is none.
        time_factor: from a retention time without unit to seconds.
    """

    name: str
    split: Callable[[str], tuple[str, str] | None]
    time_factor: float = 1.0


@dataclass(slots=True)
class Record:
    """One record as a reader found it.

    Attributes:
        line: where it starts, counted from 1; None where lines mean nothing.
        fields: canonical key to text.
        peaks: text of the peak list, or (m/z, intensity) arrays.
        header: text of the header lines, to find the line of a bad field again.
        header_line: line of the first of them.
        peaks_line: line of the first peak.
        notes: what the reader repaired.
        fault: why the record cannot be read; the rest is then only there to name it.
        extra: metadata that comes up while the fields are read.
    """

    line: int | None
    fields: dict[str, str]
    peaks: str | tuple[Any, Any]
    header: str = ""
    header_line: int = 0
    peaks_line: int = 0
    notes: tuple[str, ...] = ()
    fault: Fault | None = None
    extra: dict[str, str] = field(default_factory=dict)


class HeaderParser:
    """Parses headers in which every line is a pair and no field comes twice, which is nearly all of a file.

    Records of a file have the same keys again and again: a regular expression made of the keys of an earlier record
    takes all values at once; the last few such expressions are kept.
    """

    _KEPT = 4

    def __init__(self, separator: str) -> None:
        self._separator = separator
        self._templates: list[tuple[re.Pattern[str], tuple[str, ...]]] = []

    def parse(self, header: str) -> dict[str, str] | None:
        """Canonical key to text, or None for a header that needs care."""
        for template in self._templates:
            match = template[0].fullmatch(header)
            if match is not None:
                break
        else:
            template = self._learn(header)
            match = template[0].fullmatch(header)
        names = template[1]
        if not names or match is None:
            return None
        if self._separator + " " in header or " \n" in header or "\t" in header or header[-1:].isspace():
            return {name: value.strip() for name, value in zip(names, match.groups(), strict=True)}
        return dict(zip(names, match.groups(), strict=True))

    def _learn(self, header: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
        lines = header.split("\n")
        keys = [line.partition(self._separator)[0] for line in lines if self._separator in line]
        names = tuple(CANONICAL[key] for key in keys)
        regular = (
            len(keys) == len(lines) <= _MAX_HEADER_LINES and len(set(names)) == len(keys) and "" not in names
        )
        if not regular:
            return _NO_TEMPLATE, ()
        sign = re.escape(self._separator)
        pattern = "\n".join(f"{re.escape(key)}{sign}(.*)" for key in keys)
        template = (re.compile(pattern), names)
        self._templates = [template, *self._templates[: self._KEPT - 1]]
        return template


_MAX_HEADER_LINES = 500
_NO_TEMPLATE = re.compile("")
_SINGLE = frozenset(
    ("precursor_mz", "charge", "adduct", "ion_mode", "collision_energy", "retention_time", "ms_level")
) | {"instrument_type", "name", "smiles", "inchikey", "inchi", "formula", "title", "spectrum_id", "accession"}


def add_field(fields: dict[str, str], key: str, value: str) -> None:
    """Set a field that may come twice.

    Of an identifying field the first text that says something stays and others go to ``other_KEY``; the texts
    of other fields are joined by ``; ``.
    """
    if not key:
        return
    known = fields.get(key)
    if known is None or is_missing(known):
        fields[key] = value
    elif value != known and not is_missing(value):
        place = f"other_{key}" if key in _SINGLE else key
        other = fields.get(place)
        fields[place] = value if other is None else f"{other}; {value}"


class Draft:
    """A record of a text format under construction, line by line.

    Peak lines keep their place (a line that is no peak leaves a blank), so that a bad one can be named.
    """

    def __init__(self, line: int, header_line: int) -> None:
        self.line = line
        self.header_line = header_line
        self.fields: dict[str, str] = {}
        self.notes: list[str] = []
        self._header: list[str] = []
        self._peaks: list[str] = []
        self._peaks_line = 0
        self._size = 0

    def add_header(self, line: str, key: str, value: str) -> None:
        """A header line and what it says; an empty key for a comment."""
        if self._room(line):
            (self._peaks if self._peaks_line else self._header).append("" if self._peaks_line else line)
            add_field(self.fields, key, value)

    def add_peak(self, line: str, number: int) -> None:
        """A line of the peak list."""
        if self._room(line):
            self._peaks_line = self._peaks_line or number
            self._peaks.append(line)

    @property
    def n_peak_lines(self) -> int:
        """Lines that hold something since the first peak."""
        return sum(map(bool, self._peaks))

    def record(self, fault: Fault | None = None) -> Record:
        """The finished record."""
        if self._size > MAX_RECORD:
            fault = Fault(
                "record", "", f"has more than {MAX_RECORD} characters", "split or repair the file", self.line
            )
        return Record(
            self.line,
            self.fields,
            "\n".join(self._peaks).rstrip(),
            "\n".join(self._header),
            self.header_line,
            self._peaks_line,
            tuple(self.notes),
            fault,
        )

    def _room(self, line: str) -> bool:
        self._size += len(line) + 1
        return self._size <= MAX_RECORD
