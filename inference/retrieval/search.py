"""Exact cosine search: rank every molecule a query may be, report ties honestly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
TIE = 1e-6
TIE_MARGIN = 32


@dataclass(frozen=True, slots=True)
class Hit:
    """A ranked row of the bank.

    Attributes:
        row: row of the bank.
        rank: 1 for the best; ties in the bank's order (exact mass, then InChIKey), which means nothing.
        expected_rank: mean rank over all orders of the molecules tied with this one (scores within 1e-6).
        score: cosine of spectrum and molecule embedding, in [-1, 1].
        gap: score minus the score of the next molecule; None for the last.
    """

    row: int
    rank: int
    expected_rank: float
    score: float
    gap: float | None


def normalize(vectors: npt.ArrayLike) -> Floats:
    """Rows of unit length, float32, shape kept; a zero row stays zero."""
    array = np.asarray(vectors, dtype=np.float32)
    length = np.linalg.norm(array, axis=-1, keepdims=True)
    return np.asarray(array / np.where(length > 0.0, length, 1.0), dtype=np.float32)


def rank_rows(scores: Floats, rows: npt.NDArray[np.int64], top_k: int) -> list[Hit]:
    """The best `top_k` of scored rows.

    Args:
        scores: (n,) cosines.
        rows: (n,) rows of the bank the scores belong to, ascending.
        top_k: how many to return; 0 or less returns all.
    """
    count = len(scores)
    keep = count if top_k <= 0 else min(top_k, count)
    order = np.argsort(-scores, kind="stable")
    best = scores[order[: keep + 1]]
    ascending = scores[order[::-1]]
    above = count - np.searchsorted(ascending, best[:keep] + TIE, side="right")
    not_below = count - np.searchsorted(ascending, best[:keep] - TIE, side="left")
    return [
        Hit(
            row=int(rows[order[i]]),
            rank=i + 1,
            expected_rank=float(above[i] + not_below[i] + 1) / 2.0,
            score=float(best[i]),
            gap=float(best[i] - best[i + 1]) if i + 1 < len(best) else None,
        )
        for i in range(keep)
    ]


def rank_open(queries: Floats, blocks: Iterable[tuple[int, Floats]], top_k: int) -> list[list[Hit]]:
    """The best `top_k` rows of a whole bank for many queries, the bank read once, block by block.

    Args:
        queries: (B, D) unit vectors.
        blocks: (first row, (n, D) unit vectors) in ascending row order.
        top_k: at least 1. Ties are counted among the best `top_k` + 33 molecules.
    """
    width = top_k + 1 + TIE_MARGIN
    scores = np.empty((len(queries), 0), dtype=np.float32)
    rows = np.empty((len(queries), 0), dtype=np.int64)
    for start, block in blocks:
        new_scores = queries @ block.T
        new = _best_columns(new_scores, width)
        scores = np.hstack([scores, np.take_along_axis(new_scores, new, 1)])
        rows = np.hstack([rows, new + start])
        kept = _best_columns(scores, width)
        scores, rows = np.take_along_axis(scores, kept, 1), np.take_along_axis(rows, kept, 1)
    return [rank_rows(s, r, top_k) for s, r in zip(scores, rows, strict=True)]


def _best_columns(scores: Floats, width: int) -> npt.NDArray[np.int64]:
    """Per row the columns of the `width` highest scores, ascending."""
    if scores.shape[1] <= width:
        return np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    return np.sort(np.argpartition(-scores, width - 1, axis=1)[:, :width], axis=1)
