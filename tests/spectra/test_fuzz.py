"""Files damaged at random: reading never raises, numbers its rows through, and keeps what `Spectrum` promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from msformers.spectra.read import read
from msformers.spectra.spectrum import Problem

SEEDS = {
    "mgf": b"BEGIN IONS\nTITLE=a\nPEPMASS=200.1\nCHARGE=1+\n80.5 10\n90.5 5\nEND IONS\n\n" * 4,
    "msp": b'NAME: a\nPRECURSORMZ: 200.1\nComment: "x=y"\nNum Peaks: 2\n80.5\t10\n90.5\t5; 3 "q"\n\n' * 4,
    "json": b'[{"title": "a", "precursor_mz": 200.1, "peaks_json": [[80.5, 1], [90, 2]]},\n{"mz": [1], "intensity": [2]}]',
    "massbank": b"ACCESSION: a\nMS$FOCUSED_ION: PRECURSOR_M/Z 200.1\nPK$NUM_PEAK: 1\nPK$PEAK: x\n  80.5 1 2\n//\n"
    * 4,
}


@pytest.mark.parametrize("kind", SEEDS)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_file(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    content = bytearray(SEEDS[kind])
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(start, min(len(content), start + 40)))
        content[start:end] = data.draw(
            st.binary(max_size=6) | st.sampled_from([b"\n", b"\n\n", b'"', b"{", b"1e999"])
        )
    path = tmp_path / f"damaged.{kind}"
    path.write_bytes(content)
    items = list(read(path))
    assert items
    assert [item.index for item in items] == list(range(len(items)))
    for item in items:
        if isinstance(item, Problem):
            assert item.reason and not item.reason.startswith("cannot be read: "), str(item)
        else:
            assert (np.diff(item.mz) > 0).all() and item.intensity.max() == 1 and item.intensity.min() > 0
