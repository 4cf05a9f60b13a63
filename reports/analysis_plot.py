"""What lies behind a recall figure, as pictures: margins, pool size, hardness (figures 2, 4, 5 of arXiv 2601.17204).

The functions take the plain arrays that `metrics.analyses` makes, and return a matplotlib figure (extra ``plot``);
`figures.save_figure` saves it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..metrics.analyses import HardnessCurve, hardness
from .figures import BLUE, GREEN, GREY, ORANGE, FigureError, new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = (BLUE, ORANGE, GREEN, "#6b4fa0", "#8a5a00")
TANIMOTO_BINS = tuple(float(edge) for edge in np.round(np.linspace(0.0, 1.0, 11), 1))


def plot_margin(margins: npt.ArrayLike, correct: npt.ArrayLike, bins: int = 50) -> Figure:
    """Distribution of the margin of right and of wrong answers, and their medians.

    Args:
        margins: of every query, such as the score of the best positive minus that of the best decoy, or of rank 1
            minus rank 2; shape (n,). Queries with an infinite margin (no decoy, or no positive) are counted in the
            legend and not drawn.
        correct: whether rank 1 is right, shape (n,).
        bins: of the histogram.

    Raises:
        FigureError: the shapes differ or no margin is finite.
        PlotLibraryError: matplotlib is not installed.
    """
    values, right = np.asarray(margins, dtype=np.float64), np.asarray(correct, dtype=bool)
    if values.ndim != 1 or values.shape != right.shape:
        raise FigureError(f"margins {values.shape} and correct {right.shape} must be flat and equally long")
    finite = np.isfinite(values)
    if not finite.any():
        raise FigureError(f"none of {values.size} margins is finite; is there a decoy for any query?")
    edges = np.histogram_bin_edges(values[finite], bins=bins)
    with style():
        figure = new_figure(5.4, 3.4)
        axes = figure.subplots()
        for name, group, colour in (("right", right, BLUE), ("wrong", ~right, ORANGE)):
            drawn = values[group & finite]
            if not drawn.size:
                continue
            median = float(np.median(drawn))
            label = f"{name}: n = {drawn.size:,}, median {median:.3f}"
            axes.hist(drawn, bins=edges.tolist(), color=colour, alpha=0.55, label=label, density=True)
            axes.axvline(median, color=colour, linewidth=1.0, linestyle="--")
        if (~finite).any():
            axes.plot([], [], " ", label=f"no rival: {int((~finite).sum()):,}")
        axes.set_xlabel("margin (difference of cosines)")
        axes.set_ylabel("density")
        _legend(axes, columns=1)
    return figure


def plot_pool_size(
    sizes: npt.ArrayLike, recall: npt.ArrayLike, ks: Sequence[int] = (1, 5, 20), *, random: bool = True
) -> Figure:
    """Recall@K as the pool of candidates grows.

    Args:
        sizes: pool sizes, the truth counted, shape (n_sizes,).
        recall: between 0 and 1, shape (n_sizes, n_ks), or (n_sizes,) for a single K.
        ks: the K of the columns.
        random: also draw what guessing gives, K / size.

    Raises:
        FigureError: the shapes do not fit.
        PlotLibraryError: matplotlib is not installed.
    """
    pool, values = np.asarray(sizes, dtype=np.float64), np.asarray(recall, dtype=np.float64)
    if values.ndim == 1:
        values, ks = values[:, None], ks[:1]
    if pool.ndim != 1 or values.shape != (pool.size, len(ks)):
        raise FigureError(f"recall has shape {values.shape}, {pool.size} sizes and {len(ks)} K need another")
    with style():
        figure = new_figure(5.4, 3.4)
        axes = figure.subplots()
        for column, k in enumerate(ks):
            colour = COLOURS[column % len(COLOURS)]
            axes.plot(
                pool, 100.0 * values[:, column], marker="o", markersize=4, color=colour, label=f"Recall@{k}"
            )
            if random:
                axes.plot(pool, 100.0 * np.minimum(1.0, k / pool), color=colour, linewidth=0.8, linestyle=":")
        if random:
            axes.plot([], [], color=GREY, linewidth=0.8, linestyle=":", label="guessing")
        axes.set_xscale("log", base=2)
        axes.set_xticks(pool, [f"{size:g}" for size in pool])
        axes.minorticks_off()
        _percent(axes, "candidates in the pool")
        _legend(axes)
    return figure


def plot_hardness(
    max_tanimoto: npt.ArrayLike,
    recall: npt.ArrayLike | Mapping[str, npt.ArrayLike],
    bins: Sequence[float] = TANIMOTO_BINS,
) -> Figure:
    """Recall against the similarity of the true molecule to the nearest training molecule, with 95 % intervals.

    Args:
        max_tanimoto: of every query, shape (n,).
        recall: hit (1) or not (0) of every query, shape (n,); or several by name, such as ``{"Recall@1": …}``.
        bins: ascending edges.

    Raises:
        FigureError: the shapes differ.
        PlotLibraryError: matplotlib is not installed.
    """
    similarity = np.asarray(max_tanimoto, dtype=np.float64)
    series = dict(recall) if isinstance(recall, Mapping) else {"Recall@1": recall}
    curves: dict[str, HardnessCurve] = {}
    for name, hits in series.items():
        if np.shape(hits) != similarity.shape or similarity.ndim != 1:
            raise FigureError(
                f"{name} {np.shape(hits)} and max_tanimoto {similarity.shape} must be flat and equally long"
            )
        curves[name] = hardness(hits, similarity, bins)
    with style():
        figure = new_figure(5.4, 3.8)
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4.0, 1.0))
        for number, (name, curve) in enumerate(curves.items()):
            _draw_curve(axes, curve, name, COLOURS[number % len(COLOURS)])
        first = next(iter(curves.values()))
        below.bar(
            first.edges[:-1],
            first.count,
            width=np.diff(first.edges),
            align="edge",
            color="#c3cad2",
            edgecolor="white",
        )
        below.set_ylabel("queries")
        _percent(axes, "")
        below.set_xlabel("Tanimoto similarity to the nearest training molecule")
        _legend(axes)
    return figure


def _draw_curve(axes: Any, curve: HardnessCurve, name: str, colour: str) -> None:
    filled = curve.count > 0
    centre = ((curve.edges[:-1] + curve.edges[1:]) / 2.0)[filled]
    mean, low, high = (100.0 * values[filled] for values in (curve.mean, curve.low, curve.high))
    axes.fill_between(centre, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(centre, mean, marker="o", markersize=4, color=colour, label=name)


def _percent(axes: Any, label: str) -> None:
    axes.set_ylim(0.0, 105.0)
    axes.set_ylabel("recall (%)")
    axes.set_xlabel(label)


def _legend(axes: Any, columns: int = 4) -> None:
    """Above the plot, where it hides nothing."""
    axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=columns, borderaxespad=0.2)
