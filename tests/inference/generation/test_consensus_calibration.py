"""Consensus scores as probabilities, and the file that keeps the tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from msformers.inference.generation.consensus import consensus
from msformers.inference.generation.consensus_calibration import (
    FILE,
    ConsensusCalibration,
    ConsensusCalibrationError,
    fit_calibration,
)
from msformers.inference.generation.substructures import load_substructures
from msformers.metrics.consensus import substructure_reliability

HYDROXYL, HALOGEN = (found for found in load_substructures() if found.name in ("hydroxyl", "halogen"))
PAIR = (HYDROXYL, HALOGEN)
Floats = npt.NDArray[np.float64]


def overconfident(seed: int, n: int = 4000) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Scores (n, 1) that promise twice what comes true."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 101, (n, 1)) / 100
    return scores, rng.random((n, 1)) < scores / 2


def test_new_molecules_get_honest_probabilities() -> None:
    scores, truth = overconfident(0)
    fitted = fit_calibration(scores, truth, (HYDROXYL,), range(len(scores)), "a test")
    new, outcome = overconfident(1)
    before = substructure_reliability(new, outcome, ["hydroxyl"])["hydroxyl"]
    after = substructure_reliability(fitted.transform(new, (HYDROXYL,)), outcome, ["hydroxyl"])["hydroxyl"]
    assert before.curve.error > 0.2
    assert after.curve.error < 0.03
    assert after.brier < before.brier - 0.05
    assert fitted.substructures[0].probability([0.2, 0.8]) == pytest.approx([0.1, 0.4], abs=0.05)


def test_the_table_rises_and_promises_no_certainty() -> None:
    scores = np.array([[0.0], [0.1], [0.2], [0.3], [0.4], [1.0]])
    truth = np.array([[0], [1], [0], [0], [1], [1]])
    (table,) = fit_calibration(scores, truth, (HYDROXYL,), "abcdef", min_occurrences=1).substructures
    # 0.1 to 0.3 are pooled: one of three; the ends stay an eighth away from certainty
    assert table.scores == pytest.approx([0.0, 0.2, 0.7])
    assert table.probabilities == pytest.approx([1 / 8, 1 / 3, 7 / 8])
    assert table.probability(0.1) == pytest.approx((1 / 8 + 1 / 3) / 2)
    assert table.probability([0.9, 1.0]) == pytest.approx([7 / 8, 7 / 8])
    assert np.isnan(table.probability(np.nan))


def test_a_molecule_counts_once_and_rare_substructures_get_no_table() -> None:
    scores = np.array([[0.5, 0.5]] * 10 + [[np.nan, 0.5]])
    truth = np.array([[1, 1]] * 9 + [[0, 0]] * 2)
    who = ["same"] * 9 + ["b", "c"]
    (table,) = fit_calibration(scores, truth, PAIR, who, min_occurrences=1).substructures[:1]
    assert (table.occurrences, table.n_molecules) == (1.0, 2)
    assert table.probabilities == pytest.approx([0.5])
    assert np.isnan(table.probability([np.nan, 0.5])).tolist() == [True, False]
    assert fit_calibration(scores, truth, PAIR, who).substructures == ()
    assert len(fit_calibration(scores, truth, PAIR, range(11)).substructures) == 2


def test_a_checkpoint_keeps_its_tables(tmp_path: Path) -> None:
    scores, truth = overconfident(0, 500)
    fitted = fit_calibration(scores, truth, (HYDROXYL,), range(500), "100 beams")
    assert fitted.save(tmp_path) == tmp_path / FILE
    found = ConsensusCalibration.load(str(tmp_path))
    assert found is not None and found == fitted and found.kind == "100 beams"
    asked = consensus(["CO", "CCO", "CC", "CCl"])
    probability = found.probabilities(asked)
    assert probability[list(asked.substructures).index(HYDROXYL)] == pytest.approx(0.25, abs=0.08)
    assert np.isnan(probability).sum() == 17
    empty = tmp_path / "empty"
    empty.mkdir()
    assert ConsensusCalibration.load(str(empty)) is None and ConsensusCalibration.load("") is None


def test_a_changed_smarts_has_no_calibration() -> None:
    scores, truth = overconfident(0, 500)
    fitted = fit_calibration(scores, truth, (HYDROXYL,), range(500))
    (other,) = load_substructures(extra={"any oxygen": "[#8]"})[-1:]
    assert np.isnan(fitted.transform([[0.5]], (other,))).all()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format_version": 2}, "version 2 is unknown"),
        ({"substructures": [{"name": "x"}]}, "cannot be read"),
        ({"substructures": None}, "cannot be read"),
        ({"table": {"probabilities": [0.5, 0.1, 0.9]}}, "substructure 'hydroxyl': .* no rising table"),
        ({"table": {"probabilities": [0.1, 0.2, 1.5]}}, "no rising table"),
        ({"table": {"scores": [0.1, 0.1, 0.9]}}, "no rising table"),
        ({"table": {"scores": [0.1]}}, "no rising table"),
        ({"table": {"scores": "abc"}}, "cannot be read"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, change: dict[str, object], reason: str) -> None:
    row = {"name": "hydroxyl", "smarts": "[OX2H]", "occurrences": 9, "n_molecules": 20}
    row |= {"scores": [0.1, 0.5, 0.9], "probabilities": [0.1, 0.2, 0.3]}
    table = change.pop("table", {})
    content = {"format": "msformers-consensus-calibration", "format_version": 1, "kind": ""}
    content |= {"substructures": [row | table]} | change  # type: ignore[operator]
    path = tmp_path / FILE
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ConsensusCalibrationError, match=rf"{FILE}: .*{reason}.*fit and save it again"):
        ConsensusCalibration.read(path)


def test_shapes_must_fit() -> None:
    with pytest.raises(ConsensusCalibrationError, match="give spectra × substructures"):
        fit_calibration([[0.5]], [[1]], PAIR, ["a"])
