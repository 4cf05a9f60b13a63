"""What is written is read again as the same spectrum: MGF, MSP, Parquet, Arrow, plain and gzipped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from msformers.spectra.read import read
from msformers.spectra.spectrum import Problem, Spectrum
from msformers.spectra.write_mgf import write_mgf
from msformers.spectra.write_msp import write_msp
from msformers.spectra.write_table import write_table

WRITERS = {
    "a.mgf": write_mgf,
    "a.mgf.gz": write_mgf,
    "a.msp": write_msp,
    "a.msp.gz": write_msp,
    "a.parquet": write_table,
    "a.arrow": write_table,
}
Writer = Callable[[Any, Path], int]

text = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=12).filter(
    lambda value: (
        value.lower() not in {"na", "?", "-", "--", "none", "null", "nan", "[]", "n/a", "n.a.", "n.d."}
    )
)
IONS = [
    (1, "[M+H]+", "positive"),
    (-1, "[M-H]-", "negative"),
    (2, "[M+2H]2+", "positive"),
    (-2, None, "negative"),
    (3, None, None),
    (None, None, "negative"),
    (None, None, None),
]


@st.composite
def spectra(draw: st.DrawFn) -> Spectrum:
    mz = draw(st.lists(st.floats(0.01, 1e5), min_size=1, max_size=12, unique=True))
    heights = draw(st.lists(st.floats(2**-20, 1, width=32), min_size=len(mz), max_size=len(mz)))
    heights[draw(st.integers(0, len(mz) - 1))] = 1.0
    charge, adduct, mode = draw(st.sampled_from(IONS))
    keys = st.sampled_from(
        ["license", "instrument", "comment", "title", "spectrum_id", "scans", "my_own_key"]
    )
    return Spectrum(
        np.sort(np.array(mz)),
        np.array(heights, np.float32),
        precursor_mz=draw(st.none() | st.floats(0.01, 1e5)),
        charge=charge,
        adduct=adduct,
        ion_mode=mode,  # type: ignore[arg-type]
        collision_energy=draw(st.none() | st.floats(0, 1e4)),
        retention_time=draw(st.none() | st.floats(0, 1e6)),
        ms_level=draw(st.none() | st.integers(1, 9)),
        instrument_type=draw(st.none() | text),
        name=draw(st.none() | text),
        smiles=draw(st.none() | st.sampled_from(["CCO", "C=C", "O=C(C#N)c1ccccc1", "C[N+](C)(C)C"])),
        inchikey=draw(st.none() | text),
        formula=draw(st.none() | text),
        native_id=draw(text),
        metadata=draw(st.dictionaries(keys, text, max_size=4)),
    )


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(items=st.lists(spectra(), min_size=1, max_size=5))
def test_round_trip(tmp_path: Path, name: str, items: list[Spectrum]) -> None:
    path = tmp_path / name
    assert WRITERS[name](items, path) == len(items)
    again = list(read(path))
    assert len(again) == len(items)
    for index, (before, after) in enumerate(zip(items, again, strict=True)):
        assert isinstance(after, Spectrum), str(after)
        assert (after.index, after.path) == (index, str(path))
        assert_same(before, after)


def assert_same(before: Spectrum, after: Spectrum) -> None:
    assert np.array_equal(before.mz, after.mz)
    assert np.array_equal(before.intensity, after.intensity)
    for field in Spectrum.__dataclass_fields__:
        if field not in ("mz", "intensity", "index", "path", "line", "notes"):
            assert getattr(after, field) == getattr(before, field), field


def example(**fields: Any) -> Spectrum:
    return replace(
        Spectrum(np.array([80.5, 100.0]), np.array([0.5, 1.0], np.float32), native_id="x"), **fields
    )


@pytest.mark.parametrize("name", WRITERS)
def test_problems_are_left_out_and_line_breaks_tamed(tmp_path: Path, name: str) -> None:
    problem = Problem(0, 1, "y", "PEPMASS", "abc", "is not a number")
    path = tmp_path / name
    assert WRITERS[name]([problem, example(name="two\nlines"), problem], path) == 1
    (after,) = read(path)
    assert isinstance(after, Spectrum)
    assert after.name == ("two lines" if not name.endswith(("parquet", "arrow")) else "two\nlines")


@pytest.mark.parametrize("name", WRITERS)
def test_notes_and_provenance(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name]([example(notes=("repaired",), path="old.mgf", line=7, index=3)], path)
    (after,) = read(path)
    assert (after.index, after.path) == (0, str(path))
    if name in ("a.parquet", "a.arrow"):
        assert isinstance(after, Spectrum) and after.notes == ("repaired",)


def test_many_batches_keep_their_order(tmp_path: Path) -> None:
    items = [example(native_id=f"s{number}", precursor_mz=100.0 + number) for number in range(5000)]
    for name in ("a.mgf", "a.msp", "a.parquet", "a.arrow"):
        path = tmp_path / name
        WRITERS[name](items, path)
        assert [item.native_id for item in read(path)] == [item.native_id for item in items]
        assert [item.index for item in read(path)] == list(range(5000))
