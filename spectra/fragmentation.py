"""Combinatorial fragments of a molecule: connected pieces left by one or two cuts, with what each cut costs.

A cut is a bond outside rings, or two bonds of one ring system. A fragment is one side of a cut, or what two cuts leave
between them (the idea of MetFrag, Wolf et al. 2010, with learned bond costs). Fragments are told apart by composition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

ELEMENTS = ("C", "N", "O", "P", "S", "F", "Cl", "Br", "I", "Si", "B", "Se")
"""Heavy atoms told apart, in the order of composition columns; other elements are not counted."""
ATOM_CLASSES = ("c", "n", "ox", "C=O", "C=N", "C=C", "C", "X", "N", "O", "S", "P", "M")
"""Classes of the atoms at a cut: aromatic c, n, other; carbon by its double bond; halogen; others; metal or rare."""
N_BOND_CLASSES = len(ATOM_CLASSES) ** 2 * 3
LARGE_RING_SYSTEM = 26

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fragments:
    """Distinct fragments of a molecule.

    Attributes:
        composition: counts of `ELEMENTS`, int64 (n, 12).
        hydrogens: hydrogens on these atoms, int64 (n,).
        cost: least sum of bond costs that makes it, float64 (n,).
        cuts: bonds cut on that way, int64 (n,).
        bonds: their classes, int64 (n, 4), −1 where fewer.
    """

    composition: Ints
    hydrogens: Ints
    cost: Floats
    cuts: Ints
    bonds: Ints


def fragment(molecule: Any, bond_cost: npt.ArrayLike | None = None, most_sides: int = 220) -> Fragments:
    """Fragments of an RDKit molecule, the whole molecule included.

    Args:
        molecule: an RDKit `Mol`.
        bond_cost: cost of each bond class (`N_BOND_CLASSES`,); 1 each by default.
        most_sides: sides of cuts that are combined, the cheapest ones.
    """
    cost = np.append(np.ones(N_BOND_CLASSES) if bond_cost is None else np.asarray(bond_cost, float), 0.0)
    atoms = _atom_counts(molecule)
    sides, bonds = _sides(molecule)
    order = np.argsort(cost[bonds].sum(1), kind="stable")
    _, first = np.unique(np.packbits(sides[order], axis=1), axis=0, return_index=True)
    kept = order[np.sort(first)][:most_sides]
    sides, bonds = sides[kept].astype(np.float32), bonds[kept]
    left, right = np.triu_indices(len(sides), 1)
    pairs = np.concatenate([(sides[i + 1 :] * sides[i]) @ atoms for i in range(len(sides))])
    counts = np.concatenate([sides @ atoms, pairs]).astype(np.int64)
    one = cost[bonds].sum(1)
    chosen = _cheapest(counts, np.concatenate([one, one[left] + one[right]]))
    # the two cuts of a fragment; −1 is no cut, whose bonds are the last row
    cuts = (
        np.concatenate([np.arange(len(sides)), left])[chosen],
        np.append(np.full(len(sides), -1), right)[chosen],
    )
    bonds = np.append(bonds, [[-1, -1]], axis=0)
    path = np.hstack([bonds[cuts[0]], bonds[cuts[1]]])
    composition, hydrogens = counts[chosen, :-1], counts[chosen, -1]
    return Fragments(composition, hydrogens, cost[path].sum(1), (path >= 0).sum(1), path)


def _cheapest(counts: Ints, cost: Floats) -> Ints:
    """Places of the cheapest way to each composition with its hydrogens; pieces without a counted atom are left out."""
    key = counts @ np.cumprod(np.append(1, counts.max(0) + 1))[:-1]
    order = np.lexsort((cost, key))
    first = np.ones(len(order), dtype=bool)
    first[1:] = np.diff(key[order]) != 0
    chosen = order[first]
    return chosen[counts[chosen, :-1].any(1)]


def _atom_counts(molecule: Any) -> npt.NDArray[np.float32]:
    """One row per atom: which of `ELEMENTS` it is, and its hydrogens in the last column."""
    counts = np.zeros((molecule.GetNumAtoms(), len(ELEMENTS) + 1), dtype=np.float32)
    for row, atom in zip(counts, molecule.GetAtoms(), strict=True):
        if atom.GetSymbol() in ELEMENTS:
            row[ELEMENTS.index(atom.GetSymbol())] = 1
        row[-1] = atom.GetTotalNumHs()
    return counts


def _sides(molecule: Any) -> tuple[Bools, Ints]:
    """Both sides of every cut as atom masks (k, atoms), the whole molecule first, and the bond classes cut (k, 2)."""
    ends = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in molecule.GetBonds()]
    cuts = np.array([*_chain_cuts(molecule), *_ring_cuts(molecule)], dtype=np.int64).reshape(-1, 2)
    whole = np.ones((1, molecule.GetNumAtoms()), dtype=bool)
    reached = np.zeros((molecule.GetNumAtoms(), len(cuts)), dtype=bool)
    reached[[ends[first][0] for first, _ in cuts], np.arange(len(cuts))] = True
    open_bonds = [(u, v, (cuts != number).all(1)) for number, (u, v) in enumerate(ends)]
    before = -1
    while before != (before := int(reached.sum())):
        for u, v, is_open in (*open_bonds, *open_bonds[::-1]):
            joined = (reached[u] | reached[v]) & is_open
            reached[u] |= joined
            reached[v] |= joined
    splits = ~reached.all(0)
    sides, cuts = reached.T[splits], cuts[splits]
    classes = np.array([_bond_class(bond) for bond in molecule.GetBonds()] + [-1], dtype=np.int64)[cuts]
    return np.concatenate([whole, sides, ~sides]), np.concatenate([[[-1, -1]], classes, classes])


def _chain_cuts(molecule: Any) -> list[tuple[int, int]]:
    return [(bond.GetIdx(), -1) for bond in molecule.GetBonds() if not bond.IsInRing()]


def _ring_cuts(molecule: Any) -> list[tuple[int, int]]:
    """Pairs of bonds of one ring system; in large systems only pairs of one ring."""
    rings = [frozenset(ring) for ring in molecule.GetRingInfo().BondRings()]
    systems: list[frozenset[int]] = []
    for ring in rings:
        touching = [system for system in systems if system & ring]
        systems = [system for system in systems if not system & ring] + [ring.union(*touching)]
    pairs: set[tuple[int, int]] = set()
    for system in systems:
        parts = [system] if len(system) <= LARGE_RING_SYSTEM else [ring for ring in rings if ring <= system]
        for part in parts:
            pairs.update(combinations(sorted(part), 2))
    return sorted(pairs)


def _bond_class(bond: Any) -> int:
    """Index of the bond's class: its two atoms' classes, and whether it is a single, ring multiple or chain multiple bond."""
    first, second = sorted(_atom_class(atom) for atom in (bond.GetBeginAtom(), bond.GetEndAtom()))
    multiple = bond.GetBondTypeAsDouble() != 1
    kind = 0 if not multiple else (1 if bond.IsInRing() else 2)
    return (first * len(ATOM_CLASSES) + second) * 3 + kind


def _atom_class(atom: Any) -> int:
    symbol = atom.GetSymbol()
    if atom.GetIsAromatic():
        name = symbol.lower() if symbol in ("C", "N") else "ox"
    elif symbol == "C":
        name = _carbon_class(atom)
    elif symbol in ("F", "Cl", "Br", "I"):
        name = "X"
    else:
        name = symbol if symbol in ("N", "O", "S", "P") else "M"
    return ATOM_CLASSES.index(name)


def _carbon_class(atom: Any) -> str:
    for bond in atom.GetBonds():
        order = bond.GetBondTypeAsDouble()
        if order == 2:
            other = bond.GetOtherAtom(atom).GetSymbol()
            return "C=O" if other in ("O", "S") else "C=N" if other == "N" else "C=C"
        if order == 3:
            return "C=C"
    return "C"


@cache
def element_masses() -> Floats:
    """Monoisotopic masses of `ELEMENTS` in Da, (12,)."""
    from .masses import formula_mass

    return np.array([formula_mass(element) for element in ELEMENTS])


def composition_text(counts: Sequence[int]) -> str:
    """Heavy-atom composition as a formula such as ``C7NO2``."""
    pairs = zip(ELEMENTS, counts, strict=True)
    return "".join(f"{element}{count if count > 1 else ''}" for element, count in pairs if count)
