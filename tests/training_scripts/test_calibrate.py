"""Calibration finds the temperature that made the data, keeps its promises on new molecules, and runs from end to end."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from msformers.inference.retrieval.confidence import Calibration, Listing, assess

KIND = {"search": "mass", "ppm": 10.0, "evidence_depth": 0, "decode": "fingerprint"}


def simulated(molecules: int, seed: int) -> list[Any]:
    """Lists whose truth is drawn by a softmax at 8 times the scores, hotter where the cosine of the best is low."""
    from candidate_scores import Case

    rng, found = np.random.default_rng(seed), []
    for molecule in range(molecules):
        for _ in range(int(rng.integers(1, 5))):
            scores = np.sort(rng.normal(size=int(rng.integers(2, 70))))[::-1]
            cosine = float(rng.random())
            odds = np.exp(8 * np.exp(cosine - 0.5) * (scores - scores[0]) / 4)
            truth = int(rng.choice(len(scores), p=odds / odds.sum()))
            known = Listing(scores / 4, cosine, None, 1.0, 10, len(scores))
            found.append(Case(known, truth, float(truth == 0), str(molecule), "positive", "LC-ESI-QTOF"))
    return found


def test_the_temperature_is_found_and_promises_are_kept() -> None:
    from calibrate import complete, cross_fit, fit_temperature

    found, new = simulated(200, 0), simulated(300, 1)
    fitted = complete(fit_temperature(found, KIND), found, cross_fit(found, KIND, 4))
    temperature = fitted.inverse_temperature([3.0, 2.0, 0.0, 0.5, np.nan])
    assert temperature == pytest.approx(8.0, rel=0.15)
    slope = np.log(fitted.inverse_temperature([3.0, 2.0, 0.0, 0.9, np.nan]) / temperature)
    assert slope == pytest.approx(0.4, abs=0.2)
    for level in (0.8, 0.9):
        inside = [(case.truth or 0) < (assess(case.listing, fitted, level).set_size or 0) for case in new]
        assert np.mean(inside) == pytest.approx(level, abs=0.04)
    sure = np.array([float(assess(case.listing, fitted, 0.9).probabilities[0]) for case in new])  # type: ignore[index]
    assert sure.mean() == pytest.approx(np.mean([case.hit for case in new]), abs=0.04)
    assert np.mean(sure >= fitted.probability_for(_share(0.5))) == pytest.approx(0.5, abs=0.06)  # type: ignore[operator]


def _share(coverage: float) -> Any:
    from msformers.inference.options import SearchOptions

    return SearchOptions(coverage=coverage)


def test_no_molecule_is_judged_by_itself() -> None:
    """A molecule whose truth always comes last would drag its own temperature down."""
    from calibrate import cross_fit, fit_temperature

    found = simulated(12, 2)
    judged = cross_fit(found, KIND, 12)
    without = fit_temperature([case for case in found if case.molecule != "0"], KIND)
    place = next(i for i, case in enumerate(found) if case.molecule == "0")
    assert judged[0, place] == pytest.approx(
        assess(found[place].listing, without, 0.9, 9).probabilities
        or 1 / np.exp(-without.log_ratios(found[place].listing)).sum()
    )


def test_ties_and_lost_truths() -> None:
    from candidate_scores import cases

    row = {
        "inchikey14": "A", "truth": 2, "length": 2.0, "n_peaks": 5, "ion_mode": "positive",
        "instrument_type": "LC-ESI-QTOF", "cosine": [0.1, 0.5, 0.5, 0.4], "mass": [0, 1, 2, 3], "formula": [1, 2],
        "evidence": [np.nan] * 4, "explained": [np.nan] * 4,
    }  # fmt: skip
    (case,) = cases([row], "mass", 200)
    assert (case.truth, case.hit, case.listing.explained) == (1, 0.5, None)
    assert case.listing.scores.tolist() == [0.5, 0.5, 0.4, 0.1]
    again = row | {"evidence": [np.nan, 1.0, -1.0, 9.0], "explained": [np.nan, 0.2, 0.1, 0.9]}
    (case,) = cases([again], "mass", 3)
    assert case.listing.scores.tolist() == [4.9, 1.0, 0.0] and case.listing.cosine == 0.4
    assert (case.truth, case.hit, case.listing.explained, case.listing.n_candidates) == (2, 0.0, 0.9, 4)
    (lost,) = cases([again | {"truth": 0}], "mass", 3)
    assert lost.truth is None and lost.hit == 0.0
    assert cases([row], "formula", 200, minimum=3) == []


@pytest.fixture
def complete_data(data: Path, tmp_path: Path) -> Path:
    """The synthetic tables with polarity, and lists for the molecules of the test fold."""
    table = pq.read_table(data / "massbank_msms.parquet")
    pq.write_table(table, tmp_path / "massbank_msms.parquet")
    shutil.copy(data / "molecules.parquet", tmp_path)
    pool = pq.read_table(data / "molecules.parquet").to_pylist()
    rows = {row["inchikey14"]: row for row in table.to_pylist() if row["fold"] == "test"}
    lists = []
    for key, row in rows.items():
        near = sorted(pool, key=lambda other: abs(other["exact_mass"] - row["exact_mass"]))[:12]
        texts = sorted({row["smiles_2d"], *(other["smiles"] for other in near)})
        own = {"inchikey14": key, "smiles_2d": row["smiles_2d"], "exact_mass": row["exact_mass"]}
        lists.append(own | {"candidates_256": texts, "candidates_formula": texts})
    pq.write_table(pa.Table.from_pylist(lists), tmp_path / "candidates_test.parquet")
    return tmp_path


def test_from_checkpoint_to_figures(
    complete_data: Path, tiny_specbridge: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    pytest.importorskip("matplotlib")
    from calibrate import main as calibrate
    from stage_runs import SCRIPTS

    monkeypatch.syspath_prepend(str(SCRIPTS.parent / "benchmarks"))
    from confidence import main as judge

    model, cache = tmp_path / "model", str(tmp_path / "cache")
    shutil.copytree(tiny_specbridge, model)
    common = ["--data", str(complete_data), "--cache", cache]
    calibrate([*common, "--model", str(model), "--folds", "3"])
    written = (model / "calibration.json").read_bytes()
    found = Calibration.load(str(model))
    assert found is not None and [item.search for item in found.searches] == ["mass", "formula"]
    assert found.searches[0].n_molecules > 5 and set(found.searches[0].thresholds) == {"0.8", "0.9", "0.95"}
    monkeypatch.setattr("candidate_scores.score_fold", None)
    calibrate([*common, "--model", str(model), "--folds", "3"])  # from the scores that were kept
    assert (model / "calibration.json").read_bytes() == written
    monkeypatch.undo()
    output = ["--output", str(tmp_path / "confidence"), "--plots", str(tmp_path)]
    judge([*common, "--models", str(model), *output])
    lines = (tmp_path / "confidence.csv").read_text().splitlines()
    assert lines[0].startswith("checkpoint,protocol,level,group") and any(",all," in line for line in lines)
    assert {path.stem for path in tmp_path.glob("*.png")} == {"risk_coverage", "reliability"}
