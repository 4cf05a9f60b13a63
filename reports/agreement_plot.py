"""What generated molecules agree on, as small SVGs: atoms shaded by agreement, a grid of them, bars of substructures.

One blue, the stronger the more agreement: readable with every kind of colour vision, in grey print, on light and dark pages.
Lines and letters take the colour of the surrounding text, so that colour means agreement and nothing else.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

from .molecule_plot import DrawingError, _compact, _draw, _molecule
from .wording import number, text

BLUE = "#2f86c5"
DENSEST = 0.85
"""Opacity at full agreement; lines on it keep a contrast of about 4 to 1 on light and on dark pages."""
MARGIN = 6
"""Pixels around a structure, for the shade of the outermost atoms."""
FONT = "Arial, 'Liberation Sans', sans-serif"
LEGEND = "share of the other molecules that have the atom and its surroundings"
CHAR = 5.6
"""Mean width of a letter in pixels at the size of the bars' text."""
ROW, NAME, VALUE = 19.0, 118.0, 62.0
_COLOUR = re.compile(r"#[0-9A-Fa-f]{6}")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AgreementMap:
    """One structure of a grid.

    Attributes:
        smiles: the structure.
        agreement: per atom in RDKit's order of the SMILES, 0 to 1; NaN where unknown.
        caption: below the drawing, such as "1 · C9H8O4". note: below that, in small.
    """

    smiles: str
    agreement: Sequence[float] | Floats
    caption: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class ConsensusBar:
    """One substructure of the bars.

    Attributes:
        name: of the substructure.
        score: share of the valid predictions that have it, 0 to 1.
        probability: the calibrated one; None if there is none.
        known: whether the structure stated by the file has it; None if none is stated.
    """

    name: str
    score: float
    probability: float | None = None
    known: bool | None = None


def agreement_svg(
    smiles: str,
    agreement: Sequence[float] | Floats,
    uid: str,
    label: str,
    width: int = 190,
    height: int = 130,
) -> str:
    """A structure formula with every atom shaded by how far the other predictions share its surroundings.

    Args:
        smiles: the structure.
        agreement: per atom, in RDKit's order of the atoms in `smiles`, 0 to 1; NaN is not shaded.
        uid: makes the ids of this drawing unique in its page; letters, digits, hyphens.
        label: what the picture shows, in words.
        width, height: in pixels.

    Raises:
        DrawingError: RDKit does not understand the SMILES, or there is not one value in 0 … 1 per atom.
    """
    body = _shaded(smiles, _checked(smiles, agreement), escape(uid), width, height)
    return (
        f'<svg class="agreement" viewBox="0 0 {width} {height}" role="img" aria-labelledby="{escape(uid)}-t" '
        f'font-family="{FONT}" xmlns="http://www.w3.org/2000/svg">'
        f'<title id="{escape(uid)}-t">{escape(text(label))}</title>{body}</svg>'
    )


def _checked(smiles: str, agreement: Sequence[float] | Floats) -> Floats:
    values = np.asarray(agreement, dtype=np.float64)
    atoms = _molecule(smiles).GetNumAtoms()
    if values.shape != (atoms,) or ((values < 0) | (values > 1)).any():
        raise DrawingError(
            f"agreement of shape {values.shape} for the {atoms} atoms of SMILES {smiles[:80]!r}; "
            "give one value in 0 … 1 per atom"
        )
    return values


def _shaded(smiles: str, agreement: Floats, uid: str, width: int, height: int) -> str:
    """One blue area, let through by a mask whose grey is the agreement; the structure on top."""
    from rdkit.Chem.Draw import rdMolDraw2D

    molecule = _molecule(smiles)
    drawer = rdMolDraw2D.MolDraw2DSVG(width - 2 * MARGIN, height - 2 * MARGIN, -1, -1, True)
    _draw(drawer, molecule, line=1.3, bond=22.0, font=13)
    structure = _COLOUR.sub("currentColor", _compact(drawer.GetDrawingText()))
    places = np.array([tuple(drawer.GetDrawCoords(atom)) for atom in range(molecule.GetNumAtoms())])
    bonds = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in molecule.GetBonds()]
    lengths = [float(np.linalg.norm(places[one] - places[two])) for one, two in bonds]
    area = f'x="{-MARGIN}" y="{-MARGIN}" width="{width}" height="{height}"'
    return (
        f'<g transform="translate({MARGIN} {MARGIN})"><mask id="{uid}-m" maskUnits="userSpaceOnUse" {area}>'
        f'{_halo(places, bonds, agreement, min([*lengths, 22.0]))}</mask><rect {area} fill="{BLUE}" '
        f'mask="url(#{uid}-m)"/>{structure}</g>'
    )


def _halo(places: Floats, bonds: Sequence[tuple[int, int]], agreement: Floats, length: float) -> str:
    """Half bonds and discs in the grey of their atom, those that agree most on top."""
    shapes: list[tuple[float, str]] = []
    for one, two in bonds:
        middle = (places[one] + places[two]) / 2
        for atom in (one, two):
            shapes.append(
                (agreement[atom], f'<path d="M{_at(places[atom])}L{_at(middle)}" stroke="{{}}" fill="none"/>')
            )
    for atom, (x, y) in enumerate(places):
        disc = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{0.33 * length:.1f}" fill="{{}}"/>'
        shapes.append((agreement[atom], disc))
    drawn = sorted((value, shape) for value, shape in shapes if value > 0)
    return f'<g stroke-width="{0.54 * length:.1f}">{"".join(shape.format(_grey(value)) for value, shape in drawn)}</g>'


def _grey(agreement: float) -> str:
    return (
        f"#{round(255 * DENSEST * float(agreement)):02x}"
        + 2 * f"{round(255 * DENSEST * float(agreement)):02x}"
    )


def _at(place: Floats) -> str:
    return f"{place[0]:.1f} {place[1]:.1f}"


def agreement_legend(uid: str, width: int = 420) -> str:
    """The colour scale of agreement maps, with what it means, as an SVG element 28 pixels high."""
    return (
        f'<svg class="agreement" viewBox="0 0 {width} 28" role="img" aria-labelledby="{escape(uid)}-t" '
        f'font-family="{FONT}" font-size="10.5" xmlns="http://www.w3.org/2000/svg">'
        f'<title id="{escape(uid)}-t">Scale from 0 to 100 %: {LEGEND}</title>{_scale(escape(uid))}</svg>'
    )


def _scale(uid: str) -> str:
    return (
        f'<defs><linearGradient id="{uid}-g"><stop offset="0" stop-color="{BLUE}" stop-opacity="0"/>'
        f'<stop offset="1" stop-color="{BLUE}" stop-opacity="{DENSEST}"/></linearGradient></defs>'
        f'<rect x="24.5" y="8.5" width="70" height="11" fill="url(#{uid}-g)" stroke="currentColor" stroke-opacity=".35"/>'
        f'<g fill="currentColor"><text x="20" y="18" text-anchor="end">0</text><text x="100" y="18">100 %</text>'
        f'<text x="140" y="18">{LEGEND}</text></g>'
    )


def agreement_grid(
    maps: Sequence[AgreementMap], uid: str, label: str, columns: int = 3, width: int = 190, height: int = 130
) -> str:
    """Structures with their agreement side by side in one SVG element, with captions and the scale below.

    A structure that cannot be drawn leaves its field with the reason, so that the others stand.

    Args:
        maps: in the order to show.
        uid: makes the ids of this drawing unique in its page. label: what the picture shows, in words.
        columns: side by side. width, height: of one structure in pixels.

    Raises:
        DrawingError: there is nothing to draw.
    """
    if not maps or columns < 1:
        raise DrawingError(f"{len(maps)} structures in {columns} columns; give at least one of each")
    field, rows = height + 40, -(-len(maps) // columns)
    wide, high = max(min(columns, len(maps)) * (width + 12), 430), rows * field + 30
    cells = [
        f'<g transform="translate({place % columns * (width + 12) + 6} {place // columns * field})">'
        f"{_cell(found, f'{escape(uid)}-{place}', width, height)}</g>"
        for place, found in enumerate(maps)
    ]
    return (
        f'<svg class="agreement" viewBox="0 0 {wide} {high}" role="img" aria-labelledby="{escape(uid)}-t" '
        f'font-family="{FONT}" font-size="10.5" xmlns="http://www.w3.org/2000/svg"><title id="{escape(uid)}-t">'
        f'{escape(text(label))}</title>{"".join(cells)}<g transform="translate(0 {rows * field})">'
        f"{_scale(escape(uid))}</g></svg>"
    )


def _cell(found: AgreementMap, uid: str, width: int, height: int) -> str:
    try:
        body = _shaded(found.smiles, _checked(found.smiles, found.agreement), uid, width, height)
    except DrawingError:
        body = f'<text x="{width / 2}" y="{height / 2}" text-anchor="middle" fill="currentColor">cannot be drawn</text>'
    caption, note = (
        escape(text(line, int(width / size))) for line, size in ((found.caption, 6.4), (found.note, 5.4))
    )
    return (
        f'{body}<g fill="currentColor" text-anchor="middle"><text x="{width / 2}" y="{height + 14}" font-size="11.5" '
        f'font-weight="600">{caption}</text><text x="{width / 2}" y="{height + 28}" opacity=".75">{note}</text></g>'
    )


def consensus_bars(bars: Sequence[ConsensusBar], uid: str, label: str, width: int = 420) -> str:
    """Horizontal bars of the substructures the predictions agree on, the most common first, as an SVG element.

    A diamond marks the calibrated probability, a tick that the stated structure has the substructure. Those that no prediction
    and no stated structure has are named in a line below.

    Args:
        bars: one per substructure, in any order; a score that is NaN has no bar.
        uid: makes the ids of this drawing unique in its page. label: what the picture shows, in words.
        width: in pixels.
    """
    shown = [bar for bar in bars if bar.score > 0 or bar.known]
    drawn = sorted(shown, key=lambda bar: -float(np.nan_to_num(bar.score)))
    absent = ", ".join(bar.name for bar in bars if bar.score == 0 and not bar.known)
    lines = textwrap.wrap(f"in none: {text(absent, 2000)}", int(width / CHAR)) if absent else []
    base = ROW * len(drawn) + 4
    legend = _legend(drawn, base)
    base += 16 if legend else 0
    parts = [_bar(bar, ROW * place, width) for place, bar in enumerate(drawn)]
    parts += [f'<g font-size="10.5" opacity=".75">{legend}']
    parts += [f'<text x="0" y="{base + 14 * n + 9:g}">{escape(line)}</text>' for n, line in enumerate(lines)]
    said = ", ".join(f"{text(bar.name)} {100 * bar.score:.0f} %" for bar in drawn if bar.score > 0)
    return (
        f'<svg class="consensus" viewBox="0 0 {width} {base + 14 * len(lines):g}" role="img" '
        f'aria-labelledby="{escape(uid)}-t" font-family="{FONT}" font-size="11.5" fill="currentColor" '
        f'xmlns="http://www.w3.org/2000/svg"><title id="{escape(uid)}-t">{escape(text(label))}: '
        f"{escape(said or 'no substructure')}</title>{''.join(parts)}</g></svg>"
    )


def _bar(bar: ConsensusBar, top: float, width: int) -> str:
    span, middle = width - NAME - VALUE, top + ROW / 2
    score = float(np.nan_to_num(bar.score))
    parts = [
        f'<text x="{NAME - 8:g}" y="{middle + 4:g}" text-anchor="end">{escape(text(bar.name, 22))}</text>',
        f'<rect x="{NAME:g}" y="{top + 4:g}" width="{span:g}" height="{ROW - 8:g}" rx="2" opacity=".1"/>',
        f'<rect x="{NAME:g}" y="{top + 4:g}" width="{score * span:.1f}" height="{ROW - 8:g}" rx="2" fill="{BLUE}"/>',
    ]
    if bar.probability is not None and np.isfinite(bar.probability):
        x = NAME + bar.probability * span
        parts.append(f'<path d="M{x:.1f} {middle - 6:g}l5 6l-5 6l-5 -6z" stroke="{BLUE}" stroke-width="1"/>')
    x = width - VALUE + 8
    parts.append(
        f'<text x="{x + 34:g}" y="{middle + 4:g}" text-anchor="end">{number(100 * score, 0)} %</text>'
    )
    if bar.known is not None:
        parts.append(_mark(x + 42, middle, bar.known))
    return "".join(parts)


def _mark(x: float, y: float, known: bool) -> str:
    """A tick or a cross as lines, for not every font has them."""
    lines = "l3.5 4l6.5 -8" if known else "m1 -4l8 8m0 -8l-8 8"
    return f'<path d="M{x:g} {y:g}{lines}" fill="none" stroke="currentColor" stroke-width="1.6"/>'


def _legend(bars: Sequence[ConsensusBar], base: float) -> str:
    """What the marks that are drawn mean, in one line 14 pixels high."""
    parts, x = [], 0.0
    if any(bar.probability is not None for bar in bars):
        parts.append(
            f'<path d="M5 {base:g}l5 5l-5 5l-5 -5z"/><text x="14" y="{base + 9:g}">calibrated probability</text>'
        )
        x = 140.0
    if any(bar.known is not None for bar in bars):
        for known, said in ((True, "in the stated structure"), (False, "not in it")):
            parts.append(_mark(x, base + 5, known) + f'<text x="{x + 14:g}" y="{base + 9:g}">{said}</text>')
            x += 142
    return "".join(parts)
