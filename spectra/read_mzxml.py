"""mzXML 2 and 3, nested or flat scans.

Only scans of MS level 2 and above are read; MS1 scans are left out and counted in the log. Profile scans are
centroided by local maxima (profile.py) with a note. With several precursors the first is used, with a note. Peaks:
m/z-intensity pairs, 32 and 64 bit, big-endian ("network"), uncompressed or zlib.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .binary_arrays import ArrayError, decode_array, text_limit
from .clean import finish
from .profile import Array, centroid, duration_seconds, is_normalised_energy
from .record import Dialect, Fault, Record
from .source import Source
from .spectrum import Problem, Spectrum
from .xml_stream import MAX_TEXT, XmlRecords

DIALECT = Dialect("mzXML", lambda line: None)
MAX_PRECURSORS = 1_000
PEAKS = "peaks"


def read_mzxml(source: Source, start_index: int = 0) -> Iterator[Spectrum | Problem]:
    """Read the MS/MS scans of an mzXML file in order, in memory that does not depend on its size.

    A scan whose peaks are damaged or not of the declared number is a `Problem`, and the others are read. If the XML is
    cut off, not well-formed, or declares a document type, the scans before that place are read and one `Problem` names
    the line.
    """
    return finish(_MzXML(source).records(), source.path, start_index, DIALECT)


@dataclass(slots=True)
class _Scan:
    """A scan being read."""

    line: int
    attributes: dict[str, str]
    precursors: list[dict[str, str]] = field(default_factory=list)
    peaks: dict[str, str] = field(default_factory=dict)
    values: Array | None = None
    fault: Fault | None = None
    done: bool = False


class _MzXML(XmlRecords):
    """The handlers. A scan is complete when it ends or when a scan nested in it starts."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._open: list[_Scan] = []
        self._instrument = ""
        self.starts = {
            "scan": self._start_scan,
            "precursorMz": self._start_precursor,
            "peaks": self._start_peaks,
            "msModel": self._start_instrument,
        }
        self.ends = {"scan": self._end_scan, "precursorMz": self._end_precursor, "peaks": self._end_peaks}

    def _start_instrument(self, attributes: dict[str, str]) -> None:
        self._instrument = self._instrument or attributes.get("value", "")[:MAX_TEXT]

    def _start_scan(self, attributes: dict[str, str]) -> None:
        if self._open:
            self._finish_scan(self._open[-1])
        self._open.append(_Scan(self.line, {key: value[:MAX_TEXT] for key, value in attributes.items()}))
        self.native_id = f"scan={attributes.get('num', '?')}"[:MAX_TEXT]

    def _end_scan(self) -> None:
        if self._open:
            self._finish_scan(self._open.pop())
        self.native_id = ""

    def _start_precursor(self, attributes: dict[str, str]) -> None:
        if self._open and len(self._open[-1].precursors) < MAX_PRECURSORS:
            self._open[-1].precursors.append({key: value[:MAX_TEXT] for key, value in attributes.items()})
            self.collect(MAX_TEXT)

    def _end_precursor(self) -> None:
        text = self.collected()
        if self._open and self._open[-1].precursors:
            self._open[-1].precursors[-1].setdefault("mz", (text or "").strip())

    def _start_peaks(self, attributes: dict[str, str]) -> None:
        if self._open and not _is_ms1(self._open[-1]):
            scan = self._open[-1]
            scan.peaks = attributes
            self.collect(text_limit(2 * self._count(scan)))

    def _end_peaks(self) -> None:
        if not self._open or _is_ms1(self._open[-1]):
            return
        scan = self._open[-1]
        text = self.collected()
        if scan.fault is None and scan.values is None:
            try:
                scan.values = _decode(scan.peaks, text, self._count(scan))
            except ArrayError as error:
                scan.fault = error.fault

    def _count(self, scan: _Scan) -> int:
        declared = scan.attributes.get("peaksCount", "").strip()
        if declared.isdecimal() and declared.isascii():
            return int(declared[:18])
        scan.fault = Fault("peaksCount", declared[:80], "is not a number of peaks", "convert the file again")
        return 0

    def _finish_scan(self, scan: _Scan) -> None:
        if scan.done:
            return
        scan.done = True
        if _is_ms1(scan):
            self.skipped += 1
        else:
            self.found.append(_record(scan, self._instrument))
        scan.values = None


def _is_ms1(scan: _Scan) -> bool:
    level = scan.attributes.get("msLevel")
    return level.strip() in ("0", "1") if level is not None else not scan.precursors


def _decode(attributes: dict[str, str], text: str | None, count: int) -> Array:
    """The values m/z, intensity, m/z, intensity, …, shape (2 * count,)."""
    precision = attributes.get("precision", "32").strip()
    if precision not in ("32", "64"):
        raise ArrayError("precision", precision[:20], "is neither 32 nor 64 bit")
    content = attributes.get("contentType", attributes.get("pairOrder", "m/z-int"))
    if content != "m/z-int":
        raise ArrayError("contentType", content[:40], "is not m/z-int", "convert to m/z-intensity pairs")
    order = attributes.get("byteOrder", "network")
    if order != "network":
        raise ArrayError("byteOrder", order[:20], "is not network")
    kind = attributes.get("compressionType", "none") or "none"
    return decode_array(
        text, PEAKS, length=2 * count, dtype=f"float{precision}", compression=kind, byteorder=">"
    )


def _record(scan: _Scan, instrument: str) -> Record:
    fields, notes = _fields(scan.attributes, scan.precursors)
    if instrument:
        fields["instrument"] = instrument
    fault = scan.fault
    if fault is None and scan.values is None:
        fault = Fault(PEAKS, "", "are missing", "convert the file again")
    if fault is not None or scan.values is None:
        return Record(scan.line, fields, "", fault=fault)
    mz, intensity = scan.values[0::2], scan.values[1::2]
    if scan.attributes.get("centroided") == "0" and len(mz):
        points = len(mz)
        mz, intensity = centroid(mz, intensity)
        notes.append(f"profile spectrum of {points} points centroided to {len(mz)} local maxima")
    return Record(scan.line, fields, (mz, intensity), notes=tuple(notes))


def _fields(attributes: dict[str, str], precursors: list[dict[str, str]]) -> tuple[dict[str, str], list[str]]:
    """The fields of a record under their canonical keys, and notes."""
    notes: list[str] = []
    fields = {
        "native_id": f"scan={attributes.get('num', '?')}",
        "ms_level": attributes.get("msLevel", "2"),
    }
    polarity = {"+": "positive", "-": "negative"}.get(attributes.get("polarity", "").strip())
    if polarity:
        fields["ion_mode"] = polarity
    if "retentionTime" in attributes:
        fields["retention_time_s"] = duration_seconds(attributes["retentionTime"])
    filter_line = attributes.get("filterLine", "")
    if filter_line:
        fields["filter_string"] = filter_line
    energy = attributes.get("collisionEnergy")
    if energy is not None:
        normalised = is_normalised_energy(filter_line, energy)
        fields["collision_energy_nce" if normalised else "collision_energy_ev"] = energy
        if normalised:
            notes.append(f"collision energy {energy} is a normalised one by the scan filter")
    if not precursors:
        return fields, notes
    first = precursors[0]
    fields["precursor_mz"] = first.get("mz", "")
    pairs = (
        ("precursorCharge", "charge"),
        ("precursorIntensity", "precursor_intensity"),
        ("activationMethod", "fragmentation_mode"),
        ("windowWideness", "isolation_window"),
    )
    fields |= {key: first[name] for name, key in pairs if name in first}
    if len(precursors) > 1:
        others = ", ".join(one.get("mz", "?") for one in precursors[1:11])
        notes.append(f"{len(precursors)} precursors, the first is used (others: {others})"[:500])
    return fields, notes
