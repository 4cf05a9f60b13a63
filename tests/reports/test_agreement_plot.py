"""Agreement drawn: shaded structures, bars, and what the scores are worth."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from msformers.metrics.consensus import substructure_reliability
from msformers.reports.agreement_plot import (
    AgreementMap,
    ConsensusBar,
    agreement_grid,
    agreement_legend,
    agreement_svg,
    consensus_bars,
)
from msformers.reports.consensus_plot import plot_substructure_calibration
from msformers.reports.figures import FigureError, save_figure
from msformers.reports.molecule_plot import DrawingError

SVG = "{http://www.w3.org/2000/svg}"
ETHANOL = "CCO"


def discs(page: str) -> list[tuple[str, float, float]]:
    """Grey and place of the discs of a drawing's atoms."""
    circles = ET.fromstring(page).iter(f"{SVG}circle")
    return [(e.get("fill", ""), float(e.get("cx", "")), float(e.get("cy", ""))) for e in circles]


def test_the_shade_is_the_agreement() -> None:
    page = agreement_svg(ETHANOL, [0.2, 1.0, 0.6], "a", "Ethanol")
    greys = [int(fill[1:3], 16) for fill, _, _ in discs(page)]
    # full agreement lets 85 % of the blue through; those that agree most are drawn last, on top
    assert greys == [round(255 * 0.85 * share) for share in (0.2, 0.6, 1.0)]
    assert 'mask="url(#a-m)"' in page and 'fill="#2f86c5"' in page


def test_every_atom_has_its_own_value() -> None:
    page = agreement_svg(ETHANOL, [0.1, 0.2, 0.9], "a", "Ethanol")
    (x, y) = next((x, y) for fill, x, y in discs(page) if fill == "#c3c3c3")
    letter = next(e for e in ET.fromstring(page).iter(f"{SVG}text") if "".join(e.itertext()) == "O")
    assert abs(float(letter.get("x", "")) - x) < 9 and abs(float(letter.get("y", "")) - y) < 9


def test_lines_and_letters_have_the_colour_of_the_text_only() -> None:
    page = agreement_svg("Nc1ccc(Cl)cc1S(=O)(=O)O", [0.0] * 12, "a", "coloured elsewhere")
    structure = page[page.index("</mask>") :]
    assert set(re.findall(r"#[0-9a-fA-F]{6}", structure)) == {"#2f86c5"}
    assert "currentColor" in structure and not discs(page)


def test_the_shade_stays_inside_the_drawing() -> None:
    page = agreement_svg("C" * 40, [1.0] * 40, "a", "long")
    radius = max(float(e.get("r", "")) for e in ET.fromstring(page).iter(f"{SVG}circle"))
    for _, x, y in discs(page):
        assert x - radius >= -6 and x + radius <= 184 and y - radius >= -6 and y + radius <= 124


def test_unknown_agreement_is_not_shaded() -> None:
    assert len(discs(agreement_svg(ETHANOL, [np.nan] * 3, "a", "alone"))) == 0
    assert len(discs(agreement_svg(ETHANOL, [np.nan, 0.5, 0.0], "a", "one"))) == 1
    assert len(discs(agreement_svg("[Na+].[Cl-]", [0.5, 0.5], "a", "salt without bonds"))) == 2


@pytest.mark.parametrize("values", [[0.5], [0.5] * 4, [0.1, 0.2, 1.5], [-0.1, 0.2, 0.3], []])
def test_values_must_fit_the_atoms(values: list[float]) -> None:
    with pytest.raises(DrawingError, match="the 3 atoms of SMILES 'CCO'; give one value in 0 … 1 per atom"):
        agreement_svg(ETHANOL, values, "a", "b")
    with pytest.raises(DrawingError, match="cannot be drawn"):
        agreement_svg("C1CC", values, "a", "b")


def test_grid_keeps_every_field_and_its_ids() -> None:
    maps = [
        AgreementMap(ETHANOL, [0.5] * 3, "1 · C2H6O", "consensus <0.50>"),
        AgreementMap("C1CC", [], "2"),
    ] * 2
    page = agreement_grid(maps, "g", "Top & more")
    root = ET.fromstring(page)
    said = ["".join(e.itertext()) for e in root.iter(f"{SVG}text")]
    assert said.count("cannot be drawn") == 2 and said.count("1 · C2H6O") == 2
    assert "consensus <0.50>" in said and "100 %" in said
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    assert len(ids) == len(set(ids)) and "g-2-m" in ids
    assert root.get("viewBox") == "0 0 606 370"
    with pytest.raises(DrawingError, match="0 structures in 3 columns"):
        agreement_grid([], "g", "none")


def test_legend_says_what_the_colour_means() -> None:
    page = agreement_legend("l")
    assert "share of the other molecules that have the atom and its surroundings" in page
    assert ET.fromstring(page).find(f".//{SVG}linearGradient").get("id") == "l-g"  # type: ignore[union-attr]


def test_bars_are_sorted_as_long_as_their_score_and_explained() -> None:
    bars = [
        ConsensusBar("halogen", 0.25, 0.1, False),
        ConsensusBar("phenol", 1.0, None, True),
        ConsensusBar("nitrile", 0.0, None, False),
        ConsensusBar("ester", 0.0, None, True),
        ConsensusBar("<thiol>", float("nan")),
    ]
    page = consensus_bars(bars, "b", "Consensus of 9", width=420)
    root = ET.fromstring(page)
    said = ["".join(e.itertext()) for e in root.iter(f"{SVG}text")]
    assert said[:6] == ["phenol", "100 %", "halogen", "25 %", "ester", "0 %"]
    assert said[6:] == ["calibrated probability", "in the stated structure", "not in it", "in none: nitrile"]
    widths = [float(e.get("width", "")) for e in root.iter(f"{SVG}rect") if e.get("fill")]
    assert widths == pytest.approx([240.0, 60.0, 0.0])
    assert "Consensus of 9: phenol 100 %, halogen 25 %<" in page


def test_bars_without_marks_explain_none() -> None:
    page = consensus_bars([ConsensusBar("a < b", 0.5)], "b", "One")
    assert "a &lt; b" in page and "calibrated" not in page and "stated" not in page and "in none" not in page
    assert "no substructure" in consensus_bars([], "b", "None")


def test_calibration_of_substructures_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(0)
    claimed = rng.random((300, 8))
    truth = rng.random((300, 8)) < claimed**2
    names = [f"ring {number}" for number in range(8)]
    raw = substructure_reliability(claimed, truth, names)
    better = substructure_reliability(claimed**2, truth, names[:8])
    figure = plot_substructure_calibration(raw, {name: better[name] for name in names[:7]})
    drawn = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title(loc="left").strip() for axes in drawn] == names
    (said,) = (text.get_text() for text in drawn[0].texts)
    assert said.startswith(f"{raw['ring 0'].occurrences} of 300, ECE ") and "→" in said
    assert "→" not in drawn[7].texts[0].get_text()
    assert len(drawn[0].lines) == 3 and len(drawn[7].lines) == 2 + 2
    assert drawn[0].lines[1].get_ydata() == pytest.approx(100 * raw["ring 0"].curve.accuracy)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["as predicted", "calibrated"]
    alone = plot_substructure_calibration({"ring 0": raw["ring 0"]})
    assert save_figure(alone, tmp_path / "c.svg").stat().st_size > 5_000
    assert [text.get_text() for text in alone.legends[0].get_texts()] == ["as predicted"]
    with pytest.raises(FigureError, match="no substructure to draw"):
        plot_substructure_calibration({})
