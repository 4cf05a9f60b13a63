"""From a ranking by embedding to the answer: evidence, probabilities, the candidate set, and whether to answer at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ...spectra.adducts import Adduct
from ...spectra.masses import parse_formula
from ..encode import bit_probabilities, decode_path
from ..options import SearchOptions
from .bank import MoleculeBank
from .confidence import Calibration, CalibrationError, Confidence, Listing, assess
from .evidence import FragmentEvidence
from .query import Candidate, Query, Ranking
from .rerank import rerank
from .search import Floats


@dataclass(frozen=True, slots=True)
class Verdict:
    """A finished ranking, what it is worth, and why it is held back ("" if it is not)."""

    ranking: Ranking
    confidence: Confidence
    abstained: str


class Judge:
    """Finishes the rankings of one run.

    Args:
        model: whose embeddings are ranked.
        bank: the candidates.
        options: how to search.
        evidence: of the checkpoint, None if it has none; has no say on the path "projection".
        calibration: of the checkpoint, None if it has none.

    Raises:
        DecodeError: the model does not have the path asked for.
        CalibrationError: answers are to be held back, or sets of a level are asked for, that no calibration covers.
    """

    def __init__(
        self,
        model: Any,
        bank: MoleculeBank,
        options: SearchOptions,
        evidence: FragmentEvidence | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        decode_path(model, options.decode)
        self.model, self.bank, self.options = model, bank, options
        # the weight of the evidence is fitted beside the cosine of fingerprints
        weighed = options.evidence_depth > 0 and options.decode == "fingerprint"
        self.evidence = evidence if weighed else None
        self.calibration = (
            None if calibration is None else calibration.find(options, self.evidence is not None)
        )
        if self.calibration is not None:
            self.calibration.threshold(options.set_level, 1)
        elif options.may_abstain:
            kinds = ", ".join(sorted({found.kind for found in calibration.searches})) if calibration else ""
            raise CalibrationError(
                "min_confidence and coverage need a calibration for this kind of search; the checkpoint has "
                + (f"{kinds}; search so" if kinds else "none; make one with training_scripts/calibrate.py")
            )

    def rank(self, embeddings: Floats, queries: Sequence[Query]) -> list[Ranking]:
        """Rankings by cosine, deep enough for the evidence; arguments as in `MoleculeBank.rank`."""
        bits = bit_probabilities(self.model, embeddings, self.options.decode)
        return self.bank.rank(embeddings, queries, self.options.depth(self.evidence is not None), bits)

    def __call__(self, ranking: Ranking, query: Query, spectrum: Any, embedding: Floats) -> Verdict:
        """Finish one ranking; its candidates are changed in place.

        Args:
            ranking: of `rank`, with at least one candidate.
            query: what was asked.
            spectrum: in any form the extractor takes. embedding: of it (D,), as the model gives it.
        """
        options, length = self.options, float(np.linalg.norm(embedding))
        if self.evidence is not None:
            ranking = rerank(ranking, spectrum, length, self.evidence, options.top_k)
        best = ranking.candidates[0]
        cosine = best.score if best.cosine is None else best.cosine
        listing = Listing(
            ranking.scores, cosine, best.explained, length, len(spectrum.mz), ranking.n_candidates
        )
        confidence = assess(listing, self.calibration, options.set_level, len(query.ions))
        known, size = confidence.probabilities, confidence.set_size
        for place, candidate in enumerate(ranking.candidates):
            _check_adduct(candidate, query, options.ppm)
            candidate.probability = None if known is None else float(known[place])
            candidate.in_set = None if size is None else place < size
        return Verdict(ranking, confidence, self._abstained(confidence))

    def _abstained(self, confidence: Confidence) -> str:
        if self.calibration is None or not self.options.may_abstain:
            return ""
        least = self.calibration.probability_for(self.options) or 0.0
        if confidence.probabilities is None:
            return f"abstained: {confidence.reason}" if least > 0 else ""
        sure = float(confidence.probabilities[0])
        return f"abstained: confidence {sure:.2f} is below {least:.2f}" if sure < least else ""


def _check_adduct(candidate: Candidate, query: Query, ppm: float) -> None:
    """Enter the precursor error in Da, and whether the molecule can form the ion at the measured m/z."""
    adduct = next((ion.adduct for ion in query.ions if ion.adduct.name == candidate.adduct), None)
    if adduct is None or query.precursor_mz is None or candidate.mass_error_ppm is None:
        return
    error = query.precursor_mz - float(adduct.mz(candidate.exact_mass))
    candidate.mass_error_da = error * abs(adduct.charge)
    near = abs(candidate.mass_error_ppm) <= ppm
    candidate.adduct_compatible = near and _has_what_it_loses(candidate.formula, adduct)


@lru_cache(maxsize=4096)
def _has_what_it_loses(formula: str, adduct: Adduct) -> bool:
    """Whether the molecules of the ion hold the atoms that the adduct takes away."""
    lost = [(symbol, -change) for symbol, change in adduct.composition if change < 0]
    atoms = parse_formula(formula) if lost else {}
    return all(adduct.multiplicity * atoms.get(symbol, 0) >= count for symbol, count in lost)
