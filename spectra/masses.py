"""Masses of electrons, protons, isotopes and formulas, in Da.

Isotope masses and abundances (elements.csv) are those of NIST; the first isotope of an element is its most abundant.
Electron and proton are CODATA 2018.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

ELECTRON_MASS = 0.000548579909065
"""Mass of the electron in Da."""
PROTON_MASS = 1.007276466621
"""Mass of the free proton in Da (1.4e-8 Da above hydrogen less an electron: the binding energy)."""

MAX_FORMULA_LENGTH = 500
MAX_ATOMS = 1_000_000

_TOKEN = re.compile(r"\[(\d{1,3})([A-Z][a-z]?)\](\d*)|([A-Z][a-z]?)(\d*)|([(\[])|([)\]])(\d*)")
_CHARGE = re.compile(r"(?:(?<=[\])])\d*[+-]|[+-]\d+|\++|-+)$")
_WHOLE = re.compile(r"\[([^\[\]\d][^\[\]]*)\]")


class FormulaError(ValueError):
    """A text that is not a sum formula; says which part and what is expected."""


class Isotope(NamedTuple):
    """One isotope: mass number, mass in Da, natural abundance between 0 and 1."""

    mass_number: int
    mass: float
    abundance: float


@cache
def isotopes() -> Mapping[str, tuple[Isotope, ...]]:
    """All stable isotopes by element symbol, the most abundant first (from elements.csv)."""
    table: dict[str, list[Isotope]] = {}
    with (Path(__file__).with_name("elements.csv")).open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            isotope = Isotope(int(row["mass_number"]), float(row["mass"]), float(row["abundance"]))
            table.setdefault(row["symbol"], []).append(isotope)
    return MappingProxyType({symbol: tuple(found) for symbol, found in table.items()})


@cache
def monoisotopic_masses() -> Mapping[str, float]:
    """Mass in Da of the most abundant isotope by element symbol, and of D, T and single isotopes as ``[13C]``."""
    masses: dict[str, float] = {}
    for symbol, found in isotopes().items():
        masses[symbol] = found[0].mass
        for isotope in found:
            masses[f"[{isotope.mass_number}{symbol}]"] = isotope.mass
    masses["D"], masses["T"] = masses["[2H]"], masses["[3H]"]
    return MappingProxyType(masses)


def parse_formula(formula: str) -> dict[str, int]:
    """Atom counts of a sum formula.

    Understands groups ``Ca(OH)2``, isotopes ``[13C]`` ``D``, parts joined by ``.`` (``C6H12O6.2H2O``) and a
    trailing charge (``C5H14NO+``, ``C12H14N2+2``, ``[C12H14N2]2+``), which does not change the counts.

    Args:
        formula: the text; spaces are ignored.

    Returns:
        Count by symbol as in `monoisotopic_masses`, in the order of first appearance.

    Raises:
        FormulaError: the text is empty, too long or holds something that is no element or count.
    """
    text = "".join(formula.split())
    if len(text) > MAX_FORMULA_LENGTH:
        raise FormulaError(
            f"formula of {len(text)} characters {text[:20]!r}… is too long; at most {MAX_FORMULA_LENGTH}"
        )
    body = _CHARGE.sub("", text)
    whole = _WHOLE.fullmatch(body)
    body = whole[1] if whole else body
    counts: dict[str, int] = {}
    for part in body.replace("·", ".").replace("*", ".").split("."):
        factor = re.match(r"\d*", part)
        digits = factor.group() if factor else ""
        _add(counts, _parse_part(part[len(digits) :], formula), _count(digits, formula))
    return counts


def _parse_part(text: str, formula: str) -> dict[str, int]:
    masses = monoisotopic_masses()
    stack: list[dict[str, int]] = [{}]
    position = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise FormulaError(
                f"formula {formula!r}: {text[position : position + 10]!r} is neither element nor count; write C6H12O6"
            )
        position = token.end()
        number, isotope, isotope_count, symbol, count, opening, closing, group_count = token.groups()
        if opening:
            stack.append({})
        elif closing:
            if len(stack) == 1:
                raise FormulaError(f"formula {formula!r}: {closing!r} closes nothing; balance the brackets")
            group = stack.pop()
            _add(stack[-1], group, _count(group_count, formula))
        else:
            key = f"[{number}{isotope}]" if number else symbol
            if key not in masses:
                raise FormulaError(
                    f"formula {formula!r}: {key!r} is not an element; check the upper case letters"
                )
            _add(stack[-1], {key: 1}, _count(isotope_count if number else count, formula))
    if len(stack) > 1:
        raise FormulaError(f"formula {formula!r}: a bracket is not closed; balance the brackets")
    if not stack[0]:
        raise FormulaError(f"formula {formula!r} holds no atom; write for example C6H12O6")
    return stack[0]


def _count(digits: str, formula: str) -> int:
    count = int(digits) if digits else 1
    if count > MAX_ATOMS:
        raise FormulaError(f"formula {formula!r}: {count} atoms are more than {MAX_ATOMS}; check the count")
    return count


def _add(counts: dict[str, int], more: Mapping[str, int], factor: int) -> None:
    for symbol, count in more.items():
        counts[symbol] = counts.get(symbol, 0) + factor * count
        if counts[symbol] > MAX_ATOMS:
            raise FormulaError(f"more than {MAX_ATOMS} atoms of {symbol}; check the counts")


def hill(counts: Mapping[str, int]) -> str:
    """The formula in Hill order (C, H, then by alphabet; without C all by alphabet); zero counts are left out.

    Args:
        counts: non-negative count by symbol, as `parse_formula` returns it.
    """
    present = [symbol for symbol, count in counts.items() if count]
    first = ["C", "H"] if counts.get("C") else []
    ordered = sorted(present, key=lambda s: (first.index(s) if s in first else len(first), s))
    return "".join(f"{symbol}{counts[symbol] if counts[symbol] != 1 else ''}" for symbol in ordered)


def composition_mass(counts: Mapping[str, int]) -> float:
    """Sum of the monoisotopic masses in Da of atom counts, which may be negative (a loss)."""
    masses = monoisotopic_masses()
    return sum(masses[symbol] * count for symbol, count in counts.items())


@lru_cache(maxsize=65536)
def formula_mass(formula: str) -> float:
    """Monoisotopic mass in Da of a sum formula: the sum of its atoms, electrons not subtracted if it is charged.

    Args:
        formula: as `parse_formula` understands it.

    Raises:
        FormulaError: the text is not a formula.
    """
    return composition_mass(parse_formula(formula))


def ppm_error(
    measured: float | npt.NDArray[np.float64], theoretical: float | npt.NDArray[np.float64]
) -> float | npt.NDArray[np.float64]:
    """Measured minus theoretical in parts per million of theoretical; arrays of any common shape, or numbers."""
    return (measured - theoretical) / theoretical * 1e6


def ppm_window(mz: float, ppm: float) -> tuple[float, float]:
    """Lowest and highest value within `ppm` parts per million of `mz`."""
    tolerance = abs(mz) * ppm * 1e-6
    return mz - tolerance, mz + tolerance
