"""Which formulas a growing molecule can still reach, and whether its bonds allow it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .formulas import formula_elements, formula_valences
from .mass_target import MassTarget

Ints = npt.NDArray[np.int16]

HEAVY = tuple(name for name in formula_elements() if name != "H")
"""Elements of a skeleton, in the order of the columns of a node."""
PLACES = {name: place for place, name in enumerate(HEAVY)}
"""Where an element is in `HEAVY`."""
VALENCES = tuple(formula_valences()[name] for name in HEAVY)
"""Their usual valences."""

_LINKS = np.array(VALENCES, dtype=np.int64) - 2
_TOTAL, _LINK, _EXCESS, _CHARGE = range(len(HEAVY), len(HEAVY) + 4)
PLENTY = 1 << 20
"""Symbols left where nothing limits their number."""

_OFFSET = 64
_MOST_ROOM = 24
_MOST_CHARGE = 2
_CATIONIC = [HEAVY.index(name) for name in ("N", "O", "P", "S", "I", "Se")]


class Node:
    """The formulas that hold at least a given skeleton, and what they need beyond it.

    The *excess* of a molecule is twice its double-bond equivalents by the usual valences. Hypervalent atoms lower it;
    unpaired electrons and stated hydrogens that have yet to find their bonds raise it.

    Attributes:
        most: largest number of heavy atoms that a formula still needs.
        base: excess of the skeleton without hydrogens; each hydrogen lowers it by one.
        needed: for each of `HEAVY`, the largest number that a formula still needs.
        finished: (excess, charge) of the formulas with just this skeleton.
        choices: by valence, kept by who asks for masks at this node.
    """

    __slots__ = (
        "_children",
        "_family",
        "_reach",
        "_rows",
        "_skeleton",
        "base",
        "choices",
        "finished",
        "most",
        "needed",
    )

    def __init__(
        self, rows: Ints, skeleton: tuple[int, ...], base: int, family: dict[tuple[int, ...], Node]
    ) -> None:
        self._rows, self._skeleton, self._family, self.base = rows, skeleton, family, base
        self._children: dict[int, Node | None] = {}
        self._reach: dict[tuple[int, int, int, int, int], int] = {}
        self.choices: dict[int, Any] = {}
        self.needed: list[int] = rows[: len(HEAVY)].max(axis=1, initial=0).tolist()
        total = rows[_TOTAL]
        self.most = int(total.max(initial=0))
        done = rows[_EXCESS:, total == 0] if not total.all() else rows[_EXCESS:, :0]
        self.finished = frozenset(zip(*done.tolist(), strict=True))
        family[skeleton] = self

    @classmethod
    def root(cls, target: MassTarget) -> Node:
        """The node of the empty molecule."""
        hydrogen = formula_elements().index("H")
        heavy = np.delete(target.counts, hydrogen, axis=1)
        links = heavy @ _LINKS
        excess = 2 + links - target.counts[:, hydrogen]
        rows = np.vstack([heavy.T, heavy.sum(axis=1), links, excess, target.charges])
        # a search holds thousands of such tables; no number in them leaves 16 bits
        return cls(np.ascontiguousarray(rows, dtype=np.int16), (0,) * len(HEAVY), 2, {})

    @property
    def linking(self) -> bool:
        """Whether a formula still needs an atom that makes more than one bond."""
        return any(count and valence > 1 for count, valence in zip(self.needed, VALENCES, strict=True))

    def child(self, element: int) -> Node | None:
        """The node with one more atom of an element (its place in `HEAVY`); None if no formula has one."""
        if element in self._children:
            return self._children[element]
        found = None
        if self.needed[element]:
            had = self._skeleton
            skeleton = (*had[:element], had[element] + 1, *had[element + 1 :])
            found = self._family.get(skeleton)
            if found is None:
                rows = self._rows[:, self._rows[element] > 0]
                rows[element] -= 1
                rows[_TOTAL] -= 1
                rows[_LINK] -= VALENCES[element] - 2
                found = Node(rows, skeleton, self.base + VALENCES[element] - 2, self._family)
        self._children[element] = found
        return found

    def feasible(self, hydrogens: int, charge: int, room: int, slack: int, closed: int, symbols: int) -> bool:
        """Whether a formula may still be reached: a necessary condition.

        Args:
            hydrogens: the molecule carries now. charge: that it has now.
            room: bonds that its open atoms can still make.
            slack: excess that further bonds of its open atoms may take away.
            closed: unpaired electrons of its other atoms; each needs a ring bond from an open or remaining atom.
            symbols: that may still be written.
        """
        key = (
            min(room, _MOST_ROOM),
            slack - closed,
            closed,
            charge,
            symbols if symbols < self.most else PLENTY,
        )
        reach = self._reach.get(key)
        if reach is None:
            reach = self._reach[key] = self._excesses(*key)
        place = self.base - hydrogens + _OFFSET
        return place >= 0 and reach >> place & 1 == 1

    def _excesses(self, room: int, lower: int, closed: int, charge: int, symbols: int) -> int:
        """The excesses from which a formula may be reached, as bits from -`_OFFSET` on.

        Remaining atoms need bonds to hang on. Every double bond or ring takes two bonds of open or remaining atoms, or
        one of these and a hydrogen: so it is limited by those bonds, and by them and all hydrogens together. A charge
        beyond that of the formula waits for an atom that balances it, whose valence differs by one from the usual.
        """
        total, links, excess, own = self._rows[_TOTAL:].astype(np.int64)
        fits = (links >= closed - room) & (excess - links <= room + self.base) & (total <= symbols)
        missing = own - charge
        fits &= (missing <= np.minimum(self._rows[_CATIONIC].sum(axis=0), _MOST_CHARGE)) & (
            -missing <= np.minimum(total, _MOST_CHARGE)
        )
        links, excess, missing = links[fits], excess[fits], missing[fits]
        first = np.maximum(excess - 2 * (links + room) + _OFFSET, 0)
        last = excess + missing + lower + _OFFSET
        held = last >= first
        if not held.any():
            return 0
        size = int(last.max()) + 2
        change = np.bincount(first[held], minlength=size) - np.bincount(last[held] + 1, minlength=size)
        return int.from_bytes(np.packbits(np.cumsum(change) > 0, bitorder="little").tobytes(), "little")
