"""Confidence from the command line and in the pipeline: probabilities, held back answers, the two paths."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import msformers
from msformers.cli import main
from msformers.inference.retrieval.confidence import FEATURES, Calibration, SearchCalibration


@pytest.fixture(scope="module")
def calibrated(tiny_specbridge: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint, calibrated by hand for lists up to 60 by mass."""
    folder = tmp_path_factory.mktemp("calibrated") / "model"
    shutil.copytree(tiny_specbridge, folder)
    flat, kind = [0.0] * len(FEATURES), ("mass", 10.0, 0, "fingerprint")
    found = SearchCalibration(
        *(*kind, 60, 100, 50, 2.0, flat, flat, [1.0] * len(FEATURES), flat, flat),
        thresholds={"0.9": [1.0, 1.0, 1.0]},
        medium=0.4,
        high_band=0.7,
        quantiles=[place / 100 for place in range(101)],
        validation={},
    )
    Calibration((found,)).save(folder)
    return folder


def annotated(model: Path, output: Path, *options: str) -> list[dict[str, Any]]:
    arguments = ["annotate", "demo", "-c", "demo", "--model", str(model), "-o", str(output), "-q", *options]
    assert main(arguments) == 0
    return [json.loads(line) for line in output.read_text().splitlines()]


def test_answers_are_held_back_and_stay_in_the_table(calibrated: Path, tmp_path: Path) -> None:
    plain = annotated(calibrated, tmp_path / "all.jsonl")
    held = annotated(calibrated, tmp_path / "held.jsonl", "--min-confidence", "1")
    assert [row["smiles"] for row in held] == [row["smiles"] for row in plain]
    assert {row["status"] for row in plain} == {"ok"} and {row["status"] for row in held} == {"abstained"}
    several = [row for row in plain if row["n_candidates"] > 1]
    assert several and all(0 <= row["probability"] <= 1 and row["set_size"] for row in several)
    assert all(row["in_set"] for row in several if row["rank"] == 1)
    alone = next(row for row in plain if row["n_candidates"] == 1)
    assert alone["confidence_band"] == "uncalibrated" and "single" in alone["confidence_note"]


def test_the_table_on_the_screen_says_how_sure(calibrated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["annotate", "demo", "-c", "demo", "--model", str(calibrated), "-q", "--coverage", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("confidence") and any("% abstained" in line for line in lines)
    assert any(line.endswith("uncalibrated") for line in lines)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--min-confidence", "0.5", "--coverage", "0.5"], "not allowed with"),
        (["--coverage", "50"], "'50' is not a number from 0 to 1"),
        (
            ["--min-confidence", "0.5", "--ppm", "5"],
            "mass at 10 ppm, evidence depth 0, fingerprint; search so",
        ),
        (["--set-level", "0.5"], "level 0.5 are not calibrated; choose one of 0.9"),
        (["--decode", "projection"], "no path 'projection'; use --decode fingerprint"),
    ],
)
def test_what_cannot_be_promised_is_refused(
    options: list[str], message: str, calibrated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["annotate", "demo", "-c", "demo", "--model", str(calibrated), "-q", *options]) == 2
    assert message in capsys.readouterr().err


def test_a_checkpoint_without_calibration_says_so(
    tiny_specbridge: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["annotate", "demo", "-c", "demo", "--model", str(tiny_specbridge), "-q"]
    assert main([*command, "--coverage", "0.5"]) == 2
    assert "has none; make one with training_scripts/calibrate.py" in capsys.readouterr().err


def test_the_pipeline_gives_the_same_record(calibrated: Path) -> None:
    isomers = ["CC(=O)Nc1ccc(O)cc1", "COC(=O)c1ccccc1N"]
    retrieve = msformers.pipeline("molecule-retrieval", model=str(calibrated), candidates=isomers)
    spectrum = {"mz": [65.04, 110.06], "intensity": [8, 100], "precursor_mz": 152.0706, "adduct": "[M+H]+"}
    first, second = retrieve(spectrum)
    assert first["probability"] + second["probability"] == pytest.approx(1.0)
    assert first["confidence_band"] in ("medium", "high") and first["status"] == "ok" and "row" not in first
    assert {row["status"] for row in retrieve(spectrum, min_confidence=1.0)} == {"abstained"}
