"""Tables read back equal, whatever the names in them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from msformers.reports.records import AnnotationRecord, records_from
from msformers.reports.tables import TableError, columns_of, read_table, write_table

from . import answers

SUFFIXES = [".jsonl", ".tsv", ".csv", ".parquet"]
UGLY = [
    "2,4-D",
    'say "hi"',
    "a\tb",
    "two\nlines",
    "cr\rhere",
    "=cmd|' /C calc'!A0",
    "+1",
    "-x",
    "@x",
    "'=x",
    "γ-Ä 名",
]


def rows() -> list[AnnotationRecord]:
    made = []
    for number, text in enumerate(UGLY):
        made += records_from(answers.answer(number, text, reason=text))
    return [*made, *records_from(answers.unreadable(len(UGLY), "last"))]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_tables_read_back_equal(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    assert write_table(iter(rows()), path) == len(rows())
    assert read_table(path) == rows()
    assert list(tmp_path.iterdir()) == [path]


TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"), max_size=12)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(native_id=TEXT, reason=TEXT, score=st.none() | st.floats(allow_nan=False, allow_infinity=False))
def test_any_text_and_number_survive(
    tmp_path: Path, native_id: str, reason: str, score: float | None
) -> None:
    row = AnnotationRecord(
        0, native_id, 1.5, None, 1, None, None, None, score, None, None, "ok", reason, known_match=False
    )
    for suffix in SUFFIXES:
        write_table([row], tmp_path / f"t{suffix}")
        assert read_table(tmp_path / f"t{suffix}") == [row]


def test_a_spreadsheet_runs_no_cell(tmp_path: Path) -> None:
    write_table(rows(), tmp_path / "out.tsv")
    with (tmp_path / "out.tsv").open(newline="", encoding="utf-8") as stream:
        table = list(csv.DictReader(stream, delimiter="\t"))
    assert list(table[0]) == list(columns_of(AnnotationRecord))
    assert [row["native_id"] for row in table if row["native_id"].startswith(("=", "@", "+", "-"))] == []
    assert {row["score"] for row in table} == {"0.81", "0.61", ""}


def test_json_lines_are_valid_json(tmp_path: Path) -> None:
    write_table(rows(), tmp_path / "out.jsonl")
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    assert [list(json.loads(line)) for line in lines] == [list(columns_of(AnnotationRecord))] * len(rows())


def test_parquet_types_hold_even_if_a_column_is_empty(tmp_path: Path) -> None:
    write_table(records_from(answers.unreadable()), tmp_path / "out.parquet")
    types = {field.name: str(field.type) for field in pq.read_schema(tmp_path / "out.parquet")}
    assert (types["score"], types["rank"], types["smiles"], types["known_match"]) == (
        "double", "int64", "string", "bool",
    )  # fmt: skip


def test_no_rows_make_a_valid_table(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        assert write_table([], tmp_path / f"out{suffix}") == 0
        assert read_table(tmp_path / f"out{suffix}") == []


def test_an_interrupted_run_leaves_no_complete_looking_file(tmp_path: Path) -> None:
    def broken() -> Iterator[AnnotationRecord]:
        yield rows()[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_table(broken(), tmp_path / "out.tsv")
    assert not (tmp_path / "out.tsv").exists()


def test_errors_name_path_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"out\.xlsx.*\.tsv"):
        write_table([], tmp_path / "out.xlsx")
    with pytest.raises(TableError, match="create it first"):
        write_table([], tmp_path / "nowhere" / "out.tsv")
    (tmp_path / "cut.jsonl").write_text('{"index": 0, "nat', encoding="utf-8")
    with pytest.raises(TableError, match=r"cut\.jsonl:1: not JSON"):
        read_table(tmp_path / "cut.jsonl")
    (tmp_path / "other.tsv").write_text("a\tb\n1\t2\n", encoding="utf-8")
    with pytest.raises(TableError, match="lacks column 'index'"):
        read_table(tmp_path / "other.tsv")
