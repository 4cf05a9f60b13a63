from __future__ import annotations

import math

import pytest

from msformers.metrics.molecules import max_tanimoto, mces, mces_at_1, nearest_tanimoto

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
SALICYLIC_ACID = "OC(=O)c1ccccc1O"


def test_max_tanimoto_takes_the_best_proposal_and_ignores_how_it_is_written() -> None:
    kekule = "CC(=O)OC1=CC=CC=C1C(O)=O"
    best = max_tanimoto([ASPIRIN] * 3, [["CCO", kekule], ["CCO", SALICYLIC_ACID], ["CCO"]])
    assert best[0] == 1
    assert 1 > best[1] > best[2] > 0


def test_tanimoto_is_the_shared_bits_over_all_bits() -> None:
    from rdkit.Chem import MolFromSmiles, rdFingerprintGenerator

    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    first, second = (set(generator.GetFingerprint(MolFromSmiles(s)).GetOnBits()) for s in ("CCO", "CCCO"))
    assert max_tanimoto(["CCO"], [["CCCO"]])[0] == pytest.approx(len(first & second) / len(first | second))


def test_proposals_that_are_no_molecules_count_zero() -> None:
    assert max_tanimoto([ASPIRIN] * 3, [[], [None, "not a molecule", ""], ["C1CC"]]).tolist() == [0, 0, 0]


def test_an_unreadable_truth_is_named() -> None:
    with pytest.raises(ValueError, match="query 1: RDKit cannot read the true SMILES 'XX'"):
        max_tanimoto(["C", "XX"], [[], []])
    with pytest.raises(ValueError, match="query 0"):
        nearest_tanimoto(["XX"], ["C"])
    with pytest.raises(ValueError, match="1 true molecules for 2 lists"):
        max_tanimoto(["C"], [[], []])


def test_nearest_tanimoto_looks_through_all_references() -> None:
    best = nearest_tanimoto([ASPIRIN, "CCO"], [SALICYLIC_ACID, "broken(", ASPIRIN])
    assert best[0] == 1
    assert best[1] < 0.3
    assert nearest_tanimoto([ASPIRIN], [])[0] == 0


def test_mces_counts_the_weight_of_bonds_not_shared() -> None:
    pytest.importorskip("myopic_mces")
    assert mces("CCO", "OCC") == 0
    assert mces("CCO", "CCN") == 2
    # Aspirin keeps all of salicylic acid and adds an acetyl group: C-C, C-O and C=O, of weight 1 + 1 + 2.
    assert mces(ASPIRIN, SALICYLIC_ACID) == 4
    assert mces(ASPIRIN, "CC(=O)OC1=CC=CC=C1C(O)=O") == 0


def test_mces_beyond_the_threshold_is_a_bound_above_it() -> None:
    pytest.importorskip("myopic_mces")
    assert mces("C" * 24, SALICYLIC_ACID, threshold=15) > 15


def test_mces_at_1_averages_finite_distances_and_counts_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    from msformers.metrics import molecules

    def distance(first: str, second: str, **options: object) -> tuple[int, float, float, int]:
        assert options["threshold"] == 15
        assert options["always_stronger_bound"] is True
        assert options["solver_options"] == {"msg": 0}
        return 0, {"C": 3.0, "CC": 5.0}.get(second, math.inf), 0.0, 1

    monkeypatch.setattr(molecules, "_mces_function", lambda: distance)
    monkeypatch.setattr(molecules, "_solver", lambda: "any")
    report = mces_at_1(["N", "N", "N"], ["C", "CC", "CCC"])
    assert report.mean == 4
    assert report.skipped == 1
    assert report.distances.tolist() == [3, 5, math.inf]


def test_mces_at_1_of_an_oracle_is_zero_and_of_nothing_is_nan() -> None:
    pytest.importorskip("myopic_mces")
    assert mces_at_1([ASPIRIN, "CCO"], [ASPIRIN, "CCO"]).mean == 0
    assert math.isnan(mces_at_1([], []).mean)
    with pytest.raises(ValueError, match="RDKit cannot read the SMILES 'XX'"):
        mces_at_1(["C"], ["XX"])
