"""One flat row per spectrum and candidate: what every table of results holds."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from ..spectra.molecules import MoleculeError, inchikey_block
from ..spectra.spectrum import Spectrum

_INCHIKEY = re.compile(r"[A-Z]{14}(-[A-Z]{10}-[A-Z])?")


class CandidateLike(Protocol):
    """What is read of a ranked molecule (`inference.retrieval.query.Candidate` has it)."""

    @property
    def rank(self) -> int: ...  # noqa: D102
    @property
    def smiles(self) -> str: ...  # noqa: D102
    @property
    def formula(self) -> str: ...  # noqa: D102
    @property
    def inchikey(self) -> str: ...  # noqa: D102
    @property
    def score(self) -> float: ...  # noqa: D102
    @property
    def gap(self) -> float | None: ...  # noqa: D102
    @property
    def mass_error_ppm(self) -> float | None: ...  # noqa: D102
    @property
    def adduct(self) -> str | None: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def explained(self) -> float | None: ...  # noqa: D102
    @property
    def exact_mass(self) -> float: ...  # noqa: D102
    @property
    def mass_error_da(self) -> float | None: ...  # noqa: D102
    @property
    def adduct_compatible(self) -> bool | None: ...  # noqa: D102
    @property
    def valid(self) -> bool: ...  # noqa: D102
    @property
    def fingerprint_similarity(self) -> float | None: ...  # noqa: D102
    @property
    def probability(self) -> float | None: ...  # noqa: D102
    @property
    def in_set(self) -> bool | None: ...  # noqa: D102


class AnnotationLike(Protocol):
    """What is read of an answer (`inference.annotate.Annotation` has it)."""

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
    def n_candidates(self) -> int: ...  # noqa: D102
    @property
    def candidates(self) -> Sequence[CandidateLike]: ...  # noqa: D102
    @property
    def confidence_band(self) -> str | None: ...  # noqa: D102
    @property
    def confidence_note(self) -> str: ...  # noqa: D102
    @property
    def ambiguity(self) -> str | None: ...  # noqa: D102
    @property
    def set_size(self) -> int | None: ...  # noqa: D102
    @property
    def path(self) -> str | None: ...  # noqa: D102
    @property
    def line(self) -> int | None: ...  # noqa: D102
    @property
    def spectrum(self) -> Spectrum | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class AnnotationRecord:
    """One row of a results table: one candidate of one spectrum, or the reason why a spectrum has none.

    Attributes:
        index: position of the record in the input, from 0.
        native_id: the spectrum's own id in its file.
        precursor_mz: in Th.
        adduct: the adduct under which this candidate explains the precursor.
        rank: 1 for the best; None if there is no candidate.
        smiles, formula, inchikey: the candidate.
        score: cosine of spectrum and molecule, plus the fragment evidence if the checkpoint has it; what ranks.
        gap: score minus the score of the next candidate.
        mass_error_ppm: measured minus expected precursor m/z, in ppm.
        status, reason: how the search went, and in words what was wrong.
        name: of the candidate.
        n_candidates: molecules that were ranked for this spectrum.
        explained: share of the fragment intensity that fragments of the candidate explain, 0 to 1; None without evidence.
        probability: that the candidate is the right one, given that the right one is among the candidates; None if the
            checkpoint is not calibrated for this kind of search.
        in_set: whether it is in the candidate set of the chance asked for; set_size: candidates in that set.
        confidence_band: high, medium or low by the probability of rank 1, or uncalibrated; confidence_note says why.
        ambiguity: unique, few or many candidates as good as rank 1.
        exact_mass, mass_error_da: of the candidate, and measured minus expected precursor, in Da.
        adduct_compatible: whether the candidate can form the ion of the adduct at the precursor m/z.
        valid: whether RDKit reads the structure.
        fingerprint_similarity: of predicted and actual fingerprint, Σmin / Σmax; None without fingerprint.
        ion_mode, collision_energy, instrument_type: of the spectrum, the energy in eV.
        known_match: whether the candidate is the structure the file states (first block of the InChIKey);
            None if the file states none.
        path, line: where the record starts.
    """

    index: int
    native_id: str
    precursor_mz: float | None
    adduct: str | None
    rank: int | None
    smiles: str | None
    formula: str | None
    inchikey: str | None
    score: float | None
    gap: float | None
    mass_error_ppm: float | None
    status: str
    reason: str
    name: str | None = None
    n_candidates: int = 0
    explained: float | None = None
    probability: float | None = None
    in_set: bool | None = None
    set_size: int | None = None
    confidence_band: str | None = None
    confidence_note: str | None = None
    ambiguity: str | None = None
    exact_mass: float | None = None
    mass_error_da: float | None = None
    adduct_compatible: bool | None = None
    valid: bool | None = None
    fingerprint_similarity: float | None = None
    ion_mode: str | None = None
    collision_energy: float | None = None
    instrument_type: str | None = None
    known_match: bool | None = None
    path: str | None = None
    line: int | None = None


@lru_cache(maxsize=4096)
def _block(inchikey: str | None, smiles: str | None) -> str | None:
    if inchikey and _INCHIKEY.fullmatch(inchikey.strip()):
        return inchikey.strip()[:14]
    if smiles:
        try:
            return inchikey_block(smiles)
        except MoleculeError:
            return None
    return None


def known_block(spectrum: Spectrum | None) -> str | None:
    """First block of the InChIKey of the structure the file states for a spectrum; None if it states no valid one."""
    return None if spectrum is None else _block(spectrum.inchikey, spectrum.smiles)


def known_rank(annotation: AnnotationLike) -> int | None:
    """Rank of the structure the file states; None if it states none, or if it is not among the candidates."""
    block = known_block(annotation.spectrum)
    ranks = [candidate.rank for candidate in annotation.candidates if candidate.inchikey[:14] == block]
    return min(ranks) if block and ranks else None


def _number(value: float | None) -> float | None:
    """A plain finite float, or None."""
    return float(value) if value is not None and math.isfinite(value) else None


def records_from(annotation: AnnotationLike) -> list[AnnotationRecord]:
    """The rows of one answer: one per candidate in order of rank, or a single one that says why there is none."""
    candidates: Sequence[CandidateLike | None] = annotation.candidates or [None]
    return [_record(annotation, candidate) for candidate in candidates]


_NUMBERS = (
    *("score", "gap", "mass_error_ppm", "explained", "probability", "exact_mass", "mass_error_da"),
    "fingerprint_similarity",
)
_PLAIN = ("rank", "smiles", "formula", "inchikey", "in_set", "adduct_compatible", "valid")


def _record(annotation: AnnotationLike, found: CandidateLike | None) -> AnnotationRecord:
    spectrum = annotation.spectrum
    block = known_block(spectrum)
    values: dict[str, Any] = {name: getattr(found, name, None) for name in _PLAIN}
    values |= {name: _number(getattr(found, name, None)) for name in _NUMBERS}
    return AnnotationRecord(
        **values,
        index=annotation.index,
        native_id=annotation.native_id,
        precursor_mz=_number(annotation.precursor_mz),
        adduct=(found.adduct if found else None) or annotation.adduct,
        status=annotation.status,
        reason=annotation.reason,
        name=(found.name or None) if found else None,
        n_candidates=annotation.n_candidates,
        set_size=annotation.set_size,
        confidence_band=annotation.confidence_band,
        confidence_note=annotation.confidence_note or None,
        ambiguity=annotation.ambiguity,
        ion_mode=annotation.ion_mode,
        collision_energy=_number(spectrum.collision_energy) if spectrum else None,
        instrument_type=spectrum.instrument_type if spectrum else None,
        known_match=found.inchikey[:14] == block if found and block else None,
        path=annotation.path,
        line=annotation.line,
    )


def all_records(annotations: Iterable[AnnotationLike]) -> Iterator[AnnotationRecord]:
    """The rows of many answers, in their order."""
    for annotation in annotations:
        yield from records_from(annotation)
