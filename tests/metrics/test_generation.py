"""Figures of generated molecules."""

from __future__ import annotations

import math

import numpy as np
import pytest

from msformers.metrics.generation import generation_scores
from msformers.metrics.molecules import max_tanimoto
from msformers.spectra.molecules import molecule_record

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
KEKULE = "OC(=O)C1=CC=CC=C1OC(C)=O"
SALICYLIC_ACID = "OC(=O)c1ccccc1O"
MASS = molecule_record(ASPIRIN).exact_mass


def test_the_best_of_the_first_k_counts() -> None:
    lists = [["CCO", SALICYLIC_ACID, KEKULE], [SALICYLIC_ACID]]
    found = generation_scores([ASPIRIN, ASPIRIN], lists, ks=(1, 2, 10))
    for place, k in enumerate((1, 2, 10)):
        expected = max_tanimoto([ASPIRIN, ASPIRIN], [offered[:k] for offered in lists])
        assert found.tanimoto[:, place] == pytest.approx(expected)
    assert found.tanimoto[0, 2] == 1.0 and found.tanimoto[0, 1] < 1.0
    assert found.exact_match == {1: 0.0, 2: 0.0, 10: 0.5}
    assert found.max_tanimoto[10] == pytest.approx((1 + found.tanimoto[1, 0]) / 2)


def test_what_is_no_molecule_keeps_its_place_and_scores_nothing() -> None:
    found = generation_scores([ASPIRIN] * 3, [[None, "C1CC", "", ASPIRIN], [None], []], ks=(1, 3, 4))
    assert found.tanimoto.tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert found.matched.tolist() == [[False, False, True], [False] * 3, [False] * 3]
    assert found.validity == 1 / 5
    assert found.mean_valid == pytest.approx(1 / 3)


def test_identity_is_the_first_block() -> None:
    lists = [["C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "CC(N)C(=O)O", "NCC(=O)O"]]
    found = generation_scores(["CC(N)C(=O)O"], lists)
    assert found.exact_match[1] == 1.0
    assert found.uniqueness == 2 / 4
    assert found.distinct.tolist() == [2]


def test_a_molecule_without_inchikey_is_still_one_molecule() -> None:
    found = generation_scores(["CCO"], [["*CC", "C(*)C", "CCO"]], ks=(3,))
    assert (found.validity, found.exact_match[3]) == (1.0, 1.0)
    assert found.uniqueness == 2 / 3


def test_share_within_ppm_of_any_neutral_mass() -> None:
    lists = [[ASPIRIN, KEKULE, "CCO", None], ["CCO"], ["CCO", "CC"]]
    truth = [ASPIRIN, ASPIRIN, "CCO"]
    ethanol = molecule_record("CCO").exact_mass
    assert generation_scores(truth, lists, [MASS, ethanol, None]).within_ppm == 3 / 4
    assert generation_scores(truth, lists, [[MASS, ethanol], [], math.nan]).within_ppm == 1.0
    shifted = [MASS * (1 + 9e-6), ethanol * (1 - 11e-6), ethanol]
    assert generation_scores(truth, lists, shifted).within_ppm == 3 / 6
    assert generation_scores(truth, lists, shifted, ppm=12).within_ppm == 4 / 6
    assert math.isnan(generation_scores(truth, lists).within_ppm)
    # a cation's neutral mass is the sum of its atoms, electron included
    choline = molecule_record("C[N+](C)(C)CCO").exact_mass
    assert generation_scores(["CCO"], [["C[N+](C)(C)CCO"]], [choline], ppm=0.01).within_ppm == 1.0


def test_summary_holds_every_figure() -> None:
    assert generation_scores([ASPIRIN], [[ASPIRIN, "CCO"]], [MASS]).summary() == {
        **{f"max_tanimoto_at_{k}": 1.0 for k in (1, 10, 100)},
        **{f"exact_match_at_{k}": 1.0 for k in (1, 10, 100)},
        "validity": 1.0,
        "uniqueness": 1.0,
        "within_ppm": 0.5,
        "mean_valid": 2.0,
    }
    empty = generation_scores([], [])
    assert all(np.isnan(value) for value in empty.summary().values())
    assert empty.tanimoto.shape == (0, 3)


def test_what_cannot_be_compared_is_named() -> None:
    with pytest.raises(ValueError, match="query 1: RDKit cannot read the true SMILES 'XX'"):
        generation_scores(["C", "XX"], [[], []])
    with pytest.raises(ValueError, match="1 true molecules for 2 lists of proposals; give one per query"):
        generation_scores(["C"], [[], []])
    with pytest.raises(ValueError, match="and 2 neutral masses"):
        generation_scores(["C"], [[]], [1.0, 2.0])
    for ks in ((), (0, 1)):
        with pytest.raises(ValueError, match="must be numbers of at least 1"):
            generation_scores(["C"], [[]], ks=ks)
