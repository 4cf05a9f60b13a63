"""Rows of generated molecules: complete, finite, and equal when read back."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from msformers.reports.generation_records import GenerationRecord, generation_records, known_place, records_of
from msformers.reports.tables import read_table, write_table

from .answers import spectrum
from .generation_answers import CAFFEINE, ISOMER, Answer, unreadable


@pytest.mark.parametrize("suffix", [".jsonl", ".tsv", ".csv", ".parquet"])
def test_every_format_gives_back_what_was_written(tmp_path: Path, suffix: str) -> None:
    rows = list(generation_records([Answer(), unreadable()]))
    assert [row.rank for row in rows] == [1, 2, None]
    assert write_table(rows, tmp_path / f"out{suffix}", GenerationRecord) == 3
    assert read_table(tmp_path / f"out{suffix}", GenerationRecord) == rows


def test_a_row_holds_molecule_spectrum_and_counts() -> None:
    row = records_of(Answer(spectrum=spectrum(smiles=CAFFEINE.smiles)))[0]
    assert (row.smiles, row.formula, row.beam_score, row.score) == (CAFFEINE.smiles, "C8H10N4O2", -0.2, 0.81)
    assert (row.n_generated, row.n_valid, row.n_distinct, row.ranked_by) == (100, 98, 40, "learned")
    assert row.substructures == "amide 1.00; phenol 0.50" and row.known_match is True
    assert row.collision_energy == 35.0 and row.line == 7


def test_numbers_that_are_none_are_empty() -> None:
    worst = replace(ISOMER, rank=1, beam_score=-math.inf, score=math.nan, consensus=None)
    row = records_of(Answer(molecules=[worst], precursor_mz=math.inf))[0]
    assert row.beam_score is None and row.score is None and row.precursor_mz is None and row.consensus is None
    assert row.substructures is None


def test_the_place_of_the_known_structure() -> None:
    known = spectrum(smiles=CAFFEINE.smiles)
    assert known_place(Answer(spectrum=known)) == 1 and known_place(Answer()) is None
    assert known_place(Answer(spectrum=known, molecules=[ISOMER])) is None
