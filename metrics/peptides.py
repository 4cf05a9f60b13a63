"""Peptides read off spectra against the true ones, by mass: residues of equal mass (I and L) are the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

CUMULATIVE, INDIVIDUAL = 0.5, 0.1
Masses = Sequence[float] | npt.NDArray[np.float64]


def residue_matches(
    predicted: Masses, truth: Masses, cumulative: float = CUMULATIVE, individual: float = INDIVIDUAL
) -> npt.NDArray[np.bool_]:
    """Which residues of two peptides match, as DeepNovo and Casanovo count it.

    A pair matches if the masses up to it agree within `cumulative` and its own within `individual`, seen from the
    N-terminus, and behind the first mismatch from the C-terminus.

    Args:
        predicted, truth: residue masses in Da from the N-terminus on, modifications included.
        cumulative, individual: tolerances in Da.

    Returns:
        bool (max(len(predicted), len(truth)),); all True if and only if the peptides are equal.

    Source: Yilmaz et al., Nature Communications 2024, "Evaluation metrics"; Tran et al., PNAS 2017.
    """
    size = max(len(predicted), len(truth))
    matched = np.zeros(size, bool)
    for place, equal in _pairs(predicted, truth, cumulative, individual):
        matched[place] = equal
    if matched.all():
        return matched
    first = int(np.argmin(matched))
    # from the other end both peptides are counted by their own last residue
    ends = (np.asarray(predicted, float)[first:][::-1], np.asarray(truth, float)[first:][::-1])
    last = (len(predicted) - 1, len(truth) - 1)
    for place, equal in _pairs(*ends, cumulative, individual, last):
        matched[place] = equal
    return matched


def _pairs(
    one: Masses, other: Masses, cumulative: float, individual: float, last: tuple[int, int] | None = None
) -> Iterator[tuple[int, bool]]:
    """Pairs of residues up to which the masses agree: place, and whether their own masses agree.

    Both lists are walked from their first residue; with `last` they are read backwards, and these are their last places.
    """
    i = j = 0
    mass_one = mass_other = 0.0
    while i < len(one) and j < len(other):
        next_one, next_other = mass_one + one[i], mass_other + other[j]
        if abs(next_one - next_other) < cumulative:
            place = max(i, j) if last is None else max(last[0] - i, last[1] - j)
            yield place, abs(one[i] - other[j]) < individual
            i, j, mass_one, mass_other = i + 1, j + 1, next_one, next_other
        elif next_other > next_one:
            i, mass_one = i + 1, next_one
        else:
            j, mass_other = j + 1, next_other


def peptide_scores(
    predicted: Sequence[Masses | None],
    truth: Sequence[Masses],
    cumulative: float = CUMULATIVE,
    individual: float = INDIVIDUAL,
) -> dict[str, float]:
    """Precision and recall of residues, and the share of peptides that are right.

    Args:
        predicted: residue masses per spectrum, None where nothing was predicted.
        truth: the true ones.
        cumulative, individual: tolerances in Da.

    Returns:
        ``residue_precision`` (right of predicted residues; NaN if none was predicted), ``residue_recall`` (of true ones),
        ``peptide_accuracy`` (of all spectra), ``coverage`` (spectra with a prediction).
    """
    right = equal = answered = 0
    for one, true in zip(predicted, truth, strict=True):
        if one is not None:
            matched = residue_matches(one, true, cumulative, individual)
            answered, right, equal = answered + 1, right + int(matched.sum()), equal + bool(matched.all())
    n_predicted = sum(len(one) for one in predicted if one is not None)
    n_true, n = sum(map(len, truth)), max(len(truth), 1)
    return {
        "residue_precision": right / n_predicted if n_predicted else float("nan"),
        "residue_recall": right / max(n_true, 1),
        "peptide_accuracy": equal / n,
        "coverage": answered / n,
    }
