"""What generation is asked and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ...spectra.adducts import AdductTable
from ...spectra.masses import parse_formula
from ...spectra.spectrum import Spectrum
from ..retrieval.precursor import AdductPolicy
from .consensus import Floats, atom_agreement
from .molecules import GeneratedMolecule

Strategy = Literal["beam", "sample", "diverse"]
Rerank = Literal["auto", "mass", "learned", "none"]
STRATEGIES: tuple[Strategy, ...] = ("beam", "sample", "diverse")
RERANKS: tuple[Rerank, ...] = ("auto", "mass", "learned", "none")
RECORD = "record"
GROUPS = 10

STATUSES = {
    "ok": "molecules were generated",
    "assumed_adduct": "molecules were generated under an adduct that the file does not state",
    "no_mass_filter": "molecules were generated without regard to their mass, because the precursor cannot be used",
    "no_molecules": "no valid molecule was generated, or none of the mass asked for",
    "impossible_mass": "no molecule has the mass that the precursor or the formula asks for",
    "unknown_element": "the formula has an element that the model cannot write",
    "no_formula": "the formula cannot be read",
    "too_few_peaks": "fewer peaks than asked for, or none",
    "unreadable": "the record is no spectrum",
    "not_msms": "a survey scan, not a fragment spectrum",
    "no_adduct": "the adduct is missing and none was to be assumed",
    "polarity_mismatch": "adduct and ion mode contradict each other",
    "failed": "the model failed on this spectrum",
}

_MOLECULE = ("rank", "smiles", "selfies", "formula", "mass_error_ppm", "beam_score", "score", "consensus")
_FURTHER = ("exact_mass", "inchikey14", "source")


class OptionError(ValueError):
    """Options of generation that make no sense, alone or for a model; says which and what to do."""


@dataclass(frozen=True, slots=True)
class GenerateOptions:
    """How to generate.

    Attributes:
        n: molecules returned per spectrum at most, after invalid and repeated ones are gone.
        beams: width of the beam search, or sequences drawn by sampling.
        strategy: "beam", "sample" (temperature, top-p) or "diverse" (groups of beams that avoid each other).
        temperature: of sampling; below 1 nearer to the most probable, above 1 more varied.
        top_p: of sampling: draw among the most probable symbols that have this probability together.
        seed: of sampling; the same seed gives the same molecules, whatever else is in the file.
        groups: of the diverse search; None: ten, or what divides the beams. diversity: what a symbol loses in
            log-probability for each beam of an earlier group that takes it too.
        mass_filter: keep molecules, while they grow, within the masses that precursor or formula allow.
        ppm: tolerance around the precursor m/z.
        adducts: for spectra without adduct: "assume", "common", "require" or an adduct; see `read_precursor`.
        adduct_table: the known adducts, by default those of the package.
        formula: molecular formula of all spectra, or "record" for the one each record states; None: go by mass.
        rerank: what orders the molecules: "learned" (a model's opinion), "mass" (nearest to the precursor), "none" (the
            search's own score) or "auto" (learned if a re-ranker is given, else mass).
        min_peaks: spectra with fewer peaks are reported and not answered.
        max_length: symbols of a molecule at most; None: what the model allows.

    Raises:
        OptionError: a value that makes no sense.
        FormulaError: the formula is none.
    """

    n: int = 100
    beams: int = 100
    strategy: Strategy = "beam"
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    groups: int | None = None
    diversity: float = 0.5
    mass_filter: bool = True
    ppm: float = 10.0
    adducts: AdductPolicy = "assume"
    adduct_table: AdductTable | None = None
    formula: str | None = None
    rerank: Rerank = "auto"
    min_peaks: int = 1
    max_length: int | None = None

    def __post_init__(self) -> None:
        for name, known in (("strategy", STRATEGIES), ("rerank", RERANKS)):
            if getattr(self, name) not in known:
                raise OptionError(f"{name} {getattr(self, name)!r} is none of {', '.join(known)}")
        for name in ("n", "beams", "min_peaks"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.n > self.beams:
            raise OptionError(
                f"n {self.n} is above the beams ({self.beams}); a beam gives one molecule, raise beams or lower n"
            )
        if not self.temperature > 0.0 or not 0.0 < self.top_p <= 1.0:
            raise OptionError(
                f"temperature must be above 0 and top_p in (0, 1], got {self.temperature} and {self.top_p}"
            )
        if self.groups is not None and (self.groups < 1 or self.beams % self.groups):
            raise OptionError(
                f"groups {self.groups} does not divide the beams ({self.beams}); change one of them"
            )
        if not self.ppm > 0.0 or not self.diversity >= 0.0:
            raise OptionError(
                f"ppm must be above 0 and diversity not below, got {self.ppm} and {self.diversity}"
            )
        if self.max_length is not None and self.max_length < 1:
            raise OptionError(f"max_length must be at least 1, got {self.max_length}")
        if self.formula is not None and self.formula != RECORD:
            parse_formula(self.formula)

    @property
    def beam_groups(self) -> int:
        """Groups of the diverse search."""
        return self.groups or max(count for count in range(1, GROUPS + 1) if self.beams % count == 0)


@dataclass(slots=True)
class Generation:
    """The answer for one record of the input.

    Attributes:
        index, native_id, path, line: which record; as in `Spectrum`.
        status, reason: a key of `STATUSES`, and what happened in words ("" if nothing needs saying).
        precursor_mz, adduct, ion_mode: of the spectrum; adduct is None if unknown or if several were tried.
        formula: the formula that was asked for, None if none was.
        mass_filter: whether masses were restricted while the molecules grew.
        molecules: distinct valid molecules, best first, at most `n`.
        unlisted: SMILES of the others that fit; they count in all that is said of agreement.
        n_generated, n_valid, n_distinct: sequences the search ended with, without those that the mass filter led to a dead
            end; of these, valid molecules; of these, distinct.
        n_held_back: distinct molecules that are not listed, because their mass does not fit or there are more than `n`.
        substructures: share of the molecules, listed or not, that have each substructure, 0 to 1, by its name.
        substructure_probabilities: the chance that the true molecule has them, where the checkpoint is calibrated.
        known_substructures: whether the structure that the file states has them; empty if it states none.
        ranked_by: "learned", "mass" or "none"; "" without molecules.
        spectrum: the record itself, None if unreadable.
    """

    index: int
    native_id: str
    status: str
    reason: str = ""
    precursor_mz: float | None = None
    adduct: str | None = None
    ion_mode: str | None = None
    formula: str | None = None
    mass_filter: bool = False
    molecules: list[GeneratedMolecule] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    n_generated: int = 0
    n_valid: int = 0
    n_distinct: int = 0
    n_held_back: int = 0
    substructures: Mapping[str, float] = field(default_factory=dict)
    substructure_probabilities: Mapping[str, float] = field(default_factory=dict)
    known_substructures: Mapping[str, bool] = field(default_factory=dict)
    ranked_by: str = ""
    path: str | None = None
    line: int | None = None
    spectrum: Spectrum | None = None

    def rows(self) -> list[dict[str, Any]]:
        """One plain mapping per molecule, or a single one with rank None; the columns of a results table."""
        answers: list[GeneratedMolecule | None] = [*self.molecules] or [None]
        return [self._row(molecule) for molecule in answers]

    @property
    def n_compared(self) -> int:
        """Molecules that agree or not: those of the mass or formula asked for, listed or not."""
        return len(self.molecules) + len(self.unlisted)

    def atom_agreement(self) -> list[Floats]:
        """Per listed molecule and atom, how far the other molecules share its surroundings; see `consensus.atom_agreement`."""
        listed = [molecule.smiles for molecule in self.molecules]
        return atom_agreement([*listed, *self.unlisted])[: len(listed)]

    def _row(self, found: GeneratedMolecule | None) -> dict[str, Any]:
        return {
            "index": self.index,
            "native_id": self.native_id,
            "precursor_mz": self.precursor_mz,
            "adduct": (found.adduct if found else None) or self.adduct,
            **{name: getattr(found, name, None) for name in _MOLECULE},
            "status": self.status,
            "reason": self.reason,
            **{name: getattr(found, name, None) for name in _FURTHER},
            "ranked_by": self.ranked_by or None,
            "mass_filter": self.mass_filter,
            "n_distinct": self.n_distinct,
        }
