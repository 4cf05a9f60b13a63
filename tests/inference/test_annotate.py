from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msformers.inference.annotate import STATUSES, SearchOptions, annotate
from msformers.inference.retrieval.bank import MoleculeBank, open_bank
from msformers.spectra.adducts import parse_adduct
from msformers.spectra.masses import formula_mass
from msformers.spectra.spectrum import Problem, Spectrum

FORMULAS = {"glucose": "C6H12O6", "alanine": "C3H7NO2", "caffeine": "C8H10N4O2", "tryptophan": "C11H12N2O2"}
Make = Callable[..., Spectrum]


@pytest.fixture
def bank(smi: Path, model: Any, tokenizer: Any) -> MoleculeBank:
    return open_bank(smi, model, tokenizer, progress=False)


def mz(name: str, adduct: str) -> float:
    return parse_adduct(adduct).mz(formula_mass(FORMULAS[name]))


def test_every_record_is_answered_in_order_with_a_reason(
    bank: MoleculeBank, model: Any, extractor: Any, molecules: dict[str, str], make_spectrum: Make
) -> None:
    glucose = molecules["glucose"]
    records = [
        make_spectrum(
            glucose, index=0, native_id="a", precursor_mz=mz("glucose", "[M+Na]+"), adduct="[M+Na]+"
        ),
        Problem(1, 40, "b", "PEPMASS", "abc", "is not a number", "run.mgf", "write a number"),
        make_spectrum(glucose, index=2, precursor_mz=mz("glucose", "[M-H]-"), ion_mode="negative"),
        make_spectrum(glucose, index=3, adduct="[M+H]+"),
        make_spectrum(glucose, index=4, precursor_mz=500.0, adduct="[M+H]+"),
        make_spectrum(glucose, index=5, precursor_mz=181.07, adduct="[M+Foo]+"),
        make_spectrum(glucose, index=6, precursor_mz=181.07, adduct="[M+H]+", ion_mode="negative"),
        make_spectrum(glucose, index=7, precursor_mz=181.07, adduct="[M+H]+", ms_level=1),
        Spectrum(np.empty(0), np.empty(0, np.float32), index=8, precursor_mz=181.07, adduct="[M+H]+"),
        Spectrum(np.array([1.0, np.nan]), np.ones(2, np.float32), 9.0, index=9, native_id="nan"),
    ]
    records[9].precursor_mz = mz("glucose", "[M+H]+")
    answers = list(annotate(iter(records), model, extractor, bank, batch_size=2, block=3))
    assert [answer.index for answer in answers] == list(range(10))
    assert [answer.status for answer in answers] == [
        "ok",
        "unreadable",
        "assumed_adduct",
        "no_precursor",
        "no_candidates",
        "unknown_adduct",
        "polarity_mismatch",
        "not_msms",
        "too_few_peaks",
        "failed",
    ]
    assert all(answer.reason for answer in answers[1:]) and answers[0].reason == ""
    assert {answer.status for answer in answers} <= set(STATUSES)
    assert [hit.name for hit in answers[0].candidates] == ["glucose", "fructose"]
    assert answers[0].n_candidates == 2 and answers[0].adduct == "[M+Na]+"
    assert answers[1].reason == "PEPMASS 'abc' is not a number; write a number"
    assert (answers[1].path, answers[1].line, answers[1].native_id) == ("run.mgf", 40, "b")
    assert answers[2].adduct == "[M-H]-" and "assumed [M-H]-" in answers[2].reason
    assert "10 ppm of 498.99" in answers[4].reason
    assert "nan" in answers[9].reason
    assert model.spectra_seen == 2


def test_rows_have_the_columns_of_the_table(
    bank: MoleculeBank, model: Any, extractor: Any, molecules: dict[str, str], make_spectrum: Make
) -> None:
    records = [
        make_spectrum(
            molecules["glucose"], native_id="x", precursor_mz=mz("glucose", "[M+H]+"), adduct="M+H"
        ),
        Problem(1, None, "", "file", "x", "is empty"),
    ]
    first, second = (answer.rows() for answer in annotate(records, model, extractor, bank))
    columns = "index native_id precursor_mz adduct rank smiles formula inchikey score gap mass_error_ppm status reason"
    assert list(first[0])[:13] == columns.split() == list(second[0])[:13]
    assert [row["rank"] for row in first] == [1, 2]
    assert first[0]["adduct"] == "[M+H]+" and first[0]["inchikey"].startswith("WQZGKKKJIJFFOK")
    assert first[0]["score"] == pytest.approx(1.0, abs=1e-3) and first[1]["gap"] is None
    assert len(second) == 1 and second[0]["rank"] is None and second[0]["status"] == "unreadable"


def test_common_adducts_search_every_window_and_name_the_one_that_fits(
    bank: MoleculeBank, model: Any, extractor: Any, molecules: dict[str, str], make_spectrum: Make
) -> None:
    query = make_spectrum(molecules["alanine"], precursor_mz=mz("alanine", "[M+Na]+"), ion_mode="positive")
    assumed = next(annotate([query], model, extractor, bank))
    assert assumed.status == "no_candidates" and "[M+H]+" in assumed.reason
    common = next(annotate([query], model, extractor, bank, SearchOptions(adducts="common")))
    assert common.status == "assumed_adduct" and "[M+Na]+" in common.reason
    assert common.candidates[0].name == "alanine" and common.candidates[0].adduct == "[M+Na]+"
    assert common.rows()[0]["adduct"] == "[M+Na]+"


def test_search_by_formula_and_open_need_no_precursor(
    bank: MoleculeBank, model: Any, extractor: Any, molecules: dict[str, str], make_spectrum: Make
) -> None:
    known = make_spectrum(molecules["caffeine"], formula="C8H10N4O2")
    unknown, wrong = make_spectrum(molecules["caffeine"]), make_spectrum("CC", formula="Xx2")
    formula = list(annotate([known, unknown, wrong], model, extractor, bank, SearchOptions(search="formula")))
    assert [answer.status for answer in formula] == ["ok", "no_formula", "no_formula"]
    assert [hit.name for hit in formula[0].candidates] == ["caffeine"]
    assert formula[0].candidates[0].mass_error_ppm is None
    opened = next(annotate([unknown], model, extractor, bank, SearchOptions(search="open", top_k=3)))
    assert opened.status == "ok" and opened.n_candidates == 8
    assert [hit.rank for hit in opened.candidates] == [1, 2, 3] and opened.candidates[0].name == "caffeine"
    stated = make_spectrum(molecules["caffeine"], precursor_mz=mz("caffeine", "[M+H]+"), adduct="[M+H]+")
    best = next(annotate([stated], model, extractor, bank, SearchOptions(search="open"))).candidates[0]
    assert abs(best.mass_error_ppm or 99) < 0.1 and best.adduct == "[M+H]+"


def test_answers_do_not_depend_on_batches(
    bank: MoleculeBank, model: Any, extractor: Any, molecules: dict[str, str], make_spectrum: Make
) -> None:
    records = [
        make_spectrum(molecules[name], index=i, precursor_mz=mz(name, "[M+H]+"), adduct="[M+H]+")
        for i, name in enumerate(list(FORMULAS) * 5)
    ]
    one = [a.rows() for a in annotate(records, model, extractor, bank, batch_size=1, block=1)]
    many = [a.rows() for a in annotate(records, model, extractor, bank, batch_size=7, block=13)]
    assert [[row["smiles"] for row in rows] for rows in one] == [
        [row["smiles"] for row in rows] for rows in many
    ]
    scores = [[[row["score"] for row in rows] for rows in answers] for answers in (one, many)]
    assert np.allclose(np.concatenate(scores[0]), np.concatenate(scores[1]), atol=1e-5)


def test_it_says_where_it_runs_and_how_fast(
    bank: MoleculeBank, model: Any, extractor: Any, make_spectrum: Make, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("msformers")
    before, logger.propagate = logger.propagate, True
    try:
        with caplog.at_level(logging.INFO, "msformers"):
            list(annotate([make_spectrum("CC")], model, extractor, bank))
    finally:
        logger.propagate = before
    messages = [record.getMessage() for record in caplog.records]
    assert "device cpu, dtype float32" in messages[0] and "threads" in messages[0]
    assert "spectra/s" in messages[-1]


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match="none of mass, formula, open"):
        SearchOptions(search="fast")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="top_k must be at least 1"):
        SearchOptions(top_k=0)
