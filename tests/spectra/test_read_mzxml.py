from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from attacks import build
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from msformers.spectra.read_mzxml import read_mzxml
from msformers.spectra.source import Source
from msformers.spectra.spectrum import Problem, Spectrum


def read(folder: Path, text: str | bytes) -> list[Spectrum | Problem]:
    path = folder / "file.mzXML"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("latin-1"))
    return list(read_mzxml(Source(path)))


def one(folder: Path, scan: str) -> Spectrum:
    (found,) = read(folder, build.mzxml([scan]))
    assert isinstance(found, Spectrum), str(found)
    return found


def test_every_field(tmp_path: Path) -> None:
    spectrum = one(
        tmp_path, build.scan(12, attributes='polarity="-" retentionTime="PT1M2.5S" collisionEnergy="35.5"')
    )
    assert spectrum.precursor_mz == 195.0877
    assert (spectrum.charge, spectrum.ion_mode, spectrum.ms_level) == (-1, "negative", 2)
    assert (spectrum.collision_energy, spectrum.retention_time) == (35.5, 62.5)
    assert (spectrum.native_id, spectrum.index, spectrum.line) == ("scan=12", 0, 4)
    assert spectrum.metadata["fragmentation_mode"] == "HCD"
    assert spectrum.metadata["precursor_intensity"] == "1000"
    assert spectrum.metadata["instrument"] == "Q Exactive"
    assert spectrum.mz.tolist() == [50.5, 100.25, 195.0877]
    assert spectrum.intensity.tolist() == pytest.approx([0.1, 1.0, 0.5])
    assert spectrum.notes == ()


@pytest.mark.parametrize(
    ("text", "seconds"), [("PT12.3S", 12.3), ("PT0.5M", 30.0), ("PT1H1S", 3601.0), ("42", 42.0)]
)
def test_retention_times(tmp_path: Path, text: str, seconds: float) -> None:
    assert one(tmp_path, build.scan(1, attributes=f'retentionTime="{text}"')).retention_time == pytest.approx(
        seconds
    )


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("compression", ["zlib", "none"])
def test_mz_is_exact(tmp_path: Path, bits: int, compression: str) -> None:
    mz = sorted(np.random.default_rng(bits).uniform(50, 2000, 333))
    spectrum = one(tmp_path, build.scan(1, mz, [1.0] * len(mz), bits=bits, compression=compression))
    expected = np.asarray(mz) if bits == 64 else np.asarray(mz, dtype=np.float32).astype(np.float64)
    assert (spectrum.mz == expected).all()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(1e-3, 1e5), min_size=1, max_size=30, unique=True))
def test_any_float_survives_to_the_last_bit(tmp_path: Path, mz: list[float]) -> None:
    mz.sort()
    assert one(tmp_path, build.scan(1, mz, [1.0] * len(mz))).mz.tolist() == mz


def test_nested_scans_come_in_file_order_and_ms1_is_left_out(tmp_path: Path) -> None:
    third = build.scan(3, level=3)
    text = build.mzxml(
        [build.scan(1, level=1, nested=build.scan(2, nested=third) + build.scan(4)), build.scan(5)]
    )
    for data in (text.encode(), gzip.compress(text.encode())):
        found = read(tmp_path, data)
        assert [item.native_id for item in found] == ["scan=2", "scan=3", "scan=4", "scan=5"]
        assert [item.index for item in found] == [0, 1, 2, 3]
        assert [item.ms_level for item in found if isinstance(item, Spectrum)] == [2, 3, 2, 2]


def test_profile_and_thermo_energy_and_several_precursors(tmp_path: Path) -> None:
    attributes = (
        'centroided="0" collisionEnergy="30" filterLine="FTMS + p ESI d Full ms2 250.00@hcd30.00 [50-260]"'
    )
    precursors = '<precursorMz precursorCharge="1">250.0</precursorMz><precursorMz>77.5</precursorMz>'
    scan = build.scan(1, [99.9, 100.0, 100.1], [1.0, 2.0, 1.0], attributes=attributes, precursors=precursors)
    spectrum = one(tmp_path, scan)
    assert spectrum.mz == pytest.approx([100.0])
    assert spectrum.collision_energy == pytest.approx(15.0)
    assert spectrum.precursor_mz == 250.0
    assert len(spectrum.notes) == 3


@pytest.mark.parametrize(
    ("scan", "field", "reason"),
    [
        (build.scan(2, count=4), "peaks", "64 are declared"),
        (build.scan(2, count=2), "peaks", "expands to more"),
        (build.scan(2, count=10**10), "peaks", "declares"),
        (build.scan(2, count="x"), "peaksCount", "not a number"),
        (build.scan(2, data=b"garbage!"), "peaks", "not valid zlib"),
        (build.scan(2, compression="none", bits=64, data=b"12345"), "peaks", "whole number"),
        (build.scan(2).replace('precision="64"', 'precision="16"'), "precision", "neither"),
        (build.scan(2).replace("m/z-int", "m/z ruler"), "contentType", "not m/z-int"),
        (build.scan(2).replace('"network"', '"little"'), "byteOrder", "not network"),
        (build.scan(2).replace('"zlib"', '"lzma"'), "peaks", "does not know"),
        (build.scan(2, [], []), "peaks", "missing"),
        (
            build.scan(2).replace("195.0877</precursorMz>", "abc</precursorMz>"),
            "precursor_mz",
            "not a number",
        ),
    ],
)
def test_damage_is_a_problem_and_the_neighbours_survive(
    tmp_path: Path, scan: str, field: str, reason: str
) -> None:
    before, found, after = read(tmp_path, build.mzxml([build.scan(1), scan, build.scan(3)]))
    assert isinstance(before, Spectrum) and isinstance(after, Spectrum) and isinstance(found, Problem)
    assert (found.index, found.native_id, found.field) == (1, "scan=2", field)
    assert reason in found.reason
    assert found.line is not None


def test_a_cut_file_keeps_what_was_complete(tmp_path: Path) -> None:
    text = build.mzxml([build.scan(number) for number in range(1, 6)])
    found = read(tmp_path, text[: text.index('num="4"') + 60])
    assert [type(item) for item in found] == [Spectrum] * 3 + [Problem]
    assert found[-1].native_id in ("scan=4", "index=3")
