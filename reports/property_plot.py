"""What LSM1 learned, as pictures: R² per contender, R² against the training data, errors of reconstructed peaks.

After figures 2 and 3 of LSM1-MS2. The functions take plain arrays and return a matplotlib figure (extra ``plot``);
`figures.save_figure` saves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .figures import BLUE, GREEN, GREY, ORANGE, FigureError, new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = (BLUE, ORANGE, GREEN, "#6b4fa0", "#8a5a00", GREY)
LINES = ("-", "--", ":")
BOX = {"showfliers": False, "patch_artist": True, "widths": 0.62, "medianprops": {"color": "black"}}
PERCENTS = (5, 25, 50, 75, 95)
QUANTITIES = (("m/z (Th)", 1000.0), ("intensity (base peak 1)", 1.0))
ERROR_TICKS = (0.0, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1000.0)


def plot_property_scores(
    scores: Mapping[str, Mapping[str, npt.ArrayLike]], label: str = "R² per property", floor: float = -1.0
) -> Figure:
    """Distribution over properties of each contender's figure, one panel per set; a diamond marks the mean.

    Args:
        scores: by set ("Known", "Unknown"), by contender: one figure per property; NaN is left out.
        label: of the axis.
        floor: the axis ends here; boxes and means below it are cut, and the mean is written anyway.

    Raises:
        FigureError: nothing to draw.
        PlotLibraryError: matplotlib is not installed.
    """
    if not scores or not all(scores.values()):
        raise FigureError("no figures to draw; give at least one contender for every set")
    names = list(dict.fromkeys(name for contenders in scores.values() for name in contenders))
    with style():
        figure = new_figure(3.2 * len(scores) + 1.6, 0.42 * len(names) + 1.2)
        panels = figure.subplots(1, len(scores), sharey=True, squeeze=False)[0]
        for axes, (title, contenders) in zip(panels, scores.items(), strict=True):
            for place, name in enumerate(names):
                if name in contenders:
                    _score_box(axes, _finite(contenders[name]), place, floor, COLOURS[place % len(COLOURS)])
            axes.set_title(title, fontsize=9.5, loc="left")
            axes.set_xlabel(label)
            axes.set_xlim(floor, 1.32)
            axes.set_xticks([tick for tick in (-1.0, -0.5, 0.0, 0.5, 1.0) if tick >= floor])
            axes.grid(True, axis="x")
            axes.grid(False, axis="y")
        panels[0].set_yticks(range(len(names)), names)
        panels[0].set_ylim(len(names) - 0.4, -0.6)
    return figure


def _score_box(axes: Any, values: npt.NDArray[np.float64], place: int, floor: float, colour: str) -> None:
    if not values.size:
        return
    mean = float(values.mean())
    box = axes.boxplot([values], positions=[place], orientation="horizontal", whis=(5, 95), **BOX)
    box["boxes"][0].set(facecolor=colour, alpha=0.55)
    axes.plot(max(mean, floor), place, marker="D", markersize=4, color="white", markeredgecolor="black")
    axes.text(1.06, place, f"{mean:.2f}".replace("-", "−"), va="center", fontsize=8)


def plot_data_size(
    curves: Mapping[str, Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]]], label: str = "mean R²"
) -> Figure:
    """A figure against the share of the training data, on a logarithmic axis: a colour per variant, a line per set.

    Args:
        curves: by variant ("fine-tuned"), by set ("Unknown"): shares in (0, 1] and the figure at each.
        label: of the figure.

    Raises:
        FigureError: nothing to draw, lengths differ, or a share is not in (0, 1].
        PlotLibraryError: matplotlib is not installed.
    """
    sets = list(dict.fromkeys(name for by_set in curves.values() for name in by_set))
    if not sets:
        raise FigureError("no curve to draw; give at least one variant with one set")
    ticks: set[float] = set()
    with style():
        figure = new_figure(6.2, 3.4)
        axes = figure.subplots()
        for number, (variant, by_set) in enumerate(curves.items()):
            colour = COLOURS[number % len(COLOURS)]
            for name, (shares, values) in by_set.items():
                x, y = np.asarray(shares, dtype=np.float64), np.asarray(values, dtype=np.float64)
                if x.shape != y.shape or x.ndim != 1 or not ((x > 0) & (x <= 1)).all():
                    raise FigureError(
                        f"{variant}, {name}: shares {x.tolist()} for {y.size} figures; give one in (0, 1] for each"
                    )
                order = np.argsort(x)
                line = LINES[sets.index(name) % len(LINES)]
                axes.plot(100 * x[order], y[order], line, marker="o", markersize=4, color=colour)
                ticks.update(100 * x)
            axes.plot([], [], color=colour, label=variant)
        for number, name in enumerate(sets):
            axes.plot([], [], LINES[number % len(LINES)], color=GREY, label=name)
        axes.set_xscale("log")
        axes.set_xticks(sorted(ticks), [f"{tick:g}" for tick in sorted(ticks)])
        axes.minorticks_off()
        axes.set_xlabel("share of the training spectra (%)")
        axes.set_ylabel(label)
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def plot_reconstruction(
    errors: Mapping[str, Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]]],
    notes: Mapping[str, tuple[str, str]] | None = None,
) -> Figure:
    """Absolute errors of reconstructed peaks: box from the 25th to the 75th percentile, whiskers from the 5th to the 95th.

    Errors reach from none to hundreds of Th, so the axis is logarithmic with zero at its lower end.

    Args:
        errors: by set ("Known"), by kind of peak ("masked"): errors of m/z in Th and of intensity relative to the base
            peak, one per peak.
        notes: by set, written below its name in the panels of m/z and of intensity, such as the stars of a test.

    Raises:
        FigureError: nothing to draw.
        PlotLibraryError: matplotlib is not installed.
    """
    kinds = list(dict.fromkeys(kind for by_kind in errors.values() for kind in by_kind))
    if not kinds:
        raise FigureError("no errors to draw; give at least one set with one kind of peaks")
    with style():
        figure = new_figure(6.4, 3.2)
        panels = figure.subplots(1, 2)
        for column, (axes, (quantity, top)) in enumerate(zip(panels, QUANTITIES, strict=True)):
            ticks = [tick for tick in ERROR_TICKS if tick <= top]
            for group, by_kind in enumerate(errors.values()):
                for number, kind in enumerate(kinds):
                    if kind in by_kind:
                        place = group + (number - (len(kinds) - 1) / 2) * 0.8 / len(kinds)
                        values = _finite(by_kind[kind][column])
                        _error_box(axes, values, place, 0.68 / len(kinds), COLOURS[number % len(COLOURS)])
            axes.set_yscale("symlog", linthresh=ERROR_TICKS[1])
            axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.minorticks_off()
            axes.set_ylim(-ERROR_TICKS[1] / 4, 1.6 * top)
            axes.set_xticks(range(len(errors)), _titles(errors, notes, column))
            axes.set_xlim(-0.6, len(errors) - 0.4)
            axes.set_ylabel(f"absolute error of {quantity}")
        for number, kind in enumerate(kinds):
            panels[0].plot([], [], "s", color=COLOURS[number % len(COLOURS)], alpha=0.55, label=kind)
        figure.legend(fontsize=8, loc="outside upper left", ncols=len(kinds))
    return figure


def _error_box(axes: Any, values: npt.NDArray[np.float64], place: float, width: float, colour: str) -> None:
    if not values.size:
        return
    low, first, median, third, high = np.percentile(values, PERCENTS)
    stats = {"whislo": low, "q1": first, "med": median, "q3": third, "whishi": high}
    box = axes.bxp([stats], positions=[place], **{**BOX, "widths": width})
    box["boxes"][0].set(facecolor=colour, alpha=0.55)


def _titles(errors: Mapping[str, Any], notes: Mapping[str, tuple[str, str]] | None, column: int) -> list[str]:
    return [f"{name}\n{notes[name][column]}" if notes and name in notes else name for name in errors]


def _finite(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64).ravel()
    return array[np.isfinite(array)]
