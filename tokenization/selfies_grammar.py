"""The molecule that a SELFIES builds, followed symbol by symbol: what `selfies.decoder` would give if it ended here.

A `Derivation` is an immutable state. `Derivation.advance` adds one symbol in a few microseconds and leaves the old state
as it was, so that a search may branch from it. Rules (Krenn et al. 2020, doi:10.1088/2632-2153/aba947, and the library's
version 2): a bond is lowered to what both atoms have left; a branch lasts for a stated number of symbols, whatever they
do; ring bonds are made last, in order, as far as both atoms still have room.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from ..spectra.masses import composition_mass, hill
from .selfies_atoms import AtomKind, Role, Symbol, read_symbol

NEVER = 1 << 60
"""The end of the main chain, as a count of symbols: it has none."""

_BASE = 16
_TOKEN = re.compile(r"\[[^\]]*\]|\.")


class Frame(NamedTuple):
    """A chain that waits for a branch to end: bonds left at its last atom, that atom, and the symbol count at its end."""

    valence: int
    atom: int
    end: int


class Pending(NamedTuple):
    """A branch or ring symbol whose length is being read: the symbol, its digits so far and how many are missing."""

    symbol: Symbol
    value: int
    missing: int


class Built(NamedTuple):
    """A finished molecule.

    Attributes:
        counts: atoms by element, hydrogens included, isotopes not told apart.
        charge: sum of the formal charges.
        rings: independent rings. bonds: bonds between its atoms, ring bonds included.
        radicals: unpaired electrons.
        valid: whether RDKit accepts the bonds of every atom, and there is an atom.
    """

    counts: dict[str, int]
    charge: int
    rings: int
    bonds: int
    radicals: int
    valid: bool

    @property
    def formula(self) -> str:
        """Sum formula in Hill order, without charge."""
        return hill(self.counts)

    @property
    def mass(self) -> float:
        """Monoisotopic mass in Da: the sum of the atoms, electrons neither added nor taken for a charge."""
        return composition_mass(self.counts)


class Derivation(NamedTuple):
    """State of a partial SELFIES. `Derivation()` is the empty one.

    Attributes:
        atoms: kinds of the atoms, in the order of their appearance.
        loads: bond orders asked of each atom: those of its chains, and of its rings as if there were room.
        parents: for each atom the atom it hangs on, -1 at the start of a part.
        orders: orders of those bonds, 0 at the start.
        rings: ring bonds (earlier atom, later atom, order), in order.
        valence: bonds that the next atom may use; 0 before the first atom; None where the rest of the chain is ignored.
        atom: the atom that the next one hangs on, -1 if there is none.
        end: `used` at which the current branch ends; `NEVER` in the main chain.
        used: symbols read in this part.
        stack: chains that wait for the current branch, outermost first.
        pending: branch or ring whose length comes next; the next symbol is a digit then.
        due: order of the branch that starts with the next symbol, else 0.
        hydrogens: of the molecule so far; only right while `regular`.
        charge: of the molecule so far.
        unpaired: electrons of the molecule so far; only right while `regular`.
        regular: whether every ring bond asked for is made in full; `build` counts either way.
        error: the symbol at which `selfies.decoder` raises an error, else None.
    """

    atoms: tuple[AtomKind, ...] = ()
    loads: tuple[int, ...] = ()
    parents: tuple[int, ...] = ()
    orders: tuple[int, ...] = ()
    rings: tuple[tuple[int, int, int], ...] = ()
    valence: int | None = 0
    atom: int = -1
    end: int = NEVER
    used: int = 0
    stack: tuple[Frame, ...] = ()
    pending: Pending | None = None
    due: int = 0
    hydrogens: int = 0
    charge: int = 0
    unpaired: int = 0
    regular: bool = True
    error: str | None = None

    @property
    def ignored(self) -> bool:
        """Whether the next symbols of this chain mean nothing, until the branch or part ends."""
        return self.valence is None and self.pending is None

    def advance(self, symbol: Symbol) -> Derivation:
        """The state after one more symbol."""
        role = symbol.role
        if self.error is not None or role == Role.NOTHING:
            return self
        if role == Role.PART:
            whole = self._resolved()
            return whole._replace(valence=0, atom=-1, end=NEVER, used=0, stack=(), pending=None, due=0)
        if self.pending is not None:
            return self._read_digit(self.pending, symbol)
        used = self.used + 1
        if self.valence is None:
            return self._replace(used=used)._left()
        if role == Role.ATOM and symbol.atom is not None:
            return self._add_atom(symbol.atom, symbol.order, used)
        if role == Role.UNKNOWN:
            return self._replace(error=symbol.text)
        if role == Role.STOP:
            stopped = 0 if self.valence == 0 else None
            return self._replace(used=used, valence=stopped, due=0)._left()
        if self.valence <= (1 if role == Role.BRANCH else 0):
            return self._replace(used=used, due=0)._left()
        return self._replace(used=used, due=0, pending=Pending(symbol, 0, symbol.digits))

    def _add_atom(self, kind: AtomKind, asked: int, used: int) -> Derivation:
        valence = self.valence or 0
        order = min(asked, valence, kind.capacity)
        left = kind.capacity - order or None
        if order == 0 and valence > 0:  # an atom that makes no bonds is not added, and ends the chain
            return self._replace(used=used, valence=None, due=0)._left()
        loads, hydrogens, unpaired, regular = self.loads, self.hydrogens, self.unpaired, self.regular
        parent = self.atom if order else -1
        if order:
            bonded, before = self.atoms[parent], loads[parent]
            after = before + order
            regular = regular and after <= bonded.capacity
            if regular:
                hydrogens += bonded.hydrogens[after] - bonded.hydrogens[before]
                unpaired += bonded.radicals[after] - bonded.radicals[before]
            loads = (*loads[:parent], after, *loads[parent + 1 :])
        state = Derivation(
            (*self.atoms, kind),
            (*loads, order),
            (*self.parents, parent),
            (*self.orders, order),
            self.rings,
            left,
            len(self.atoms),
            self.end,
            used,
            self.stack,
            None,
            0,
            hydrogens + kind.hydrogens[order] + (kind.element == "H"),
            self.charge + kind.charge,
            unpaired + kind.radicals[order],
            regular,
        )
        return state._left() if used >= self.end else state

    def _read_digit(self, pending: Pending, symbol: Symbol) -> Derivation:
        value, missing = pending.value * _BASE + symbol.digit, pending.missing - 1
        state = self._replace(used=self.used + 1, pending=Pending(pending.symbol, value, missing))
        return state if missing else state._resolved()._left()

    def _resolved(self) -> Derivation:
        """Carry out a pending branch or ring; digits not yet given count 0."""
        if self.pending is None or self.valence is None:
            return self
        symbol, value, missing = self.pending
        value *= _BASE**missing
        if symbol.role == Role.BRANCH:
            first = min(self.valence - 1, symbol.order)
            stack = (*self.stack, Frame(self.valence - first, self.atom, self.end))
            return self._replace(
                valence=first, end=self.used + value + 1, stack=stack, pending=None, due=symbol.order
            )
        order = min(symbol.order, self.valence)
        state = self._replace(valence=self.valence - order or None, pending=None)
        return state._add_ring(max(0, self.atom - value - 1), order)

    def _add_ring(self, other: int, order: int) -> Derivation:
        atom = self.atom
        if other == atom:
            return self
        loads = list(self.loads)
        hydrogens, unpaired = self.hydrogens, self.unpaired
        regular = self.regular and self.can_close(other, order)
        for place in (other, atom):
            if regular:
                kind, before = self.atoms[place], loads[place]
                hydrogens += kind.hydrogens[before + order] - kind.hydrogens[before]
                unpaired += kind.radicals[before + order] - kind.radicals[before]
            loads[place] += order
        rings = (*self.rings, (other, atom, order))
        return self._replace(
            loads=tuple(loads), rings=rings, hydrogens=hydrogens, unpaired=unpaired, regular=regular
        )

    def can_close(self, other: int, order: int) -> bool:
        """Whether a ring bond from the current atom to an earlier one has room at both, and they are not yet bonded."""
        atom = self.atom
        return (
            self.loads[other] + order <= self.atoms[other].capacity
            and self.loads[atom] + order <= self.atoms[atom].capacity
            and self.parents[atom] != other
            and not any(ring[0] == other and ring[1] == atom for ring in self.rings)
        )

    def _left(self) -> Derivation:
        """Return to the waiting chains whose branch is over."""
        if self.used < self.end or self.pending is not None:
            return self
        stack, frame = self.stack, None
        end = self.end
        while self.used >= end:
            frame, stack = stack[-1], stack[:-1]
            end = frame.end
        if frame is None:
            return self
        return self._replace(valence=frame.valence, atom=frame.atom, end=end, stack=stack, due=0)

    def build(self) -> Built:
        """The molecule if the SELFIES ended here."""
        whole = (
            self._resolved() if self.pending is not None and self.pending.symbol.role == Role.RING else self
        )
        loads, bonds, joined = whole._settled()
        counts: dict[str, int] = {}
        hydrogens = radicals = 0
        valid = bool(self.atoms) and self.error is None
        for kind, load in zip(whole.atoms, loads, strict=True):
            counts[kind.element] = counts.get(kind.element, 0) + 1
            valid = valid and kind.hydrogens[load] >= 0
            hydrogens += max(kind.hydrogens[load], 0)
            radicals += kind.radicals[load]
        if hydrogens:
            counts["H"] = counts.get("H", 0) + hydrogens
        parts = sum(parent < 0 for parent in whole.parents) - joined
        return Built(counts, whole.charge, bonds - len(whole.atoms) + parts, bonds, radicals, valid)

    def _settled(self) -> tuple[list[int], int, int]:
        """Bonds of each atom, number of bonds, and ring bonds that join two parts, after all ring bonds are made."""
        orders: dict[tuple[int, int], int] = {}
        loads = [0] * len(self.atoms)
        part = list(range(len(self.atoms)))
        for atom, (parent, order) in enumerate(zip(self.parents, self.orders, strict=True)):
            if parent >= 0:
                orders[parent, atom] = order
                part[atom] = part[parent]
                loads[parent] += order
                loads[atom] += order
        joined = 0
        for first, last, asked in self.rings:
            room = min(self.atoms[place].capacity - loads[place] for place in (first, last))
            if room <= 0:
                continue
            before = orders.get((first, last), 0)
            order = min(before + min(asked, room), 3)
            orders[first, last] = order
            loads[first] += order - before
            loads[last] += order - before
            if part[first] != part[last]:
                joined += 1
                old, new = part[last], part[first]
                part = [new if place == old else place for place in part]
        return loads, len(orders), joined


@lru_cache(maxsize=4096)
def _symbols(selfies: str) -> tuple[Symbol, ...]:
    return tuple(read_symbol(token) for token in _TOKEN.findall(selfies))


def derive(selfies: str | Iterable[str]) -> Derivation:
    """The state after a whole SELFIES, given as text or as its tokens."""
    symbols = _symbols(selfies) if isinstance(selfies, str) else map(read_symbol, selfies)
    state = Derivation()
    for symbol in symbols:
        state = state.advance(symbol)
    return state
