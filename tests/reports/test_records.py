"""Answers become rows: one per candidate, always at least one per spectrum."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from msformers.inference.annotate import Annotation
from msformers.inference.retrieval.query import Candidate as RealCandidate
from msformers.reports.records import AnnotationRecord, all_records, known_block, known_rank, records_from

from . import answers

FIRST = [
    "index", "native_id", "precursor_mz", "adduct", "rank", "smiles", "formula", "inchikey", "score", "gap",
    "mass_error_ppm", "status", "reason",
]  # fmt: skip


def test_columns_start_as_agreed() -> None:
    assert [field.name for field in dataclasses.fields(AnnotationRecord)][: len(FIRST)] == FIRST


def test_one_row_per_candidate() -> None:
    rows = records_from(answers.answer(7, "x"))
    assert [row.rank for row in rows] == [1, 2]
    assert {(row.index, row.native_id, row.status) for row in rows} == {(7, "x", "ok")}
    assert rows[0].name == "Caffeine" and rows[0].gap == 0.2 and rows[1].gap is None
    assert rows[0].collision_energy == 35.0 and rows[0].instrument_type == "LC-ESI-QTOF"


def test_a_record_without_candidates_has_one_row_with_its_reason() -> None:
    (row,) = records_from(answers.unreadable())
    assert row.rank is None and row.smiles is None and row.score is None
    assert (row.status, row.reason, row.line) == ("unreadable", "PEPMASS 'abc' is not a number", 12)


def test_rows_cover_every_record_in_order() -> None:
    rows = list(all_records([answers.answer(0), answers.unreadable(1), answers.answer(2)]))
    assert [row.index for row in rows] == [0, 0, 1, 2, 2]


def test_known_structure_is_compared_by_first_block() -> None:
    known = answers.answer(spectrum=answers.spectrum(smiles="O=c1n(C)c(=O)n(C)c2ncn(C)c12"))
    assert [row.known_match for row in records_from(known)] == [True, False]
    assert known_rank(known) == 1
    absent = answers.answer(spectrum=answers.spectrum(smiles="CCO"))
    assert [row.known_match for row in records_from(absent)] == [False, False]
    assert known_rank(absent) is None
    assert [row.known_match for row in records_from(answers.answer())] == [None, None]


@pytest.mark.parametrize(
    ("inchikey", "smiles", "block"),
    [
        ("RYYVLZVUVIJVGH-UHFFFAOYSA-N", None, "RYYVLZVUVIJVGH"),
        ("RYYVLZVUVIJVGH", None, "RYYVLZVUVIJVGH"),
        ("nonsense", "CCO", "LFQSCWFLJHTTHZ"),
        ("nonsense", "not a molecule", None),
        (None, None, None),
    ],
)
def test_known_block(inchikey: str | None, smiles: str | None, block: str | None) -> None:
    assert known_block(answers.spectrum(inchikey=inchikey, smiles=smiles)) == block


def test_numbers_are_plain_and_finite() -> None:
    odd = dataclasses.replace(
        answers.CAFFEINE, score=np.float32(0.5), gap=float("nan"), mass_error_ppm=np.inf
    )
    (row,) = records_from(answers.answer(candidates=[odd]))
    assert row.gap is None and row.mass_error_ppm is None
    assert json.loads(json.dumps(dataclasses.asdict(row), allow_nan=False))["score"] == 0.5


def test_the_answers_of_inference_fit() -> None:
    """The attributes read here are those the search really gives."""
    found = RealCandidate(
        1, "CCO", "C2H6O", "LFQSCWFLJHTTHZ-UHFFFAOYSA-N", 0.5, None, 1.0, "[M+H]+", "", 46.04, 1.0
    )
    real = Annotation(3, "id", "ok", precursor_mz=47.05, adduct=None, n_candidates=1, candidates=[found])
    (row,) = records_from(real)
    assert (row.index, row.adduct, row.inchikey, row.name) == (3, "[M+H]+", found.inchikey, None)


def test_reports_do_not_load_torch() -> None:
    code = (
        "import sys; sys.modules['msformers_cli'] = type(sys)('msformers_cli'); sys.modules['msformers_cli'].LIGHT = True;"
        "import msformers.reports.html, msformers.reports.tables, msformers.reports.spectrum_plot;"
        "print(sorted({'torch', 'transformers', 'matplotlib', 'rdkit'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
