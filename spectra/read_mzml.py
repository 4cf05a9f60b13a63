"""mzML 1.1 (PSI), plain or indexed, from any converter.

Only spectra of MS level 2 and above are read; MS1 spectra (and those of other detectors) are left out and counted in
the log. Profile spectra are centroided by local maxima (profile.py) with a note. With several precursors or selected
ions the first is used, with a note. Arrays: 32 and 64 bit, uncompressed, zlib, MS-Numpress.
"""

from __future__ import annotations

from collections.abc import Iterator

from .binary_arrays import ArrayError, decode_array, text_limit
from .clean import finish
from .mzml_fields import Param, Terms, record_fields, seconds, terms
from .profile import Array, centroid
from .record import Dialect, Fault, Record
from .source import Source
from .spectrum import Problem, Spectrum
from .xml_stream import MAX_TEXT, XmlError, XmlRecords

DIALECT = Dialect("mzML", lambda line: None)
MAX_GROUPS = 100_000
MAX_PRECURSORS = 1_000
MAX_ENERGIES = 100
MZ, INTENSITY = "m/z array", "intensity array"


def read_mzml(source: Source, start_index: int = 0) -> Iterator[Spectrum | Problem]:
    """Read the MS/MS spectra of an mzML file in order, in memory that does not depend on its size.

    A spectrum whose arrays are damaged or not of the declared length is a `Problem`, and the others are read. If the
    XML is cut off, not well-formed, or declares a document type, the spectra before that place are read and one
    `Problem` names the line.
    """
    return finish(_MzML(source).records(), source.path, start_index, DIALECT)


class _MzML(XmlRecords):
    """The handlers: terms (cvParam) go into the innermost open scope."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._groups: dict[str, list[Param]] = {}
        self._group: list[Param] | None = None
        self._instruments: dict[str, str] = {}
        self._instrument = ""
        self._in_spectrum = False
        self._array: Terms | None = None
        self._reset()
        self.starts = {
            "cvParam": self._start_param,
            "referenceableParamGroupRef": self._start_group_ref,
            "referenceableParamGroup": self._start_group,
            "instrumentConfiguration": self._start_instrument,
            "componentList": lambda attributes: self._end_instrument(),
            "spectrum": self._start_spectrum,
            "precursor": self._start_precursor,
            "selectedIon": self._start_selected_ion,
            "product": lambda attributes: self._enter({}),
            "binaryDataArray": self._start_array,
            "binary": self._start_binary,
        }
        self.ends = {
            "referenceableParamGroup": self._end_group,
            "instrumentConfiguration": self._end_instrument,
            "spectrum": self._end_spectrum,
            "precursor": self._leave,
            "selectedIon": self._leave,
            "product": self._leave,
            "binaryDataArray": self._end_array,
            "binary": self._end_binary,
        }

    def _reset(self) -> None:
        self._spectrum: Terms = {}
        self._scopes: list[Terms] = [self._spectrum]
        self._precursors: list[tuple[Terms, list[Terms]]] = []
        self._arrays: dict[str, Array] = {}
        self._fault: Fault | None = None
        self._length = 0
        self._start_line = 0

    def _enter(self, scope: Terms) -> None:
        self._scopes.append(scope)

    def _leave(self) -> None:
        if len(self._scopes) > 1:
            self._scopes.pop()

    # Terms

    def _start_param(self, attributes: dict[str, str]) -> None:
        accession, value = attributes.get("accession", ""), attributes.get("value", "")[:MAX_TEXT]
        if self._in_spectrum:
            self._take(accession, value, attributes.get("unitAccession", ""))
        elif self._group is not None:
            if len(self._group) < MAX_ENERGIES:
                unit, name = attributes.get("unitAccession", ""), attributes.get("name", "")[:MAX_TEXT]
                self._group.append((accession, value, unit, name))
        elif self._instrument and not value:
            self._instruments.setdefault(self._instrument, attributes.get("name", "")[:MAX_TEXT])

    def _take(self, accession: str, value: str, unit: str) -> None:
        term = terms().get(accession)
        if term is None:
            return
        field, fixed = term
        scope = self._scopes[-1]
        if field == "energy":
            known = scope.get(field)
            value = value if known is None or known.count(",") >= MAX_ENERGIES else f"{known}, {value}"
        elif field == "time":
            value = seconds(value, unit)
        elif field in ("activation", "compression") and field in scope and fixed != scope[field]:
            fixed = f"{scope[field]}+{fixed}"[:MAX_TEXT]
        elif field == "ms_level" and not value and field in scope:
            return
        scope[field] = fixed or value

    def _start_group(self, attributes: dict[str, str]) -> None:
        if len(self._groups) >= MAX_GROUPS:
            raise XmlError(
                "referenceableParamGroup", "", f"occurs more than {MAX_GROUPS} times", "convert it again"
            )
        self._group = self._groups.setdefault(attributes.get("id", ""), [])

    def _end_group(self) -> None:
        self._group = None

    def _start_group_ref(self, attributes: dict[str, str]) -> None:
        params = self._groups.get(attributes.get("ref", ""), [])
        for accession, value, unit, name in params:
            if self._in_spectrum:
                self._take(accession, value, unit)
            elif self._instrument and not value:
                self._instruments.setdefault(self._instrument, name)

    def _start_instrument(self, attributes: dict[str, str]) -> None:
        if len(self._instruments) < MAX_ENERGIES:
            self._instrument = attributes.get("id", "")

    def _end_instrument(self) -> None:
        self._instrument = ""

    # Spectrum and precursor

    def _start_spectrum(self, attributes: dict[str, str]) -> None:
        self._reset()
        self._in_spectrum = True
        self._start_line = self.line
        self.native_id = attributes.get("id", "")[:MAX_TEXT]
        declared = attributes.get("defaultArrayLength", "0").strip()
        if declared.isdecimal() and declared.isascii() and len(declared) < 19:
            self._length = int(declared)
        else:
            self._fault = Fault("defaultArrayLength", declared[:80], "is not a number of values")

    def _start_precursor(self, attributes: dict[str, str]) -> None:
        scope: Terms = {}
        if self._in_spectrum and len(self._precursors) < MAX_PRECURSORS:
            self._precursors.append((scope, []))
        self._enter(scope)

    def _start_selected_ion(self, attributes: dict[str, str]) -> None:
        scope: Terms = {}
        if self._precursors and len(self._precursors[-1][1]) < MAX_PRECURSORS:
            self._precursors[-1][1].append(scope)
        self._enter(scope)

    def _end_spectrum(self) -> None:
        if self._is_ms1():
            self.skipped += 1
        else:
            self.found.append(self._record())
        self._in_spectrum = False
        self.native_id = ""
        self._reset()

    def _is_ms1(self) -> bool:
        level = self._spectrum.get("ms_level")
        return level.strip() in ("1", "0") if level is not None else not self._precursors

    def _record(self) -> Record:
        fields, notes = record_fields(self._spectrum, self._precursors)
        fields["native_id"] = self.native_id
        if self._instruments:
            fields["instrument"] = next(iter(self._instruments.values()))
        fault = self._fault
        for name in (MZ, INTENSITY):
            if fault is None and name not in self._arrays:
                fault = Fault(name, "", "is missing", "convert the file again")
        if fault is not None:
            return Record(self._start_line, fields, "", fault=fault)
        mz, intensity = self._arrays[MZ], self._arrays[INTENSITY]
        if self._spectrum.get("shape") == "profile" and len(mz) == len(intensity) > 0:
            points = len(mz)
            mz, intensity = centroid(mz, intensity)
            notes.append(f"profile spectrum of {points} points centroided to {len(mz)} local maxima")
        return Record(self._start_line, fields, (mz, intensity), notes=tuple(notes))

    # Arrays

    def _start_array(self, attributes: dict[str, str]) -> None:
        self._array = {"length": attributes.get("arrayLength", "")[:20]}
        self._enter(self._array)

    def _start_binary(self, attributes: dict[str, str]) -> None:
        if self._array is not None and self._wanted(self._array):
            self.collect(text_limit(self._array_length(self._array)))

    def _end_binary(self) -> None:
        array = self._array
        if array is None or not self._wanted(array):
            return
        text = self.collected()
        try:
            self._arrays[array["array"]] = decode_array(
                text,
                array["array"],
                length=self._array_length(array),
                dtype=array.get("dtype", "float64"),
                compression=array.get("compression", "none").removeprefix("none+"),
            )
        except ArrayError as error:
            self._fault = error.fault

    def _end_array(self) -> None:
        self._array = None
        self._leave()

    def _wanted(self, array: Terms) -> bool:
        if (
            not self._in_spectrum
            or self._fault is not None
            or self._spectrum.get("ms_level", "").strip() == "1"
        ):
            return False
        return array.get("array") in (MZ, INTENSITY)

    def _array_length(self, array: Terms) -> int:
        own = array["length"]
        return int(own) if own.isdecimal() and own.isascii() else self._length
