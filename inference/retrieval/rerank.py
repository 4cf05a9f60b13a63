"""A ranking by embedding, ordered again by what the candidates' fragments explain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .evidence import FragmentEvidence
from .query import Ranking
from .search import rank_rows


def rerank(ranking: Ranking, spectrum: Any, length: float, evidence: FragmentEvidence, top_k: int) -> Ranking:
    """Add fragment evidence to the scores of a ranking.

    Args:
        ranking: by cosine; candidates that it does not list stay behind those it does. Unchanged at unit resolution.
        spectrum: the spectrum, in any form the extractor takes.
        length: of its embedding before normalisation: how much the embedding claims to know.
        top_k: candidates to keep.

    Returns:
        The candidates, changed in place, with score = cosine + evidence / `length`, new rank, gap and expected rank, and `explained`, the share
        of the fragment intensity that their fragments explain.
    """
    found = ranking.candidates
    if not found or not evidence.applies(spectrum):
        return replace(ranking, candidates=found[:top_k])
    more, explained = evidence.scores(spectrum, [candidate.smiles for candidate in found])
    scores = (np.array([candidate.score for candidate in found]) + more / max(length, 1e-6)).astype(
        np.float32
    )
    hits = rank_rows(scores, np.arange(len(found)), top_k)
    for hit in hits:
        candidate = found[hit.row]
        candidate.rank, candidate.expected_rank = hit.rank, hit.expected_rank
        candidate.score, candidate.gap, candidate.explained = hit.score, hit.gap, float(explained[hit.row])
    return Ranking([found[hit.row] for hit in hits], ranking.n_candidates, np.sort(scores)[::-1])
