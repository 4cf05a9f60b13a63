"""The 209 molecular descriptors of RDKit 2023.03, the properties that LSM1-MS2 and MS2Prop predict.

RDKit's list grows with its versions (208 to 217 descriptors so far); descriptors.json freezes names and column order, so
that a checkpoint means the same under every RDKit. Nothing has been renamed or removed since.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .molecules import MoleculeError

_TABLE = json.loads(Path(__file__).with_name("descriptors.json").read_text(encoding="utf-8"))

DESCRIPTOR_NAMES: tuple[str, ...] = tuple(_TABLE["names"])
"""Names in column order."""
LOG_DESCRIPTORS: tuple[str, ...] = tuple(_TABLE["log"])
"""Those that span so many powers of ten that they are learned as log(1 + x)."""


@cache
def _functions() -> tuple[Callable[[Any], float], ...]:
    from rdkit.Chem import Descriptors

    installed = dict(Descriptors.descList)
    missing = [name for name in DESCRIPTOR_NAMES if name not in installed]
    if missing:
        raise ImportError(f"this RDKit has no descriptor {', '.join(missing)}; install rdkit >= 2023.3")
    return tuple(installed[name] for name in DESCRIPTOR_NAMES)


def descriptors(smiles: str) -> npt.NDArray[np.float64]:
    """Values of `DESCRIPTOR_NAMES` for one molecule.

    Args:
        smiles: any SMILES; stereo and counter-ions are described as they are written.

    Returns:
        (209,) float64 in the units of RDKit; NaN where RDKit fails or gives no finite number (partial charges of
        unusual elements, for example).

    Raises:
        MoleculeError: not a molecule.
    """
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles) if isinstance(smiles, str) else None
        if mol is None or mol.GetNumAtoms() == 0:
            raise MoleculeError(f"SMILES {smiles!r} is not a molecule; descriptors need a structure")
        values = np.array([_value(function, mol) for function in _functions()])
    values[~np.isfinite(values)] = np.nan
    return values


def _value(function: Callable[[Any], float], mol: Any) -> float:
    try:
        return float(function(mol))
    except (ValueError, RuntimeError, ArithmeticError):
        return np.nan
