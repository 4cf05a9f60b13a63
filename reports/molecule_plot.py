"""A molecule as a small SVG by RDKit, rewritten so that many fit into one page in light and dark."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from functools import lru_cache
from html import escape
from typing import Any

SVG = "{http://www.w3.org/2000/svg}"
# mid tones that can be read on white and on black; carbon takes the colour of the text
PALETTE = {
    7: (0.16, 0.40, 0.85),
    8: (0.83, 0.20, 0.18),
    9: (0.10, 0.55, 0.35),
    15: (0.77, 0.40, 0.00),
    16: (0.66, 0.49, 0.02),
    17: (0.10, 0.55, 0.35),
    35: (0.60, 0.30, 0.12),
    53: (0.50, 0.25, 0.75),
}
_STYLE = re.compile(r"(stroke|fill|stroke-width):([^;]+)")
_NUMBER = re.compile(r"-?\d+\.\d+")


class DrawingError(ValueError):
    """A structure that RDKit cannot draw; says which."""


def molecule_svg(smiles: str, uid: str, label: str, width: int = 190, height: int = 130) -> str:
    """A structure formula as an SVG element; carbon and bonds have the colour of the surrounding text.

    Args:
        smiles: the structure.
        uid: makes the ids of this drawing unique in its page; letters, digits, hyphens.
        label: what the picture shows, in words.
        width, height: in pixels.

    Raises:
        DrawingError: RDKit does not understand the SMILES.
    """
    body = _drawing(smiles, width, height)
    return (
        f'<svg class="molecule" viewBox="0 0 {width} {height}" role="img" aria-labelledby="{escape(uid)}-t" '
        f'xmlns="http://www.w3.org/2000/svg"><title id="{escape(uid)}-t">{escape(label)}</title>{body}</svg>'
    )


def molecule_png(smiles: str, width: int = 420, height: int = 420) -> bytes:
    """A structure formula as a PNG on white, for picture files.

    Raises:
        DrawingError: RDKit does not understand the SMILES.
    """
    from rdkit.Chem.Draw import rdMolDraw2D

    drawer = rdMolDraw2D.MolDraw2DCairo(width, height)
    _draw(drawer, _molecule(smiles), line=2.6, bond=44.0, font=26)
    return bytes(drawer.GetDrawingText())


@lru_cache(maxsize=2048)
def _drawing(smiles: str, width: int, height: int) -> str:
    from rdkit.Chem.Draw import rdMolDraw2D

    drawer = rdMolDraw2D.MolDraw2DSVG(width, height, -1, -1, True)
    _draw(drawer, _molecule(smiles), line=1.3, bond=22.0, font=13)
    return _compact(drawer.GetDrawingText())


def _molecule(smiles: str) -> Any:
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or molecule.GetNumAtoms() == 0:
        raise DrawingError(f"SMILES {smiles[:80]!r} cannot be drawn; check that it is a valid molecule")
    return molecule


def _draw(drawer: Any, molecule: Any, line: float, bond: float, font: int) -> None:
    """Draw with lines, longest bonds and largest letters of these sizes in pixels; large molecules shrink to fit."""
    from rdkit.Chem.Draw import rdMolDraw2D

    options = drawer.drawOptions()
    options.clearBackground = not isinstance(drawer, rdMolDraw2D.MolDraw2DSVG)
    options.bondLineWidth = line
    options.padding = 0.04
    options.fixedBondLength = bond
    options.minFontSize = round(0.65 * font)
    options.maxFontSize = font
    options.setAtomPalette({6: (0.0, 0.0, 0.0), -1: (0.0, 0.0, 0.0), **PALETTE})
    rdMolDraw2D.PrepareAndDrawMolecule(drawer, molecule)
    drawer.FinishDrawing()


def _compact(text: str) -> str:
    """RDKit's drawing with all lines of one colour as one path, and no ids or classes."""
    lines: dict[tuple[str, str, str], list[str]] = {}
    letters = []
    for element in ET.fromstring(text).iter():
        style = dict(_STYLE.findall(element.get("style", "")))
        if element.tag == f"{SVG}path":
            key = (
                _colour(style.get("stroke", "none")),
                _colour(style.get("fill", "none")),
                style.get("stroke-width", ""),
            )
            lines.setdefault(key, []).append(_short(element.get("d", "")))
        elif element.tag == f"{SVG}text":
            letters.append(_letter(element, style))
    paths = [
        f'<path d="{"".join(parts)}" stroke="{stroke}" fill="{fill}" stroke-width="1.3" stroke-linecap="round"/>'
        for (stroke, fill, _), parts in lines.items()
    ]
    return "".join(paths + letters)


def _letter(element: Any, style: dict[str, str]) -> str:
    size = re.search(r"font-size:([\d.]+)px", element.get("style", ""))
    anchor = re.search(r"text-anchor:(\w+)", element.get("style", ""))
    place = f'x="{_short(element.get("x", "0"))}" y="{_short(element.get("y", "0"))}"'
    return (
        f'<text {place} font-size="{size.group(1) if size else 12}" '
        f'text-anchor="{anchor.group(1) if anchor else "start"}" fill="{_colour(style.get("fill", "none"))}">'
        f"{escape(''.join(element.itertext()))}</text>"
    )


def _colour(value: str) -> str:
    return "currentColor" if value.strip().upper() == "#000000" else value.strip()


def _short(coordinates: str) -> str:
    return _NUMBER.sub(lambda found: f"{float(found.group()):.1f}", coordinates)
