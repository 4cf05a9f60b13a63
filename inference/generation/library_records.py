"""Which records can be reference spectra of a library: those with peaks and a molecule."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ...spectra.molecules import MoleculeError, MoleculeRecord, molecule_record
from ...spectra.spectrum import Problem, Spectrum
from ..inputs import as_spectrum


def with_molecules(
    records: Sequence[Any], first: int
) -> tuple[list[tuple[Spectrum, MoleculeRecord]], list[Problem]]:
    """Spectra with their molecules, and what is wrong with the others.

    Args:
        records: in any form `as_spectrum` takes. first: place of the first one among all.
    """
    good: list[tuple[Spectrum, MoleculeRecord]] = []
    bad: list[Problem] = []
    for place, record in enumerate(records, first):
        spectrum = as_spectrum(record, place)
        if isinstance(spectrum, Problem):
            bad.append(spectrum)
        elif not len(spectrum):
            bad.append(left_out(spectrum, "peaks", "", "the spectrum has no peak"))
        else:
            molecule = _molecule(spectrum.smiles or "")
            if isinstance(molecule, str):
                bad.append(left_out(spectrum, "smiles", spectrum.smiles or "", molecule))
            else:
                good.append((spectrum, molecule))
    return good, bad


@lru_cache(maxsize=65536)
def _molecule(smiles: str) -> MoleculeRecord | str:
    """The molecule of a SMILES, or why it is none."""
    try:
        return molecule_record(smiles)
    except MoleculeError as error:
        return str(error)


def left_out(spectrum: Spectrum, field: str, value: str, reason: str) -> Problem:
    """Why a spectrum is not in a library."""
    place = (spectrum.index, spectrum.line, spectrum.native_id)
    return Problem(*place, field, value[:200], reason, spectrum.path, "left out of the library")
