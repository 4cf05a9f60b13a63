"""The one table of SELFIES' semantic constraints, and the library `selfies` under it."""

from __future__ import annotations

import csv
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import resources
from typing import Any

_LOCK = threading.RLock()


@cache
def _table() -> dict[str, int]:
    text = (resources.files(__package__) / "selfies_constraints.csv").read_text(encoding="utf-8")
    return {row["atom"]: int(row["bonds"]) for row in csv.DictReader(text.splitlines())}


def constraints() -> dict[str, int]:
    """Most bonds of each atom (``C``, ``N+1``; ``?`` for every other), as `selfies.set_semantic_constraints` takes them.

    The one table of this package: file ``selfies_constraints.csv``. A new dict at each call.
    """
    return dict(_table())


@contextmanager
def constrained() -> Iterator[Any]:
    """The library `selfies` under `constraints`; the constraints it had before are put back at the end.

    They are global in that library, so one thread at a time is inside.
    """
    import selfies

    with _LOCK:
        before = selfies.get_semantic_constraints()
        changed = before != _table()
        if changed:
            selfies.set_semantic_constraints(constraints())
        try:
            yield selfies
        finally:
            if changed:
                selfies.set_semantic_constraints(before)
