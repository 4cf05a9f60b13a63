"""What the consensus scores of substructures are worth: claimed shares against how often the true molecule has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .retrieval import FloatArray
from .selective import Reliability, brier

MIN_OCCURRENCES = 5
"""Substructures in fewer true molecules have no reliability (LSM1-MS2 plots those with at least 5)."""


@dataclass(frozen=True, slots=True)
class SubstructureReliability:
    """How far the consensus score of one substructure can be read as a probability.

    Attributes:
        curve: mean score and share of the true molecules with the substructure, per bin of the score; `curve.error` is the
            expected calibration error.
        brier: mean squared distance between score and truth.
        occurrences: queries whose true molecule has the substructure. n: queries with a score.
    """

    curve: Reliability
    brier: float
    occurrences: int
    n: int


def substructure_reliability(
    scores: npt.ArrayLike,
    truth: npt.ArrayLike,
    names: Sequence[str],
    bins: int = 10,
    min_occurrences: int = MIN_OCCURRENCES,
    weights: npt.ArrayLike | None = None,
) -> dict[str, SubstructureReliability]:
    """Consensus scores against the truth, one substructure at a time.

    The bins have equal widths, so that the many queries with a score of exactly 0 share one.

    Args:
        scores: (n, k) in 0 … 1; a row or value that is NaN (no valid prediction) is left out.
        truth: (n, k) whether the true molecule of a query has the substructure.
        names: (k,) of the substructures.
        min_occurrences: substructures in fewer true molecules are left out.
        weights: (n,) such as `selective.group_weights` of the molecules; equal if not given.

    Raises:
        ValueError: shapes differ, or a score is not in 0 … 1.
    """
    claimed, right = np.asarray(scores, dtype=np.float64), np.asarray(truth, dtype=np.bool_)
    weight = np.ones(len(claimed)) if weights is None else np.asarray(weights, dtype=np.float64)
    if claimed.shape != right.shape or claimed.shape != (len(weight), len(names)):
        raise ValueError(
            f"scores of shape {claimed.shape}, truth of shape {right.shape}, {len(names)} names, {len(weight)} weights; "
            "give queries × substructures, one name per substructure, one weight per query"
        )
    if ((claimed < 0) | (claimed > 1)).any():
        raise ValueError("a consensus score is not in 0 … 1; give shares of the predictions")
    found = {}
    for column, name in enumerate(names):
        scored = np.isfinite(claimed[:, column])
        values, hits = claimed[scored, column], right[scored, column]
        if hits.sum() >= max(1, min_occurrences):
            curve = _equal_width(values, hits, bins, weight[scored])
            error = brier(values, hits, weight[scored])
            found[name] = SubstructureReliability(curve, error, int(hits.sum()), int(scored.sum()))
    return found


def _equal_width(
    claimed: FloatArray, right: npt.NDArray[np.bool_], bins: int, weight: FloatArray
) -> Reliability:
    place = np.minimum((claimed * bins).astype(int), bins - 1)
    mass = np.bincount(place, weight, bins)
    filled = mass > 0
    sums = (np.bincount(place, weight * values, bins)[filled] for values in (claimed, right))
    mean_claimed, mean_right = (total / mass[filled] for total in sums)
    return Reliability(mean_claimed, mean_right, mass[filled] / mass.sum())
