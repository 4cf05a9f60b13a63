"""What a confidence is worth, as pictures: risk against coverage, and claimed against observed.

The functions take what `metrics.selective` makes and return a matplotlib figure (extra ``plot``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..metrics.selective import Reliability, RiskCoverage
from .figures import BLUE, GREEN, GREY, ORANGE, FigureError, new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = (BLUE, ORANGE, GREEN, "#6b4fa0", "#8a5a00")


def plot_risk_coverage(curves: Mapping[str, RiskCoverage]) -> Figure:
    """Error among the answers given, as the less sure ones are held back; the area of each curve in the legend.

    Args:
        curves: by name. Dotted lines are half the error without abstention, to be met at half the coverage.

    Raises:
        FigureError: there is no curve.
        PlotLibraryError: matplotlib is not installed.
    """
    if not curves:
        raise FigureError("no risk-coverage curve to draw; give at least one by its name")
    with style():
        figure = new_figure(5.4, 3.6)
        axes = figure.subplots()
        for number, (name, curve) in enumerate(curves.items()):
            colour, half = COLOURS[number % len(COLOURS)], curve.at(1.0) / 2.0
            label = f"{name}: AURC {curve.area:.3f}"
            axes.plot(100.0 * curve.coverage, 100.0 * curve.risk, color=colour, label=label)
            axes.plot([0.0, 50.0], [100.0 * half] * 2, color=colour, linewidth=0.8, linestyle=":")
        axes.axvline(50.0, color=GREY, linewidth=0.8, linestyle=":")
        axes.set_xlim(0.0, 100.0)
        axes.set_ylim(bottom=0.0)
        axes.set_xlabel("spectra answered (%)")
        axes.set_ylabel("wrong among them (%)")
        axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, borderaxespad=0.2)
    return figure


def plot_reliability(curves: Mapping[str, Reliability]) -> Figure:
    """Share of right answers against the confidence claimed; the calibration error of each in the legend.

    Args:
        curves: by name.

    Raises:
        FigureError: there is no curve.
        PlotLibraryError: matplotlib is not installed.
    """
    if not curves:
        raise FigureError("no reliability to draw; give at least one by its name")
    with style():
        figure = new_figure(4.4, 4.4)
        axes = figure.subplots()
        axes.plot([0.0, 100.0], [0.0, 100.0], color=GREY, linewidth=0.8, linestyle=":")
        for number, (name, found) in enumerate(curves.items()):
            points = 100.0 * found.confidence, 100.0 * found.accuracy
            label = f"{name}: ECE {100.0 * found.error:.1f} %"
            axes.plot(*points, marker="o", markersize=4, color=COLOURS[number % len(COLOURS)], label=label)
        axes.set_xlim(0.0, 100.0)
        axes.set_ylim(0.0, 100.0)
        axes.set_aspect("equal")
        axes.set_xlabel("confidence claimed (%)")
        axes.set_ylabel("right (%)")
        axes.legend(fontsize=8, loc="upper left")
    return figure
