from __future__ import annotations

import csv
import gzip
import math
from pathlib import Path

import numpy as np
import pytest
from attacks import build
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from msformers.spectra.read_mzml import read_mzml
from msformers.spectra.source import Source
from msformers.spectra.spectrum import Problem, Spectrum


def read(folder: Path, text: str | bytes, start_index: int = 0) -> list[Spectrum | Problem]:
    path = folder / "file.mzML"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(read_mzml(Source(path), start_index))


def one(folder: Path, spectrum: str, head: str = "") -> Spectrum:
    (found,) = read(folder, build.mzml([spectrum], head=head))
    assert isinstance(found, Spectrum), str(found)
    return found


def problem(folder: Path, spectrum: str) -> Problem:
    """The problem of the middle one of three spectra, whose neighbours must survive."""
    before, found, after = read(folder, build.mzml([build.spectrum(1), spectrum, build.spectrum(3)]))
    assert isinstance(before, Spectrum) and isinstance(after, Spectrum)
    assert isinstance(found, Problem)
    assert (found.index, found.native_id, found.path) == (1, "scan=2", str(folder / "file.mzML"))
    assert (before.index, after.index, after.native_id) == (0, 2, "scan=3")
    assert found.line is not None and before.line is not None and found.line > before.line
    return found


def test_sample_reads_as_expected(shared: Path) -> None:
    folder = shared / "data" / "formats"
    with (folder / "sample_expected.csv").open(encoding="utf-8", newline="") as stream:
        expected = [
            row for row in csv.DictReader(stream) if row["ms_level"] == "2"
        ]  # what was written to mzML
    found = list(read_mzml(Source(folder / "sample.mzML")))
    assert len(found) == len(expected) == 295
    for spectrum, row in zip(found, expected, strict=True):
        assert isinstance(spectrum, Spectrum)
        assert spectrum.precursor_mz == float(row["precursor_mz"])
        assert spectrum.charge == int(row["charge"])
        assert spectrum.ion_mode == row["ion_mode"]
        assert spectrum.ms_level == 2
        assert len(spectrum) == int(row["num_peaks"])
        assert math.fsum(spectrum.mz) == pytest.approx(float(row["mz_sum"]), abs=1e-9)
        assert spectrum.notes == ()
    assert found[0].native_id == "scan=2"


def test_every_field(tmp_path: Path) -> None:
    activation = build.param("beam-type collision-induced dissociation") + build.param(
        "collision energy", 35.5, "electronvolt"
    )
    text = build.spectrum(
        7,
        level=2,
        polarity="negative scan",
        scan=build.param("scan start time", 1.5, "minute"),
        precursors=build.precursor(193.0731, charge=2, activation=activation),
    )
    spectrum = one(tmp_path, text)
    assert spectrum.precursor_mz == 193.0731
    assert (spectrum.charge, spectrum.ion_mode, spectrum.ms_level) == (-2, "negative", 2)
    assert (spectrum.collision_energy, spectrum.retention_time) == (35.5, 90.0)
    assert (spectrum.native_id, spectrum.index, spectrum.line) == ("scan=7", 0, 4)
    assert spectrum.metadata["fragmentation_mode"] == "HCD"
    assert spectrum.mz.tolist() == [50.5, 100.25, 195.0877]
    assert spectrum.intensity.tolist() == pytest.approx([0.1, 1.0, 0.5])
    assert (spectrum.mz.dtype, spectrum.intensity.dtype) == (np.float64, np.float32)


def test_seconds_and_ms1_and_start_index(tmp_path: Path) -> None:
    scan = build.param("scan start time", 12.25, "second")
    text = build.mzml([build.spectrum(1, level=1), build.spectrum(2, scan=scan), build.spectrum(3, level=3)])
    second, third = read(tmp_path, text, start_index=10)
    assert isinstance(second, Spectrum) and isinstance(third, Spectrum)
    assert (second.index, second.native_id, second.retention_time) == (10, "scan=2", 12.25)
    assert (third.index, third.ms_level) == (11, 3)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("compression", [build.ZLIB, build.NONE])
def test_mz_is_exact(tmp_path: Path, bits: int, compression: str) -> None:
    mz = sorted(np.random.default_rng(bits).uniform(50, 2000, 333))
    text = build.spectrum(1, mz, [1.0] * len(mz), binary=build.arrays(mz, [1.0] * len(mz), bits, compression))
    expected = np.asarray(mz) if bits == 64 else np.asarray(mz, dtype=np.float32).astype(np.float64)
    assert (one(tmp_path, text).mz == expected).all()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(1e-3, 1e5), min_size=1, max_size=30, unique=True), st.floats(0.01, 1e5))
def test_any_float_survives_to_the_last_bit(tmp_path: Path, mz: list[float], precursor_mz: float) -> None:
    mz.sort()
    found = one(tmp_path, build.spectrum(1, mz, [1.0] * len(mz), precursors=build.precursor(precursor_mz)))
    assert found.mz.tolist() == mz
    assert found.precursor_mz == precursor_mz


def test_param_groups_indexed_files_prefixes_and_gzip(tmp_path: Path) -> None:
    groups = (
        '<referenceableParamGroupList><referenceableParamGroup id="arrays">'
        + build.param("64-bit float")
        + build.param("zlib compression")
        + '</referenceableParamGroup><referenceableParamGroup id="pos">'
        + build.param("positive scan")
        + build.param("ms level", 2)
        + '</referenceableParamGroup><referenceableParamGroup id="model">'
        '<cvParam accession="MS:1001911" name="Q Exactive" value=""/></referenceableParamGroup>'
        "</referenceableParamGroupList><instrumentConfigurationList><instrumentConfiguration id='IC1'>"
        "<referenceableParamGroupRef ref='model'/><componentList/></instrumentConfiguration>"
        "</instrumentConfigurationList>"
    )
    ref = '<referenceableParamGroupRef ref="arrays"/>'
    data = [build.packed([100.0, 200.0]), build.packed([1.0, 2.0])]
    pieces = [
        f"<binaryDataArray>{ref}{build.param(kind)}<binary>\n  {build.base64.b64encode(raw).decode()}\n</binary></binaryDataArray>"
        for kind, raw in zip(("m/z array", "intensity array"), data, strict=True)
    ]
    body = (
        '<spectrum id="a" defaultArrayLength="2"><referenceableParamGroupRef ref="pos"/>'
        f"{build.precursor()}<binaryDataArrayList>{''.join(pieces)}</binaryDataArrayList></spectrum>"
    )
    plain = build.mzml([body], head=groups)
    indexed = plain.replace("<mzML", "<indexedmzML><mzML").replace(
        "</mzML>", "</mzML><indexList/></indexedmzML>"
    )
    prefixed = (
        plain.replace("<", "<ms:")
        .replace("<ms:/", "</ms:")
        .replace("<ms:?", "<?")
        .replace("xmlns=", "xmlns:ms=")
    )
    for text in (plain.encode(), indexed.encode(), prefixed.encode(), gzip.compress(plain.encode())):
        (spectrum,) = read(tmp_path, text)
        assert isinstance(spectrum, Spectrum), str(spectrum)
        assert spectrum.mz.tolist() == [100.0, 200.0]
        assert (spectrum.ion_mode, spectrum.charge) == ("positive", 1)
        assert spectrum.metadata["instrument"] == "Q Exactive"
    (spectrum,) = read(tmp_path, plain.replace("utf-8", "utf-16").encode("utf-16"))
    assert isinstance(spectrum, Spectrum)


def test_profile_spectra_are_centroided_with_a_note(tmp_path: Path) -> None:
    mz = [100.0, 100.1, 100.2, 100.3, 100.4, 200.0, 200.1, 200.2, 200.3]
    intensity = [0.0, 5.0, 10.0, 5.0, 0.0, 0.0, 4.0, 4.0, 0.0]
    spectrum = one(tmp_path, build.spectrum(1, mz, intensity, shape="profile spectrum"))
    assert spectrum.mz == pytest.approx([100.2, 200.15], abs=1e-9)
    assert spectrum.intensity == pytest.approx([1.0, 0.4])
    assert spectrum.notes == ("profile spectrum of 9 points centroided to 2 local maxima",)


def test_energy_that_the_scan_filter_calls_normalised(tmp_path: Path) -> None:
    activation = build.param("collision energy", "35.0", "electronvolt")
    line = build.param("filter string", "FTMS + p ESI d Full ms2 500.0000@hcd35.00 [50.0000-520.0000]")
    text = build.spectrum(1, params=line, precursors=build.precursor(500.0, charge=2, activation=activation))
    spectrum = one(tmp_path, text)
    assert spectrum.collision_energy == pytest.approx(35.0 * 0.9)
    assert any("normalised" in note for note in spectrum.notes)
    activation = build.param("normalized collision energy", "30")
    spectrum = one(tmp_path, build.spectrum(1, precursors=build.precursor(250.0, activation=activation)))
    assert spectrum.collision_energy == pytest.approx(15.0)


def test_missing_selected_ion_falls_back_to_the_isolation_target(tmp_path: Path) -> None:
    window = build.param("isolation window target m/z", 321.5)
    for mz in (None, 0):
        spectrum = one(
            tmp_path, build.spectrum(1, precursors=build.precursor(mz, charge=None, window=window))
        )
        assert spectrum.precursor_mz == 321.5
        assert any("isolation target" in note for note in spectrum.notes)
    several = build.precursor(100.5) + build.precursor(200.5)
    spectrum = one(tmp_path, build.spectrum(1, precursors=several))
    assert spectrum.precursor_mz == 100.5
    assert any("200.5" in note for note in spectrum.notes)


def test_no_precursor_is_a_spectrum_with_a_note(tmp_path: Path) -> None:
    spectrum = one(tmp_path, build.spectrum(1, precursors=""))
    assert spectrum.precursor_mz is None
    assert spectrum.notes != ()


GOOD = (50.5, 100.25, 195.0877)
MZ, HEIGHTS = build.packed(GOOD), build.packed([1.0, 2.0, 3.0], 32)


@pytest.mark.parametrize(
    ("mz", "length", "compression", "field", "reason"),
    [
        (MZ, 4, build.ZLIB, "m/z array", "32 are declared"),
        (MZ, 2, build.ZLIB, "m/z array", "expands to more than"),
        (build.packed(GOOD, 64, build.NONE), 4, build.NONE, "m/z array", "3 values, but 4 are declared"),
        (MZ[:-6], 3, build.ZLIB, "m/z array", "cut off"),
        (b"no zlib here", 3, build.ZLIB, "m/z array", "not valid zlib"),
        (b"1234567", 3, build.NONE, "m/z array", "whole number"),
        (MZ, "three", build.ZLIB, "defaultArrayLength", "not a number"),
        (MZ, -3, build.ZLIB, "defaultArrayLength", "not a number"),
        (MZ, 3, "zstandard", "m/z array", "does not know"),
        (b"12", 3, "MS-Numpress linear", "m/z array", "Numpress"),
        (b"", 0, build.NONE, "intensity array", "expands to more"),
    ],
)
def test_damaged_arrays_are_problems(
    tmp_path: Path, mz: bytes, length: object, compression: str, field: str, reason: str
) -> None:
    binary = build.array("m/z array", mz, 64, compression) + build.array("intensity array", HEIGHTS, 32)
    found = problem(tmp_path, build.spectrum(2, binary=binary, length=length))
    assert found.field == field
    assert reason in found.reason


@pytest.mark.parametrize(
    ("spectrum", "field"),
    [
        (build.spectrum(2, binary=""), "m/z array"),
        (build.spectrum(2, binary=build.array("m/z array", MZ)), "intensity array"),
        (build.spectrum(2, [], []), "peaks"),
        (build.spectrum(2, [math.nan, math.inf, 1.0], [1.0, 1.0, -1.0]), "peaks"),
        (build.spectrum(2, precursors=build.precursor("abc")), "precursor_mz"),
        (build.spectrum(2).replace("<binary>", "<binary>!!"), "m/z array"),
        (build.spectrum(2).replace("<binary>", "<binary>é"), "m/z array"),
        (build.spectrum(2).replace("</binary>", "=</binary>"), "m/z array"),
    ],
)
def test_other_damage_is_a_problem(tmp_path: Path, spectrum: str, field: str) -> None:
    assert problem(tmp_path, spectrum).field == field


def test_array_lengths_may_differ_from_the_default_but_not_from_each_other(tmp_path: Path) -> None:
    mz = build.array("m/z array", build.packed([1.0, 2.0]), attributes=' arrayLength="2"')
    found = problem(tmp_path, build.spectrum(2, binary=mz + build.array("intensity array", HEIGHTS, 32)))
    assert "different numbers" in found.reason


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_cut_file_keeps_what_was_complete(tmp_path: Path, cut: int) -> None:
    text = build.mzml([build.spectrum(number) for number in range(1, 11)])
    place = len(text) * cut // 12
    found = read(tmp_path, text[:place])
    complete = text[:place].count("</spectrum>")
    assert [type(item) for item in found] == [Spectrum] * complete + [Problem]
    last = found[-1]
    assert isinstance(last, Problem)
    assert last.index == complete
    assert last.line == text[:place].count("\n") + 1
    assert last.reason


def test_xml_that_is_not_well_formed_names_the_line(tmp_path: Path) -> None:
    text = build.mzml([build.spectrum(1), build.spectrum(2), "<oops></wrong>\n", build.spectrum(3)])
    first, second, last = read(tmp_path, text)
    assert isinstance(first, Spectrum) and isinstance(second, Spectrum) and isinstance(last, Problem)
    assert last.line == text[: text.index("<oops>")].count("\n") + 1
    assert "mismatched tag" in last.reason


@pytest.mark.parametrize("text", [b"", b"   ", b"\x00\x01\x02" * 50, b"BEGIN IONS\nEND IONS\n"])
def test_no_xml_is_one_problem(tmp_path: Path, text: bytes) -> None:
    (found,) = read(tmp_path, text)
    assert isinstance(found, Problem)
    assert found.path == str(tmp_path / "file.mzML")
