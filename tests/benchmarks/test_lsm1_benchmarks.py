"""Each benchmark of LSM1 runs from its command line on a few real spectra and writes what it promises."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matchms", reason='needs pip install "msformers[bench]"')
pytest.importorskip("scikit_posthocs", reason='needs pip install "msformers[stats]"')
pytest.importorskip("statsmodels", reason='needs pip install "msformers[stats]"')


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Descriptors of the few molecules, computed once."""
    return tmp_path_factory.mktemp("cache")


def test_properties_of_every_contender_with_tests_and_plot(
    common, checkpoints, neighbours, cache, tmp_path
) -> None:
    from properties import main

    models = [f"lsm1={checkpoints['properties']}", f"ms2prop={checkpoints['ms2prop']}"]
    places = ["--cache", str(cache), "--plots", str(tmp_path), "--output", str(tmp_path / "properties")]
    main([*common, "--models", *models, "--neighbours", str(neighbours), *places])
    rows = rows_of(tmp_path / "properties.csv")
    assert [row["contender"] for row in rows if row["set"] == "Unknown"] == [
        "lsm1",
        "ms2prop",
        "modified cosine, open licences",
        "modified cosine, all licences",
        "mean of train",
    ]
    assert {(int(row["continuous"]) + int(row["binary"])) <= 209 for row in rows} == {True}
    mean = next(row for row in rows if row["contender"] == "mean of train")
    assert float(mean["mean_r2"]) <= 0
    assert float(mean["mean_balanced_accuracy"]) == 0.5
    tests = rows_of(tmp_path / "properties_tests.csv")
    assert {row["test"].split(",")[0] for row in tests} == {"Friedman", "two-way ANOVA", "Tukey"}
    named = rows_of(tmp_path / "properties_by_descriptor.csv")
    assert {row["figure"] for row in named} == {"r2", "balanced_accuracy"}
    assert (tmp_path / "properties.png").stat().st_size > 10_000


def test_the_study_of_data_size_reads_variant_and_share_from_the_runs(
    common, checkpoints, cache, tmp_path
) -> None:
    from data_size import main, read_run

    recipes = {
        "a": ({"checkpoint": "x"}, {"fraction": 0.05}),
        "b": ({"checkpoint": "x"}, {}),
        "c": ({"checkpoint": "x", "freeze_encoder": True}, {"fraction": 0.05, "fraction_of": "spectra"}),
        "d": ({"config": {"model_type": "msf_lsm1"}}, {"fraction": 0.05}),
    }
    for name, (model, data) in recipes.items():
        shutil.copytree(checkpoints["properties"], tmp_path / name / "model")
        (tmp_path / name / "recipe.json").write_text(json.dumps({"model": model, "data": data}))
    runs = [str(tmp_path / name) for name in recipes]
    places = ["--cache", str(cache), "--plots", str(tmp_path), "--output", str(tmp_path / "data_size")]
    main([*common, "--runs", *runs, *places])
    rows = rows_of(tmp_path / "data_size.csv")
    assert [(row["variant"], row["share"], row["set"]) for row in rows] == [
        (variant, share, name)
        for variant, share in (
            ("fine-tuned", "0.05"),
            ("fine-tuned", "1.0"),
            ("frozen", "0.05"),
            ("from scratch", "0.05"),
        )
        for name in ("Known", "Unknown")
    ]
    assert (tmp_path / "data_size.png").stat().st_size > 5_000
    with pytest.raises(SystemExit, match="has train_properties"):
        read_run(tmp_path)


def test_reconstruction_of_masked_and_unmasked_peaks(common, checkpoints, tmp_path) -> None:
    from reconstruction import main

    places = ["--plots", str(tmp_path), "--output", str(tmp_path / "reconstruction")]
    main([*common, "--model", checkpoints["masked"], "--sampled", "40", *places])
    rows = rows_of(tmp_path / "reconstruction.csv")
    assert [(row["set"], row["peaks"]) for row in rows] == [
        (fold, kind) for fold in ("Known", "Unknown") for kind in ("masked", "unmasked", "masked, constant")
    ]
    assert {row["sampled"] for row in rows} == {"40"}
    tests = rows_of(tmp_path / "reconstruction_tests.csv")
    assert len(tests) == 2 * 15
    assert (tmp_path / "reconstruction.png").stat().st_size > 10_000


def test_lookup_beside_modified_cosine_with_tests_and_times(
    common, checkpoints, neighbours, tmp_path
) -> None:
    from lookup import main

    options = ["--neighbours", str(neighbours), "--timed", "4", "--output", str(tmp_path / "lookup")]
    main([*common, "--models", f"lsm1={checkpoints['similarity']}", *options])
    rows = rows_of(tmp_path / "lookup.csv")
    assert [row["contender"] for row in rows[:3]] == ["nearest precursor", "lsm1", "modified cosine"]
    assert {row["window"] for row in rows} == {"open", "0.1 Da", "10 ppm"}
    by_place = {(row["set"], row["window"], row["contender"]): row for row in rows}
    for row in rows:
        assert 0 <= float(row["recall_at_1"]) <= float(row["molecule_in_window"])
        assert row["answered"] == by_place[row["set"], row["window"], "modified cosine"]["answered"]
    assert {float(row["recall_at_1"]) for row in rows if row["set"] == "Unknown"} == {0.0}
    tests = rows_of(tmp_path / "lookup_tests.csv")
    compared = [row for row in tests if row["wilcoxon_p"]]
    assert [(row["set"], row["second"]) for row in compared if row["window"] == "open"] == [
        ("Known", "modified cosine"),
        ("Unknown", "modified cosine"),
    ]
    speed = rows_of(tmp_path / "lookup_speed.csv")
    assert speed[0]["times_first"] == "1.0"
    assert min(float(row["seconds_per_query"]) for row in speed[:2]) > 0


def test_first_hits_prefer_the_nearer_precursor_among_equals() -> None:
    from data import SpectrumTable
    from lookup import first_hits

    def table(*precursors: float) -> SpectrumTable:
        return SpectrumTable([(np.zeros(0), np.zeros(0))] * len(precursors), np.array(precursors), {})

    references, pool = table(100.0, 300.0, 200.0, 200.05), np.array([0, 2, 3])
    scores = np.array([[0.9, 0.5, 0.5], [0.9, 0.5, 0.5]])
    queries = table(200.04, 700.0)
    assert first_hits(scores, queries, references, pool, "open").tolist() == [0, 0]
    assert first_hits(scores, queries, references, pool, "0.1 Da").tolist() == [3, -1]
