"""The picture of `denovo.py`: how near the best of the first k molecules comes to the truth, per method."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msformers.metrics.generation import KS
from msformers.reports.figures import new_figure, save_figure, style
from msformers.reports.property_plot import COLOURS

logger = logging.getLogger("msformers.benchmark")
MARKERS = "osD^vPX"
"""Not as many as colours, so that every method has a look of its own."""


def plot_similarity(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Mean of the largest Tanimoto similarity among the first k with its 95 % interval over molecules, all instruments.

    Args:
        rows: of `denovo.figures`. path: ends with .png, .svg or .pdf.
    """
    shown = [row for row in rows if row["instruments"] == "all"]
    with style():
        figure = new_figure(7.2, 3.6)
        axes = figure.subplots()
        for number, row in enumerate(sorted(shown, key=lambda row: -row["max_tanimoto_at_10"])):
            means = [row[f"max_tanimoto_at_{k}"] for k in KS]
            low = [mean - row[f"tanimoto_{k}_low"] for mean, k in zip(means, KS, strict=True)]
            high = [row[f"tanimoto_{k}_high"] - mean for mean, k in zip(means, KS, strict=True)]
            # a little to the side, so that the intervals of methods do not cover each other
            places = [k * 1.03 ** (number - len(shown) / 2) for k in KS]
            ours = row["method"].startswith("model")
            look = {"color": COLOURS[number % len(COLOURS)], "linestyle": "-" if ours else "--"}
            look |= {
                "linewidth": 2.0 if ours else 1.0,
                "marker": MARKERS[number % len(MARKERS)],
                "markersize": 4,
                "capsize": 2,
            }
            axes.errorbar(places, means, [low, high], label=row["method"], **look)
        axes.set_xscale("log")
        axes.set_xticks(list(KS), [str(k) for k in KS])
        axes.minorticks_off()
        axes.set_ylim(bottom=0.0)
        axes.set_xlabel(f"first k molecules ({shown[0]['spectra']} spectra, fold {shown[0]['fold']})")
        axes.set_ylabel("mean largest Tanimoto similarity")
        axes.legend(fontsize=7.5, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        path.parent.mkdir(parents=True, exist_ok=True)
        logger.info("plot in %s", save_figure(figure, path))
