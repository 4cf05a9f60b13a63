"""The grammar of adduct names: multiplicity, signed building blocks, charge, radical mark.

The abbreviations allowed inside brackets (FA, ACN, HAc, …) are in adduct_parts.csv.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt

from .masses import ELECTRON_MASS, FormulaError, composition_mass, monoisotopic_masses, parse_formula
from .spectrum import IonMode

MAX_LENGTH = 120
MAX_CHARGE = 200
MAX_COUNT = 200
MAX_MULTIPLICITY = 20
REMEDY = "write it like [M+H]+, [M-H2O+H]+ or [2M+Na]+, or add it by a CSV file (load_adducts)"

Mass = TypeVar("Mass", float, npt.NDArray[np.float64])

_PLAIN = str.maketrans("−–—‐‑⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉", "-----+-01234567890123456789")
_RADICAL = re.compile(r"[.•·˙*]")
_CHARGE = r"(?:(?P<before>\d*)(?P<signs>\+{1,9}|-{1,9})(?P<after>\d*))"
_BRACKETED = re.compile(rf"[\[(](?P<body>.*)[\])]\(?{_CHARGE}?\)?")
_BODY = re.compile(
    r"(?P<multiplicity>\d*)[Mm](?P<terms>(?:[+-]\d*[A-Za-z()\[][A-Za-z0-9()\[\]]*)*)(?P<rest>.*)"
)
TERM = re.compile(r"([+-])(\d*)([A-Za-z()\[][A-Za-z0-9()\[\]]*)")
_DANGLING = re.compile(_CHARGE)


class AdductError(ValueError):
    """A text that is no adduct, or one whose charge or polarity does not fit; says what to write instead."""


class Part(NamedTuple):
    """A building block of adducts: its formula and the charge it usually brings."""

    formula: str
    charge: int


@dataclass(frozen=True, slots=True)
class Adduct:
    """An ion type. Two adducts are equal if they make the same ion, however they are written.

    Attributes:
        name: normalised name such as ``[M+HCOO]-``.
        multiplicity: number of molecules in the ion.
        charge: signed charge, never 0.
        composition: atoms gained (positive) and lost (negative), sorted by symbol.
        radical: whether the name marks an unpaired electron, as ``[M]+.`` does.
        mass_shift: Da added to `multiplicity` neutral molecules, electrons accounted for.
    """

    name: str = field(compare=False)
    multiplicity: int
    charge: int
    composition: tuple[tuple[str, int], ...] = ()
    radical: bool = False
    mass_shift: float = field(init=False, compare=False)

    def __post_init__(self) -> None:
        shift = composition_mass(dict(self.composition)) - self.charge * ELECTRON_MASS
        object.__setattr__(self, "mass_shift", shift)

    @property
    def ion_mode(self) -> IonMode:
        """Polarity: "positive" or "negative"."""
        return "positive" if self.charge > 0 else "negative"

    def mz(self, neutral_mass: Mass) -> Mass:
        """m/z of the ion of a molecule of `neutral_mass` Da; a float or a float64 array of any shape."""
        return cast(Mass, (self.multiplicity * neutral_mass + self.mass_shift) / abs(self.charge))

    def neutral_mass(self, mz: Mass) -> Mass:
        """Mass in Da of the neutral molecule whose ion has this `mz`; a float or a float64 array of any shape."""
        return cast(Mass, (mz * abs(self.charge) - self.mass_shift) / self.multiplicity)

    def __str__(self) -> str:
        return self.name


@cache
def adduct_parts() -> Mapping[str, Part]:
    """Abbreviations and ions allowed in adducts (adduct_parts.csv) by every way to write them."""
    parts: dict[str, Part] = {}
    with Path(__file__).with_name("adduct_parts.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            part = Part(row["formula"], int(row["charge"]))
            for name in (row["name"], *filter(None, row["aliases"].split(";"))):
                parts[name] = part
    for name, part in list(parts.items()):
        parts.setdefault(name.lower(), part)
    return MappingProxyType(parts)


def _part(text: str, source: str) -> tuple[dict[str, int], int]:
    """Atoms and usual charge of one building block, by exact name, as a formula, then in any case."""
    parts = adduct_parts()
    part = parts.get(text)
    if part is None:
        try:
            return parse_formula(text), 0
        except FormulaError:
            part = parts.get(text.lower())
    if part is None:
        raise AdductError(f"adduct {source!r}: {text!r} is neither formula nor known abbreviation; {REMEDY}")
    return (parse_formula(part.formula) if part.formula else {}), part.charge


def parse_change(text: str, source: str) -> tuple[dict[str, int], int, str]:
    """Atoms, usual charge and normalised text of a change such as ``-H2O+H``; `source` is for messages."""
    atoms: dict[str, int] = {}
    charge = 0
    written = []
    for sign, digits, name in TERM.findall(text):
        count, label = int(digits or 1), name
        if count > 5 and f"[{count}{name}]" in monoisotopic_masses():
            count, label = 1, f"[{count}{name}]"
        if not 0 < count <= MAX_COUNT:
            raise AdductError(f"adduct {source!r}: {count} x {name} is out of range; {REMEDY}")
        gained, unit_charge = _part(label, source)
        factor = count if sign == "+" else -count
        charge += factor * unit_charge
        for symbol, number in gained.items():
            atoms[symbol] = atoms.get(symbol, 0) + factor * number
        written.append(f"{sign}{count if count > 1 else ''}{label}")
    return atoms, charge, "".join(written)


def _charge(match: re.Match[str] | None, source: str) -> int | None:
    if match is None or not match["signs"]:
        return None
    before, signs, after = match["before"], match["signs"], match["after"]
    digits = before or after
    if (before and after) or (digits and len(signs) > 1):
        raise AdductError(f"adduct {source!r}: the charge can be read in two ways; write 2+ or ++")
    size = int(digits) if digits else len(signs)
    if not 0 < size <= MAX_CHARGE:
        raise AdductError(f"adduct {source!r}: charge {size} is out of range; {REMEDY}")
    return size if signs[0] == "+" else -size


def normal_text(text: str) -> tuple[str, bool]:
    """Text in plain signs without blanks and without radical marks, and whether there was such a mark."""
    plain = "".join(text.translate(_PLAIN).split()).replace("^", "").replace("{", "").replace("}", "")
    bare = _RADICAL.sub("", plain)
    if bare.count("]") > bare.count("["):
        bare = "[" + bare
    elif bare.startswith("[") and "]" not in bare:
        bare = bare[1:]
    return bare, bare != plain and bool(_RADICAL.search(plain))


def parse_by_grammar(text: str, radical: bool, ion_mode: IonMode | None, source: str) -> Adduct:
    """The adduct written in `text` (from `normal_text`); `ion_mode` gives the charge if nothing else does."""
    bracketed = _BRACKETED.fullmatch(text)
    body = _BODY.fullmatch(bracketed["body"] if bracketed else text)
    if body is None:
        raise AdductError(f"unknown adduct {source!r}; {REMEDY}")
    rest = _DANGLING.fullmatch(body["rest"])
    if body["rest"] and rest is None:
        raise AdductError(f"adduct {source!r}: cannot read {body['rest']!r}; {REMEDY}")
    atoms, usual, written = parse_change(body["terms"], source)
    outside, inside = _charge(bracketed, source), _charge(rest, source)
    if outside and inside and outside != inside:
        raise AdductError(f"adduct {source!r}: cannot read {body['rest']!r}; {REMEDY}")
    charge = outside or inside or usual
    if not charge and ion_mode is not None:
        charge = 1 if ion_mode == "positive" else -1
    if not charge:
        raise AdductError(f"adduct {source!r} gives no charge; write it as in [M+H]+, or give the polarity")
    multiplicity = int(body["multiplicity"] or 1)
    if not 0 < multiplicity <= MAX_MULTIPLICITY or abs(charge) > MAX_CHARGE:
        raise AdductError(f"adduct {source!r}: multiplicity or charge is out of range; {REMEDY}")
    size = str(abs(charge)) if abs(charge) > 1 else ""
    molecules = str(multiplicity) if multiplicity > 1 else ""
    name = f"[{molecules}M{written}]{size}{'+' if charge > 0 else '-'}{'.' if radical else ''}"
    composition = tuple(sorted((symbol, count) for symbol, count in atoms.items() if count))
    return Adduct(name, multiplicity, charge, composition, radical)
