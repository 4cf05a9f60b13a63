"""MassBank records: ``TAG: value`` lines from ``ACCESSION`` to ``//``, one or many in a file."""

from __future__ import annotations

from collections.abc import Iterator

from .clean import finish
from .keys import CANONICAL
from .record import Dialect, Draft, Fault, Record
from .source import Source
from .spectrum import Problem, Spectrum

_WITH_SUBTAG = (
    *("AC$MASS_SPECTROMETRY", "AC$CHROMATOGRAPHY", "AC$GENERAL", "MS$FOCUSED_ION"),
    *("MS$DATA_PROCESSING", "CH$LINK", "SP$LINK"),
)
_MINUTES = 60.0


def _split(line: str) -> tuple[str, str] | None:
    tag, sign, value = line.partition(":")
    if not sign or line[:1].isspace():
        return None
    if tag in _WITH_SUBTAG:
        tag, _, value = value.strip().partition(" ")
    return tag, value.strip()


DIALECT = Dialect("MassBank", _split, _MINUTES)


def read_massbank(source: Source, start_index: int = 0) -> Iterator[Spectrum | Problem]:
    """Read a file of MassBank records; intensities are the absolute ones, retention times default to minutes."""
    return finish(_records(source), source.path, start_index, DIALECT)


def _records(source: Source) -> Iterator[Record]:
    draft: _MassBankDraft | None = None
    for place, line in enumerate(source.lines(), 1):
        if line.startswith("ACCESSION:") and draft is not None and "accession" in draft.fields:
            draft.notes.append("// is missing")
            yield draft.done()
            draft = None
        if line.startswith("//"):
            if draft is not None:
                yield draft.done()
            draft = None
        elif line.strip():
            if draft is None:
                draft = _MassBankDraft(place, place)
            draft.add(line, place)
    if draft is not None:
        draft.notes.append("// is missing")
        yield draft.done(last=True)


class _MassBankDraft(Draft):
    """A MassBank record under construction."""

    _section = ""

    def add(self, line: str, place: int) -> None:
        """A line that is not blank."""
        pair = _split(line)
        if pair is not None:
            self._section = pair[0]
            self.add_header(line, CANONICAL[pair[0]], pair[1])
            if pair[0] == "DEPRECATED":
                self.notes.append(f"the record is deprecated: {pair[1]}")
        elif self._section == "PK$PEAK":
            words = line.split()
            self.add_peak(" ".join(words[:2]) if len(words) == 3 else line.strip(), place)
        else:
            self.add_header(line, "", "")

    def done(self, last: bool = False) -> Record:
        """The finished record; at the end of the file fewer peaks than declared mean that it is cut off."""
        self.fields.pop("pk_peak", None)
        self.fields.pop("pk_annotation", None)
        record = self.record()
        declared, found = self.fields.get("num_peaks", ""), self.n_peak_lines
        if declared.isdecimal() and len(declared) < 10 and int(declared) != found:
            record.notes += (f"PK$NUM_PEAK is {declared}, but there are {found}",)
            if last and found < int(declared):
                reason = f"but only {found} peaks before the end of the file"
                remedy = "the file is cut off; get the whole file, or correct PK$NUM_PEAK"
                record.fault = Fault("PK$NUM_PEAK", declared, reason, remedy, self.line)
        return record
