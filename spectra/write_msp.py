"""Spectra to MSP."""

from __future__ import annotations

import os
from collections.abc import Iterable

from .spectrum import Problem, Spectrum
from .write_mgf import header_lines, open_sink, peak_lines

_NAMES = {
    "name": "NAME",
    "native_id": "SPECTRUM_ID",
    "precursor_mz": "PRECURSORMZ",
    "adduct": "PRECURSORTYPE",
    "charge": "CHARGE",
    "ion_mode": "IONMODE",
    "collision_energy": "COLLISION_ENERGY",
    "retention_time": "RTINSECONDS",
    "ms_level": "MSLEVEL",
    "instrument_type": "INSTRUMENTTYPE",
    "smiles": "SMILES",
    "inchikey": "INCHIKEY",
    "formula": "FORMULA",
}


def write_msp(spectra: Iterable[Spectrum | Problem], path: str | os.PathLike[str]) -> int:
    """Write spectra to an MSP file, gzipped if the name ends in .gz; `read` gives the same spectra back.

    Problems are left out, line breaks in texts become spaces, and the reader's notes are not written. A spectrum
    without a name gets ``NAME: N/A``, since other programs need that line first.

    Returns:
        the number of spectra written.
    """
    count = 0
    with open_sink(path) as sink:
        for spectrum in spectra:
            if isinstance(spectrum, Problem):
                continue
            if spectrum.name is None:
                sink.write("NAME: N/A\n")
            for key, value in header_lines(spectrum, _NAMES):
                sink.write(f"{key}: {value}\n")
            sink.write(f"Num Peaks: {len(spectrum)}\n")
            sink.write(peak_lines(spectrum, "\t"))
            sink.write("\n")
            count += 1
    return count
