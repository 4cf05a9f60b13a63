"""`msformers generate`, and `msformers annotate` without candidates: formats, resuming, what the user can correct."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from msformers.cli import main
from msformers.reports.generation_records import GenerationRecord
from msformers.reports.tables import read_table

SPECTRUM = """BEGIN IONS
TITLE={title}
{fields}
42.03383 6
110.07127 22
138.06619 100
END IONS

"""
FIELDS = {
    "good": "PEPMASS=195.08765\nADDUCT=[M+H]+\nSMILES=Cn1c(=O)c2c(ncn2C)n(C)c1=O",
    "no precursor": "CHARGE=1+",
    "no adduct": "PEPMASS=195.08765",
    "broken": "PEPMASS=abc",
    "too light": "PEPMASS=5.1\nADDUCT=[M+H]+",
    "wrong sign": "PEPMASS=195.08765\nADDUCT=[M+H]+\nIONMODE=negative",
    "odd adduct": "PEPMASS=195.08765\nADDUCT=[M+Foo]+",
}
ANSWERED = {
    "good": "ok",
    "no precursor": "no_mass_filter",
    "no adduct": "assumed_adduct",
    "odd adduct": "no_mass_filter",
}
REST = {"broken": "unreadable", "too light": "impossible_mass", "wrong sign": "polarity_mismatch"}
SMALL = ("-n", "4", "--beams", "24", "--strategy", "sample", "--max-length", "30", "--rerank", "mass")


@pytest.fixture
def spectra(tmp_path: Path) -> Path:
    path = tmp_path / "bad.mgf"
    path.write_text("".join(SPECTRUM.format(title=title, fields=fields) for title, fields in FIELDS.items()))
    return path


@pytest.fixture
def generate(tiny_denovo: Path) -> Any:
    """Run `msformers generate` with the tiny model on the CPU; returns the exit status."""

    def run(*arguments: str | Path, options: tuple[str, ...] = SMALL) -> int:
        model = ["--model", str(tiny_denovo), "--device", "cpu"]
        return main(["generate", *map(str, arguments), *options, *model])

    return run


def check(rows: list[GenerationRecord]) -> None:
    """Every record is there, in order, with its status; molecules have ranks, masses and scores."""
    order = list(dict.fromkeys((row.index, row.native_id) for row in rows))
    assert order == list(enumerate(FIELDS))
    for row in rows:
        assert row.status == (ANSWERED | REST)[row.native_id]
        assert (row.rank is None) == (row.native_id in REST) and (row.status == "ok") == (row.reason == "")
    ranks = [row.rank for row in rows if row.native_id == "good"]
    assert ranks == list(range(1, len(ranks) + 1)) and 1 <= len(ranks) <= 4
    for row in rows:
        if row.status in ("ok", "assumed_adduct"):
            assert abs(row.mass_error_ppm) <= 10 and row.adduct == "[M+H]+" and row.mass_filter
            assert row.selfies.startswith("[") and row.smiles and row.formula and row.beam_score < 0
    assert {row.known_match for row in rows if row.native_id == "good"} == {False}


@pytest.mark.parametrize("suffix", [".jsonl", ".tsv", ".csv", ".parquet"])
def test_every_record_is_accounted_for_in_every_format(
    generate: Any, spectra: Path, tmp_path: Path, suffix: str, capsys: Any
) -> None:
    output = tmp_path / f"out{suffix}"
    assert generate(spectra, "-o", output) == 0
    check(read_table(output, GenerationRecord))
    error = capsys.readouterr().err
    assert "device cpu, dtype float32" in error and "threads" in error and "spectra/s" in error
    assert "7 records: 1 ok, 1 assumed_adduct, 2 no_mass_filter, 1 impossible_mass" in error


def test_a_short_table_on_the_screen(generate: Any, spectra: Path, capsys: Any) -> None:
    assert generate(spectra, "-q") == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert (
        lines[0].split()[:4] == ["index", "spectrum", "m/z", "adduct"] and lines[0].split()[-1] == "consensus"
    )
    assert any("unreadable: " in line for line in lines)
    assert [line.split()[4] for line in lines if line.startswith("0")] == ["1", "2", "3"]
    assert captured.err == ""


def test_the_report_shows_molecules_bars_and_what_went_wrong(
    generate: Any, spectra: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.html"
    assert generate(spectra, "-o", report, "-q") == 0
    page = report.read_text()
    assert '<svg class="agreement"' in page and "PEPMASS" in page and "no mass filter" in page
    assert "temperature 1, top-p 1, seed 0" in page


def test_resume_goes_on_after_the_last_complete_record(generate: Any, spectra: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    assert generate(spectra, "-o", output, "-q") == 0
    whole = output.read_text()
    lines = whole.splitlines(keepends=True)
    for kept in ("".join(lines[:3]) + lines[3][:50], "".join(lines[:-2]), "", whole):
        output.write_text(kept)
        assert generate(spectra, "-o", output, "-q", "--resume") == 0
        assert output.read_text() == whole


def test_a_killed_run_is_finished_without_repeating_or_losing_a_row(
    tiny_denovo: Path, tmp_path: Path, generate: Any
) -> None:
    spectra, output, expected = (tmp_path / name for name in ("many.mgf", "out.jsonl", "whole.jsonl"))
    spectra.write_text("".join(SPECTRUM.format(title=f"s{i}", fields=FIELDS["good"]) for i in range(12)))
    options = (*SMALL[:2], "--beams", "8", *SMALL[4:], "--no-mass-filter", "--batch-size", "1")
    command = [sys.executable, "-m", "msformers_cli", "generate", spectra, "-o", output, *options]
    model = ["--model", tiny_denovo, "--device", "cpu", "-q"]
    started = subprocess.Popen(list(map(str, [*command, *model])), env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 60
    while started.poll() is None and time.monotonic() < deadline:
        if output.exists() and output.stat().st_size:
            started.send_signal(signal.SIGKILL)
            break
        time.sleep(0.01)
    assert started.wait() == -signal.SIGKILL
    left = len(output.read_text().splitlines())
    assert generate(spectra, "-o", expected, "-q", options=options) == 0
    assert 0 < left < len(expected.read_text().splitlines())
    assert generate(spectra, "-o", output, "-q", "--resume", options=options) == 0
    assert output.read_text() == expected.read_text()


def test_resume_refuses_an_output_of_another_input(
    generate: Any, spectra: Path, tmp_path: Path, capsys: Any
) -> None:
    output, other = tmp_path / "out.jsonl", tmp_path / "other.mgf"
    other.write_text(SPECTRUM.format(title="other", fields=FIELDS["good"]) * 3)
    assert generate(spectra, "-o", output, "-q") == 0
    assert generate(other, "-o", output, "-q", "--resume") == 2
    assert "another input" in capsys.readouterr().err


def test_annotate_without_candidates_generates_and_says_so(
    tiny_denovo: Path, tmp_path: Path, capsys: Any
) -> None:
    output, spectra = tmp_path / "out.jsonl", tmp_path / "two.mgf"
    spectra.write_text(
        "".join(SPECTRUM.format(title=name, fields=FIELDS[name]) for name in ("good", "broken"))
    )
    arguments = ["annotate", str(spectra), "--model", str(tiny_denovo), "--device", "cpu"]
    assert main([*arguments, "--top-k", "2", "-o", str(output), "-q", "--search", "open"]) == 0
    assert "structures are generated" in capsys.readouterr().err
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["status"] for row in rows] == ["ok", "ok", "unreadable"]
    good = [row for row in rows if row["native_id"] == "good"]
    assert len(good) == 2 and not good[0]["mass_filter"] and good[0]["source"] == "beam"


@pytest.mark.parametrize(
    ("option", "value"),
    [("--min-confidence", "0.5"), ("--coverage", "0.5"), ("--decode", "projection"), ("--evidence-depth", "5"),
     ("--set-level", "0.5"), ("--desalt", None), ("--plot", "pictures")],
)  # fmt: skip
def test_options_for_candidates_are_refused_without_them(option: str, value: str | None, capsys: Any) -> None:
    assert main(["annotate", "demo", option, *([value] if value else [])]) == 2
    assert f"{option} needs --candidates: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-n", "20", "--beams", "10"], "n 20 is above the beams (10)"),
        (["--temperature", "2"], "--temperature has no effect on --strategy beam; add --strategy sample"),
        (["--strategy", "sample", "--groups", "2"], "--groups has no effect on --strategy sample"),
        (["--formula", "C6H("], "C6H("),
        (["--adduct", "[M+Foo]+"], "Foo"),
        (["--max-length", "500"], "max_length 500: the model writes at most 46 symbols"),
        (["-o", "out.mztab"], "ends in none of .html"),
        (["-o", "out.tsv", "--resume"], "--resume needs -o with a .jsonl file"),
        (["--substructures", "none.csv"], "none.csv"),
        (["--rerank", "learned", "--reranker", "empty"], "empty: is no checkpoint"),
        (["--library", "demo", "--rerank", "mass"], "--library demo: no such folder"),
        (["--strategy", "magic"], "invalid choice"),
    ],
)
def test_what_the_user_can_correct_exits_with_2(
    generate: Any, arguments: list[str], message: str, capsys: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert generate("demo", options=tuple(arguments)) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_an_option_that_the_model_refuses_leaves_the_output_as_it_was(generate: Any, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    output.write_text("dear\n")
    assert generate("demo", "-o", output, options=("--max-length", "500", "--rerank", "mass")) == 2
    assert output.read_text() == "dear\n"


def test_a_model_that_writes_no_molecules_is_refused(tiny_specbridge: Path, capsys: Any) -> None:
    assert main(["generate", "demo", "--model", str(tiny_specbridge)]) == 2
    assert "is no checkpoint for AutoModelForMoleculeGeneration" in capsys.readouterr().err


def test_own_substructures_join_the_consensus(generate: Any, spectra: Path, tmp_path: Path) -> None:
    table, output = tmp_path / "more.csv", tmp_path / "out.jsonl"
    table.write_text("name,smarts\nany atom,*\n")
    assert generate(spectra, "--substructures", table, "-o", output, "-q") == 0
    rows = [row for row in read_table(output, GenerationRecord) if row.native_id == "no precursor"]
    assert len(rows) > 1 and all("any atom 1.00" in (row.substructures or "") for row in rows)
