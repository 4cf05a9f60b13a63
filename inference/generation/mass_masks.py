"""Which symbols may follow a partial SELFIES if its molecule is to reach one of some formulas. Masks are ints, bit = id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ...tokenization.selfies_atoms import AtomKind, Role, Symbol, read_symbol
from ...tokenization.selfies_grammar import NEVER, Derivation, Pending
from .mass_nodes import HEAVY, PLACES, Node
from .mass_slack import new_slack, slack_of

_BASE = 16


class _Choice(NamedTuple):
    """Symbols that do the same: an atom of one kind with a bond of one order."""

    element: int
    kind: AtomKind
    order: int
    bits: int


class _Open(NamedTuple):
    """What is open besides the current chain.

    Attributes:
        room: bonds left. slack: excess that they may take away. unpaired: electrons at other atoms than the current one.
        own: bonds left at the current atom in chains that wait.
    """

    room: int
    slack: int
    unpaired: int
    own: int


class MaskMaker:
    """Masks for one vocabulary.

    Args:
        vocabulary: token to id.

    Attributes:
        elements: those that it has atoms of.
        symbols: the meaning of each id; None for special tokens.
    """

    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        self.symbols: list[Symbol | None] = [None] * (max(vocabulary.values(), default=0) + 1)
        for token, place in vocabulary.items():
            if token.startswith("[") or token == ".":
                self.symbols[place] = read_symbol(token)
        grouped: dict[tuple[int, AtomKind, int], int] = {}
        self._jumps: dict[tuple[Role, int, int], int] = {}
        self._digits = [0] * _BASE
        for place, symbol in enumerate(self.symbols):
            if symbol is None:
                continue
            if symbol.digit or symbol.text == "[C]":
                self._digits[symbol.digit] |= 1 << place
            if symbol.atom is not None and symbol.atom.element in PLACES:
                key = (PLACES[symbol.atom.element], symbol.atom, symbol.order)
                grouped[key] = grouped.get(key, 0) | 1 << place
            elif symbol.role in (Role.BRANCH, Role.RING):
                jump = (symbol.role, symbol.order, symbol.digits)
                self._jumps[jump] = self._jumps.get(jump, 0) | 1 << place
        choices = [_Choice(*key, bits) for key, bits in grouped.items() if key[2] <= max(key[1].capacity, 1)]
        self._choices = [
            [
                [one for one in choices if one.element == place and one.order <= order]
                for place in range(len(HEAVY))
            ]
            for order in (1, 2, 3)
        ]
        self.elements = frozenset(choice.kind.element for choice in choices)

    def mask(self, state: Derivation, node: Node, symbols: int) -> int:
        """Symbols that may follow, the end not among them.

        Args:
            state: not at an error, with all ring bonds made in full.
            node: of its skeleton.
            symbols: that may still be written before the end.
        """
        if symbols < 1:
            return 0
        if state.pending is not None:
            return self._digit_mask(state, state.pending, node, symbols)
        if state.valence is None:
            return self._digits[0] if state.end != NEVER else 0
        found = self._atoms(state, node, symbols, strict=True)
        if state.valence:
            found |= self._rings(state, node, symbols, strict=True) | self._branches(state, node, symbols)
        if found:
            return found
        found = self._atoms(state, node, symbols, strict=False)
        return found | self._rings(state, node, symbols, strict=False) if state.valence else found

    def _atoms(self, state: Derivation, node: Node, symbols: int, *, strict: bool) -> int:
        """Atoms that may follow; if not strict, also those that end a branch before its time."""
        # behind the atom to be chosen
        more = node.most > 1
        valence, before = state.valence or 0, _open(state, more)
        parent = state.atoms[state.atom] if valence else None
        load = state.loads[state.atom] if valence else 0
        last, branch = state.end - state.used == 1, state.end != NEVER
        found = 0
        for element, kind, order, bits in self._usable(node, valence):
            if strict and state.due > 1 and order != state.due:
                continue
            left = kind.capacity - (order if valence else 0)
            if (strict and branch and not left and not last) or (parent and load + order > parent.capacity):
                continue
            child = node.child(element)
            if child is None:
                continue
            hydrogens, slack, open_ = state.hydrogens, before.slack, before.unpaired
            bonds, unpaired = (order if valence else 0), state.unpaired
            if parent is not None:
                after = load + order
                hydrogens += parent.hydrogens[after] - parent.hydrogens[load]
                unpaired += parent.radicals[after] - parent.radicals[load]
                if before.own:
                    slack += slack_of(state, state.atom, before.own, order, more)
                    open_ += parent.radicals[after]
            hydrogens += kind.hydrogens[bonds]
            unpaired += kind.radicals[bonds]
            room = before.room
            if left and not last:
                room += left
                slack += new_slack(kind, bonds, left, more)
                open_ += kind.radicals[bonds]
            charge = state.charge + kind.charge
            if _reachable(child, charge, hydrogens, room, slack, unpaired - open_, symbols - 1):
                found |= bits
        return found

    def _usable(self, node: Node, valence: int) -> Iterable[_Choice]:
        """Atoms whose element a formula still needs and whose bond the chain can make; at the start without bond."""
        order = min(valence or 1, 3)
        known = node.choices.get(order)
        if known is None:
            groups = zip(self._choices[order - 1], node.needed, strict=True)
            known = node.choices[order] = [choice for group, needed in groups if needed for choice in group]
        return known

    def _rings(self, state: Derivation, node: Node, symbols: int, *, strict: bool) -> int:
        """Ring symbols that may follow; if not strict, also those that end a branch early or reach beyond its end."""
        found = 0
        for order in range(1, 1 if state.due else min(state.valence or 0, 3) + 1):
            partners: list[tuple[int, int, int]] | None = None
            for digits in (1, 2, 3):
                bits = self._jumps.get((Role.RING, order, digits), 0)
                first = _BASE ** (digits - 1) if digits > 1 else 0
                rest = state.end - state.used - 1 - digits
                if not bits or symbols <= digits or state.atom <= first or (strict and rest < 0):
                    continue
                if strict and rest and state.end != NEVER and order == state.valence:
                    continue
                if partners is None:
                    partners = _partners(state, order)
                near = [partner for partner in partners if first <= partner[0] < _BASE**digits]
                if near and _closing(state, node, order, near, max(rest, 0), symbols - 1 - digits):
                    found |= bits
        return found

    def _branches(self, state: Derivation, node: Node, symbols: int) -> int:
        """Branches whose first atom and what follows them can still be had."""
        found, valence = 0, state.valence or 0
        if node.most < 2 or valence < 2 or state.due:
            return 0
        for (role, order, digits), bits in self._jumps.items():
            if role != Role.BRANCH or order >= valence:
                continue
            least = digits + 1 + (_BASE ** (digits - 1) if digits > 1 else 0)
            if least + 2 <= min(symbols, state.end - state.used) and least <= digits + 1 + _longest(node):
                found |= bits
        return found

    def _digit_mask(self, state: Derivation, pending: Pending, node: Node, symbols: int) -> int:
        value, missing = pending.value * _BASE, pending.missing - 1
        scale = _BASE**missing
        first = 1 if missing and not pending.value else 0
        if pending.symbol.role == Role.RING:
            rest = max(state.end - state.used - pending.missing, 0)
            order = pending.symbol.order
            partners = _partners(state, order)
            distances = _closing(state, node, order, partners, rest, symbols - pending.missing)
            leading = {distance // scale for distance in distances}
            return self._digit_bits(digit for digit in range(first, _BASE) if value + digit in leading)
        after = min(symbols, state.end - state.used) - pending.missing - 1
        most = min(after, _longest(node)) - 1
        return self._digit_bits(digit for digit in range(first, _BASE) if (value + digit) * scale <= most)

    def _digit_bits(self, digits: Iterable[int]) -> int:
        found = 0
        for digit in digits:
            found |= self._digits[digit]
        return found


def _partners(state: Derivation, order: int) -> list[tuple[int, int, int]]:
    """(digits, change of hydrogens, of unpaired electrons) of every ring bond of an order to an earlier atom."""
    atom, atoms, loads = state.atom, state.atoms, state.loads
    kind, load = atoms[atom], loads[atom]
    if load + order > kind.capacity:
        return []
    own = kind.hydrogens[load + order] - kind.hydrogens[load]
    unpaired = kind.radicals[load + order] - kind.radicals[load]
    taken = {state.parents[atom], *(first for first, last, _ in state.rings if last == atom)}
    found = []
    for other in range(atom):
        kind, before = atoms[other], loads[other]
        after = before + order
        if after <= kind.capacity and other not in taken:
            change = kind.hydrogens[after] - kind.hydrogens[before]
            found.append(
                (atom - other - 1, own + change, unpaired + kind.radicals[after] - kind.radicals[before])
            )
    return found


def _closing(
    state: Derivation,
    node: Node,
    order: int,
    partners: Iterable[tuple[int, int, int]],
    rest: int,
    symbols: int,
) -> list[int]:
    """Values of the digits of those ring bonds after which a formula is in reach; `rest` symbols follow in the branch."""
    more = node.most > 0
    before, left = _open(state, more), (state.valence or 0) - order
    room, slack, open_ = before.room, before.slack, before.unpaired
    if (left and rest) or before.own:
        room += left if rest else 0
        slack += slack_of(state, state.atom, before.own + (left if rest else 0), order, more)
        kind = state.atoms[state.atom]
        open_ += kind.radicals[state.loads[state.atom] + order]
    fits: dict[tuple[int, int], bool] = {}
    found = []
    for distance, change, unpaired in partners:
        known = fits.get((change, unpaired))
        if known is None:
            hydrogens, closed = state.hydrogens + change, max(0, state.unpaired + unpaired - open_)
            known = _reachable(node, state.charge, hydrogens, room, slack, closed, symbols)
            fits[change, unpaired] = known
        if known:
            found.append(distance)
    return found


def _longest(node: Node) -> int:
    """Most symbols that a branch could hold: each atom with a branch or ring of its own."""
    return 4 * (node.most - 1) + 1 if node.linking else 1


def _reachable(
    node: Node, charge: int, hydrogens: int, room: int, slack: int, closed: int, symbols: int
) -> bool:
    if not room:
        return not closed and (node.base - hydrogens, charge) in node.finished
    return node.feasible(hydrogens, charge, room, slack, closed, symbols)


def _open(state: Derivation, more: bool) -> _Open:
    room = slack = unpaired = own = 0
    for frame in state.stack:
        room += frame.valence
        if frame.atom == state.atom:
            own += frame.valence
        else:
            slack += slack_of(state, frame.atom, frame.valence, 0, more)
            unpaired += state.atoms[frame.atom].radicals[state.loads[frame.atom]]
    return _Open(room, slack, unpaired, own)
