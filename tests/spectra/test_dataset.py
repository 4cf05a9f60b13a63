from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msformers.spectra.dataset import FEATURES, load_spectra, row_of, spectrum_from_row
from msformers.spectra.spectrum import Problem, Spectrum

MGF = "BEGIN IONS\nTITLE={}\nPEPMASS={}\nCHARGE=1+\nNOTE=x\n80.5 1\n100.25 2\nEND IONS\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.mgf"
    path.write_text(MGF.format("a", "200.1") + MGF.format("b", "abc") + MGF.format("c", "300.1"))
    return path


def test_rows_and_problems_account_for_every_record(path: Path) -> None:
    dataset = load_spectra(path)
    assert dataset.features == FEATURES
    assert dataset["native_id"][:] == ["a", "c"]
    assert dataset["index"][:] == [0, 2]
    assert [problem.index for problem in dataset.problems] == [1]
    assert dataset.problems[0].field == "PEPMASS"


def test_row_to_spectrum_and_back(path: Path) -> None:
    row = load_spectra(path)[0]
    spectrum = spectrum_from_row(row)
    assert spectrum.mz.dtype == np.float64 and spectrum.intensity.dtype == np.float32
    assert spectrum.mz.tolist() == [80.5, 100.25] and spectrum.intensity.tolist() == [0.5, 1.0]
    assert (spectrum.native_id, spectrum.charge, spectrum.ion_mode) == ("a", 1, "positive")
    assert spectrum.metadata == {"note": "x"} and spectrum.line == 1 and spectrum.path == str(path)
    assert row_of(spectrum) | {"mz": None, "intensity": None} == dict(row) | {"mz": None, "intensity": None}


def test_dataset_operations_and_formats(path: Path) -> None:
    dataset = load_spectra(path)
    assert dataset.filter(lambda row: row["precursor_mz"] > 250)["native_id"][:] == ["c"]
    row = dataset.with_format("numpy")[1]
    assert spectrum_from_row(row).precursor_mz == 300.1


def test_cache_file_gives_the_same(path: Path, tmp_path: Path) -> None:
    dataset = load_spectra([path, path], cache_file=tmp_path / "cache.arrow")
    assert dataset["native_id"][:] == ["a", "c", "a", "c"] and dataset["index"][:] == [0, 2, 3, 5]
    assert len(dataset.problems) == 2
    assert dataset[:] == load_spectra([path, path])[:]


def test_nothing_readable_is_an_empty_dataset(tmp_path: Path) -> None:
    (tmp_path / "x.mgf").write_text("")
    dataset = load_spectra(tmp_path / "x.mgf")
    assert len(dataset) == 0 and dataset.features == FEATURES
    assert "is empty" in dataset.problems[0].reason


def test_objects() -> None:
    spectrum = Spectrum(np.array([50.0]), np.array([1.0], np.float32), native_id="own")
    mapping = {"mz": [60.0, 50.0], "intensities": [1, 4], "pepmass": 99.5, "title": "mapping"}
    problem = Problem(2, None, "p", "peaks", "", "are missing")
    dataset = load_spectra([spectrum, mapping, problem, {"title": "none", "mz": [], "intensity": []}])
    assert dataset["native_id"][:] == ["own", "mapping"]
    assert dataset[1]["mz"] == [50.0, 60.0] and dataset[1]["precursor_mz"] == 99.5
    assert [item.native_id for item in dataset.problems] == ["p", "none"]
    assert load_spectra(dataset)["native_id"][:] == ["own", "mapping"]
    with pytest.raises(TypeError, match="item 0 is a int"):
        load_spectra([3])


def test_matchms_spectra() -> None:
    matchms = pytest.importorskip("matchms")
    metadata: dict[str, Any] = {"precursor_mz": 200.1, "charge": -1, "ionmode": "negative", "smiles": "CCO"}
    item = matchms.Spectrum(np.array([80.5, 100.25]), np.array([0.2, 0.4]), metadata=metadata)
    for source in (item, [item]):
        (row,) = load_spectra(source)
        assert row["mz"] == [80.5, 100.25] and row["intensity"] == [0.5, 1.0]
        assert (row["precursor_mz"], row["charge"], row["ion_mode"]) == (200.1, -1, "negative")
        assert row["smiles"] == "CCO" and row["path"] is None


def test_spectrum_from_row_cleans_and_complains() -> None:
    row = {"mz": [90.0, 80.0], "intensity": [2.0, 4.0]}
    spectrum = spectrum_from_row(row)
    assert spectrum.mz.tolist() == [80.0, 90.0] and spectrum.intensity.tolist() == [1.0, 0.5]
    assert spectrum.notes and spectrum.precursor_mz is None and spectrum.native_id == ""
    with pytest.raises(ValueError, match="missing"):
        spectrum_from_row({"mz": [], "intensity": []})
    with pytest.raises(ValueError, match="object"):
        spectrum_from_row(row | {"metadata": json.dumps([1])})
