"""What the predicted molecules of one spectrum agree on: shares of substructures, agreement of molecules and of atoms.

After LSM1-MS2: the score of a substructure is the share of the valid predictions (at most 100) that have it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from .substructures import (
    Bools,
    Substructure,
    SubstructureError,
    load_substructures,
    match_substructures,
    read_molecule,
)

RADIUS_WEIGHTS = (1.0, 2.0, 3.0)
"""How much an atom's environment of radius 0, 1 and 2 bonds counts in its agreement: the wider says the more."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Consensus:
    """The predictions of one spectrum against a list of substructures; rows = predictions, columns = substructures.

    Attributes:
        substructures: the columns.
        matches: bool (n, k), whether a prediction has a substructure; False in the rows of invalid predictions.
        valid: bool (n,), whether RDKit reads the prediction.
        weights: float64 (n,), the say of each prediction: sums to 1, 0 where invalid.
    """

    substructures: tuple[Substructure, ...]
    matches: Bools
    valid: Bools
    weights: Floats

    @property
    def scores(self) -> Floats:
        """(k,) share of the valid predictions that have each substructure, 0 to 1; NaN if none is valid."""
        if not self.valid.any():
            return np.full(len(self.substructures), np.nan)
        # a sum of weights may exceed 1 in the last bit
        return np.clip(self.weights @ self.matches, 0.0, 1.0)

    def score(self, name: str) -> float:
        """The score of one substructure by its name.

        Raises:
            SubstructureError: no substructure has this name.
        """
        for column, substructure in enumerate(self.substructures):
            if substructure.name.casefold() == name.casefold():
                return float(self.scores[column])
        known = ", ".join(found.name for found in self.substructures)
        raise SubstructureError(f"no substructure {name!r} in this consensus; choose one of {known}")

    def agreement(self) -> Floats:
        """(n,) how well each prediction agrees with the others, 0 to 1.

        With p the share of the *other* predictions that have a substructure: the mean of p over the substructures the
        molecule has and of 1 - p over those it has not. Only substructures that some prediction has are counted, for
        the absence of what nobody proposed says nothing; if there is none, all agree (1). NaN for an invalid
        prediction, and where there is no other.
        """
        rest = (1.0 - self.weights)[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = (self.weights @ self.matches - self.weights[:, None] * self.matches) / rest
        alone = ~self.valid | (rest[:, 0] < 1e-9)
        return np.where(alone, np.nan, _agreement(self.matches, shares, self.matches))

    def agreement_of(self, smiles: str) -> float:
        """How well a molecule that is none of the predictions agrees with all of them; as `agreement`.

        Raises:
            ValueError: RDKit cannot read the SMILES.
        """
        own, valid = match_substructures([smiles], self.substructures)
        if not valid[0]:
            raise ValueError(f"SMILES {smiles[:80]!r} is not a valid molecule; its agreement is not defined")
        if not self.valid.any():
            return float("nan")
        return float(_agreement(own, self.scores[None, :], np.vstack([self.matches, own]))[0])


def _agreement(matches: Bools, shares: Floats, known: Bools) -> Floats:
    """(n,) mean of the share where there is a match and of its rest where there is none, over columns seen in `known`."""
    counted = np.asarray(known.any(axis=0))
    if not counted.any():
        return np.ones(len(matches))
    values = np.where(matches, shares, 1.0 - shares)[:, counted]
    return np.clip(values.mean(axis=1), 0.0, 1.0)


def consensus(
    smiles: Sequence[str | None],
    substructures: Sequence[Substructure] | None = None,
    weights: npt.ArrayLike | None = None,
) -> Consensus:
    """The consensus of the predictions of one spectrum.

    Args:
        smiles: (n,) predictions, best 100 in the paper; invalid ones have no say.
        substructures: the bundled 18 if not given.
        weights: (n,) say of each prediction, not negative; equal if not given. `score_weights` makes them of scores.

    Raises:
        ValueError: weights are not finite, negative, or not one per prediction.
    """
    chosen = load_substructures() if substructures is None else tuple(substructures)
    matches, valid = match_substructures(smiles, chosen)
    return Consensus(chosen, matches, valid, _normalised(weights, valid))


def _normalised(weights: npt.ArrayLike | None, valid: Bools) -> Floats:
    given = np.ones(valid.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if given.shape != valid.shape or not np.isfinite(given).all() or (given < 0).any():
        raise ValueError(
            f"weights of shape {given.shape} for {len(valid)} predictions; give one finite number of at least 0 for each"
        )
    kept = np.where(valid, given, 0.0)
    if valid.any() and kept.sum() <= 0:
        raise ValueError("the weights of the valid predictions are all 0; leave them out for equal weights")
    return kept / max(float(kept.sum()), np.finfo(np.float64).tiny)


def score_weights(scores: npt.ArrayLike, temperature: float = 1.0) -> Floats:
    """(n,) weights from log-probabilities: softmax of scores over temperature.

    Raises:
        ValueError: the temperature is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature {temperature} is not above 0")
    values = np.asarray(scores, dtype=np.float64) / temperature
    odds = np.exp(values - values.max(initial=-np.inf))
    return np.asarray(odds / odds.sum())


def atom_agreement(
    smiles: Sequence[str | None],
    weights: npt.ArrayLike | None = None,
    radius_weights: Sequence[float] = RADIUS_WEIGHTS,
) -> list[Floats]:
    """How far the other predictions share the surroundings of every atom, 0 to 1.

    For an atom and each radius of 0, 1, 2 … bonds: the share of the other valid predictions in which some atom has the same
    Morgan environment (element, charge, hydrogens, neighbours, ring membership; where the molecule ends earlier, its
    widest one). The agreement is the mean over the radii, weighted by `radius_weights`. It is 1 if all others have the
    atom with all its surroundings, small if they have only an atom of its kind, 0 if not even that.

    Args:
        smiles: (n,) predictions of one spectrum.
        weights: (n,) as in `consensus`.
        radius_weights: for radius 0, 1, …

    Returns:
        One float64 array per prediction, in RDKit's order of the atoms in its SMILES: empty if it is invalid, NaN if there
        is no other.
    """
    environments = [_environments(text, len(radius_weights)) for text in smiles]
    say = _normalised(weights, np.array([found is not None for found in environments], dtype=np.bool_))
    held: Counter[int] = Counter()
    for own, weight in zip(environments, say, strict=True):
        for code in set() if own is None else {code for atom in own for code in atom}:
            held[code] += weight
    scale = np.asarray(radius_weights, dtype=np.float64) / sum(radius_weights)
    return [
        np.empty(0) if own is None else _shared(own, held, float(weight), scale)
        for own, weight in zip(environments, say, strict=True)
    ]


def _shared(own: list[list[int]], held: Mapping[int, float], weight: float, scale: Floats) -> Floats:
    if 1.0 - weight < 1e-9:
        return np.full(len(own), np.nan)
    shares = np.array([[held[code] - weight for code in atom] for atom in own]) / (1.0 - weight)
    return np.clip(shares @ scale, 0.0, 1.0)


def _environments(smiles: str | None, radii: int) -> list[list[int]] | None:
    """Codes of every atom's environments, one per radius; None for no molecule."""
    from rdkit.Chem import rdFingerprintGenerator

    molecule = read_molecule(smiles)
    if molecule is None:
        return None
    found = rdFingerprintGenerator.AdditionalOutput()
    found.AllocateAtomToBits()
    _generator(radii - 1).GetSparseFingerprint(molecule, additionalOutput=found)
    return [[atom[min(radius, len(atom) - 1)] for radius in range(radii)] for atom in found.GetAtomToBits()]


@cache
def _generator(radius: int) -> Any:
    from rdkit.Chem import rdFingerprintGenerator

    return rdFingerprintGenerator.GetMorganGenerator(radius=radius, includeRedundantEnvironments=True)
