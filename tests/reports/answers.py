"""Answers as the search gives them, made without a model."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from msformers.spectra.spectrum import Spectrum


@dataclass
class Candidate:
    rank: int
    smiles: str
    formula: str
    inchikey: str
    score: float
    gap: float | None = None
    mass_error_ppm: float | None = 0.4
    adduct: str | None = "[M+H]+"
    name: str = ""
    explained: float | None = None
    exact_mass: float = 194.0804
    mass_error_da: float | None = 0.0001
    adduct_compatible: bool | None = True
    valid: bool = True
    fingerprint_similarity: float | None = None
    probability: float | None = None
    in_set: bool | None = None


@dataclass
class Answer:
    index: int
    native_id: str
    status: str = "ok"
    reason: str = ""
    precursor_mz: float | None = 195.0877
    adduct: str | None = "[M+H]+"
    ion_mode: str | None = "positive"
    n_candidates: int = 0
    candidates: list[Candidate] = field(default_factory=list)
    confidence_band: str | None = None
    confidence_note: str = ""
    ambiguity: str | None = None
    set_size: int | None = None
    path: str | None = "run.mgf"
    line: int | None = 1
    spectrum: Spectrum | None = None


CAFFEINE = Candidate(
    1, "Cn1c(=O)c2c(ncn2C)n(C)c1=O", "C8H10N4O2", "RYYVLZVUVIJVGH-UHFFFAOYSA-N", 0.81, 0.2, name="Caffeine"
)
IMPOSTOR = Candidate(
    2, "CCn1cnc2c1c(=O)[nH]c(=O)n2C", "C8H10N4O2", "AAAAAAAAAAAAAA-UHFFFAOYSA-N", 0.61, name="Isomer"
)


def spectrum(**changes: object) -> Spectrum:
    made = Spectrum(
        mz=np.array([42.0338, 69.0447, 83.0604, 110.0713, 123.0427, 138.0662, 195.0877]),
        intensity=np.array([0.06, 0.04, 0.08, 0.22, 0.05, 1.0, 0.45], dtype=np.float32),
        precursor_mz=195.0877,
        charge=1,
        adduct="[M+H]+",
        ion_mode="positive",
        collision_energy=35.0,
        instrument_type="LC-ESI-QTOF",
        native_id="scan=1",
    )
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def answer(index: int = 0, native_id: str = "scan=1", **changes: object) -> Answer:
    made = Answer(
        index,
        native_id,
        n_candidates=2,
        candidates=[CAFFEINE, IMPOSTOR],
        spectrum=spectrum(native_id=native_id),
    )
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def unreadable(index: int = 1, native_id: str = "scan=2") -> Answer:
    return Answer(
        index,
        native_id,
        "unreadable",
        "PEPMASS 'abc' is not a number",
        None,
        None,
        None,
        line=12,
        spectrum=None,
    )
