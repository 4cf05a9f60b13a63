"""How spectra are searched."""

from __future__ import annotations

from dataclasses import dataclass

from ..spectra.adducts import AdductTable
from .retrieval.precursor import AdductPolicy
from .retrieval.query import Search

DECODES = ("fingerprint", "projection")


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How to search, and when to give no answer.

    Attributes:
        search: "mass" (precursor and adduct), "formula" (the spectrum's formula) or "open" (the whole bank).
        top_k: candidates per spectrum.
        ppm: tolerance around the precursor m/z.
        adducts: for spectra without adduct: "assume", "common", "require" or an adduct; see `read_precursor`.
        adduct_table: the known adducts, by default those of the package.
        min_peaks: spectra with fewer peaks are reported and not searched.
        evidence_depth: best candidates that are cut into fragments and ranked again, where the checkpoint knows how; 0 = none.
        decode: how a model with two paths compares: "fingerprint", or "projection" (query and target projections).
        min_confidence: below this probability of the best candidate the answer is marked as abstained; None = never.
        coverage: instead, the share of spectra like those of the validation that are to be answered.
        set_level: chance that a candidate set holds the truth, one of the levels the checkpoint is calibrated for.

    Raises:
        ValueError: a value that makes no sense, or both `min_confidence` and `coverage`.
    """

    search: Search = "mass"
    top_k: int = 10
    ppm: float = 10.0
    adducts: AdductPolicy = "assume"
    adduct_table: AdductTable | None = None
    min_peaks: int = 1
    evidence_depth: int = 200
    decode: str = "fingerprint"
    min_confidence: float | None = None
    coverage: float | None = None
    set_level: float = 0.9

    def __post_init__(self) -> None:
        if self.search not in ("mass", "formula", "open"):
            raise ValueError(f"search {self.search!r} is none of mass, formula, open")
        if self.decode not in DECODES:
            raise ValueError(f"decode {self.decode!r} is none of {', '.join(DECODES)}")
        if self.top_k < 1 or not self.ppm > 0.0:
            raise ValueError(f"top_k must be at least 1 and ppm above 0, got {self.top_k} and {self.ppm}")
        if self.min_confidence is not None and self.coverage is not None:
            raise ValueError("min_confidence and coverage both say when to abstain; give one of them")
        for name in ("min_confidence", "coverage"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} {value} is not between 0 and 1")

    @property
    def may_abstain(self) -> bool:
        """Whether an answer may be held back."""
        return self.min_confidence is not None or self.coverage is not None

    def depth(self, has_evidence: bool) -> int:
        """Candidates to rank by embedding."""
        return max(self.top_k, self.evidence_depth) if has_evidence else self.top_k
