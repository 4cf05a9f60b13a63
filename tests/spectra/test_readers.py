"""What one dialect says and another does not: MGF, MSP, MassBank, JSON, tables (bad files are in tests/ugly)."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from msformers.spectra import read_mgf, record
from msformers.spectra.read import read
from msformers.spectra.spectrum import Problem, Spectrum


def one(folder: Path, text: str) -> Spectrum:
    path = folder / "file"
    path.write_text(text, encoding="utf-8")
    (item,) = read(path)
    assert isinstance(item, Spectrum), str(item)
    return item


def test_gnps_library_mgf(tmp_path: Path) -> None:
    spectrum = one(
        tmp_path,
        "BEGIN IONS\nPEPMASS=486.25\nCHARGE=0\nMSLEVEL=2\nSOURCE_INSTRUMENT=LC-ESI-qTof\nIONMODE=Positive\n"
        "NAME=Malyngamide C M+H\nINCHIAUX=N/A\nSMILES=N/A\nLIBRARYQUALITY=1\nSPECTRUMID=CCMSLIB1\nSCANS=1\n"
        "138.1 1\nEND IONS\n",
    )
    assert (spectrum.native_id, spectrum.ms_level, spectrum.instrument_type) == ("CCMSLIB1", 2, "LC-ESI-qTof")
    assert (spectrum.charge, spectrum.adduct, spectrum.ion_mode) == (1, "[M+H]+", "positive")
    assert spectrum.smiles is None and spectrum.notes == ("adduct taken from the name",)
    assert spectrum.metadata == {"inchiaux": "N/A", "libraryquality": "1", "scans": "1", "adduct_text": "M+H"}


def test_feature_mgf_of_mzmine(tmp_path: Path) -> None:
    spectrum = one(
        tmp_path,
        "BEGIN IONS\nFEATURE_ID=12\nPEPMASS=301.14 5000\nSCANS=12\nRTINSECONDS=62.5\nCHARGE=1-\nION=[M-H]-\n"
        "80.5 1\nEND IONS\n",
    )
    assert (spectrum.native_id, spectrum.retention_time, spectrum.adduct) == ("12", 62.5, "[M-H]-")
    assert spectrum.metadata == {"scans": "12", "precursor_intensity": "5000"}


def test_global_parameters_do_not_override(tmp_path: Path) -> None:
    path = tmp_path / "a.mgf"
    record_text = "BEGIN IONS\nTITLE=x\nPEPMASS=100\n{}80 1\nEND IONS\n"
    path.write_text("CHARGE=2+\nUSERNAME=me\n" + record_text.format("") + record_text.format("CHARGE=3+\n"))
    items = [item for item in read(path) if isinstance(item, Spectrum)]
    assert [item.charge for item in items] == [2, 3] and items[0].metadata == {}


def test_huge_record_is_refused_and_the_next_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "MAX_RECORD", 10_000)
    monkeypatch.setattr(read_mgf, "_MAX_PIECE", 20_000)
    path = tmp_path / "a.mgf"
    body = "80.5 1\n" * 200_000
    path.write_text(f"BEGIN IONS\nTITLE=a\n{body}END IONS\nBEGIN IONS\nTITLE=b\nPEPMASS=1\n80 1\nEND IONS\n")
    problem, spectrum = read(path)
    assert isinstance(problem, Problem) and "more than 10000 characters" in problem.reason
    assert (problem.native_id, spectrum.native_id, spectrum.index) == ("a", "b", 1)


def test_msp_of_nist(tmp_path: Path) -> None:
    spectrum = one(
        tmp_path,
        "Name: Thing\nSynon: $:00in-source\nSynon: Other\nDB#: 77\nInChIKey: ABC\nPrecursor_type: [M+H]+\n"
        "Spectrum_type: MS2\nPrecursorMZ: 500\nInstrument_type: HCD\nCollision_energy: NCE=35% 42eV\nIon_mode: P\n"
        'Num Peaks: 2\n80.5 10 "a=b"\n100.25 20 "?"\n',
    )
    assert (spectrum.name, spectrum.native_id, spectrum.inchikey) == ("Thing", "77", "ABC")
    assert (spectrum.collision_energy, spectrum.ion_mode, spectrum.ms_level) == (42, "positive", 2)
    assert spectrum.metadata["synonym"] == "$:00in-source; Other"
    assert spectrum.metadata["collision_energy_text"] == "NCE=35% 42eV"


def test_msp_of_mona(tmp_path: Path) -> None:
    spectrum = one(
        tmp_path,
        'Name: Thing\nComments: "SMILES=C=C" "InChIKey=ABC" "retention time=2 min" "author=A, B"\n'
        "PrecursorMZ: 100.5\nIon_mode: N\nNum Peaks: 1\n80.5 10\n",
    )
    assert (spectrum.smiles, spectrum.inchikey, spectrum.retention_time) == ("C=C", "ABC", 120)
    assert spectrum.metadata == {"author": "A, B"}


def test_msp_of_msdial_counts_minutes(tmp_path: Path) -> None:
    text = "NAME: x\nPRECURSORMZ: 100\n{}: 2\nNum Peaks: 1\n80\t1\n"
    assert one(tmp_path, text.format("RETENTIONTIME")).retention_time == 120
    assert one(tmp_path, text.format("RETENTION_TIME")).retention_time == 2


def test_massbank_record(tmp_path: Path) -> None:
    spectrum = one(
        tmp_path,
        "ACCESSION: X-1\nCH$NAME: One\nCH$NAME: Two\nCH$SMILES: CCO\nCH$LINK: INCHIKEY ABC-DEF-G\nCH$LINK: CAS 64-17-5\n"
        "AC$INSTRUMENT_TYPE: LC-ESI-QFT\nAC$MASS_SPECTROMETRY: MS_TYPE MS2\nAC$MASS_SPECTROMETRY: ION_MODE NEGATIVE\n"
        "AC$MASS_SPECTROMETRY: COLLISION_ENERGY 40\nAC$CHROMATOGRAPHY: RETENTION_TIME 2.5\n"
        "MS$FOCUSED_ION: PRECURSOR_M/Z 250\nMS$FOCUSED_ION: PRECURSOR_TYPE [M-H]-\n"
        "PK$ANNOTATION: m/z formula\n  80.5 C3H2- 1 80.5 -0.6\nPK$NUM_PEAK: 2\nPK$PEAK: m/z int. rel.int.\n"
        "  80.5 1000 499\n  100.25 4000 999\n//\n",
    )
    assert spectrum.intensity.tolist() == [0.25, 1.0]
    assert (spectrum.name, spectrum.inchikey, spectrum.retention_time) == ("One", "ABC-DEF-G", 150)
    assert (spectrum.charge, spectrum.ion_mode, spectrum.ms_level) == (-1, "negative", 2)
    assert spectrum.collision_energy == pytest.approx(20) and "normalised" in spectrum.notes[0]
    assert spectrum.metadata["other_name"] == "Two" and spectrum.metadata["cas"] == "64-17-5"


@pytest.mark.parametrize(
    "peaks",
    [
        '"peaks_json": [[80.5, 1], [100.25, 2]]',
        '"peaks_json": "[[80.5, 1.0], [100.25, 2.0]]"',
        '"peaks": {"mz": [80.5, 100.25], "intensities": [1, 2]}',
        '"peaks": [{"mz": 80.5, "intensity": 1}, {"mz": 100.25, "intensity": 2}]',
        '"mz": [80.5, 100.25], "intensity": [1, 2]',
        '"spectrum": "80.5:1 100.25:2"',
    ],
)
def test_json_peaks_in_every_shape(tmp_path: Path, peaks: str) -> None:
    spectrum = one(tmp_path, '{"id": "a", "Precursor_MZ": "200.5", "extra": {"b": [1]}, ' + peaks + "}")
    assert spectrum.mz.tolist() == [80.5, 100.25] and spectrum.intensity.tolist() == [0.5, 1.0]
    assert (spectrum.native_id, spectrum.precursor_mz) == ("a", 200.5)
    assert spectrum.metadata == {"extra": '{"b": [1]}'}


def test_json_with_braces_and_quotes_in_texts(tmp_path: Path) -> None:
    rows = [{"title": f'{{"{number}" \\ }}', "peaks_json": [[80.5, 1]]} for number in range(50)]
    path = tmp_path / "a.json"
    for indent in (None, 2):
        path.write_text(json.dumps(rows, indent=indent))
        assert [item.native_id for item in read(path)] == [row["title"] for row in rows]


def test_json_larger_than_a_block(tmp_path: Path) -> None:
    rows = [{"title": str(n), "peaks_json": [[50 + k, 1 + k] for k in range(500)]} for n in range(300)]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows))
    assert [(item.native_id, len(item)) for item in read(path) if isinstance(item, Spectrum)] == [
        (str(n), 500) for n in range(300)
    ]


def test_table_of_others(tmp_path: Path, shared: Path) -> None:
    rows = pq.ParquetFile(shared / "data" / "massbank_msms.parquet").read_row_group(0).slice(0, 300)
    pq.write_table(rows, tmp_path / "a.parquet")
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    for name in ("a.parquet", "a.arrow"):
        items = list(read(tmp_path / name))
        assert len(items) == 300
        for item, row in zip(items, rows.to_pylist(), strict=True):
            assert isinstance(item, Spectrum), str(item)
            assert item.mz.tolist() == row["mz"]
            assert item.native_id == row["accession"] and item.precursor_mz == row["precursor_mz"]
            assert (item.adduct, item.charge, item.ion_mode) == (
                row["adduct"],
                row["charge"],
                row["ion_mode"],
            )
            assert item.collision_energy == row["collision_energy_ev"]
            assert item.retention_time == row["retention_time_s"]


def test_electron_ionisation_table(tmp_path: Path, shared: Path) -> None:
    rows = pq.ParquetFile(shared / "data" / "massbank_ei.parquet").read_row_group(0).slice(0, 50)
    pq.write_table(rows, tmp_path / "a.parquet")
    items = list(read(tmp_path / "a.parquet"))
    assert len(items) == 50 and all(isinstance(item, Spectrum) for item in items)
    assert all(item.precursor_mz is None for item in items if isinstance(item, Spectrum))
