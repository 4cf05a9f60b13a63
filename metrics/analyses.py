"""What lies behind a recall figure: margins, the effect of the pool's size, and of the query's hardness.

The analyses of SpecBridge (arXiv 2601.17204), figures 2, 4 and 5. Arrays in, arrays out; `msformers.reports` draws them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
import numpy.typing as npt

from .retrieval import BoolArray, FloatArray, bootstrap_interval, checked_queries, standing


@dataclass(frozen=True, slots=True)
class PoolSizeCurve:
    """Recall as the pool of candidates grows.

    Attributes:
        sizes: pool sizes, int64 of shape (n_sizes,), the truth counted.
        ks: the K of Recall@K, int64 of shape (n_ks,).
        recall: float64 of shape (n_sizes, n_ks).
        n_queries: queries whose own pool is large enough for every size; the same ones make every point.
    """

    sizes: npt.NDArray[np.int64]
    ks: npt.NDArray[np.int64]
    recall: FloatArray
    n_queries: int


@dataclass(frozen=True, slots=True)
class HardnessCurve:
    """A figure per bin of hardness.

    Attributes:
        edges: float64 of shape (n_bins + 1,); a bin holds its lower edge, the last one its upper edge too.
        mean, low, high: float64 of shape (n_bins,), NaN in an empty bin; low and high are a 95 % bootstrap interval.
        count: queries per bin, int64 of shape (n_bins,).
    """

    edges: FloatArray
    mean: FloatArray
    low: FloatArray
    high: FloatArray
    count: npt.NDArray[np.int64]


def margins(scores: Sequence[npt.ArrayLike], positives: Sequence[npt.ArrayLike]) -> FloatArray:
    """Score of the best positive minus score of the best decoy; positive where the query is answered rightly.

    Returns:
        float64 of shape (n_queries,); +inf where there is no decoy, -inf where there is no positive.
    """
    gaps = []
    for values, marks in checked_queries(scores, positives):
        best = values[marks].max(initial=-np.inf)
        rival = values[~marks].max(initial=-np.inf)
        gaps.append(best - rival)
    return np.array(gaps, dtype=np.float64)


def pool_size_sensitivity(
    scores: Sequence[npt.ArrayLike],
    positives: Sequence[npt.ArrayLike],
    sizes: Sequence[int],
    ks: Sequence[int] = (1, 5, 20),
) -> PoolSizeCurve:
    """Recall@K had the pool held fewer decoys, all positives kept and the decoys drawn at random without replacement.

    Nothing is simulated: the number of drawn decoys that outrank the best positive is hypergeometric, and the mean over
    draws, and over the orders of equal scores, is summed exactly.

    Args:
        sizes: pool sizes to evaluate, the positives counted.
        ks: the K of Recall@K.

    Raises:
        ValueError: if no query has a positive and a pool as large as the largest size.
    """
    queries = [
        (values, marks)
        for values, marks in checked_queries(scores, positives)
        if marks.any() and values.size >= max(sizes) and marks.sum() <= min(sizes)
    ]
    if not queries:
        raise ValueError(f"no query has a positive and {max(sizes)} candidates; ask for smaller sizes")
    recall = np.array(
        [[np.mean([_pool_hit(*query, size, k) for query in queries]) for k in ks] for size in sizes]
    )
    return PoolSizeCurve(
        np.asarray(sizes, dtype=np.int64), np.asarray(ks, dtype=np.int64), recall, len(queries)
    )


def _pool_hit(scores: FloatArray, positives: BoolArray, size: int, k: int) -> float:
    """Chance that fewer than `k` of the drawn decoys stand before the best positive of one query."""
    place = standing(scores, positives)
    if place is None:
        return 0.0
    decoys, drawn = int((~positives).sum()), size - int(positives.sum())
    rivals = place.tied - place.positive
    chance = 0.0
    for before in range(rivals + 1):
        # Of all ways to place the tied positives among the tied, those in which exactly `before` decoys come first.
        ways = comb(place.tied - before - 1, place.positive - 1) / comb(place.tied, place.positive)
        chance += ways * _fewer_than(k, decoys, place.above + before, drawn)
    return chance


def _fewer_than(k: int, decoys: int, better: int, drawn: int) -> float:
    """P(X < k) of the hypergeometric count X of better decoys among those drawn."""
    total = comb(decoys, drawn)
    return sum(comb(better, x) * comb(decoys - better, drawn - x) for x in range(min(k, drawn + 1))) / total


def hardness(values: npt.ArrayLike, similarity: npt.ArrayLike, edges: Sequence[float]) -> HardnessCurve:
    """Mean of a per-query figure in bins of similarity to what was known in training.

    Args:
        values: one figure per query, such as `hits_at_k`, shape (n,).
        similarity: one per query, such as `nearest_tanimoto` to the training molecules, shape (n,).
        edges: ascending bin edges; queries outside them are in no bin.

    Raises:
        ValueError: if the lengths differ or the edges do not ascend.
    """
    figures, closeness = np.asarray(values, dtype=np.float64), np.asarray(similarity, dtype=np.float64)
    borders = np.asarray(edges, dtype=np.float64)
    if figures.shape != closeness.shape or figures.ndim != 1:
        raise ValueError(
            f"values {figures.shape} and similarity {closeness.shape} must be flat and equally long"
        )
    if borders.size < 2 or not (np.diff(borders) > 0).all():
        raise ValueError(f"edges {list(edges)} must be at least two ascending numbers")
    bins = np.digitize(closeness, borders) - 1
    bins[closeness == borders[-1]] = borders.size - 2
    rows = []
    for number in range(borders.size - 1):
        inside = figures[bins == number]
        if inside.size:
            interval = bootstrap_interval(inside, confidence=0.95, resamples=2_000)
            rows.append((interval.mean, interval.low, interval.high, inside.size))
        else:
            rows.append((np.nan, np.nan, np.nan, 0))
    mean, low, high, count = (np.array(column) for column in zip(*rows, strict=True))
    return HardnessCurve(borders, mean, low, high, count.astype(np.int64))
