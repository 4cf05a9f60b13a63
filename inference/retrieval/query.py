"""What is asked of a bank, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from ...spectra.adducts import Adduct
from ...spectra.masses import ppm_error
from .precursor import Ion

Search = Literal["mass", "formula", "open"]


@dataclass(frozen=True, slots=True)
class Query:
    """What a spectrum may be.

    Attributes:
        search: "mass" allows the masses of `ions`, "formula" the molecules of `formula`, "open" the whole bank.
        ions: readings of the precursor; also give the mass errors in the other searches.
        formula: of the neutral molecule.
        precursor_mz: in Th, for the mass errors.
    """

    search: Search = "mass"
    ions: tuple[Ion, ...] = ()
    formula: str | None = None
    precursor_mz: float | None = None


@dataclass(slots=True)
class Candidate:
    """One ranked molecule; rank, expected_rank, score and gap as in `search.Hit`, the mass error in ppm of m/z.

    Filled in as a search goes on.

    With fragment evidence the score is cosine plus evidence, and `explained` the share of the fragment intensity, 0 to 1,
    that fragments of the molecule explain.

    Attributes:
        cosine: of spectrum and molecule embedding, before any evidence.
        fingerprint_similarity: Σmin / Σmax of the predicted bit probabilities and the molecule's bits, 0 to 1 (Tanimoto
            where the probabilities are 0 and 1); None for a model that predicts no fingerprint.
        mass_error_da: measured minus expected precursor m/z times the charge.
        adduct_compatible: whether the adduct's ion is within the tolerance and the molecule has the atoms that the adduct
            takes away; None if no adduct is known.
        valid: whether RDKit reads the SMILES: a bank holds no others.
        probability: that this is the molecule, given that it is among the candidates; None if uncalibrated.
        in_set: whether it is in the candidate set of the level asked for; None if uncalibrated.
    """

    rank: int
    smiles: str
    formula: str
    inchikey: str
    score: float
    gap: float | None
    mass_error_ppm: float | None
    adduct: str | None
    name: str
    exact_mass: float
    expected_rank: float
    explained: float | None = None
    cosine: float | None = None
    fingerprint_similarity: float | None = None
    mass_error_da: float | None = None
    adduct_compatible: bool | None = None
    valid: bool = True
    probability: float | None = None
    in_set: bool | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """The best candidates of one query, and how many molecules they were ranked among.

    Attributes:
        scores: of all that were ranked, descending; of an open search only those of the candidates.
    """

    candidates: list[Candidate]
    n_candidates: int
    scores: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32), compare=False)


def best_adduct(mass: float, query: Query) -> tuple[Adduct | None, float | None]:
    """The adduct that explains the precursor best, and the error in ppm of its m/z."""
    if not query.ions or query.precursor_mz is None:
        return None, None
    errors = [(float(ppm_error(query.precursor_mz, ion.adduct.mz(mass))), ion.adduct) for ion in query.ions]
    error, adduct = min(errors, key=lambda pair: abs(pair[0]))
    return adduct, error
