"""Confidence on the page and in pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from msformers.metrics.selective import reliability, risk_coverage
from msformers.reports.figures import FigureError
from msformers.reports.html import RunInfo, write_report
from msformers.reports.records import records_from
from msformers.reports.selective_plot import plot_reliability, plot_risk_coverage

from . import answers


def sure(index: int = 0, **changes: object) -> answers.Answer:
    """An answer of a calibrated checkpoint."""
    first = replace(answers.CAFFEINE, probability=0.93, in_set=True, fingerprint_similarity=0.71)
    second = replace(answers.IMPOSTOR, probability=0.07, in_set=False)
    known = {"confidence_band": "high", "ambiguity": "unique", "set_size": 1, "candidates": [first, second]}
    return answers.answer(index, f"scan={index}", **known | changes)


def test_every_row_says_what_it_is_worth() -> None:
    first, second = records_from(sure())
    assert (first.probability, first.in_set, second.in_set, second.set_size) == (0.93, True, False, 1)
    assert (second.confidence_band, second.ambiguity, first.fingerprint_similarity) == (
        "high",
        "unique",
        0.71,
    )
    assert (first.exact_mass, first.mass_error_da, first.adduct_compatible, first.valid) == (
        *(194.0804, 0.0001, True, True),
    )
    (none,) = records_from(answers.unreadable())
    assert (none.probability, none.confidence_band, none.valid) == (None, None, None)


def test_the_page_shows_band_probability_and_set(tmp_path: Path) -> None:
    held = sure(1, status="abstained", reason="abstained: confidence 0.31 is below 0.50")
    other = answers.answer(2, confidence_band="uncalibrated", confidence_note="several <adducts> were tried")
    write_report([sure(), held, other], tmp_path / "r.html", RunInfo(("run.mgf",), "m", "b"))
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    for text in (
        *("confidence high", "high (93 %)", "in the set", "<dt>fingerprint</dt><dd>0.71</dd>"),
        *("confidence 0.31 is below 0.50", "Confidence uncalibrated: several &lt;adducts&gt; were tried."),
        *('data-kind="answered abstained high"', "<dt>probability</dt><dd>93 %</dd>"),
    ):
        assert text in page, text


def test_risk_and_reliability_are_drawn() -> None:
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    claimed = rng.random(400)
    right = rng.random(400) < claimed
    figure = plot_risk_coverage({"mass": risk_coverage(claimed, ~right)})
    (label,) = (text.get_text() for text in figure.axes[0].get_legend().get_texts())
    assert label.startswith("mass: AURC 0.2") and figure.axes[0].get_lines()[0].get_ydata()[-1] > 40.0
    figure = plot_reliability({"mass": reliability(claimed, right)})
    assert "mass: ECE" in figure.axes[0].get_legend().get_texts()[0].get_text()
    for draw in (plot_risk_coverage, plot_reliability):
        with pytest.raises(FigureError, match="by its name"):
            draw({})
