"""Recall@K and mean reciprocal rank of ranked candidate lists, with ties treated honestly.

Every function takes ragged lists, one entry per query: `scores[i]`, float of shape (n_i,), higher is better, and
`positives[i]`, bool of shape (n_i,), true where the candidate is the right molecule (several may be: the match is by the
first InChIKey block). Definitions: MassSpecGym (arXiv 2410.23326), section on retrieval, and SpecBridge (arXiv 2601.17204).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import comb
from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

TieMode = Literal["expected", "official"]
"""How equal scores are ordered.

``expected``: in every order with equal chance; figures are expectations, so a constant scorer gains nothing.
``official``: in the order of the list, first position first, as `argmax` does. MassSpecGym ranks by `torch.topk`, whose
order of equal scores is not specified; first position is its usual outcome, and the official lists begin with the truth,
so a constant scorer can look perfect in this mode. Give it beside the expected figure, never alone.
"""

MissingMode = Literal["raise", "miss"]
"""What a query without a positive candidate is: an error (as in MassSpecGym), or a miss (rank infinity)."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its bootstrap confidence interval."""

    mean: float
    low: float
    high: float
    confidence: float
    n: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the best positive of one query stands.

    Attributes:
        above: candidates with a higher score.
        tied: candidates with its score, itself counted.
        positive: positives among the tied.
    """

    above: int
    tied: int
    positive: int


def positives_by_block(truth: Sequence[str], candidates: Sequence[Sequence[str]]) -> list[BoolArray]:
    """Mark the candidates whose InChIKey has the same first block (14 characters, the skeleton) as the truth.

    Args:
        truth: one InChIKey or first block per query.
        candidates: the InChIKeys or first blocks of each query's candidates.

    Raises:
        ValueError: if the two differ in length, or a key is too short to hold a first block.
    """
    if len(truth) != len(candidates):
        raise ValueError(
            f"{len(truth)} true molecules for {len(candidates)} candidate lists; give one list per query"
        )
    marked = []
    for query, (key, keys) in enumerate(zip(truth, candidates, strict=True)):
        short = [text for text in (key, *keys) if len(text) < 14]
        if short:
            raise ValueError(
                f"query {query}: {short[0]!r} is no InChIKey; 14 characters of the first block are needed"
            )
        marked.append(np.array([other[:14] == key[:14] for other in keys], dtype=np.bool_))
    return marked


def checked_queries(
    scores: Sequence[npt.ArrayLike], positives: Sequence[npt.ArrayLike]
) -> Iterator[tuple[FloatArray, BoolArray]]:
    """Yield each query's scores (float64) and positives (bool) once they are known to be usable.

    Raises:
        ValueError: naming the query, if lengths differ, a list is empty or not flat, or a score is NaN.
    """
    if len(scores) != len(positives):
        raise ValueError(
            f"{len(scores)} score lists for {len(positives)} lists of positives; give one per query"
        )
    for query, (score, positive) in enumerate(zip(scores, positives, strict=True)):
        values, marks = np.asarray(score, dtype=np.float64), np.asarray(positive, dtype=np.bool_)
        if values.ndim != 1 or values.shape != marks.shape or values.size == 0:
            raise ValueError(
                f"query {query}: scores {values.shape} and positives {marks.shape} must be flat, equal and not empty"
            )
        if np.isnan(values).any():
            raise ValueError(
                f"query {query}: a score is NaN, which has no rank; score the candidate or leave it out"
            )
        yield values, marks


def standing(scores: FloatArray, positives: BoolArray, ties: TieMode = "expected") -> Standing | None:
    """Where the best positive of one query stands, or `None` if the list has no positive."""
    if ties not in ("expected", "official"):
        raise ValueError(f"ties={ties!r} is unknown; use 'expected' or 'official'")
    if not positives.any():
        return None
    best = scores[positives].max()
    above, tied = int((scores > best).sum()), scores == best
    if ties == "official":
        first = int(np.flatnonzero(tied & positives)[0])
        return Standing(above + int(tied[:first].sum()), 1, 1)
    return Standing(above, int(tied.sum()), int((tied & positives).sum()))


def _standings(
    scores: Sequence[npt.ArrayLike], positives: Sequence[npt.ArrayLike], ties: TieMode, missing: MissingMode
) -> Iterator[Standing | None]:
    for query, (values, marks) in enumerate(checked_queries(scores, positives)):
        place = standing(values, marks, ties)
        if place is None and missing == "raise":
            raise ValueError(
                f"query {query}: no positive among {values.size} candidates; missing='miss' counts it as a miss"
            )
        yield place


def ranks(
    scores: Sequence[npt.ArrayLike],
    positives: Sequence[npt.ArrayLike],
    ties: TieMode = "expected",
    missing: MissingMode = "raise",
) -> FloatArray:
    """Rank of the best positive of each query, counted from 1; infinity where there is none.

    With `ties="expected"` it is the expected rank: above + (tied + 1) / (positive + 1), for one positive the mean of the
    best and the worst place it can take.

    Returns:
        float64 of shape (n_queries,).
    """
    places = _standings(scores, positives, ties, missing)
    return np.array(
        [np.inf if p is None else p.above + (p.tied + 1) / (p.positive + 1) for p in places], dtype=np.float64
    )


def hits_at_k(
    scores: Sequence[npt.ArrayLike],
    positives: Sequence[npt.ArrayLike],
    k: int,
    ties: TieMode = "expected",
    missing: MissingMode = "raise",
) -> FloatArray:
    """Chance of each query that a positive is among its first `k` candidates: 0 or 1 unless a tie straddles place `k`.

    Returns:
        float64 of shape (n_queries,).
    """
    if k < 1:
        raise ValueError(f"k={k} must be at least 1")
    return np.array(
        [_hit_chance(place, k) for place in _standings(scores, positives, ties, missing)], dtype=np.float64
    )


def _hit_chance(place: Standing | None, k: int) -> float:
    """1 - P(no positive among the first k - above of the tied candidates), in random order."""
    if place is None or place.above >= k:
        return 0.0
    drawn = min(k - place.above, place.tied)
    return 1.0 - comb(place.tied - place.positive, drawn) / comb(place.tied, drawn)


def recall_at_k(
    scores: Sequence[npt.ArrayLike],
    positives: Sequence[npt.ArrayLike],
    k: int,
    ties: TieMode = "expected",
    missing: MissingMode = "raise",
) -> float:
    """Share of queries with a positive among the first `k` candidates (MassSpecGym's hit rate), averaged over queries."""
    return _mean(hits_at_k(scores, positives, k, ties, missing))


def mrr(
    scores: Sequence[npt.ArrayLike],
    positives: Sequence[npt.ArrayLike],
    ties: TieMode = "expected",
    missing: MissingMode = "raise",
) -> float:
    """Mean over queries of 1 / rank; a tie counts at its expected rank, a miss counts 0."""
    return _mean(1.0 / ranks(scores, positives, ties, missing))


def bootstrap_interval(
    values: npt.ArrayLike,
    confidence: float = 0.999,
    resamples: int = 20_000,
    seed: int = 0,
    groups: Sequence[object] | None = None,
) -> Interval:
    """Percentile bootstrap interval of the mean; the defaults are those of MassSpecGym's tables.

    Args:
        values: one figure per query, shape (n,).
        groups: one label per query, such as the molecule; whole groups are then drawn, because several spectra of one
            molecule are not independent and drawing them singly makes the interval too narrow.

    Raises:
        ValueError: if there are no values, or `groups` has another length.
    """
    figures = np.asarray(values, dtype=np.float64)
    mean = _mean(figures)
    if groups is not None and len(groups) != figures.size:
        raise ValueError(f"{len(groups)} groups for {figures.size} values; give one per value")
    codes = (
        np.arange(figures.size)
        if groups is None
        else np.unique([str(g) for g in groups], return_inverse=True)[1]
    )
    sums, counts = np.bincount(codes, weights=figures), np.bincount(codes).astype(np.float64)
    rng, means = np.random.default_rng(seed), np.empty(resamples)
    step = max(1, 4_000_000 // sums.size)
    for start in range(0, resamples, step):
        drawn = rng.integers(0, sums.size, size=(min(step, resamples - start), sums.size))
        means[start : start + len(drawn)] = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(mean, float(low), float(high), confidence, figures.size)


def _mean(values: FloatArray) -> float:
    if values.size == 0:
        raise ValueError("no queries were given, and the mean of nothing is undefined")
    return float(values.mean())
