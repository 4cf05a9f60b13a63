"""Binary labels against scores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def area_under_roc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """The chance that a positive has a higher score than a negative, ties counted half (area under the ROC curve).

    Args:
        labels: (n,) 1 or 0; NaN or negative where unknown, which are left out.
        scores: (n,) higher = more likely positive.

    Returns:
        0 to 1; NaN if there is no positive or no negative.
    """
    truth, values = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    known = truth >= 0
    positive, values = truth[known] > 0.5, values[known]
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return float("nan")
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))
