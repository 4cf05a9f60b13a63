"""Which formulas a growing molecule can still reach, and whether its bonds allow it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .formulas import formula_elements, formula_valences
from .mass_target import MassTarget

Ints = npt.NDArray[np.int64]

HEAVY = tuple(name for name in formula_elements() if name != "H")
"""Elements of a skeleton, in the order of the columns of a node."""
VALENCES = tuple(formula_valences()[name] for name in HEAVY)
"""Their usual valences."""

_LINKS = np.array(VALENCES, dtype=np.int64) - 2
_EXTRA = np.minimum(_LINKS + 1, 2)
PLENTY = 1 << 20
"""Symbols left where nothing limits their number."""

_TOLERANCE = 4
_MOST_HYDROGENS = 24


class Node:
    """The formulas that hold at least a given skeleton, and what they need beyond it. Rows = formulas.

    The *excess* of a molecule is twice its double-bond equivalents by the usual valences. Hypervalent atoms lower it;
    unpaired electrons and stated hydrogens that have yet to find their bonds raise it.

    Attributes:
        most: largest number of heavy atoms that a formula still needs.
        linking: largest number of those that make more than one bond.
        base: excess of the skeleton without hydrogens; each hydrogen lowers it by one.
        finished: (excess, charge) of the formulas with just this skeleton.
        choices: by valence, kept by who asks for masks at this node.
    """

    __slots__ = (
        *("_charge", "_children", "_excess", "_extra", "_family", "_left", "_links", "_memo", "_skeleton"),
        *("_total", "base", "finished", "linking", "choices", "most"),
    )

    def __init__(
        self,
        left: Ints,
        excess: Ints,
        charge: Ints,
        skeleton: tuple[int, ...],
        family: dict[tuple[int, ...], Node],
    ) -> None:
        self._left, self._excess, self._charge = left, excess, charge
        self._skeleton, self._family = skeleton, family
        self._children: dict[int, Node | None] = {}
        self._memo: dict[tuple[int, ...], bool] = {}
        self._total = left.sum(axis=1)
        self._links, self._extra = left @ _LINKS, left @ _EXTRA
        done = self._total == 0
        self.finished = frozenset(zip(excess[done].tolist(), charge[done].tolist(), strict=True))
        self.most = int(self._total.max(initial=0))
        self.linking = int(left[:, _LINKS >= 0].sum(axis=1).max(initial=0))
        self.base = 2 + sum(count * (valence - 2) for count, valence in zip(skeleton, VALENCES, strict=True))
        self.choices: dict[int, Any] = {}
        family[skeleton] = self

    @classmethod
    def root(cls, target: MassTarget) -> Node:
        """The node of the empty molecule."""
        hydrogen = formula_elements().index("H")
        left = np.delete(target.counts, hydrogen, axis=1)
        excess = 2 + left @ _LINKS - target.counts[:, hydrogen]
        return cls(left, excess, target.charges, (0,) * len(HEAVY), {})

    def __len__(self) -> int:
        return len(self._left)

    def child(self, element: int) -> Node | None:
        """The node with one more atom of an element (its place in `HEAVY`); None if no formula has one."""
        if element in self._children:
            return self._children[element]
        had = self._skeleton
        skeleton = (*had[:element], had[element] + 1, *had[element + 1 :])
        found = self._family.get(skeleton)
        rows = np.flatnonzero(self._left[:, element] > 0) if found is None else ()
        if found is None and len(rows):
            left = self._left[rows]
            left[:, element] -= 1
            found = Node(left, self._excess[rows], self._charge[rows], skeleton, self._family)
        self._children[element] = found
        return found

    def feasible(self, least: int, excess: int, charge: int, room: int, hydrogens: int, symbols: int) -> bool:
        """Whether a formula may still be reached: a necessary condition.

        Args:
            least: the least excess the molecule may yet come to. excess: the one it has.
            charge: of the molecule so far.
            room: bonds that its open atoms can still make.
            hydrogens: it carries now.
            symbols: that may still be written.
        """
        key = (
            *(least, excess, charge, room),
            min(hydrogens, _MOST_HYDROGENS),
            min(symbols, 3 * self.most + _MOST_HYDROGENS),
        )
        known = self._memo.get(key)
        if known is None:
            known = self._memo[key] = self._check(*key)
        return known

    def _check(self, least: int, excess: int, charge: int, room: int, hydrogens: int, symbols: int) -> bool:
        links = self._links + room
        missing = self._excess - excess
        most = np.minimum(2 * links, links + hydrogens) + _TOLERANCE
        rings = np.maximum(missing // 2 - self._extra, 0)
        fits = (
            (self._excess + self._charge >= least + charge)
            & (links >= 0)
            & (missing <= most)
            & (self._total + 2 * ((rings + 2) // 3) <= symbols)
        )
        if room < 1:
            fits &= self._total == 0
        return bool(fits.any())
