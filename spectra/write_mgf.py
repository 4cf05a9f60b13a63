"""Spectra to MGF."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Iterable, Iterator
from typing import cast

import numpy as np

from .assemble import ID_KEYS
from .keys import CANONICAL
from .spectrum import Problem, Spectrum

_NAMES = {
    "native_id": "TITLE",
    "precursor_mz": "PEPMASS",
    "charge": "CHARGE",
    "ion_mode": "IONMODE",
    "adduct": "ADDUCT",
    "collision_energy": "COLLISION_ENERGY",
    "retention_time": "RTINSECONDS",
    "ms_level": "MSLEVEL",
    "instrument_type": "INSTRUMENT_TYPE",
    "name": "NAME",
    "smiles": "SMILES",
    "inchikey": "INCHIKEY",
    "formula": "FORMULA",
}


def write_mgf(spectra: Iterable[Spectrum | Problem], path: str | os.PathLike[str]) -> int:
    """Write spectra to an MGF file, gzipped if the name ends in .gz; `read` gives the same spectra back.

    Problems are left out, line breaks in texts become spaces, and the reader's notes are not written.

    Returns:
        the number of spectra written.
    """
    count = 0
    with open_sink(path) as sink:
        for spectrum in spectra:
            if isinstance(spectrum, Problem):
                continue
            sink.write("BEGIN IONS\n")
            for key, value in header_lines(spectrum, _NAMES):
                sink.write(f"{key}={value}\n")
            sink.write(peak_lines(spectrum, " "))
            sink.write("END IONS\n\n")
            count += 1
    return count


def open_sink(path: str | os.PathLike[str]) -> io.TextIOBase:
    """A UTF-8 text file to write to, gzipped if the name ends in .gz."""
    name = os.fspath(path)
    if name.endswith(".gz"):
        return cast(io.TextIOBase, gzip.open(name, "wt", encoding="utf-8", newline="\n"))
    return open(name, "w", encoding="utf-8", newline="\n")


def header_lines(spectrum: Spectrum, names: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Key and text of every field that has a value; `names` maps the fields of `Spectrum` to keys, in order."""
    values = {name: getattr(spectrum, name) for name in names}
    values["native_id"] = spectrum.native_id or None
    if spectrum.charge is not None:
        sign = "-" if spectrum.charge < 0 else "+" if spectrum.ion_mode is not None else ""
        values["charge"] = f"{abs(spectrum.charge)}{sign}"
    if spectrum.collision_energy is not None:
        values["collision_energy"] = f"{np.format_float_positional(spectrum.collision_energy, trim='0')} eV"
    rank = ID_KEYS.index(CANONICAL[names["native_id"]])
    if any(key in spectrum.metadata for key in ID_KEYS[: rank + 1]):
        names = {**names, "native_id": "NATIVE_ID"}
    for name, value in values.items():
        if value is not None:
            yield names[name], _one_line(value)
    for key, value in spectrum.metadata.items():
        canonical = CANONICAL[key]
        if canonical:
            yield canonical.upper(), _one_line(value)


def peak_lines(spectrum: Spectrum, separator: str) -> str:
    """The peak list, numbers in the shortest form that reads back the same."""
    pairs = zip(spectrum.mz.tolist(), spectrum.intensity, strict=True)
    return "".join(f"{mz!r}{separator}{intensity!s}\n" for mz, intensity in pairs)


def _one_line(value: object) -> str:
    text = repr(value) if isinstance(value, float) else str(value)
    return " ".join(text.splitlines()).strip()
