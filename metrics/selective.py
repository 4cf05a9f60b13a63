"""How far a confidence can be trusted: risk against coverage, calibration, and sets that promise to hold the truth.

Plain arrays, one entry per answered query: `confidence` in any unit (probabilities where it says so), `errors` in 0 … 1
(a tie may be half an error). Weights make the molecule the unit where it has several spectra: `group_weights`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .retrieval import FloatArray


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """Error among the answers kept, as fewer and fewer are kept; float64 of shape (n + 1,) each.

    Attributes:
        coverage: share of the weight that is answered, from 0 to 1.
        risk: mean error of the answers kept; at coverage 0 that of the most confident ones.
    """

    coverage: FloatArray
    risk: FloatArray

    def at(self, coverage: float) -> float:
        """Risk when this share is answered, linear between the answers."""
        return float(np.interp(coverage, self.coverage, self.risk))

    @property
    def area(self) -> float:
        """Area under the curve (AURC; Geifman & El-Yaniv 2017): mean risk over all coverages, by trapezoids."""
        return float((self.risk[1:] + self.risk[:-1]) / 2.0 @ np.diff(self.coverage))


@dataclass(frozen=True, slots=True)
class Reliability:
    """Confidence against what came true, per bin of equal weight; float64 of shape (n_bins,) each.

    Attributes:
        confidence: mean probability claimed. accuracy: share that is right. weight: share of the whole.
    """

    confidence: FloatArray
    accuracy: FloatArray
    weight: FloatArray

    @property
    def error(self) -> float:
        """Expected calibration error (Guo et al. 2017): mean distance between claimed and true, over the bins."""
        return float(np.abs(self.confidence - self.accuracy) @ self.weight)


def group_weights(groups: Sequence[object]) -> FloatArray:
    """One over the size of each entry's group: every molecule counts once, whatever its number of spectra."""
    _, inverse, counts = np.unique([str(group) for group in groups], return_inverse=True, return_counts=True)
    return 1.0 / counts[inverse]


def risk_coverage(
    confidence: npt.ArrayLike, errors: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> RiskCoverage:
    """The risk-coverage curve; answers of equal confidence are taken together, at their mean error.

    Args:
        confidence: higher is surer, shape (n,).
        errors: shape (n,). weights: shape (n,), all equal if not given.

    Raises:
        ValueError: shapes differ, nothing is given, or something is not finite.
    """
    sure, wrong, weight = _checked(confidence, errors, weights)
    levels, level = np.unique(-sure, return_inverse=True)
    mass = np.bincount(level, weight, len(levels))
    mean = np.bincount(level, weight * wrong, len(levels)) / mass
    order = np.argsort(-sure, kind="stable")
    kept, lost = np.cumsum(weight[order]), np.cumsum((weight * mean[level])[order])
    risk = lost / kept
    return RiskCoverage(np.append(0.0, kept / kept[-1]), np.append(risk[0], risk))


def excess_area(
    confidence: npt.ArrayLike, errors: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> float:
    """Area of `risk_coverage` above that of an oracle that gives up the wrong answers first (excess AURC)."""
    best = risk_coverage(-np.asarray(errors, dtype=np.float64), errors, weights)
    return risk_coverage(confidence, errors, weights).area - best.area


def reliability(
    probability: npt.ArrayLike, correct: npt.ArrayLike, bins: int = 10, weights: npt.ArrayLike | None = None
) -> Reliability:
    """Claimed against observed, in at most `bins` bins of equal weight by claimed probability.

    Args:
        probability, correct: in 0 … 1, shape (n,).

    Raises:
        ValueError: as `risk_coverage`.
    """
    claimed, right, weight = _checked(probability, correct, weights)
    order = np.argsort(claimed, kind="stable")
    middle = np.cumsum(weight[order]) - weight[order] / 2
    place = np.minimum((middle / weight.sum() * bins).astype(int), bins - 1)
    mass = np.bincount(place, weight[order], bins)
    filled = mass > 0
    sums = (np.bincount(place, (weight * values)[order], bins)[filled] for values in (claimed, right))
    mean_claimed, mean_right = (total / mass[filled] for total in sums)
    return Reliability(mean_claimed, mean_right, mass[filled] / mass.sum())


def brier(probability: npt.ArrayLike, correct: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Mean squared distance between the probability claimed and the outcome (Brier 1950)."""
    claimed, right, weight = _checked(probability, correct, weights)
    return float((claimed - right) ** 2 @ weight / weight.sum())


def conformal_quantile(scores: npt.ArrayLike, level: float, groups: Sequence[object]) -> float:
    """The threshold that holds the score of a new group's entry with a chance of at least `level`.

    Split conformal prediction for hierarchical data (Lee, Barber & Willett 2023): groups (molecules) are exchangeable,
    entries within one (its spectra) are not independent, so each group weighs the same and one more group, the new
    one, is counted at infinity.

    Args:
        scores: of the truth of each entry, low where it conforms, infinite where it is not listed; shape (n,).
        level: such as 0.9.
        groups: of each entry.

    Returns:
        The threshold; infinity if there are too few groups for the level.

    Raises:
        ValueError: `level` is not between 0 and 1, or the lengths differ.
    """
    values = np.asarray(scores, dtype=np.float64)
    if not 0.0 < level < 1.0:
        raise ValueError(f"level {level} is not between 0 and 1")
    if values.shape != (len(groups),) or not len(groups):
        raise ValueError(f"{len(groups)} groups for scores of shape {values.shape}; give one per score")
    weight = group_weights(groups)
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weight[order]) / (weight.sum() + 1.0)
    # the last bits of a sum of fractions must not decide
    place = int(np.searchsorted(reached, level - 1e-9))
    return float(values[order][place]) if place < len(values) else float("inf")


def _checked(
    first: npt.ArrayLike, second: npt.ArrayLike, weights: npt.ArrayLike | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Flat float64 arrays of one length, finite, with weights."""
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    weight = np.ones(one.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if one.ndim != 1 or not one.shape == two.shape == weight.shape or not one.size:
        raise ValueError(
            f"shapes {one.shape}, {two.shape} and weights {weight.shape} must be flat, equal and not empty"
        )
    if not (np.isfinite(one).all() and np.isfinite(two).all()) or not (weight > 0).all():
        raise ValueError("a confidence or an outcome is not finite, or a weight is not above 0")
    return one, two, weight
