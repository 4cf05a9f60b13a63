"""One flat row per spectrum and generated molecule: what every table of generated molecules holds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..spectra.spectrum import Spectrum
from .records import known_block

Floats = npt.NDArray[np.float64]
AGREED = 0.5
"""Substructures that at least this share of the molecules has are named in a table."""


class MoleculeLike(Protocol):
    """What is read of a molecule (`inference.generation.molecules.GeneratedMolecule` has it)."""

    @property
    def rank(self) -> int: ...  # noqa: D102
    @property
    def smiles(self) -> str: ...  # noqa: D102
    @property
    def selfies(self) -> str: ...  # noqa: D102
    @property
    def formula(self) -> str: ...  # noqa: D102
    @property
    def exact_mass(self) -> float: ...  # noqa: D102
    @property
    def inchikey14(self) -> str: ...  # noqa: D102
    @property
    def adduct(self) -> str | None: ...  # noqa: D102
    @property
    def mass_error_ppm(self) -> float | None: ...  # noqa: D102
    @property
    def beam_score(self) -> float: ...  # noqa: D102
    @property
    def score(self) -> float: ...  # noqa: D102
    @property
    def source(self) -> str: ...  # noqa: D102
    @property
    def consensus(self) -> float | None: ...  # noqa: D102


class GenerationLike(Protocol):
    """What is read of an answer (`inference.generation.options.Generation` has it)."""

    @property
    def index(self) -> int: ...  # noqa: D102
    @property
    def native_id(self) -> str: ...  # noqa: D102
    @property
    def status(self) -> str: ...  # noqa: D102
    @property
    def reason(self) -> str: ...  # noqa: D102
    @property
    def precursor_mz(self) -> float | None: ...  # noqa: D102
    @property
    def adduct(self) -> str | None: ...  # noqa: D102
    @property
    def ion_mode(self) -> str | None: ...  # noqa: D102
    @property
    def formula(self) -> str | None: ...  # noqa: D102
    @property
    def mass_filter(self) -> bool: ...  # noqa: D102
    @property
    def molecules(self) -> Sequence[MoleculeLike]: ...  # noqa: D102
    @property
    def n_generated(self) -> int: ...  # noqa: D102
    @property
    def n_valid(self) -> int: ...  # noqa: D102
    @property
    def n_distinct(self) -> int: ...  # noqa: D102
    @property
    def n_held_back(self) -> int: ...  # noqa: D102
    @property
    def n_compared(self) -> int: ...  # noqa: D102
    @property
    def substructures(self) -> Mapping[str, float]: ...  # noqa: D102
    @property
    def substructure_probabilities(self) -> Mapping[str, float]: ...  # noqa: D102
    @property
    def known_substructures(self) -> Mapping[str, bool]: ...  # noqa: D102
    @property
    def ranked_by(self) -> str: ...  # noqa: D102
    @property
    def path(self) -> str | None: ...  # noqa: D102
    @property
    def line(self) -> int | None: ...  # noqa: D102
    @property
    def spectrum(self) -> Spectrum | None: ...  # noqa: D102
    def atom_agreement(self) -> Sequence[Sequence[float] | Floats]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class GenerationRecord:
    """One row of a table of generated molecules, or the reason why a spectrum has none.

    Attributes:
        index: position of the record in the input, from 0.
        native_id: the spectrum's own id in its file.
        precursor_mz: in Th.
        adduct: the adduct under which this molecule explains the precursor.
        rank: 1 for the best; None if there is no molecule.
        smiles: canonical, without stereochemistry; selfies: as generated; formula: in Hill order.
        mass_error_ppm: measured minus expected precursor m/z, in ppm.
        beam_score: mean log-probability of the symbols, by the model that generated it.
        score: what ranks.
        consensus: how far the other molecules share its substructures, 0 to 1.
        status, reason: how it went, and in words what was wrong.
        inchikey14: first block of the InChIKey, the identity of the molecule. exact_mass: in Da.
        source: the search that found it.
        ranked_by: "learned", "mass" or "none".
        mass_filter: whether masses were restricted while the molecules grew.
        substructures: those that at least half of the molecules have, listed or not, with their share, such as
            "phenol 0.93; ester 0.51".
        n_generated, n_valid, n_distinct: sequences of the search without dead ends of the mass filter, valid molecules among
            them, distinct ones among these.
        ion_mode, collision_energy, instrument_type: of the spectrum, the energy in eV.
        known_match: whether it is the structure the file states (first block of the InChIKey); None if it states none.
        path, line: where the record starts.
    """

    index: int
    native_id: str
    precursor_mz: float | None
    adduct: str | None
    rank: int | None
    smiles: str | None
    selfies: str | None
    formula: str | None
    mass_error_ppm: float | None
    beam_score: float | None
    score: float | None
    consensus: float | None
    status: str
    reason: str
    inchikey14: str | None = None
    exact_mass: float | None = None
    source: str | None = None
    ranked_by: str | None = None
    mass_filter: bool = False
    substructures: str | None = None
    n_generated: int = 0
    n_valid: int = 0
    n_distinct: int = 0
    ion_mode: str | None = None
    collision_energy: float | None = None
    instrument_type: str | None = None
    known_match: bool | None = None
    path: str | None = None
    line: int | None = None


_PLAIN = ("rank", "smiles", "selfies", "formula", "inchikey14", "source")
_NUMBERS = ("mass_error_ppm", "beam_score", "score", "consensus", "exact_mass")
_ANSWER = (
    *("index", "native_id", "status", "reason", "ion_mode", "mass_filter", "n_generated", "n_valid"),
    *("n_distinct", "path", "line"),
)


def generation_records(answers: Iterable[GenerationLike]) -> Iterator[GenerationRecord]:
    """The rows of many answers, in their order."""
    for answer in answers:
        yield from records_of(answer)


def records_of(answer: GenerationLike) -> list[GenerationRecord]:
    """The rows of one answer: one per molecule in order of rank, or a single one that says why there is none."""
    molecules: Sequence[MoleculeLike | None] = answer.molecules or [None]
    return [_record(answer, found) for found in molecules]


def known_place(answer: GenerationLike) -> int | None:
    """Rank of the structure the file states; None if it states none, or if it was not generated."""
    block = known_block(answer.spectrum)
    ranks = [found.rank for found in answer.molecules if found.inchikey14 == block]
    return min(ranks) if block and ranks else None


def agreed(answer: GenerationLike) -> str | None:
    """The substructures that most molecules have, most frequent first; None if there are none, or too few molecules."""
    if answer.n_compared < 2:
        return None
    shares = sorted(answer.substructures.items(), key=lambda pair: (-pair[1], pair[0]))
    return "; ".join(f"{name} {share:.2f}" for name, share in shares if share >= AGREED) or None


def _record(answer: GenerationLike, found: MoleculeLike | None) -> GenerationRecord:
    spectrum = answer.spectrum
    block = known_block(spectrum)
    values: dict[str, Any] = {name: getattr(answer, name) for name in _ANSWER}
    values |= {name: getattr(found, name, None) for name in _PLAIN}
    values |= {name: _number(getattr(found, name, None)) for name in _NUMBERS}
    return GenerationRecord(
        **values,
        precursor_mz=_number(answer.precursor_mz),
        adduct=(found.adduct if found else None) or answer.adduct,
        ranked_by=answer.ranked_by or None,
        substructures=agreed(answer),
        collision_energy=_number(spectrum.collision_energy) if spectrum else None,
        instrument_type=spectrum.instrument_type if spectrum else None,
        known_match=found.inchikey14 == block if found and block else None,
    )


def _number(value: float | None) -> float | None:
    """A plain finite float, or None."""
    return float(value) if value is not None and math.isfinite(value) else None
