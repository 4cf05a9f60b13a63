from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("matchms", reason='needs pip install "msformers[bench]"')


def table(precursors: list[float], peaks: list[list[tuple[float, float]]]):
    from data import SpectrumTable

    columns = [tuple(np.array(column) for column in zip(*rows, strict=True)) for rows in peaks]
    return SpectrumTable(columns, np.array(precursors), {})


def test_windows_are_closed_and_relative_to_the_query() -> None:
    from neighbours import within

    precursors = np.array([499.91, 499.995, 500.0, 500.005, 500.09, 900.0])
    assert within(precursors, 500.0, "10 ppm").tolist() == [False, True, True, True, False, False]
    assert within(precursors, 500.0, "0.1 Da").sum() == 5
    assert within(precursors, 500.0, "open").all()


def test_equal_scores_go_to_the_nearest_precursor_then_to_the_first() -> None:
    from neighbours import ModifiedCosineSearch, matchms_spectrum

    twin = [(80.0, 1.0), (90.0, 0.5)]
    references = table([200.0, 150.0, 150.0, 120.0], [twin, twin, twin, [(80.0, 1.0)]])
    search = ModifiedCosineSearch(references)
    query = matchms_spectrum(table([151.0], [twin]), 0)
    scores = search.all_scores([query])[0]
    hit = search.best(query, scores, np.arange(4))
    assert (hit.place, hit.matches) == (1, 2)
    assert hit.score == pytest.approx(1)
    assert search.best(query, scores, np.array([3, 0])).place == 0
    assert search.best(query, scores, np.array([], dtype=np.int64)).place == -1


def test_the_shift_of_the_precursor_counts_as_a_match() -> None:
    from neighbours import ModifiedCosineSearch, matchms_spectrum

    references = table([200.0], [[(80.0, 1.0), (150.0, 1.0)]])
    search = ModifiedCosineSearch(references)
    query = matchms_spectrum(table([210.0], [[(80.0, 1.0), (160.0, 1.0)]]), 0)
    assert search.best(query, search.all_scores([query])[0], np.arange(1)).score == pytest.approx(1)


def test_kept_neighbours_are_those_of_all_pairs(neighbours: Path, shared: Path) -> None:
    from neighbours import load_hits, made_from, main

    with (neighbours / "results.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["queries"], row["equal_best_score"]) == ("10", "10")
    open_search, narrow = (load_hits(neighbours, "Unknown", "all", w, 30) for w in ("open", "10 ppm"))
    assert (np.asarray(open_search["reference"]) >= 0).all()
    assert (np.asarray(narrow["reference"]) < 0).any()
    assert made_from(shared / "data", 30)["limit"] == 30
    kept = next((neighbours / "test").glob("*.parquet"))
    before = kept.stat().st_mtime_ns
    main(["--data", str(shared / "data"), "--output", str(neighbours), "--limit", "30"])
    assert kept.stat().st_mtime_ns == before  # nothing is searched twice
    with pytest.raises(FileNotFoundError, match="neighbours of 30 spectra, 31 are asked for"):
        load_hits(neighbours, "Unknown", "all", "open", 31)


def test_neighbours_of_other_data_or_settings_are_refused(
    neighbours: Path, shared: Path, tmp_path: Path
) -> None:
    from neighbours import claim, made_from

    with pytest.raises(ValueError, match="give another folder"):
        claim(neighbours, made_from(shared / "data", None))
    with pytest.raises(FileNotFoundError, match="run benchmarks/neighbours"):
        claim(tmp_path, {})


def test_contenders_are_runs_checkpoints_or_shipped_names(tmp_path: Path) -> None:
    from contenders import licensed, parse_contenders

    run, plain = tmp_path / "run", tmp_path / "plain"
    for folder in (run / "model", plain):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    found = parse_contenders([f"a={run}", f"b={plain}"])
    assert found == {"a": str(run / "model"), "b": str(plain)}
    for wrong in (["a"], ["a=x", "a=y"], ["=x"]):
        with pytest.raises(SystemExit, match="NAME=FOLDER"):
            parse_contenders(wrong)
    rows = SimpleNamespace(rows={"license": ["CC0", "CC BY-NC", "CC BY"]}, __len__=lambda: 3)
    assert licensed(rows, "open").tolist() == [0, 2]


def test_a_molecule_is_known_when_open_licence_training_spectra_show_it(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from contenders import seen_places

    columns = {
        "inchikey14": ["A", "B", "C", "A", "B", "C"],
        "fold": ["train", "train", "val", "known_test", "known_test", "known_test"],
        "license": ["CC0", "CC BY-NC", "CC0", "CC0", "CC0", "CC0"],
    }
    pq.write_table(pa.table(columns), tmp_path / "massbank_msms.parquet")
    assert seen_places(tmp_path, SimpleNamespace(rows={"inchikey14": ["B", "A", "C", "A"]})).tolist() == [
        1,
        3,
    ]
