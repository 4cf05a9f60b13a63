"""What the consensus scores of substructures are worth, one small panel each, by matplotlib (extra ``plot``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..metrics.consensus import SubstructureReliability
from .figures import BLUE, GREY, ORANGE, FigureError, new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 6


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
        figure = new_figure(max(1.8 * columns + 0.3, 3.2), 2.3 * rows + 0.5)
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
        for label, colour in (("as predicted", BLUE), ("calibrated", ORANGE))[: 2 if calibrated else 1]:
            axes.plot([], [], color=colour, marker="o", markersize=4, label=label)
        figure.legend(loc="outside upper right", ncols=2, fontsize=8)
    return figure


def _panel(
    axes: Any, name: str, found: SubstructureReliability, calibrated: SubstructureReliability | None
) -> None:
    axes.plot([0.0, 100.0], [0.0, 100.0], color=GREY, linewidth=0.8, linestyle=":")
    _curve(axes, found, BLUE)
    after = (
        ("", "")
        if calibrated is None
        else (f" → {100 * calibrated.curve.error:.1f}", f" → {calibrated.brier:.3f}")
    )
    if calibrated is not None:
        _curve(axes, calibrated, ORANGE)
    said = f"{found.occurrences} of {found.n}, ECE {100 * found.curve.error:.1f}{after[0]} %\nBrier {found.brier:.3f}{after[1]}"
    axes.set_title(f"{name}\n\n", fontsize=8.5, loc="left", fontweight="bold")
    axes.text(0.0, 1.03, said, transform=axes.transAxes, fontsize=6.8)
    axes.set_xlim(-4.0, 104.0)
    axes.set_ylim(-4.0, 104.0)
    axes.set_xticks([0, 50, 100])
    axes.set_yticks([0, 50, 100])
    axes.set_aspect("equal")


def _curve(axes: Any, found: SubstructureReliability, colour: str) -> None:
    x, y = 100.0 * found.curve.confidence, 100.0 * found.curve.accuracy
    # the line is pale: what it connects may be a handful of molecules
    axes.plot(x, y, color=colour, linewidth=1.0, alpha=0.45)
    axes.scatter(x, y, s=5.0 + 90.0 * found.curve.weight, color=colour, alpha=0.75, linewidths=0)
