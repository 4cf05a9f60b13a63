from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from peptide_ladders import PEPTIDES, mgf, peptide_spectrum

from msformers.cli import main
from msformers.reports.mztab import UNIDENTIFIED
from msformers.reports.peptide_records import PeptideRecord
from msformers.reports.tables import read_table

STATUSES = [
    "ok",
    "ok",
    "no_charge",
    "no_precursor",
    "negative_mode",
    "charge_too_high",
    "too_few_peaks",
    "unreadable",
]


@pytest.fixture
def spectra(tmp_path: Path) -> Path:
    """Two good spectra, and one of every kind of bad record."""
    path = tmp_path / "run.mgf"
    bad = [
        peptide_spectrum(PEPTIDES[0], native_id="b1", charge=2),
        peptide_spectrum(PEPTIDES[0], native_id="b2"),
        peptide_spectrum(PEPTIDES[0], native_id="b3"),
        peptide_spectrum(PEPTIDES[0], native_id="b4"),
        peptide_spectrum(PEPTIDES[0], native_id="b5"),
    ]
    bad[0].charge = None
    bad[1].precursor_mz = None
    bad[2].charge = -2
    bad[3].charge = 7
    bad[4].mz, bad[4].intensity = bad[4].mz[:1], bad[4].intensity[:1]
    empty = "BEGIN IONS\nTITLE=b6\nPEPMASS=500\nCHARGE=2+\nEND IONS\n"
    path.write_text(mgf(peptide_spectrum(PEPTIDES[0]), peptide_spectrum(PEPTIDES[1]), *bad) + "\n" + empty)
    return path


@pytest.fixture
def run(tiny_casanovo: Path) -> Any:
    """Run `msformers sequence` with the tiny model on the CPU; returns the exit status."""

    def call(*arguments: str | Path) -> int:
        return main(["sequence", *map(str, arguments), "--model", str(tiny_casanovo), "--device", "cpu"])

    return call


def test_mztab_accounts_for_every_record(run: Any, spectra: Path, tmp_path: Path, capsys: Any) -> None:
    mztab = pytest.importorskip("pyteomics.mztab")
    output = tmp_path / "out.mztab"
    assert run(spectra, "-o", output, "--beams", 3, "--top", 2) == 0
    error = capsys.readouterr().err
    assert (
        "3 beams, device cpu, dtype float32" in error and "spectra/s" in error and "8 records: 2 ok" in error
    )
    read = mztab.MzTab(str(output))
    table = read.spectrum_match_table
    assert list(table["spectra_ref"]) == ["ms_run[1]:index=0"] * 2 + ["ms_run[1]:index=1"] * 2
    assert read.metadata["ms_run[1]-location"] == spectra.as_uri()
    assert str(read.metadata["variable_mod[1]"]) == "Carbamidomethyl"
    lost = [json.loads(text.removeprefix(UNIDENTIFIED)) for text in read.comments[1:]]
    assert [one["status"] for one in lost] == STATUSES[2:]
    assert [one["spectra_ref"] for one in lost] == [f"ms_run[1]:index={i}" for i in range(2, 8)]


@pytest.mark.parametrize("suffix", [".tsv", ".jsonl", ".csv", ".parquet"])
def test_every_record_is_a_row_in_every_table(run: Any, spectra: Path, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"out{suffix}"
    assert run(spectra, "-o", output, "-q", "--beams", 3) == 0
    rows = read_table(output, PeptideRecord)
    assert [row.status for row in rows] == STATUSES and [row.index for row in rows] == list(range(8))
    assert rows[0].rank == 1 and rows[0].score and rows[0].charge == 2 and rows[7].peptide is None
    assert len(rows[0].residue_scores.split(",")) >= 2 and rows[0].native_id == PEPTIDES[0]
    assert all(row.reason for row in rows[2:])


def test_a_short_table_on_the_screen(run: Any, spectra: Path, capsys: Any) -> None:
    assert run(spectra, "--max-charge", 1) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["index", "spectrum", "m/z", "z", "rank", "peptide", "score", "ppm"]
    assert len(lines) == 9 and "charge_too_high" in lines[1] and "no_charge" in lines[3]


def test_an_interrupted_run_goes_on(run: Any, spectra: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    assert run(spectra, "-o", output, "-q", "--beams", 3) == 0
    whole = output.read_text()
    output.write_text("".join(whole.splitlines(keepends=True)[:4]) + '{"ind')
    assert run(spectra, "-o", output, "-q", "--beams", 3, "--resume") == 0
    assert [json.loads(line)["status"] for line in output.read_text().splitlines()] == STATUSES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--top", "2"], "top 2 must be between 1 and the beams (1)"),
        (["--max-charge", "9"], "the model knows charges 1 to 4"),
        (["--min-length", "20"], "min_length 20 is above max_length 12"),
        (["-o", "out.html"], "ends in none of .mztab"),
        (["-o", "out.mztab", "--resume"], "--resume needs -o with a .jsonl file"),
        (["--precursor-tolerance", "-1"], "is not a number above 0"),
    ],
)
def test_what_the_user_can_correct_exits_with_2(
    run: Any, spectra: Path, capsys: Any, arguments: list[str], message: str
) -> None:
    assert run(spectra, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_a_model_that_reads_no_peptides_is_refused(tiny_specbridge: Path, spectra: Path, capsys: Any) -> None:
    assert main(["sequence", str(spectra), "--model", str(tiny_specbridge)]) == 2
    assert "is no checkpoint for AutoModelForPeptideSequencing" in capsys.readouterr().err
    assert main(["sequence", str(spectra)]) == 2
