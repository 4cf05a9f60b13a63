"""Generated molecules as the generator gives them, made without a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from rdkit import Chem

from msformers.spectra.spectrum import Spectrum

from .answers import spectrum


@dataclass
class Molecule:
    rank: int
    smiles: str
    selfies: str = "[C]"
    formula: str = "C8H10N4O2"
    exact_mass: float = 194.0804
    inchikey14: str = "AAAAAAAAAAAAAA"
    adduct: str | None = "[M+H]+"
    mass_error_ppm: float | None = 0.4
    beam_score: float = -0.2
    score: float = 0.5
    source: str = "beam"
    consensus: float | None = 0.9


CAFFEINE = Molecule(1, "Cn1c(=O)c2c(ncn2C)n(C)c1=O", inchikey14="RYYVLZVUVIJVGH", score=0.81)
ISOMER = Molecule(2, "CCn1cnc2c1c(=O)[nH]c(=O)n2C", score=0.61, beam_score=-0.3, consensus=0.7)


@dataclass
class Answer:
    index: int = 0
    native_id: str = "scan=1"
    status: str = "ok"
    reason: str = ""
    precursor_mz: float | None = 195.0877
    adduct: str | None = "[M+H]+"
    ion_mode: str | None = "positive"
    formula: str | None = None
    mass_filter: bool = True
    molecules: list[Molecule] = field(default_factory=lambda: [CAFFEINE, ISOMER])
    n_generated: int = 100
    n_valid: int = 98
    n_distinct: int = 40
    n_held_back: int = 38
    unlisted: int = 0
    substructures: Mapping[str, float] = field(
        default_factory=lambda: {"amide": 1.0, "phenol": 0.5, "ester": 0.0}
    )
    substructure_probabilities: Mapping[str, float] = field(default_factory=dict)
    known_substructures: Mapping[str, bool] = field(default_factory=dict)
    ranked_by: str = "learned"
    path: str | None = "/data/run.mgf"
    line: int | None = 7
    spectrum: Spectrum | None = field(default_factory=spectrum)

    @property
    def n_compared(self) -> int:
        return len(self.molecules) + self.unlisted

    def atom_agreement(self) -> Sequence[Sequence[float]]:
        counts = [Chem.MolFromSmiles(molecule.smiles).GetNumAtoms() for molecule in self.molecules]
        return [np.linspace(0, 1, count).tolist() for count in counts]


def unreadable(index: int = 1, native_id: str = "scan=2") -> Answer:
    reason = "PEPMASS 'abc' is not a number"
    empty = Answer(
        index,
        native_id,
        "unreadable",
        reason,
        None,
        None,
        None,
        None,
        False,
        [],
        0,
        0,
        0,
        0,
        0,
        {},
        {},
        {},
        "",
    )
    empty.spectrum, empty.line = None, 12
    return empty
