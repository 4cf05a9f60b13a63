"""Structures as small SVGs that can stand side by side in one page."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from msformers.reports.molecule_plot import DrawingError, molecule_png, molecule_svg

CAFFEINE = "Cn1c(=O)c2c(ncn2C)n(C)c1=O"


def test_drawing_is_small_and_takes_the_colour_of_the_text() -> None:
    text = molecule_svg(CAFFEINE, "a", "Caffeine")
    root = ET.fromstring(text)
    assert len(text) < 4000
    assert 'stroke="currentColor"' in text and "#000000" not in text
    letters = sorted("".join(e.itertext()) for e in root.iter() if e.tag.endswith("text"))
    assert letters == ["N", "N", "N", "N", "O", "O"]


def test_charges_and_large_molecules_are_drawn() -> None:
    assert ">+<" in molecule_svg("C[N+](C)(C)CC(=O)[O-]", "a", "betaine")
    assert (
        len(molecule_svg("CC(C)CCCC(C)C1CCC2C3CC=C4CC(O)CCC4(C)C3CCC21C" + "C" * 80, "a", "large")) < 12_000
    )


def test_ids_are_unique_and_labels_escaped() -> None:
    page = f"<div>{molecule_svg(CAFFEINE, 's0-m1', '<script>')}{molecule_svg(CAFFEINE, 's0-m2', 'b')}</div>"
    ids = [e.get("id") for e in ET.fromstring(page).iter() if e.get("id")]
    assert ids == ["s0-m1-t", "s0-m2-t"]
    assert "<script>" not in page


@pytest.mark.parametrize("smiles", ["", "C1CC", "not a molecule", "[Xx]"])
def test_what_cannot_be_drawn_is_said(smiles: str) -> None:
    with pytest.raises(DrawingError, match="cannot be drawn"):
        molecule_svg(smiles, "a", "b")


def test_png() -> None:
    assert molecule_png(CAFFEINE).startswith(b"\x89PNG")
