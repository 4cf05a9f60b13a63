"""By how much the excess of a growing molecule may still fall: atoms that have yet to find the bonds they stand for."""

from __future__ import annotations

from ...tokenization.selfies_atoms import AtomKind
from ...tokenization.selfies_grammar import Derivation
from .mass_nodes import PLACES, VALENCES

_HYPERVALENT = frozenset({"P", "S", "Se", "Cl", "Br", "I"})


def slack_of(state: Derivation, atom: int, room: int, order: int, more: bool) -> int:
    """Excess that further bonds of an open atom can take away again, after one more bond of an order (0: none).

    Args:
        more: atoms remain to be written. To one with stated hydrogens only they bring hydrogens; a ring bond brings none.
    """
    kind = state.atoms[atom]
    if kind.explicit is not None:
        return _stated(kind, state.loads[atom] + order, room) if more else 0
    if kind.capacity <= VALENCES[PLACES[kind.element]]:
        return 0
    bonds = (
        state.parents.count(atom) + (state.parents[atom] >= 0) + sum(atom in ring[:2] for ring in state.rings)
    )
    load = state.loads[atom] + order
    return _hypervalent(kind, load, load - bonds - (order > 0))


def new_slack(kind: AtomKind, order: int, left: int, more: bool) -> int:
    """The same of a new atom that hangs on a bond of an order (0: none) and has `left` more to make."""
    if kind.explicit is not None:
        return _stated(kind, order, left) if more else 0
    return _hypervalent(kind, order, max(order - 1, 0)) if order > 1 else 0


def _stated(kind: AtomKind, load: int, room: int) -> int:
    """Of an atom with stated hydrogens: each bond it still needs brings no hydrogen loss of its own."""
    return room if kind.element in _HYPERVALENT else min(room, kind.radicals[load])


def _hypervalent(kind: AtomKind, load: int, doubled: int) -> int:
    """Excess that an S, P or I gives back when its valence rises: that of its double bonds (as in sulfones)."""
    usual = VALENCES[PLACES[kind.element]]
    if kind.capacity <= usual:
        return 0
    raised = max(0, (load - usual + 1) // 2)
    steps = (kind.capacity - usual) // 2
    return 2 * max(0, min(doubled, steps) - raised)
