"""What one SELFIES symbol means: the atom, branch or ring it asks for, and how many hydrogens that atom will carry.

Rules of the `selfies` library, version 2, under the bond limits of `selfies.constraints`; hydrogens are those that
RDKit gives the SMILES the library writes: by normal valence on a plain atom of the organic subset, as stated otherwise.
"""

from __future__ import annotations

import re
from enum import IntEnum
from functools import cache
from typing import NamedTuple

from .selfies import constraints

ORGANIC_SUBSET = frozenset({"B", "C", "N", "O", "S", "P", "F", "Cl", "Br", "I"})
"""Elements that SMILES writes without brackets, with hydrogens up to their normal valence."""
INDEX_SYMBOLS = (
    *("[C]", "[Ring1]", "[Ring2]", "[Branch1]", "[=Branch1]", "[#Branch1]", "[Branch2]", "[=Branch2]"),
    *("[#Branch2]", "[O]", "[N]", "[=N]", "[=C]", "[#C]", "[S]", "[P]"),
)
"""The hexadecimal digits 0 to 15 of branch lengths and ring sizes; every other symbol counts 0."""

_BOND_ORDERS = {"": 1, "-": 1, "/": 1, "\\": 1, "=": 2, "#": 3}
_ATOM = re.compile(
    r"\[(?P<bond>[=#/\\]?)(?P<atom>(?P<isotope>\d*)(?P<element>[A-Z][a-z]?)(?P<chiral>@{0,2})"
    r"(?:H(?P<hydrogens>\d))?(?P<charge>[+-][1-9]+)?)\]"
)
_STRUCTURE = re.compile(r"\[(?P<bond>[=#]?|[-/\\]{2})(?P<kind>Branch|Ring)(?P<digits>[123])\]")


class Role(IntEnum):
    """What a symbol does where no branch length or ring size is being read."""

    ATOM = 0
    BRANCH = 1
    RING = 2
    STOP = 3
    NOTHING = 4
    PART = 5
    UNKNOWN = 6


class AtomKind(NamedTuple):
    """An atom as a symbol asks for it.

    Attributes:
        element: its symbol.
        charge: formal charge.
        explicit: hydrogens it states; None if they follow from its bonds.
        capacity: most bonds it makes, its stated hydrogens not counted.
        hydrogens: hydrogens it carries with 0, 1, … `capacity` bonds; -1 where RDKit refuses that many bonds.
        radicals: unpaired electrons with 0, 1, … `capacity` bonds.
    """

    element: str
    charge: int
    explicit: int | None
    capacity: int
    hydrogens: tuple[int, ...]
    radicals: tuple[int, ...]


class Symbol(NamedTuple):
    """One SELFIES symbol.

    Attributes:
        text: as written.
        role: what it does.
        order: order of the bond it asks for, 1 to 3.
        digits: index symbols that follow a branch or ring.
        atom: the atom, if it is one.
        digit: its value in a length, 0 to 15.
    """

    text: str
    role: Role
    order: int = 1
    digits: int = 0
    atom: AtomKind | None = None
    digit: int = 0


@cache
def read_symbol(text: str) -> Symbol:
    """The meaning of a symbol such as ``[=C]``; of role UNKNOWN where `selfies.decoder` would raise an error."""
    digit = INDEX_SYMBOLS.index(text) if text in INDEX_SYMBOLS else 0
    if text == ".":
        return Symbol(text, Role.PART)
    if text == "[nop]":
        return Symbol(text, Role.NOTHING)
    structure = _STRUCTURE.fullmatch(text)
    if structure is not None:
        bond, digits = structure["bond"], int(structure["digits"])
        role = Role.RING if structure["kind"] == "Ring" else Role.BRANCH
        if bond == "--" or (role == Role.BRANCH and len(bond) == 2):
            return Symbol(text, Role.UNKNOWN)
        return Symbol(text, role, _BOND_ORDERS.get(bond, 1), digits, digit=digit)
    if text[-4:-2] in ("ch", "ng"):
        return Symbol(text, Role.UNKNOWN)
    if "eps" in text:
        return Symbol(text, Role.STOP)
    atom = _ATOM.fullmatch(text)
    kind = _atom_kind(atom) if atom is not None else None
    if atom is None or kind is None:
        return Symbol(text, Role.UNKNOWN)
    return Symbol(text, Role.ATOM, _BOND_ORDERS[atom["bond"]], atom=kind, digit=digit)


def _atom_kind(match: re.Match[str]) -> AtomKind | None:
    element, charge = match["element"], int(match["charge"] or 0)
    limits = constraints()
    capacity = limits.get(f"{element}{charge:+}" if charge else element, limits["?"])
    explicit = None if match["atom"] in ORGANIC_SUBSET else int(match["hydrogens"] or 0)
    capacity -= explicit or 0
    if capacity < 0 or not _known(element):
        return None
    found = [_carried(element, charge, explicit, bonds) for bonds in range(capacity + 1)]
    return AtomKind(
        element, charge, explicit, capacity, *(tuple(column) for column in zip(*found, strict=True))
    )


@cache
def _known(element: str) -> bool:
    from rdkit import Chem

    try:
        return bool(Chem.GetPeriodicTable().GetAtomicNumber(element) > 0)
    except RuntimeError:
        return False


@cache
def _carried(element: str, charge: int, explicit: int | None, bonds: int) -> tuple[int, int]:
    """Hydrogens and unpaired electrons RDKit gives an atom with this many single bonds; (-1, 0) if it refuses it."""
    from rdkit import Chem, rdBase

    mol = Chem.RWMol()
    atom = Chem.Atom(element)
    atom.SetFormalCharge(charge)
    if explicit is not None:
        atom.SetNoImplicit(True)
        atom.SetNumExplicitHs(explicit)
    mol.AddAtom(atom)
    for _ in range(bonds):
        mol.AddBond(0, mol.AddAtom(Chem.Atom(0)), Chem.BondType.SINGLE)
    with rdBase.BlockLogs():
        try:
            mol.UpdatePropertyCache(strict=True)
            Chem.AssignRadicals(mol)
        except (Chem.AtomValenceException, ValueError):
            return -1, 0
    built = mol.GetAtomWithIdx(0)
    return built.GetTotalNumHs(), built.GetNumRadicalElectrons()
