"""What the consensus scores of substructures are worth, one small panel each, by matplotlib (extra ``plot``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..metrics.consensus import SubstructureReliability
from .figures import BLUE, GREY, ORANGE, FigureError, new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 4


def plot_substructure_calibration(
    raw: Mapping[str, SubstructureReliability],
    calibrated: Mapping[str, SubstructureReliability] | None = None,
) -> Figure:
    """Share of true molecules that have a substructure against its consensus score; the area of a point is its weight.

    Args:
        raw: by substructure, of the scores as they are, from `metrics.consensus.substructure_reliability`.
        calibrated: the same of the calibrated probabilities, if there are any.

    Raises:
        FigureError: there is no substructure.
        PlotLibraryError: matplotlib is not installed.
    """
    if not raw:
        raise FigureError(
            "no substructure to draw; give at least one with enough occurrences among the true molecules"
        )
    columns = min(COLUMNS, len(raw))
    rows = -(-len(raw) // columns)
    with style():
        figure = new_figure(1.95 * columns + 0.3, 2.15 * rows + 0.5)
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for place, axes in enumerate(panels.flat):
            if place >= len(raw):
                axes.set_axis_off()
                # the panel above ends the column
                panels[place // columns - 1, place % columns].tick_params(labelbottom=True)
        for axes, (name, found) in zip(panels.flat, raw.items(), strict=False):
            _panel(axes, name, found, None if calibrated is None else calibrated.get(name))
        figure.supxlabel("consensus: predictions with the substructure (%)", fontsize=9)
        figure.supylabel("true molecules with it (%)", fontsize=9)
        handles = [panels[0, 0].get_lines()[1]]
        if calibrated:
            handles += panels[0, 0].get_lines()[2:3]
        figure.legend(handles, ["as predicted", "calibrated"], loc="outside upper right", ncols=2, fontsize=8)
    return figure


def _panel(
    axes: Any, name: str, found: SubstructureReliability, calibrated: SubstructureReliability | None
) -> None:
    axes.plot([0.0, 100.0], [0.0, 100.0], color=GREY, linewidth=0.8, linestyle=":")
    _curve(axes, found, BLUE, "-")
    said = f"ECE {100 * found.curve.error:.1f} %, Brier {found.brier:.3f}"
    if calibrated is not None:
        _curve(axes, calibrated, ORANGE, "--")
        said = f"ECE {100 * found.curve.error:.1f} → {100 * calibrated.curve.error:.1f} %"
    axes.set_title(f"{name}\n", fontsize=8.5, loc="left", fontweight="bold")
    axes.text(0.0, 1.02, f"{found.occurrences} of {found.n}; {said}", transform=axes.transAxes, fontsize=6.8)
    axes.set_xlim(-4.0, 104.0)
    axes.set_ylim(-4.0, 104.0)
    axes.set_xticks([0, 50, 100])
    axes.set_yticks([0, 50, 100])
    axes.set_aspect("equal")


def _curve(axes: Any, found: SubstructureReliability, colour: str, line: str) -> None:
    x, y = 100.0 * found.curve.confidence, 100.0 * found.curve.accuracy
    axes.plot(x, y, line, color=colour, linewidth=1.1, marker="o", markersize=1.5)
    axes.scatter(x, y, s=4.0 + 90.0 * found.curve.weight, color=colour, alpha=0.7, linewidths=0)
