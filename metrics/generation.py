"""How good generated molecules are: similarity and exact matches among the first k, validity, uniqueness, mass.

Definitions of MassSpecGym (arXiv 2410.23326), as LSM1-MS2 uses them: a list of proposals per spectrum, best first; what is
missing or no molecule keeps its place in the list, with Tanimoto similarity 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ..spectra.masses import ELECTRON_MASS
from .molecules import GENERATION_BITS, FloatArray

KS = (1, 10, 100)
PPM = 10.0
Proposals = Sequence[Sequence[str | None]]
NeutralMasses = Sequence[float | Sequence[float] | None]


@dataclass(frozen=True, slots=True)
class GenerationScores:
    """Figures of generated molecules, per query; the properties sum them up. n = queries, m = number of ks.

    Attributes:
        ks: numbers of first proposals that are looked at.
        tanimoto: float64 (n, m), largest Tanimoto similarity to the truth (Morgan, radius 2, 2048 bits) among the first k.
        matched: bool (n, m), whether the truth is among the first k, by first InChIKey block.
        proposed, valid, distinct: int64 (n,) proposals, molecules among them, and different first InChIKey blocks of these.
        within: int64 (n,) valid proposals within the ppm of the neutral mass; None if no masses were given.
        weighed: bool (n,) queries with a neutral mass; None if no masses were given.
    """

    ks: tuple[int, ...]
    tanimoto: FloatArray
    matched: npt.NDArray[np.bool_]
    proposed: npt.NDArray[np.int64]
    valid: npt.NDArray[np.int64]
    distinct: npt.NDArray[np.int64]
    within: npt.NDArray[np.int64] | None = None
    weighed: npt.NDArray[np.bool_] | None = None

    @property
    def max_tanimoto(self) -> dict[int, float]:
        """Mean over queries of the largest Tanimoto similarity, by k."""
        return {k: _mean(self.tanimoto[:, place]) for place, k in enumerate(self.ks)}

    @property
    def exact_match(self) -> dict[int, float]:
        """Share of the queries whose truth is among the first k, by k."""
        return {k: _mean(self.matched[:, place]) for place, k in enumerate(self.ks)}

    @property
    def validity(self) -> float:
        """Share of all proposals that are molecules."""
        return _ratio(self.valid, self.proposed)

    @property
    def uniqueness(self) -> float:
        """Share of the valid proposals that are different within their query."""
        return _ratio(self.distinct, self.valid)

    @property
    def within_ppm(self) -> float:
        """Share of the valid proposals that have the mass of the precursor, over queries with one; NaN without any."""
        if self.within is None or self.weighed is None:
            return float("nan")
        return _ratio(self.within[self.weighed], self.valid[self.weighed])

    @property
    def mean_valid(self) -> float:
        """Mean number of valid proposals per query."""
        return _mean(self.valid)

    def summary(self) -> dict[str, float]:
        """All figures by name: ``max_tanimoto_at_1``, ``exact_match_at_1``, …, ``validity`` and the others."""
        figures = {f"max_tanimoto_at_{k}": value for k, value in self.max_tanimoto.items()}
        figures |= {f"exact_match_at_{k}": value for k, value in self.exact_match.items()}
        return figures | {
            "validity": self.validity,
            "uniqueness": self.uniqueness,
            "within_ppm": self.within_ppm,
            "mean_valid": self.mean_valid,
        }


def generation_scores(
    truth: Sequence[str],
    proposals: Proposals,
    neutral_mass: NeutralMasses | None = None,
    ks: Sequence[int] = KS,
    ppm: float = PPM,
) -> GenerationScores:
    """Compare generated molecules with the truth.

    Args:
        truth: SMILES per query.
        proposals: SMILES per query, best first; None, empty or unreadable counts as a proposal that is no molecule.
        neutral_mass: of each query's precursor in Da, atoms' masses summed (electrons counted); several where several
            adducts are possible, any of which may fit; None where unknown.
        ks: numbers of first proposals to look at; a shorter list is taken as it is.
        ppm: of the neutral mass.

    Raises:
        ValueError: naming the query, if the truth is no molecule; lengths differ; or a k is below 1.
    """
    if len(truth) != len(proposals) or (neutral_mass is not None and len(neutral_mass) != len(truth)):
        masses = "" if neutral_mass is None else f" and {len(neutral_mass)} neutral masses"
        raise ValueError(
            f"{len(truth)} true molecules for {len(proposals)} lists of proposals{masses}; give one per query"
        )
    if not ks or min(ks) < 1:
        raise ValueError(f"ks {list(ks)} must be numbers of at least 1")
    known: dict[str, _Molecule | None] = {}
    rows = []
    for query, (smiles, offered) in enumerate(zip(truth, proposals, strict=True)):
        right = _read(smiles, known)
        if right is None:
            raise ValueError(f"query {query}: RDKit cannot read the true SMILES {smiles!r}")
        rows.append(_row(right, [_read(other, known) for other in offered], ks))
    similarity, matched, counts = zip(*rows, strict=True) if rows else ((), (), ())
    proposed, valid, distinct = np.array(counts, dtype=np.int64).reshape(-1, 3).T
    scores = GenerationScores(
        tuple(ks),
        np.array(similarity, dtype=np.float64).reshape(-1, len(ks)),
        np.array(matched, dtype=np.bool_).reshape(-1, len(ks)),
        *(proposed, valid, distinct),
    )
    return scores if neutral_mass is None else _with_masses(scores, proposals, neutral_mass, ppm, known)


@dataclass(frozen=True, slots=True)
class _Molecule:
    """What is compared of a molecule: RDKit bit vector, first InChIKey block (SMILES where there is none), mass in Da."""

    fingerprint: Any
    identity: str
    mass: float


def _row(
    right: _Molecule, offered: Sequence[_Molecule | None], ks: Sequence[int]
) -> tuple[list[float], list[bool], tuple[int, int, int]]:
    """Best similarity and match among the first k for every k; proposed, valid and distinct."""
    from rdkit.DataStructs import TanimotoSimilarity

    likeness = [0.0 if m is None else TanimotoSimilarity(right.fingerprint, m.fingerprint) for m in offered]
    equal = [m is not None and m.identity == right.identity for m in offered]
    valid = [m.identity for m in offered if m is not None]
    similarity = [max(likeness[:k], default=0.0) for k in ks]
    return similarity, [any(equal[:k]) for k in ks], (len(offered), len(valid), len(set(valid)))


def _read(smiles: str | None, known: dict[str, _Molecule | None]) -> _Molecule | None:
    """A molecule, or `None` if there is none; `known` remembers, for lists of one compound's spectra repeat."""
    if not smiles:
        return None
    if smiles not in known:
        known[smiles] = _parse(smiles)
    return known[smiles]


def _parse(smiles: str) -> _Molecule | None:
    from rdkit import Chem, rdBase
    from rdkit.Chem.rdMolDescriptors import CalcExactMolWt

    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
        if molecule is None or molecule.GetNumAtoms() == 0:
            return None
        key = Chem.MolToInchiKey(molecule)
    identity = key[:14] if key else Chem.MolToSmiles(molecule, isomericSmiles=False)
    mass = CalcExactMolWt(molecule) + Chem.GetFormalCharge(molecule) * ELECTRON_MASS
    return _Molecule(_generator().GetFingerprint(molecule), identity, mass)


@cache
def _generator() -> Any:
    from rdkit.Chem import rdFingerprintGenerator

    return rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=GENERATION_BITS)


def _with_masses(
    scores: GenerationScores,
    proposals: Proposals,
    neutral_mass: NeutralMasses,
    ppm: float,
    known: dict[str, _Molecule | None],
) -> GenerationScores:
    within = np.zeros(len(proposals), dtype=np.int64)
    weighed = np.zeros(len(proposals), dtype=np.bool_)
    for query, (offered, given) in enumerate(zip(proposals, neutral_mass, strict=True)):
        possible = np.atleast_1d(np.asarray([] if given is None else given, dtype=np.float64))
        possible = possible[np.isfinite(possible) & (possible > 0)]
        masses = np.array([m.mass for m in (_read(other, known) for other in offered) if m is not None])
        error = np.abs(masses[:, None] - possible) / possible * 1e6
        within[query], weighed[query] = (error <= ppm).any(axis=1).sum(), possible.size > 0
    return replace(scores, within=within, weighed=weighed)


def _mean(values: npt.NDArray[Any]) -> float:
    return float(values.mean()) if values.size else float("nan")


def _ratio(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> float:
    return float(part.sum() / whole.sum()) if whole.sum() else float("nan")
