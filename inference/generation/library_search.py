"""The best row of each group of neighbouring rows, of the best groups."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]


def best_per_group(scores: Floats, starts: Places, k: int) -> tuple[Places, Floats]:
    """Row and score of the best row of the k best groups, best first.

    Args:
        scores: (b, n); −∞ for what must not be found.
        starts: first row of each group, ascending.
        k: groups wanted.

    Returns:
        (b, k) rows, −1 where there are no more, and (b, k) scores, NaN there.
    """
    best = np.maximum.reduceat(scores, starts, axis=1)
    kept = min(k, best.shape[1])
    chosen = np.sort(np.argpartition(-best, kept - 1, axis=1)[:, :kept], axis=1)
    order = np.argsort(-np.take_along_axis(best, chosen, 1), axis=1, kind="stable")
    chosen = np.take_along_axis(chosen, order, 1)
    rows = np.full((len(scores), k), -1, dtype=np.int64)
    found = np.full((len(scores), k), np.nan, dtype=np.float32)
    ends = np.append(starts[1:], scores.shape[1])
    for query, groups in enumerate(chosen):
        for column, group in enumerate(groups):
            if np.isfinite(best[query, group]):
                first = starts[group]
                rows[query, column] = first + int(np.argmax(scores[query, first : ends[group]]))
                found[query, column] = best[query, group]
    return rows, found
