"""What goes into a library: records with peaks and a molecule, molecules' fingerprints, and who made the embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...spectra.molecules import MoleculeError, MoleculeRecord, molecule_record
from ...spectra.spectrum import Problem, Spectrum
from ..encode import weights_sha256
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


def morgan_bits(smiles: Sequence[str], bits: int) -> npt.NDArray[np.uint8]:
    """Morgan fingerprints, radius 2, (n, bits) of 0 and 1, of SMILES that RDKit reads."""
    from rdkit import Chem
    from rdkit.Chem import rdFingerprintGenerator

    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=bits)
    found = np.zeros((len(smiles), bits), dtype=np.uint8)
    for row, text in enumerate(smiles):
        found[row] = generator.GetFingerprintAsNumPy(Chem.MolFromSmiles(text))
    return found


def encoder_of(model: Any) -> Any:
    """What makes the `get_spectrum_features` of a spectrum-to-molecule model: its encoder, if that has some; else the model."""
    encoder = getattr(model, "encoder", None) if hasattr(model, "get_context") else None
    return encoder if hasattr(encoder, "get_spectrum_features") else model


def encoder_identity(encoder: Any) -> dict[str, str]:
    """Name and weights_sha256 of an encoder."""
    name = str(getattr(getattr(encoder, "config", None), "_name_or_path", "") or type(encoder).__name__)
    return {"name": Path(name).name, "weights_sha256": weights_sha256(encoder)}
