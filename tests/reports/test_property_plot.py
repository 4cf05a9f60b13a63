from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from msformers.reports.figures import FigureError, save_figure
from msformers.reports.property_plot import plot_data_size, plot_property_scores, plot_reconstruction

NAN = float("nan")


def texts(figure) -> str:
    """All text of a figure, one piece a line."""
    from matplotlib.text import Text

    return "\n".join(item.get_text() for item in figure.findobj(Text))


def test_each_contender_has_its_box_and_its_mean(tmp_path: Path) -> None:
    scores = {
        "Known": {"ours": [0.5, 0.7, NAN], "peer": [0.1, 0.3]},
        "Unknown": {"ours": [-9.0, 0.2], "peer": [NAN]},
    }
    figure = plot_property_scores(scores)
    known, unknown = figure.axes
    assert [label.get_text() for label in known.get_yticklabels()] == ["ours", "peer"]
    assert {text.get_text() for text in known.texts} == {"0.60", "0.20"}
    assert [text.get_text() for text in unknown.texts] == [
        "−4.40"
    ]  # the mean is written where it is off the axis
    assert known.get_xlim()[0] == unknown.get_xlim()[0] == -1.0
    assert save_figure(figure, tmp_path / "scores.png").stat().st_size > 5_000
    for nothing in ({}, {"Known": {}}):
        with pytest.raises(FigureError, match="no figures to draw"):
            plot_property_scores(nothing)


def test_a_curve_per_variant_and_set_over_a_logarithmic_share(tmp_path: Path) -> None:
    curves = {
        "fine-tuned": {"Known": ([0.1, 0.01, 1.0], [0.3, 0.2, 0.5]), "Unknown": ([0.01, 1.0], [0.1, 0.2])},
        "from scratch": {"Unknown": ([0.01], [0.0])},
    }
    figure = plot_data_size(curves)
    (axes,) = figure.axes
    drawn = [line for line in axes.lines if len(line.get_xdata())]
    assert drawn[0].get_xdata().tolist() == [1, 10, 100]
    assert drawn[0].get_ydata().tolist() == [0.2, 0.3, 0.5]
    assert (drawn[0].get_color(), drawn[0].get_linestyle()) == (drawn[1].get_color(), "-")
    assert drawn[1].get_linestyle() == drawn[2].get_linestyle() == "--"
    assert axes.get_xscale() == "log"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "10", "100"]
    assert {"fine-tuned", "from scratch", "Known", "Unknown"} <= set(texts(figure).splitlines())
    assert save_figure(figure, tmp_path / "size.png").stat().st_size > 5_000


def test_shares_that_are_none_are_named() -> None:
    for wrong in (([0.0], [0.1]), ([1.5], [0.1]), ([0.1, 0.2], [0.1])):
        with pytest.raises(FigureError, match="frozen, Known: shares"):
            plot_data_size({"frozen": {"Known": wrong}})
    with pytest.raises(FigureError, match="no curve to draw"):
        plot_data_size({"frozen": {}})


def test_reconstruction_errors_of_both_quantities_by_set_and_kind(tmp_path: Path) -> None:
    errors = {
        name: {kind: (np.arange(100.0), np.linspace(0, 1, 100)) for kind in ("masked", "unmasked")}
        for name in "ab"
    }
    figure = plot_reconstruction(errors, {"a": ("****", "ns")})
    mz, intensity = figure.axes
    assert len(mz.patches) == len(intensity.patches) == 4
    assert [label.get_text() for label in mz.get_xticklabels()] == ["a\n****", "b"]
    assert [label.get_text() for label in intensity.get_xticklabels()] == ["a\nns", "b"]
    assert mz.get_yscale() == intensity.get_yscale() == "symlog"
    assert {"masked", "unmasked"} <= set(texts(figure).splitlines())
    assert save_figure(figure, tmp_path / "errors.png").stat().st_size > 5_000
    with pytest.raises(FigureError, match="no errors to draw"):
        plot_reconstruction({"a": {}})
