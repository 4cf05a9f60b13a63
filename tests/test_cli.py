from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import msformers
from msformers.cli import build_parser, main
from msformers.reports.tables import read_table

DEMO = Path(msformers.__file__).parent / "demo"
COMMANDS = ("annotate", "generate", "embed", "sequence", "bank", "bank build", "convert", "info")
BAD = """BEGIN IONS
TITLE=good
PEPMASS=195.08765
ADDUCT=[M+H]+
42.03383 6
138.06619 100
END IONS

BEGIN IONS
TITLE=no precursor
138.06619 100
END IONS

BEGIN IONS
TITLE=broken
PEPMASS=abc
138.06619 100
END IONS
"""


OPEN = ("--search", "open", "--top-k", "3")
MOLECULES = """Cn1c(=O)c2c(ncn2C)n(C)c1=O Caffeine
OC1C(O)C(CO)OC(OC2(CO)OC(CO)C(O)C2O)C1O Sucrose
CC(=O)Nc1ccc(O)cc1 Paracetamol
CCN(CC)CC(=O)Nc1c(C)cccc1C Lidocaine
"""


@pytest.fixture(scope="module")
def bank(tiny_specbridge: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank of four molecules of the demo, made by the tiny model."""
    folder = tmp_path_factory.mktemp("banks")
    (folder / "few.smi").write_text(MOLECULES)
    model = ["--model", str(tiny_specbridge), "--device", "cpu", "-q"]
    assert main(["bank", "build", str(folder / "few.smi"), "-o", str(folder / "bank"), *model]) == 0
    return folder / "bank"


@pytest.fixture
def annotate(tiny_specbridge: Path, bank: Path) -> Any:
    """Run `msformers annotate` with the tiny model on the CPU; returns the exit status."""

    def run(*arguments: str | Path, candidates: str | Path = bank) -> int:
        options = ["--model", tiny_specbridge, "--device", "cpu", "--candidates", candidates]
        return main(["annotate", *map(str, [*arguments, *options])])

    return run


def test_help_of_every_command_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(command.split()[0] in text for command in COMMANDS) and "exit status" in text
    for command in COMMANDS:
        assert main([*command.split(), "--help"]) == 0
        assert f"msformers {command.split()[0]}" in capsys.readouterr().out.split("example")[1]


def test_examples_in_the_help_parse() -> None:
    from msformers import cli

    texts = [
        cli.EPILOG,
        cli.ANNOTATE,
        cli.GENERATE,
        cli.EMBED,
        cli.SEQUENCE,
        cli.BANK,
        cli.BANK_BUILD,
        cli.CONVERT,
        cli.INFO,
    ]
    lines = [line.strip() for text in texts for line in text.splitlines() if line.startswith("  msformers ")]
    assert len(lines) > 10
    for command in [part.strip() for line in lines for part in line.split("&&")]:
        build_parser().parse_args(command.split()[1:])


@pytest.mark.parametrize(
    "arguments", [["--help"], ["annotate", "--help"], ["generate", "--help"], ["--version"]]
)
def test_help_needs_no_torch(arguments: list[str]) -> None:
    code = (
        f"import sys, msformers_cli; status = msformers_cli.main({arguments!r}); "
        "sys.exit(status or int('torch' in sys.modules or 'transformers' in sys.modules))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0
    )


def test_help_states_no_default_that_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        assert main([*command.split(), "--help"]) == 0
        text = capsys.readouterr().out
        assert "default: None" not in text and "default: False" not in text


def test_annotate_prints_a_short_table(annotate: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert annotate("demo", candidates="demo") == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0].split()[:3] == ["index", "spectrum", "m/z"]
    assert (
        any("Caffeine" in line and "demo_01_caffeine" in line for line in lines)
        and "demo_27_sucrose" in lines[-1]
        and "[M+Na]+" in lines[-1]
    )
    assert "device cpu, dtype float32" in captured.err and "spectra/s" in captured.err
    assert "27 records: 27 ok" in captured.err


@pytest.mark.parametrize("suffix", [".jsonl", ".tsv", ".csv", ".parquet"])
def test_every_record_is_a_row_in_every_format(annotate: Any, tmp_path: Path, suffix: str) -> None:
    spectra, output = tmp_path / "bad.mgf", tmp_path / f"out{suffix}"
    spectra.write_text(BAD)
    assert annotate(spectra, "-o", output, "-q") == 0
    rows = read_table(output)
    assert [row.index for row in rows] == [0, 1, 2]
    assert [row.status for row in rows] == ["ok", "no_precursor", "unreadable"]
    assert rows[0].name == "Caffeine" and rows[0].rank == 1 and rows[1].rank is None
    assert [row.native_id for row in rows] == ["good", "no precursor", "broken"]
    assert "abc" in rows[2].reason


def test_html_and_plots(annotate: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    spectra = tmp_path / "bad.mgf"
    spectra.write_text(BAD)
    report, plots = tmp_path / "report.html", tmp_path / "plots"
    assert annotate(spectra, "-o", report, "--plot", plots, "--plot-format", "svg") == 0
    page = report.read_text()
    assert "Caffeine" in page and "<svg" in page and "PEPMASS" in page
    assert len(list(plots.glob("*.svg"))) == 2


def test_a_bank_once_built_gives_the_same_answers_as_its_file(
    annotate: Any, bank: Path, tmp_path: Path
) -> None:
    assert annotate("demo", "-o", tmp_path / "a.jsonl", "-q") == 0
    assert annotate("demo", "-o", tmp_path / "b.jsonl", "-q", candidates=bank.parent / "few.smi") == 0
    assert (tmp_path / "a.jsonl").read_text() == (tmp_path / "b.jsonl").read_text()
    statuses = [row.status for row in read_table(tmp_path / "a.jsonl")]
    assert len(statuses) == 27 and statuses.count("ok") == 4 and statuses.count("no_candidates") == 23


def test_resume_goes_on_after_the_last_complete_record(annotate: Any, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    assert annotate("demo", "-o", output, "-q", *OPEN) == 0
    whole = output.read_text()
    lines = whole.splitlines(keepends=True)
    for kept in ("".join(lines[:31]) + lines[31][:40], "".join(lines[:30]), "", whole):
        output.write_text(kept)
        assert annotate("demo", "-o", output, "-q", *OPEN, "--resume") == 0
        rows, expected = (
            [json.loads(line) for line in text.splitlines()] for text in (output.read_text(), whole)
        )
        assert [(row["index"], row["smiles"]) for row in rows] == [
            (row["index"], row["smiles"]) for row in expected
        ]
        assert np.allclose([row["score"] for row in rows], [row["score"] for row in expected], atol=1e-5)
    assert output.read_text().startswith(lines[0])


def test_resume_refuses_an_output_of_another_input(
    annotate: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, spectra = tmp_path / "out.jsonl", tmp_path / "bad.mgf"
    spectra.write_text(BAD)
    assert annotate("demo", "-o", output, "-q") == 0
    assert annotate(spectra, "-o", output, "-q", "--resume") == 2
    assert "another input" in capsys.readouterr().err


def test_embed_writes_a_row_for_every_record(tiny_specbridge: Path, tmp_path: Path) -> None:
    spectra, output = tmp_path / "bad.mgf", tmp_path / "out.parquet"
    spectra.write_text(BAD)
    model = ["--model", str(tiny_specbridge), "--device", "cpu"]
    assert main(["embed", str(spectra), "-o", str(output), *model]) == 0
    rows = pq.read_table(output).to_pylist()
    assert [(row["index"], row["native_id"]) for row in rows] == [
        (0, "good"),
        (1, "no precursor"),
        (2, "broken"),
    ]
    assert rows[0]["status"] == "ok" and len(rows[0]["embedding"]) == 32
    assert rows[2]["embedding"] is None and "abc" in rows[2]["reason"]
    assert all(row["reason"] for row in rows if row["embedding"] is None)


def test_info_names_versions_devices_and_checkpoints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    for word in ("Python", "torch", "rdkit", "cpu", "threads", "shipped checkpoints"):
        assert word in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["annotate", "none.mgf", "-c", "demo"], "none.mgf: no such file"),
        (["annotate", "demo", "-c", "none.smi"], "none.smi: no such file"),
        (["annotate", "demo", "-c", "demo", "-o", "out.docx"], "ends in none of .html"),
        (["annotate", "demo", "-c", "demo", "-o", "nowhere/out.tsv"], "no folder nowhere"),
        (["annotate", "demo", "-c", "demo", "-o", "out.tsv", "--resume"], "--resume needs"),
        (["annotate", "demo", "-c", "demo", "--adduct", "[M+Foo]+"], "Foo"),
        (["annotate", "demo", "-c", "demo", "--model", "MODEL", "--device", "quantum"], "--device cpu"),
        (["annotate", "demo", "-c", "EMPTY", "--model", "MODEL"], "no molecule bank"),
        (["annotate", "demo", "-c", "demo", "--ppm", "-3"], "'-3' is not a number above 0"),
        (["embed", "demo", "-o", "out.txt"], "ends in none of .parquet"),
        (["embed", "demo", "-o", "out.parquet", "--model", "EMPTY"], "msformers info"),
        (
            ["bank", "build", "demo", "-o", "b", "--smiles-column", "xyz", "--model", "MODEL"],
            "no column 'xyz'",
        ),
        (["convert", "dreams", "none.ckpt", "out"], "none.ckpt: no such checkpoint"),
        (["convert", "dreams", "TEXT", "out"], "text.txt"),
        (["fly"], "invalid choice"),
    ],
)
def test_what_the_user_can_correct_exits_with_2_and_says_how(
    arguments: list[str],
    message: str,
    tiny_specbridge: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("no checkpoint")
    places = {"MODEL": str(tiny_specbridge), "EMPTY": "empty", "TEXT": "text.txt"}
    assert main([places.get(argument, argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_a_bug_exits_with_1_and_an_interrupt_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from msformers import command_info

    def fail(_: Any) -> None:
        raise ValueError("a bug")

    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command_info, "run", fail)
    assert main(["info"]) == 1
    assert "please report" in capsys.readouterr().err
    monkeypatch.setattr(command_info, "run", interrupt)
    assert main(["info"]) == 130


def test_output_into_a_closed_pipe_is_no_error(tiny_specbridge: Path, bank: Path) -> None:
    model = f"--model {tiny_specbridge} --device cpu"
    command = f"{sys.executable} -m msformers_cli annotate demo -c {bank} {model} | true"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
