"""Named substructures by SMARTS, from substructures.csv or a user's own file, and which molecules have them.

The 18 bundled ones are those of LSM1-MS2's consensus: four are named in the paper's text, the others are chosen here.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FILE = Path(__file__).with_name("substructures.csv")
COLUMNS = ("name", "smarts", "source")
MAX_SMARTS_LENGTH = 2000
CACHED = 512
"""Molecules remembered: those of a few spectra, for what they share is counted twice, by substructure and by atom."""

Bools = npt.NDArray[np.bool_]


class SubstructureError(ValueError):
    """A substructure that cannot be used; names file, line, name and SMARTS, and the remedy."""


@dataclass(frozen=True, slots=True)
class Substructure:
    """A substructure by its SMARTS.

    Attributes:
        name: unique in its list, whatever the case.
        smarts: the pattern.
        source: where it comes from.
        pattern: the RDKit molecule of the SMARTS.
    """

    name: str
    smarts: str
    source: str = ""
    pattern: Any = field(default=None, repr=False, compare=False)


def load_substructures(
    path: str | os.PathLike[str] | None = None,
    extra: str | os.PathLike[str] | Mapping[str, str] | None = None,
) -> tuple[Substructure, ...]:
    """The substructures of a consensus.

    Args:
        path: a CSV file with columns ``name,smarts`` and optionally ``source``; the bundled 18 if not given.
        extra: more of them, appended: another such file, or SMARTS by name.

    Raises:
        SubstructureError: a SMARTS is not valid, a name is missing or taken twice, or the file has no such columns;
            names file, line, name, SMARTS and the remedy.
        OSError: a file cannot be opened.
    """
    found = list(_bundled()) if path is None else list(_rows(path))
    if isinstance(extra, Mapping):
        found += [(f"extra[{name!r}]", str(name), str(smarts), "") for name, smarts in extra.items()]
    elif extra is not None:
        found += _rows(extra)
    taken: dict[str, str] = {}
    substructures = []
    for place, name, smarts, source in found:
        what = f"{place}: substructure {name!r} with SMARTS {smarts[:200]!r}"
        if not name:
            raise SubstructureError(f"{what} has no name; give it one")
        if name.casefold() in taken:
            raise SubstructureError(
                f"{what}: the name is taken by {taken[name.casefold()]}; rename or remove one of the two"
            )
        taken[name.casefold()] = place
        substructures.append(Substructure(name, smarts, source, _pattern(smarts, what)))
    if not substructures:
        raise SubstructureError(f"{path}: holds no substructure; add at least one row of name and SMARTS")
    return tuple(substructures)


@cache
def _bundled() -> tuple[tuple[str, str, str, str], ...]:
    return tuple(_rows(FILE))


def _rows(path: str | os.PathLike[str]) -> list[tuple[str, str, str, str]]:
    """Place, name, SMARTS and source of every row of a file."""
    rows = []
    with open(path, encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        missing = [name for name in COLUMNS[:2] if name not in (reader.fieldnames or ())]
        if missing:
            raise SubstructureError(
                f"{path}:1: no column {', '.join(missing)}; the first line must be {','.join(COLUMNS)}"
            )
        for row in reader:
            if None in row:
                raise SubstructureError(
                    f"{path}:{reader.line_num}: substructure {row['name']!r} with SMARTS {row['smarts']!r} has more "
                    'fields than columns; put a SMARTS that holds a comma in "quotes"'
                )
            name, smarts, source = ((row.get(column) or "").strip() for column in COLUMNS)
            rows.append((f"{path}:{reader.line_num}", name, smarts, source))
    return rows


def _pattern(smarts: str, what: str) -> Any:
    from rdkit import Chem, rdBase

    if not smarts or len(smarts) > MAX_SMARTS_LENGTH:
        raise SubstructureError(
            f"{what}: a SMARTS has 1 to {MAX_SMARTS_LENGTH} characters; correct or remove it"
        )
    with rdBase.BlockLogs():
        pattern = Chem.MolFromSmarts(smarts)
    if pattern is None or pattern.GetNumAtoms() == 0:
        raise SubstructureError(f"{what}: RDKit does not understand the SMARTS; correct or remove it")
    return pattern


def match_substructures(
    smiles: Sequence[str | None], substructures: Iterable[Substructure]
) -> tuple[Bools, Bools]:
    """Which molecules have which substructures.

    Args:
        smiles: (n,) molecules; None, empty or unreadable is invalid.
        substructures: (k,) from `load_substructures`.

    Returns:
        bool (n, k), False in the rows of invalid molecules; bool (n,) valid.
    """
    patterns = [found.pattern for found in substructures]
    molecules = [read_molecule(text) for text in smiles]
    matches = np.zeros((len(molecules), len(patterns)), dtype=np.bool_)
    for row, molecule in enumerate(molecules):
        if molecule is not None:
            matches[row] = [molecule.HasSubstructMatch(pattern) for pattern in patterns]
    return matches, np.array([molecule is not None for molecule in molecules], dtype=np.bool_)


@lru_cache(maxsize=CACHED)
def read_molecule(smiles: str | None) -> Any:
    """The RDKit molecule of a SMILES, not to be changed; None if it is missing, empty or unreadable."""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles) if smiles else None
    return molecule if molecule is not None and molecule.GetNumAtoms() else None
