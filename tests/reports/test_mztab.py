"""mzTab is read back by pyteomics, an independent reader; what the specification asks for is checked line by line."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from msformers.reports.mztab import COLUMNS, UNIDENTIFIED, MzTabHead, modifications_text, write_mztab
from msformers.spectra.peptides import Modification

HEAD = MzTabHead(
    software=("msformers", "0.1"),
    search_engine="[MS, MS:1003281, Casanovo, ]",
    settings={"model": "m", "beams": "5"},
    fixed=[("C", "Carbamidomethyl")],
    variable=[("M", "Oxidation"), ("N-term", "Acetyl"), ("N-term", "+25.980265")],
)
MGF = "BEGIN IONS\nTITLE=a\nPEPMASS=500\n100 1\nEND IONS\n"
PSM = re.compile(r"[0-9]+-(UNIMOD:\d+|CHEMMOD:[+-]?[\d.]+)(,[0-9]+-(UNIMOD:\d+|CHEMMOD:[+-]?[\d.]+))*|null")


@dataclass
class Match:
    rank: int
    peptide: str
    score: float = 0.75
    residue_scores: tuple[float, ...] = (0.5, 1.0)
    calc_mz: float = 500.25
    mass_error_ppm: float = 1.0


@dataclass
class Answer:
    index: int
    native_id: str = "a"
    status: str = "ok"
    reason: str = ""
    precursor_mz: float | None = 500.25
    charge: int | None = 2
    retention_time: float | None = 61.5
    scan: int | None = None
    peptides: list[Match] = field(default_factory=list)
    path: str | None = None
    line: int | None = None


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """An MGF file, and an mzML file with only as much in it as tells the format."""
    (tmp_path / "a b.mgf").write_text(MGF)
    (tmp_path / "run.mzML").write_text('<?xml version="1.0"?>\n<mzML></mzML>\n')
    return str(tmp_path / "a b.mgf"), str(tmp_path / "run.mzML")


def answers(mgf: str, mzml: str) -> list[Answer]:
    thermo = "controllerType=0 controllerNumber=1 scan=17"
    return [
        Answer(
            0, path=mgf, peptides=[Match(1, "[Acetyl]-M[Oxidation]K"), Match(2, "C[Carbamidomethyl]K", -0.25)]
        ),
        Answer(1, 'b "\t\n', "no_charge", "charge is missing", charge=None, path=mgf),
        Answer(2, path=mgf, scan=9, retention_time=None, peptides=[Match(1, "[+25.980265]-AK")]),
        Answer(3, thermo, path=mzml, scan=17, peptides=[Match(1, "AK", float("nan"))]),
        Answer(4, "", "unreadable", "broken", None, None, path=mzml),
    ]


def cells(path: Path, kind: str) -> list[list[str]]:
    rows = [line.split("\t") for line in path.read_text("utf-8").split("\n")]
    return [row[1:] for row in rows if row[0] == kind]


def test_an_independent_reader_reads_it_back(files: tuple[str, str], tmp_path: Path) -> None:
    mztab = pytest.importorskip("pyteomics.mztab")
    path = tmp_path / "out.mztab"
    assert write_mztab(answers(*files), path, HEAD) == 4
    read = mztab.MzTab(str(path))
    assert read.mode == "Summary" and read.type == "Identification" and read.version == "1.0.0"
    table = read.spectrum_match_table
    assert list(table["sequence"]) == ["MK", "CK", "AK", "AK"] and list(table["PSM_ID"]) == [1, 2, 3, 4]
    assert list(table["charge"]) == [2, 2, 2, 2] and table["search_engine_score[1]"].iloc[1] == -0.25
    assert len(read.comments) == 3 and read.comments[0] == "5 spectra: 3 ok, 1 no_charge, 1 unreadable"


def test_rows_and_comments_are_all_records(files: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "out.mztab"
    write_mztab(answers(*files), path, HEAD)
    (header,) = cells(path, "PSH")
    assert tuple(header) == COLUMNS
    rows = [dict(zip(header, row, strict=True)) for row in cells(path, "PSM")]
    assert [row["modifications"] for row in rows] == [
        "0-UNIMOD:1,1-UNIMOD:35",
        "1-UNIMOD:4",
        "0-CHEMMOD:+25.980265",
        "null",
    ]
    assert all(PSM.fullmatch(row["modifications"]) for row in rows)
    thermo = "controllerType=0 controllerNumber=1 scan=17"
    references = ["ms_run[1]:index=0", "ms_run[1]:index=0", "ms_run[1]:index=2", f"ms_run[2]:{thermo}"]
    assert [row["spectra_ref"] for row in rows] == references
    scans = ["null", "null", "ms_run[1]:scan=9", "ms_run[2]:scan=17"]
    assert [row["opt_global_cv_MS:1003057_scan_number"] for row in rows] == scans
    assert [row["retention_time"] for row in rows] == ["61.5", "61.5", "null", "61.5"]
    assert rows[3]["search_engine_score[1]"] == "null" and rows[0]["accession"] == rows[0]["pre"] == "null"
    assert rows[0]["opt_global_aa_scores"] == rows[0]["opt_ms_run[1]_aa_scores"] == "0.50000,1.00000"
    lost = [json.loads(text.removeprefix(UNIDENTIFIED)) for (text,) in cells(path, "COM")[1:]]
    assert [one["spectra_ref"] for one in lost] == ["ms_run[1]:index=1", "ms_run[2]:index=1"]
    assert (
        lost[0]["native_id"] == 'b "\t\n'
        and lost[0]["status"] == "no_charge"
        and lost[1]["reason"] == "broken"
    )


def test_the_metadata_section_has_what_the_specification_asks_for(
    files: tuple[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "out.mztab"
    write_mztab(answers(*files), path, HEAD)
    lines = path.read_text("utf-8").splitlines()
    assert lines[0] == "MTD\tmzTab-version\t1.0.0"
    kinds = [line[:3] for line in lines if line]
    assert kinds == sorted(kinds, key=["MTD", "PSH", "PSM", "COM"].index)
    said = dict(cells(path, "MTD"))
    assert {"description", "software[1]", "psm_search_engine_score[1]"} <= set(said)
    assert said["ms_run[1]-location"] == Path(files[0]).as_uri() and "%20" in said["ms_run[1]-location"]
    assert said["ms_run[1]-format"] == "[MS, MS:1001062, Mascot MGF format, ]"
    assert "MS:1000774" in said["ms_run[1]-id_format"] and "MS:1000768" in said["ms_run[2]-id_format"]
    assert (
        said["fixed_mod[1]"] == "[UNIMOD, UNIMOD:4, Carbamidomethyl, ]" and said["fixed_mod[1]-site"] == "C"
    )
    assert said["variable_mod[2]-position"] == "Any N-term" and said["variable_mod[2]-site"] == "N-term"
    assert said["variable_mod[3]"] == "[CHEMMOD, CHEMMOD:+25.980265, , ]"
    assert said["software[1]-setting[2]"] == "beams = 5"
    for value in said.values():
        if value.startswith("["):
            assert len(value[1:-1].split(",")) == 4


def test_an_empty_run_and_one_without_modifications_are_valid_too(tmp_path: Path) -> None:
    path = tmp_path / "out.mztab"
    assert (
        write_mztab([], path, MzTabHead(("msformers", "0.1"), "[MS, MS:1001456, analysis software, x]")) == 0
    )
    said = dict(cells(path, "MTD"))
    assert said["ms_run[1]-location"] == "null"
    assert "MS:1002453" in said["fixed_mod[1]"] and "MS:1002454" in said["variable_mod[1]"]
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_run_leaves_no_file_of_that_name(tmp_path: Path) -> None:
    def stop() -> object:
        yield Answer(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_mztab(stop(), tmp_path / "out.mztab", HEAD)
    assert list(tmp_path.iterdir()) == []


def test_modifications_without_a_number_are_masses() -> None:
    assert (
        modifications_text([Modification(0, "-17.027"), Modification(3, "Phospho")])
        == "0-CHEMMOD:-17.027,3-UNIMOD:21"
    )
    assert modifications_text([]) == "null"
