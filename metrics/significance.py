"""Is one system better than another on the same queries, or lucky? Paired tests on per-query figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .retrieval import FloatArray, Interval, bootstrap_interval


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """Mean of first minus second over the same queries, its bootstrap interval, and a permutation p-value."""

    difference: Interval
    p_value: float


def paired_comparison(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
    groups: Sequence[object] | None = None,
) -> PairedComparison:
    """Compare two systems by their figures on the same queries, such as two results of `hits_at_k`.

    The interval is the paired bootstrap of the mean difference. The p-value is two-sided, from randomly exchanging the two
    systems per query (`scipy.stats.permutation_test`), which assumes no distribution.

    Args:
        first, second: one figure per query, same order, shape (n,).
        groups: one label per query (the molecule); whole groups are then drawn and exchanged.

    Raises:
        ModuleNotFoundError: without the `metrics` extra.
        ValueError: if the lengths differ or nothing is given.
    """
    left, right = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if left.shape != right.shape or left.ndim != 1:
        raise ValueError(
            f"first {left.shape} and second {right.shape} must be flat and hold the same queries"
        )
    difference = bootstrap_interval(left - right, confidence, resamples, seed, groups)
    return PairedComparison(difference, _permutation_p(left - right, resamples, seed, groups))


def _permutation_p(gaps: FloatArray, resamples: int, seed: int, groups: Sequence[object] | None) -> float:
    try:
        from scipy.stats import permutation_test
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'the permutation test needs scipy; pip install "msformers[metrics]"'
        ) from error
    if groups is not None:
        # Exchanging a whole group flips the sign of its summed difference; the factor 1/n does not change a p-value.
        gaps = np.bincount(np.unique([str(g) for g in groups], return_inverse=True)[1], weights=gaps).astype(
            np.float64
        )
    halves = (gaps / 2, -gaps / 2)
    result = permutation_test(
        halves,
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, 2_000_000 // max(1, gaps.size)),
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)
