"""Bad files: each gives exactly the spectra and problems that expected.csv says, none raises, none loses the rest."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import numpy as np
import pytest

from msformers.spectra.read import read
from msformers.spectra.spectrum import Problem, Spectrum

FOLDER = Path(__file__).parent
FILES = FOLDER / "files"

with (FOLDER / "expected.csv").open(encoding="utf-8", newline="") as stream:
    EXPECTED = {
        name: list(rows) for name, rows in itertools.groupby(csv.DictReader(stream), lambda row: row["file"])
    }


def test_table_and_folder_name_the_same_files() -> None:
    assert set(EXPECTED) == {path.name for path in FILES.iterdir() if path.name != ".gitattributes"}
    assert len(EXPECTED) >= 40


@pytest.mark.parametrize("name", EXPECTED)
def test_ugly_file(name: str) -> None:
    items = list(read(FILES / name))
    assert len(items) == len(EXPECTED[name]), [str(item) for item in items]
    for index, (item, row) in enumerate(zip(items, EXPECTED[name], strict=True)):
        assert item.index == index
        assert item.path == str(FILES / name)
        if row["kind"] == "spectrum":
            check_spectrum(item, row)
        else:
            check_problem(item, row)


def check_spectrum(item: Spectrum | Problem, row: dict[str, str]) -> None:
    assert isinstance(item, Spectrum), str(item)
    assert item.native_id == row["native_id"]
    assert len(item) == int(row["n_peaks"])
    assert item.precursor_mz == (float(row["precursor_mz"]) if row["precursor_mz"] else None)
    assert item.charge == (int(row["charge"]) if row["charge"] else None)
    assert row["says"] in "; ".join(item.notes)
    assert (np.diff(item.mz) > 0).all() and np.isfinite(item.mz).all()
    assert item.mz.dtype == np.float64 and item.intensity.dtype == np.float32
    assert item.intensity.max() == 1 and item.intensity.min() > 0


def check_problem(item: Spectrum | Problem, row: dict[str, str]) -> None:
    assert isinstance(item, Problem), item
    assert item.field == row["field"]
    assert item.line == (int(row["line"]) if row["line"] else None)
    assert row["says"] in item.reason
    if row["native_id"]:
        assert item.native_id == row["native_id"]
    assert row["file"] in str(item) and item.reason


def test_all_together_in_one_call() -> None:
    """One folder of ruins: every row of every file still comes, indexed through."""
    items = list(read([FILES / name for name in EXPECTED]))
    assert [item.index for item in items] == list(range(sum(map(len, EXPECTED.values()))))
