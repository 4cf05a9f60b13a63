from __future__ import annotations

import os
from pathlib import Path

import pytest

from msformers.metrics.evaluate_wrappers import (
    MaxTanimoto,
    MolecularProperties,
    MoleculeGeneration,
    RetrievalMRR,
    RetrievalRecall,
)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the Arrow files of `evaluate` out of the home directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")


def test_recall_over_ragged_batches(tmp_path: Path) -> None:
    metric = RetrievalRecall(cache_dir=str(tmp_path))
    metric.add_batch(predictions=[[0.1, 0.9, 0.5]], references=[[False, False, True]])
    metric.add_batch(predictions=[[3.0, 2.0]], references=[[True, False]])
    assert metric.compute(ks=[1, 2]) == {"recall_at_1": 0.5, "recall_at_2": 1.0}


def test_ties_and_missing_positives_are_passed_on(tmp_path: Path) -> None:
    metric = RetrievalRecall(cache_dir=str(tmp_path))
    tie = {"predictions": [[1.0, 1.0]], "references": [[True, False]]}
    assert metric.compute(**tie, ks=[1]) == {"recall_at_1": 0.5}
    assert metric.compute(**tie, ks=[1], ties="official") == {"recall_at_1": 1.0}
    miss = {"predictions": [[1.0, 2.0]], "references": [[False, False]]}
    assert metric.compute(**miss, ks=[1], missing="miss") == {"recall_at_1": 0.0}


def test_mrr_and_tanimoto(tmp_path: Path) -> None:
    mrr = RetrievalMRR(cache_dir=str(tmp_path))
    assert mrr.compute(predictions=[[0.1, 0.9]], references=[[True, False]]) == {"mrr": 0.5}
    tanimoto = MaxTanimoto(cache_dir=str(tmp_path))
    assert tanimoto.compute(predictions=[["CCO", "N"]], references=["OCC"]) == {"max_tanimoto": 1.0}


def test_generation_with_missing_proposals_over_batches(tmp_path: Path) -> None:
    metric = MoleculeGeneration(cache_dir=str(tmp_path))
    metric.add_batch(predictions=[["CCN", "OCC", None]], references=["CCO"])
    metric.add_batch(predictions=[[]], references=["CCO"])
    found = metric.compute(ks=[1, 2], neutral_mass=[46.04186, None])
    assert found["exact_match_at_1"] == 0.0 and found["exact_match_at_2"] == 0.5
    assert found["max_tanimoto_at_2"] == 0.5 and found["validity"] == pytest.approx(2 / 3)
    assert found["within_ppm"] == 0.5 and found["mean_valid"] == 1.0


def test_properties_with_unknown_values_over_batches(tmp_path: Path) -> None:
    metric = MolecularProperties(cache_dir=str(tmp_path))
    metric.add_batch(predictions=[[1.0, 0.2], [2.0, 0.9]], references=[[1.0, 0.0], [2.0, 1.0]])
    metric.add_batch(predictions=[[3.0, 0.1]], references=[[3.0, float("nan")]])
    assert metric.compute() == {
        "mean_r2": 1.0,
        "median_r2": 1.0,
        "mean_balanced_accuracy": 1.0,
        "median_balanced_accuracy": 1.0,
    }
