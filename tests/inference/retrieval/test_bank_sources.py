from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from msformers.inference.retrieval.bank_sources import SourceMolecule, read_molecules
from msformers.spectra.source import SourceError
from msformers.spectra.spectrum import Problem


def pairs(source: object, **options: str) -> list[tuple[str, str]]:
    return [(m.smiles, m.name) for m in read_molecules(source, **options) if isinstance(m, SourceMolecule)]


def test_smi_with_names_comments_blank_lines_header_and_crlf(tmp_path: Path) -> None:
    path = tmp_path / "a.smi"
    path.write_bytes(
        b"\xef\xbb\xbfsmiles name\r\n# comment\r\n\r\nCCO ethyl alcohol\r\nCC(=O)O\tacetic acid\r\nC\r\n"
    )
    entries = list(read_molecules(path))
    assert pairs(path) == [("CCO", "ethyl alcohol"), ("CC(=O)O", "acetic acid"), ("C", "")]
    assert [entry.line for entry in entries] == [4, 5, 6]
    assert [entry.index for entry in entries] == [0, 1, 2]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_finds_its_columns_and_reports_short_rows_and_empty_cells(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "a.csv"
    rows = [
        ["Name", "x", "SMILES"],
        ['"a, b; c"', "1", "CCO"],
        ["short"],
        ["empty", "2", ""],
        ["ok", "3", "C"],
    ]
    path.write_text("\n".join(delimiter.join(row) for row in rows))
    entries = list(read_molecules(path))
    assert pairs(path) == [("CCO", "a, b; c"), ("C", "ok")]
    problems = [entry for entry in entries if isinstance(entry, Problem)]
    assert [(problem.line, problem.native_id) for problem in problems] == [(3, "short"), (4, "empty")]
    assert "1 of 3 columns" in problems[0].reason


def test_csv_columns_by_name_and_the_error_when_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("mol,label\nCCO,ethanol\n")
    assert pairs(path, smiles_column="mol", name_column="Label") == [("CCO", "ethanol")]
    with pytest.raises(SourceError, match=r"mol, label.*--smiles-column"):
        list(read_molecules(path))


def test_parquet_and_gzip(tmp_path: Path) -> None:
    table = pa.table({"smiles": ["CCO", None, "C"], "name": ["a", "b", None]})
    pq.write_table(table, tmp_path / "a.parquet")
    entries = list(read_molecules(tmp_path / "a.parquet"))
    assert pairs(tmp_path / "a.parquet") == [("CCO", "a"), ("C", "")]
    assert isinstance(entries[1], Problem) and entries[1].line == 2
    packed = tmp_path / "b.smi.gz"
    packed.write_bytes(gzip.compress(b"CCO a\nC b\n"))
    assert pairs(packed) == [("CCO", "a"), ("C", "b")]


def test_sdf_with_a_bad_record_between_good_ones(tmp_path: Path) -> None:
    from rdkit import Chem

    good = Chem.MolToMolBlock(Chem.MolFromSmiles("CCO"))
    named = "\n" + "\n".join(good.splitlines()[1:]) + "\n> <NAME>\nspirit\n"
    path = tmp_path / "a.sdf"
    path.write_text(good.replace("\n", "first\n", 1) + "$$$$\nbad\n\n\nnonsense\n$$$$\n" + named + "$$$$\n")
    entries = list(read_molecules(path))
    assert [getattr(entry, "name", None) for entry in entries] == ["first", None, "spirit"]
    assert [getattr(entry, "smiles", None) for entry in entries] == ["CCO", None, "CCO"]
    assert isinstance(entries[1], Problem) and entries[1].line == len(good.splitlines()) + 2


def test_truncated_gzip_keeps_what_came_before_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.smi.gz"
    text = "".join(f"{'C' * (n % 50 + 1)} m{n}\n" for n in range(20000)).encode()
    path.write_bytes(gzip.compress(text)[:-400])
    entries = list(read_molecules(path))
    assert len(entries) > 1000
    assert isinstance(entries[-1], Problem) and "gzip" in entries[-1].reason
    assert all(isinstance(entry, SourceMolecule) for entry in entries[:-2])


def test_python_values_and_several_files(tmp_path: Path) -> None:
    assert pairs(["CCO", ("C", "methane"), {"smiles": "CC", "name": "ethane"}, 3]) == [
        ("CCO", ""),
        ("C", "methane"),
        ("CC", "ethane"),
    ]
    for name in ("a", "b"):
        (tmp_path / f"{name}.smi").write_text(f"C {name}\n")
    both = list(read_molecules([tmp_path / "a.smi", tmp_path / "b.smi"]))
    assert [(entry.index, entry.name) for entry in both] == [(0, "a"), (1, "b")]


def test_missing_files_and_unknown_formats_are_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such molecule file"):
        list(read_molecules(tmp_path / "none.smi"))
    (tmp_path / "a.docx").write_text("C")
    with pytest.raises(SourceError, match=r"known are \.smi"):
        list(read_molecules(tmp_path / "a.docx"))
