"""JSON: a list of records (matchms, GNPS, MoNA), one record, or one record on each line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from .clean import finish
from .keys import CANONICAL
from .record import MAX_RECORD, Dialect, Fault, Record, add_field
from .source import Source, SourceError
from .spectrum import Problem, Spectrum

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}"]', re.DOTALL)
_NEXT = re.compile(r"(?<=[\n,\[])\s*(?=\{)")
_MZ_KEYS = ("mz", "mzs", "m_z", "peaks_mz")
_INTENSITY_KEYS = ("intensity", "intensities", "peaks_intensities")
DIALECT = Dialect("JSON", lambda line: None)


def read_json(source: Source, start_index: int = 0) -> Iterator[Spectrum | Problem]:
    """Read spectra from JSON, object by object, so that a broken one costs only itself."""
    return finish(_records(source), source.path, start_index, DIALECT)


def _records(source: Source) -> Iterator[Record]:
    for text, line, fault in _objects(source):
        if fault is not None:
            yield Record(line, {}, "", fault=fault)
            continue
        try:
            value = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            at = line + getattr(error, "lineno", 1) - 1
            reason = f"is not valid JSON: {getattr(error, 'msg', 'nested too deeply')}"
            place = getattr(error, "pos", 0)
            around = text[max(0, place - 20) : place + 20]
            yield Record(line, {}, "", fault=Fault("record", around, reason, "repair the record", at))
            continue
        nested = [] if _holds_peaks(value) else [v for v in value.values() if _is_list_of_records(v)]
        for row in nested[0] if nested else [value]:
            yield record_of(row, line)


def _objects(source: Source) -> Iterator[tuple[str, int, Fault | None]]:
    """The text of each outermost object with its line, or a fault where braces or quotes do not close."""
    buffer, line, scan, depth, start = "", 1, 0, 0, -1
    chunks = source.chunks()
    while True:
        progress = False
        for token in _TOKEN.finditer(buffer, scan):
            mark = token[0]
            if mark == '"':
                break
            scan, progress = token.end(), True
            if mark == "{":
                if depth == 0:
                    start = token.start()
                depth += 1
            elif mark == "}" and depth > 0:
                depth -= 1
                if depth == 0:
                    yield buffer[start:scan], line + buffer.count("\n", 0, start), None
        if depth == 0:
            line += buffer.count("\n", 0, scan)
            buffer, scan, start = buffer[scan:], 0, -1
        more = next(chunks, "") if len(buffer) <= MAX_RECORD else ""
        if more:
            buffer += more
        elif depth == 0 and not progress:
            if len(buffer) > MAX_RECORD:
                source.fault = SourceError("has more text between two records than one may hold", "repair it")
            return
        elif depth > 0:
            at = line + buffer.count("\n", 0, start)
            fault = Fault(
                "record", buffer[start : start + 40], "does not close its braces or quotes", "repair it", at
            )
            yield "", at, fault
            following = _NEXT.search(buffer, start + 1)
            if following is None:
                return
            line += buffer.count("\n", 0, following.end())
            buffer, scan, depth, start = buffer[following.end() :], 0, 0, -1


def record_of(row: Any, line: int | None) -> Record:
    """The record of one parsed JSON object (or any mapping): texts, numbers and a peak list."""
    fields: dict[str, str] = {}
    mz = intensity = peaks = None
    for raw, value in row.items():
        key = CANONICAL[str(raw)]
        if key in _MZ_KEYS:
            mz = value
        elif key in _INTENSITY_KEYS:
            intensity = value
        elif key == "peaks" or (key == "spectrum" and peaks is None):
            peaks = value
        elif str(raw) in ("metaData", "compound") and isinstance(value, list):
            _add_mona(fields, value)
        elif value is not None and value == value:
            add_field(fields, key, value if isinstance(value, str) else _text(value))
    if mz is None:
        try:
            mz, intensity = _split_peaks(peaks)
        except (TypeError, ValueError, KeyError, IndexError, RecursionError) as error:
            text = str(peaks)[:80]
            fault = Fault(
                "peaks", text, f"are not a list of [m/z, intensity]: {error}"[:200], "repair them", line
            )
            return Record(line, fields, "", fault=fault)
    return Record(line, fields, (mz, [] if intensity is None else intensity))


def _text(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    return repr(value) if isinstance(value, float) else str(value)


def _split_peaks(peaks: Any) -> tuple[list[Any], list[Any]]:
    """Peaks as pairs, as ``{"mz": [...], "intensities": [...]}``, as rows of both, or as text of any of them."""
    if isinstance(peaks, str):
        if not peaks.lstrip().startswith(("[", "{")):
            pairs = [peak.split(":") for peak in peaks.split()]
            return [float(mz) for mz, _ in pairs], [float(height) for _, height in pairs]
        peaks = json.loads(peaks)
    if peaks is None:
        return [], []
    if isinstance(peaks, dict):
        keys = {CANONICAL[str(key)]: key for key in peaks}
        return tuple(  # type: ignore[return-value]
            next(peaks[keys[name]] for name in names if name in keys) for names in (_MZ_KEYS, _INTENSITY_KEYS)
        )
    if peaks and isinstance(peaks[0], dict):
        parts = [_split_peaks(peak) for peak in peaks]
        return [mz for mz, _ in parts], [height for _, height in parts]
    return [peak[0] for peak in peaks], [peak[1] for peak in peaks]


def _add_mona(fields: dict[str, str], entries: list[Any]) -> None:
    """MoNA's lists of ``{"name": ..., "value": ...}``, at the record and inside its compounds."""
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        if "name" in entry and "value" in entry:
            add_field(fields, CANONICAL[str(entry["name"])], _text(entry["value"]))
            continue
        for name in entry.get("names") or []:
            if isinstance(name, dict) and "name" in name:
                add_field(fields, "name", str(name["name"]))
        for key in ("inchi", "inchiKey"):
            if entry.get(key):
                add_field(fields, CANONICAL[key], str(entry[key]))
        if isinstance(entry.get("metaData"), list):
            _add_mona(fields, entry["metaData"])


def _holds_peaks(value: dict[str, Any]) -> bool:
    return any(CANONICAL[str(key)] in ("peaks", "spectrum", *_MZ_KEYS) for key in value)


def _is_list_of_records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)
