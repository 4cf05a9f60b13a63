"""What is asked of a bank, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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


@dataclass(frozen=True, slots=True)
class Candidate:
    """One ranked molecule; rank, expected_rank, score and gap as in `search.Hit`, the mass error in ppm of m/z.

    With fragment evidence the score is cosine plus evidence, and `explained` the share of the fragment intensity, 0 to 1,
    that fragments of the molecule explain.
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


@dataclass(frozen=True, slots=True)
class Ranking:
    """The best candidates of one query, and how many molecules they were ranked among."""

    candidates: list[Candidate]
    n_candidates: int


def best_adduct(mass: float, query: Query) -> tuple[Adduct | None, float | None]:
    """The adduct that explains the precursor best, and the error in ppm of its m/z."""
    if not query.ions or query.precursor_mz is None:
        return None, None
    errors = [(float(ppm_error(query.precursor_mz, ion.adduct.mz(mass))), ion.adduct) for ion in query.ions]
    error, adduct = min(errors, key=lambda pair: abs(pair[0]))
    return adduct, error
