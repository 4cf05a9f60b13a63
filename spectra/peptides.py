"""Peptides as text: ProForma sequences taken apart, and modifications by their UNIMOD number."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_N_TERMINAL = re.compile(r"((?:\[[^\]]+\])+)-")
_RESIDUE = re.compile(r"([A-Z])((?:\[[^\]]+\])*)")
_TAG = re.compile(r"\[([^\]]+)\]")


class PeptideError(ValueError):
    """A text that is no peptide; names it, the place and the remedy."""


@dataclass(frozen=True, slots=True)
class Modification:
    """One modification of a peptide.

    Attributes:
        position: 0 for the N-terminus, else the residue, counted from 1.
        name: as in the brackets of ProForma: a UNIMOD name ("Oxidation") or a mass with its sign ("+25.980265").
    """

    position: int
    name: str


@dataclass(frozen=True, slots=True)
class Peptide:
    """A peptide: its letters, and its modifications from the N-terminus on."""

    sequence: str
    modifications: tuple[Modification, ...] = ()


def parse_peptide(proforma: str) -> Peptide:
    """Take a ProForma sequence such as ``[Acetyl]-PEPM[Oxidation]K`` apart.

    Only what sequencing models write and read is known: letters, modifications in brackets behind them, and those of the
    N-terminus before a dash.

    Raises:
        PeptideError: something else is in the text.
    """
    found: list[Modification] = []
    start = _N_TERMINAL.match(proforma)
    if start:
        found += [Modification(0, name) for name in _TAG.findall(start[1])]
    letters, place = "", start.end() if start else 0
    while place < len(proforma):
        residue = _RESIDUE.match(proforma, place)
        if residue is None:
            raise PeptideError(
                f"peptide {proforma!r}: {proforma[place:]!r} is not understood; write residues as capital letters and "
                "modifications as C[Carbamidomethyl], M[+15.9949] or [Acetyl]- in front"
            )
        letters += residue[1]
        found += [Modification(len(letters), name) for name in _TAG.findall(residue[2])]
        place = residue.end()
    if not letters:
        raise PeptideError(f"peptide {proforma!r} has no residue")
    return Peptide(letters, tuple(found))


@cache
def unimod_numbers() -> dict[str, int]:
    """UNIMOD number by name, of the modifications in ``modifications.csv``."""
    text = (files(__package__) / "modifications.csv").read_text(encoding="utf-8")
    return {row["name"]: int(row["unimod"]) for row in csv.DictReader(text.splitlines())}


def known_modifications(tokens: Iterable[str]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The modifications among the tokens of a vocabulary, such as ``C[Carbamidomethyl]`` and ``[Acetyl]-``.

    Returns:
        fixed and variable ones as (site, name), sorted; fixed are those of a residue that has no unmodified token. The
        site is a letter or "N-term".
    """
    plain: set[str] = set()
    found: set[tuple[str, str]] = set()
    for token in tokens:
        residue, start = _RESIDUE.fullmatch(token), _N_TERMINAL.fullmatch(token)
        if start:
            found |= {("N-term", name) for name in _TAG.findall(start[1])}
        elif residue and residue[2]:
            found |= {(residue[1], name) for name in _TAG.findall(residue[2])}
        elif residue:
            plain.add(residue[1])
    fixed = {pair for pair in found if pair[0] not in plain and pair[0] != "N-term"}
    return sorted(fixed), sorted(found - fixed)
