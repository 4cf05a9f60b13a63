"""MSP (NIST, RIKEN/MS-DIAL, MoNA, matchms): ``key: value`` lines, ``Num Peaks: n``, n peaks, a blank line."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .clean import finish
from .fields import is_missing
from .keys import CANONICAL
from .record import Dialect, Draft, Fault, HeaderParser, Record
from .source import Source
from .spectrum import Problem, Spectrum

_NUM_PEAKS = re.compile(r"\nnum[ _]?peaks[ \t]*:", re.IGNORECASE)
_QUOTED = re.compile(r'"[^"\n]*"')
_QUOTED_PAIR = re.compile(r'"([^"=]{1,60})=([^"]*)"')
_NIST_PAIR = re.compile(r"(?<!\S)(Parent|Charge)=(\S+)")
_START = re.compile(r"[A-Za-z$_]")
_COMMENT = ("#", "!")
_MAX_PIECE = 8 * 2**20


def _split(line: str) -> tuple[str, str] | None:
    key, sign, value = line.partition(":")
    return (key, value.strip()) if sign else None


DIALECT = Dialect("MSP", _split)


def read_msp(source: Source, start_index: int = 0) -> Iterator[Spectrum | Problem]:
    """Read an MSP file of any dialect, one spectrum or problem per record, in order and in constant memory.

    Several peaks on a line, quoted annotations and MoNA's ``Comments: "SMILES=..."`` are understood.
    """
    return finish(_Reader(source).records(), source.path, start_index, DIALECT)


class _Reader:
    """Cuts the text at blank lines; what is not perfectly regular goes line by line."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._parser = HeaderParser(": ")
        self._label = "\nNum Peaks:"
        self._first_key = ""
        self._draft: _MspDraft | None = None

    def records(self) -> Iterator[Record]:
        line = 0
        rest = "\n"
        for text in self._source.chunks():
            *pieces, rest = (rest + text).split("\n\n")
            for piece in pieces:
                yield from self._piece(piece, line)
                line += piece.count("\n") + 2
            if len(rest) > _MAX_PIECE:
                *lines, rest = rest.split("\n")
                if len(rest) > _MAX_PIECE:
                    lines, rest = [*lines, rest], ""
                yield from self._by_line(lines, line)
                line += len(lines)
        yield from self._piece(rest, line, last=True)
        if self._draft is not None:
            yield self._draft.done(last=True)

    def _piece(self, piece: str, line: int, last: bool = False) -> Iterator[Record]:
        """The text from `line` on to the next blank line: one record if it is regular."""
        bare = piece.lstrip("\n")
        line += len(piece) - len(bare)
        if not bare:
            return
        if self._draft is not None and _START.match(bare) and self._draft.ends_before(bare, self._first_key):
            yield self._draft.done()
            self._draft = None
        record = self._regular(bare, line, last) if self._draft is None else None
        if record is not None:
            yield record
        else:
            yield from self._by_line(bare.split("\n"), line)
            if self._draft is not None:
                self._draft.blank()

    def _regular(self, piece: str, line: int, last: bool) -> Record | None:
        start = piece.find(self._label)
        if start < 0:
            found = _NUM_PEAKS.search(piece)
            if found is None:
                return None
            self._label, start = found[0], found.start()
        end = piece.find("\n", start + 1)
        declared = piece[start + len(self._label) : end].strip()
        peaks = piece[end + 1 :].replace(" \n", "\n").rstrip()
        if end < 0 or not declared.isdigit() or peaks.count("\n") + 1 != int(declared) or ";" in peaks:
            return None
        header = piece[:start]
        fields = self._parser.parse(header) if '"' not in peaks else None
        if fields is None:
            return None
        self._first_key = self._first_key or CANONICAL[header.partition(":")[0]]
        if "comment" in fields:
            _read_comment(fields)
        return Record(line, fields, peaks, header, line, line + header.count("\n") + 2)

    def _by_line(self, lines: list[str], number: int) -> Iterator[Record]:
        """Read line by line, with all that may go wrong; `number` is the line of the first."""
        for place, line in enumerate(lines, number):
            bare = line.strip()
            draft = self._draft
            if not bare or bare.startswith(_COMMENT):
                if draft is not None and not bare:
                    draft.blank()
                continue
            if draft is not None and _START.match(bare) and draft.ends_before(bare, self._first_key):
                yield draft.done()
                draft = None
            if draft is None:
                draft = self._draft = _MspDraft(place, place)
                self._first_key = self._first_key or CANONICAL[bare.partition(":")[0]]
            draft.add(bare, place)


class _MspDraft(Draft):
    """An MSP record under construction."""

    def __init__(self, line: int, header_line: int) -> None:
        super().__init__(line, header_line)
        self._declared: int | None = None
        self._in_peaks = False
        self._blank = False

    def blank(self) -> None:
        """A blank line: after it, a header line starts the next record."""
        self._blank = True

    def ends_before(self, line: str, first_key: str) -> bool:
        """Whether this line, which starts like a key, starts the next record."""
        if ":" not in line:
            return False
        key = CANONICAL[line.partition(":")[0]]
        if self._in_peaks:
            return self._blank or self.n_peak_lines > 0 or key == first_key
        return key in (first_key, "name") and key in self.fields and (self._blank or key == first_key)

    def add(self, bare: str, place: int) -> None:
        """A line that is not blank."""
        pair = _split(bare)
        if pair is None or (self._in_peaks and not _START.match(bare)):
            if pair is None and not self._in_peaks and _START.match(bare):
                self.notes.append(f"line {place} {bare[:40]!r} has no ':' and is skipped")
            else:
                self._in_peaks = True
                self.add_peak(bare, place)
            return
        key = CANONICAL[pair[0]]
        if key == "num_peaks":
            self._in_peaks = True
            self._declared = int(pair[1]) if pair[1].isdecimal() and len(pair[1]) < 10 else None
            if self._declared is None:
                self.notes.append(f"{pair[0]} {pair[1]!r} is not a number")
        self.add_header(bare, key, pair[1])

    def done(self, last: bool = False) -> Record:
        """The finished record; at the end of the file fewer peaks than declared mean that it is cut off."""
        record = super().record()
        if "comment" in record.fields:
            _read_comment(record.fields)
        if record.fault is not None or not isinstance(record.peaks, str):
            return record
        found = _expand(record, self._declared)
        if self._declared is None:
            if not self.notes:
                record.notes += ("Num Peaks is missing",)
        elif found != self._declared:
            record.notes += (f"Num Peaks is {self._declared}, but there are {found}",)
            if last and found < self._declared:
                reason = f"but only {found} peaks before the end of the file"
                remedy = "the file is cut off; get the whole file, or correct Num Peaks"
                record.fault = Fault("Num Peaks", str(self._declared), reason, remedy, self.line)
        return record


def _expand(record: Record, declared: int | None) -> int:
    """Put one peak on each line; the number of peaks."""
    text = str(record.peaks)
    text = _QUOTED.sub("", text) if '"' in text else text
    lines = [line for line in text.split("\n") if line.strip()]
    if ";" in text:
        lines = [peak.strip() for line in lines for peak in line.split(";") if peak.strip()]
        record.peaks_line = 0
    elif declared is not None and len(lines) < declared:
        words = text.split()
        if len(words) == 2 * declared:
            lines = [f"{mz} {height}" for mz, height in zip(words[::2], words[1::2], strict=True)]
            record.peaks_line = 0
    record.peaks = text if record.peaks_line else "\n".join(lines)
    return len(lines)


def _read_comment(fields: dict[str, str]) -> None:
    """Fields that stand in the comment: MoNA's ``"key=value"``, NIST's ``Parent=`` and ``Charge=``."""
    comment = fields["comment"]
    if "=" not in comment:
        return
    pairs = _QUOTED_PAIR.findall(comment)
    if pairs:
        del fields["comment"]
    else:
        pairs = _NIST_PAIR.findall(comment)
    for raw, value in pairs:
        key = "precursor_mz" if raw == "Parent" else CANONICAL[raw]
        if key and is_missing(fields.get(key)):
            fields[key] = value.strip()
