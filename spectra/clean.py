"""From the raw record of any reader to a `Spectrum`, or the `Problem` that says why there is none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .assemble import FieldProblemError, assemble, pop_id
from .fields import text_or_none
from .keys import CANONICAL
from .peaks import Intensity, Mz, PeakError, clean_peaks, parse_lines, parse_regular
from .record import Dialect, Fault, Record
from .spectrum import Problem, Spectrum

BATCH_RECORDS = 256
BATCH_CHARACTERS = 2**20


def finish(
    records: Iterable[Record], path: str | None, start_index: int, dialect: Dialect
) -> Iterator[Spectrum | Problem]:
    """Turn raw records into spectra and problems, one for one and in order, some hundred at a time."""
    batch: list[Record] = []
    size = 0
    index = start_index
    for record in records:
        batch.append(record)
        if type(record.peaks) is str:
            size += len(record.peaks)
        else:
            size += 2 * getattr(record.peaks[0], "nbytes", 0)
        if len(batch) >= BATCH_RECORDS or size >= BATCH_CHARACTERS:
            yield from _finish_batch(batch, path, index, dialect)
            index += len(batch)
            batch, size = [], 0
    yield from _finish_batch(batch, path, index, dialect)


def _finish_batch(
    batch: list[Record], path: str | None, index: int, dialect: Dialect
) -> Iterator[Spectrum | Problem]:
    texts: list[str] = []
    places: list[int] = []
    for place, record in enumerate(batch):
        if record.fault is None and type(record.peaks) is str and record.peaks:
            texts.append(record.peaks)
            places.append(place)
    regular: list[tuple[Mz, Intensity] | None] = [None] * len(batch)
    for place, pair in zip(places, parse_regular(texts), strict=True):
        regular[place] = pair
    for place, (record, peaks) in enumerate(zip(batch, regular, strict=True)):
        try:
            if record.fault is not None:
                yield _problem(record, record.fault, path, index + place)
                continue
            notes = record.notes
            if peaks is None:
                mz, intensity, repairs = _irregular(record)
                notes += tuple(repairs)
            else:
                mz, intensity = peaks
            yield assemble(record, mz, intensity, notes, path, index + place, dialect)
        except PeakError as error:
            yield _problem(record, _peak_fault(record, error), path, index + place)
        except FieldProblemError as error:
            yield _problem(record, _field_fault(record, error, dialect), path, index + place)


def _irregular(record: Record) -> tuple[Mz, Intensity, list[str]]:
    if isinstance(record.peaks, str):
        mz, intensity, notes = parse_lines(record.peaks)
        cleaned = clean_peaks(mz, intensity)
        return cleaned[0], cleaned[1], notes + cleaned[2]
    return clean_peaks(*record.peaks)


def _peak_fault(record: Record, error: PeakError) -> Fault:
    if isinstance(record.peaks, str) and record.peaks_line:
        return Fault("peak", error.value, error.reason, error.remedy, record.peaks_line + (error.offset or 0))
    return Fault("peaks", error.value, error.reason, error.remedy, record.line)


def _field_fault(record: Record, error: FieldProblemError, dialect: Dialect) -> Fault:
    """The fault with the key as the file writes it and the line it stands on."""
    for offset, line in enumerate(record.header.split("\n")):
        pair = dialect.split(line)
        if pair is not None and CANONICAL[pair[0]] == error.key and pair[1].strip() == error.value.strip():
            place = record.header_line + offset if record.header_line else record.line
            return Fault(pair[0].strip(), error.value, error.error.reason, error.error.remedy, place)
    return Fault(error.key, error.value, error.error.reason, error.error.remedy, record.line)


def _problem(record: Record, fault: Fault, path: str | None, index: int) -> Problem:
    native_id = pop_id(record.fields, text_or_none(record.fields.get("name")), index)
    line = record.line if fault.line is None else fault.line
    return Problem(index, line, native_id, fault.field, fault.value[:200], fault.reason, path, fault.remedy)
