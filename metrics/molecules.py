"""How far a proposed molecule is from the truth: Tanimoto similarity and the MCES distance.

Sources: MassSpecGym (arXiv 2410.23326) for max Tanimoto and MCES@1; SpecBridge (arXiv 2601.17204) for hardness; the distance
itself from myopic-mces (Kretschmer et al., bioRxiv 2023.03.27.534311).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

GENERATION_BITS = 2048
"""Length of the Morgan fingerprint in MassSpecGym's de novo metrics."""

HARDNESS_BITS = 4096
"""Length of the Morgan fingerprint in SpecBridge's hardness analysis."""


@dataclass(frozen=True, slots=True)
class McesReport:
    """MCES@1 over queries.

    Attributes:
        mean: mean of the finite distances; NaN if there is none.
        distances: float64 of shape (n_queries,); infinite where no distance could be given.
        skipped: how many distances are infinite and left out of the mean.
    """

    mean: float
    distances: FloatArray
    skipped: int


def max_tanimoto(
    truth: Sequence[str],
    proposals: Sequence[Sequence[str | None]],
    n_bits: int = GENERATION_BITS,
    radius: int = 2,
) -> FloatArray:
    """Largest Tanimoto similarity between each true molecule and its proposals.

    Args:
        truth: one SMILES per query.
        proposals: SMILES proposed per query; a proposal that is `None` or no molecule counts 0, as does an empty list.
        n_bits, radius: of the Morgan fingerprint: 2048 for generation, 4096 for hardness.

    Returns:
        float64 of shape (n_queries,), within [0, 1].

    Raises:
        ValueError: naming the query, if the truth is no molecule, or the lengths differ.
    """
    if len(truth) != len(proposals):
        raise ValueError(
            f"{len(truth)} true molecules for {len(proposals)} lists of proposals; give one list per query"
        )
    known: dict[str, Any] = {}
    best = np.zeros(len(truth))
    for query, (smiles, offered) in enumerate(zip(truth, proposals, strict=True)):
        fingerprint = _morgan(smiles, n_bits, radius, known)
        if fingerprint is None:
            raise ValueError(f"query {query}: RDKit cannot read the true SMILES {smiles!r}")
        best[query] = _largest(
            fingerprint, [_morgan(other, n_bits, radius, known) for other in offered if other]
        )
    return best


def nearest_tanimoto(
    queries: Sequence[str], references: Sequence[str], n_bits: int = HARDNESS_BITS, radius: int = 2
) -> FloatArray:
    """Largest Tanimoto similarity between each query and any reference molecule, such as the training set.

    SpecBridge calls a query hard when this is small. Unreadable references are left out.

    Returns:
        float64 of shape (n_queries,), within [0, 1].

    Raises:
        ValueError: naming the query that RDKit cannot read.
    """
    known: dict[str, Any] = {}
    shelf = [
        fingerprint for s in references if (fingerprint := _morgan(s, n_bits, radius, known)) is not None
    ]
    best = np.zeros(len(queries))
    for query, smiles in enumerate(queries):
        fingerprint = _morgan(smiles, n_bits, radius, known)
        if fingerprint is None:
            raise ValueError(f"query {query}: RDKit cannot read the SMILES {smiles!r}")
        best[query] = _largest(fingerprint, shelf)
    return best


def _largest(fingerprint: Any, others: list[Any]) -> float:
    from rdkit.DataStructs import BulkTanimotoSimilarity

    return max(
        BulkTanimotoSimilarity(fingerprint, [other for other in others if other is not None]), default=0.0
    )


def _morgan(smiles: str, n_bits: int, radius: int, known: dict[str, Any]) -> Any:
    """Morgan fingerprint as an RDKit bit vector, or `None` if the SMILES cannot be read; `known` remembers."""
    from rdkit import Chem, rdBase

    if smiles not in known:
        with rdBase.BlockLogs():
            molecule = Chem.MolFromSmiles(smiles)
        unusable = molecule is None or molecule.GetNumAtoms() == 0
        known[smiles] = None if unusable else _generator(n_bits, radius).GetFingerprint(molecule)
    return known[smiles]


@cache
def _generator(n_bits: int, radius: int) -> Any:
    from rdkit.Chem import rdFingerprintGenerator

    return rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=n_bits)


def mces(first: str, second: str, threshold: float = 15.0) -> float:
    """Myopic MCES distance of two SMILES: the weight of the bonds not shared by their largest common subgraph.

    Up to `threshold` it is exact; beyond, a lower bound (the stronger one always, as MassSpecGym sets it). Infinite where
    the solver gives no distance. The solver is the first that PuLP finds, and is silent.

    Raises:
        ModuleNotFoundError: without the `metrics` extra, or without any solver.
        ValueError: if RDKit cannot read a SMILES.
    """
    distance = _mces_function()
    for smiles in (first, second):
        if _morgan(smiles, GENERATION_BITS, 2, {}) is None:
            raise ValueError(f"RDKit cannot read the SMILES {smiles!r}")
    _, value, _, _ = distance(
        first,
        second,
        threshold=threshold,
        solver=_solver(),
        solver_options={"msg": 0},
        always_stronger_bound=True,
    )
    return float(value) if value is not None and value >= 0 else float("inf")


def mces_at_1(truth: Sequence[str], first: Sequence[str], threshold: float = 15.0) -> McesReport:
    """MCES@1: mean distance between each true molecule and the candidate ranked first; infinite distances are skipped.

    Args:
        truth: one SMILES per query.
        first: SMILES of the first candidate per query, such as ``candidates[i][int(np.argmax(scores[i]))]``.
        threshold: exact up to here, a lower bound beyond.
    """
    if len(truth) != len(first):
        raise ValueError(f"{len(truth)} true molecules for {len(first)} first candidates; give one per query")
    pairs = {pair: mces(*pair, threshold=threshold) for pair in set(zip(truth, first, strict=True))}
    distances = np.array([pairs[pair] for pair in zip(truth, first, strict=True)], dtype=np.float64)
    finite = distances[np.isfinite(distances)]
    mean = float(finite.mean()) if finite.size else float("nan")
    return McesReport(mean, distances, int(distances.size - finite.size))


def _mces_function() -> Any:
    try:
        from myopic_mces.myopic_mces import MCES
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'the MCES distance needs myopic-mces; pip install "msformers[metrics]"'
        ) from error
    return MCES


@cache
def _solver() -> str:
    import pulp

    available: list[str] = pulp.listSolvers(onlyAvailable=True)
    if not available:
        raise ModuleNotFoundError('PuLP finds no solver for the MCES distance; pip install "pulp[cbc]"')
    return available[0]
