"""What lies behind a retrieval figure: MCES@1, and the plots of margin, pool size and hardness (paper figures 2, 4, 5)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from msformers.metrics.analyses import margins, pool_size_sensitivity
from msformers.metrics.molecules import mces_at_1, nearest_tanimoto
from msformers.metrics.retrieval import hits_at_k
from msformers.reports.analysis_plot import plot_hardness, plot_margin, plot_pool_size

logger = logging.getLogger("msformers.benchmark")
POOL_SIZES = (2, 5, 10, 20, 50, 100)
Scores = Sequence[npt.NDArray[np.float64]]


def mces_of_sample(
    scores: Scores, rows: Sequence[Any], truth: Sequence[int], smiles: list[str], count: int
) -> float:
    """MCES@1 of `count` random queries, the same for every contender; NaN if none is asked for."""
    if not count:
        return float("nan")
    chosen = np.random.default_rng(0).permutation(len(scores))[:count].tolist()
    true = [smiles[rows[place][truth[place]]] for place in chosen]
    first = [smiles[rows[place][int(np.argmax(scores[place]))]] for place in chosen]
    return round(mces_at_1(true, first).mean, 3)


def draw(
    scores: Scores,
    rows: Sequence[Any],
    truth: Sequence[int],
    smiles: list[str],
    known: Sequence[str],
    folder: Path,
) -> None:
    """Write margin.png, pool_size.png and hardness.png into `folder`.

    Args:
        scores: per query, one per candidate. rows: per query, its candidates' places in `smiles`. truth: place in a list.
        known: SMILES of the training molecules.
    """
    folder.mkdir(parents=True, exist_ok=True)
    positives = [np.arange(len(values)) == place for values, place in zip(scores, truth, strict=True)]
    hits = {f"Recall@{k}": hits_at_k(scores, positives, k) for k in (1, 5, 20)}
    gaps = margins(scores, positives)
    plot_margin(gaps, gaps > 0).savefig(folder / "margin.png", dpi=120, bbox_inches="tight")
    curve = pool_size_sensitivity(scores, positives, POOL_SIZES)
    figure = plot_pool_size(curve.sizes, curve.recall, tuple(curve.ks))
    figure.savefig(folder / "pool_size.png", dpi=120, bbox_inches="tight")
    true = [smiles[row[place]] for row, place in zip(rows, truth, strict=True)]
    distinct = sorted(set(true))
    nearest = dict(zip(distinct, nearest_tanimoto(distinct, known), strict=True))
    figure = plot_hardness([nearest[text] for text in true], hits)
    figure.savefig(folder / "hardness.png", dpi=120, bbox_inches="tight")
    logger.info("plots of margin, pool size (%d queries) and hardness in %s", curve.n_queries, folder)
