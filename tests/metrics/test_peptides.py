from __future__ import annotations

import math

import numpy as np
import pytest

from msformers.metrics.peptides import peptide_scores, residue_matches

MASS = {
    "G": 57.021464,
    "A": 71.037114,
    "S": 87.032028,
    "P": 97.052764,
    "N": 114.042927,
    "K": 128.094963,
    "Q": 128.058578,
}


def masses(peptide: str) -> list[float]:
    return [MASS[letter] for letter in peptide]


@pytest.mark.parametrize(
    ("predicted", "truth", "expected"),
    [
        ("GAPSK", "GAPSK", "11111"),
        ("GAPSK", "GAPSQ", "11111"),  # 0.036 Da
        ("GAPSK", "GASPK", "11001"),  # two residues swapped, prefix and suffix right
        ("NAPSK", "GGAPSK", "001111"),  # one residue for two of the same mass
        ("APSK", "GAPSK", "01111"),  # the first is missing, the suffix is right
        ("GGGGG", "SSSSS", "00000"),
        ("GA", "GAPSK", "11000"),
    ],
)
def test_matching_residues(predicted: str, truth: str, expected: str) -> None:
    found = residue_matches(masses(predicted), masses(truth))
    assert "".join(str(int(one)) for one in found) == expected


def test_the_rates_of_several_spectra() -> None:
    found = peptide_scores(
        [masses("GAPSK"), None, masses("GASPK")], [masses("GAPSK"), masses("GA"), masses("GAPSK")]
    )
    assert found == pytest.approx(
        {"residue_precision": 8 / 10, "residue_recall": 8 / 12, "peptide_accuracy": 1 / 3, "coverage": 2 / 3}
    )
    assert math.isnan(peptide_scores([None], [masses("GA")])["residue_precision"])


def test_it_agrees_with_the_masses_seen_from_either_end() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        truth = "".join(rng.choice(list("GASPNK"), 8))
        assert residue_matches(masses(truth), masses(truth)).all()
        changed = truth[:3] + "".join(rng.permutation(list(truth[3:6]))) + truth[6:]
        found = residue_matches(masses(changed), masses(truth))
        assert found[:3].all() and found[6:].all()
