"""Conversion of molecules to shards: order, reports, held-back molecules, and resumption."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rdkit import Chem

from msformers.spectra.molecules import canonical_smiles
from msformers.tokenization.selfies import decode_selfies, selfies_alphabet, split_selfies, token_counts
from msformers.tokenization.smiles import frequent_bracket_atoms

GOOD = [
    "OCC",
    "c1ccccc1C(=O)O",
    "C[C@H](N)C(=O)O",
    "[Na+].CC(=O)[O-]",
    "C[N+](C)(C)CCO",
    "CC#N",
    "CCS(C)(=O)=O",
]


def convert(source: object, output: Path, *options: object) -> dict[str, object]:
    from convert_molecules import main

    return main([str(source), "--output", str(output), "--workers", "1", *map(str, options)])


def shards(folder: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("*.parquet"))])


def failures(folder: Path) -> list[dict[str, str]]:
    with (folder / "failures.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def block(smiles: str) -> str:
    return Chem.MolToInchiKey(Chem.MolFromSmiles(smiles))[:14]


@pytest.fixture
def smi(tmp_path: Path) -> Path:
    """Good molecules with bad ones between, gzipped."""
    lines = [GOOD[0], "C(C bad", *GOOD[1:3], "*CC wildcard", *GOOD[3:], "C(C)(C)(C)(C)C"]
    path = tmp_path / "molecules.smi.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


def test_molecules_keep_their_order_and_failures_say_where_and_why(smi: Path, tmp_path: Path) -> None:
    summary = convert(smi, tmp_path / "out", "--shard-size", 4)
    table = shards(tmp_path / "out")
    assert table["smiles"].to_pylist() == [canonical_smiles(text) for text in GOOD]
    assert [decode_selfies(text) for text in table["selfies"].to_pylist()] == table["smiles"].to_pylist()
    assert table["n_tokens"].to_pylist() == [
        len(split_selfies(text)) for text in table["selfies"].to_pylist()
    ]
    assert table["inchikey14"].null_count == len(GOOD)
    found = [(row["index"], row["line"], row["smiles"]) for row in failures(tmp_path / "out")]
    assert found == [("1", "2", "C(C"), ("4", "5", "*CC"), ("9", "10", "C(C)(C)(C)(C)C")]
    assert "not a valid molecule" in failures(tmp_path / "out")[0]["reason"]
    assert {row["path"] for row in failures(tmp_path / "out")} == {str(smi)}
    counts = [summary[name] for name in ("read", "converted", "dropped", "failed", "shards")]
    assert counts == [10, 7, 0, 3, 3]
    assert sum(summary["reasons"].values()) == 3 and summary["molecules_per_second"] > 0


def test_the_alphabet_of_the_summary_makes_the_tokenizer_of_the_corpus(smi: Path, tmp_path: Path) -> None:
    summary = convert(smi, tmp_path / "out", "--shard-size", 4)
    texts = shards(tmp_path / "out")["selfies"].to_pylist()
    assert summary["alphabet"] == token_counts(texts)
    assert selfies_alphabet(summary["alphabet"]) == selfies_alphabet(texts)
    assert json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8")) == summary


def test_inchikeys_are_computed_on_demand(smi: Path, tmp_path: Path) -> None:
    convert(smi, tmp_path / "out", "--inchikeys")
    assert shards(tmp_path / "out")["inchikey14"].to_pylist() == [block(text) for text in GOOD]


def test_an_interrupted_run_goes_on_without_repeating_or_losing(
    smi: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import convert_molecules

    expected = convert(smi, tmp_path / "whole", "--shard-size", 2)
    write = convert_molecules.write_shard

    def interrupted(folder: Path, number: int, *further: object) -> None:
        if number == 3:
            next(iter(further[0]))
            raise KeyboardInterrupt
        write(folder, number, *further)

    monkeypatch.setattr(convert_molecules, "write_shard", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert(smi, tmp_path / "out", "--shard-size", 2)
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 3
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.parquet")}
    monkeypatch.setattr(convert_molecules, "write_shard", write)
    summary = convert(smi, tmp_path / "out", "--shard-size", 2)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert shards(tmp_path / "out").equals(shards(tmp_path / "whole"))
    assert failures(tmp_path / "out") == failures(tmp_path / "whole")
    same = ("read", "converted", "failed", "alphabet", "n_tokens", "reasons", "shards")
    assert {name: summary[name] for name in same} == {name: expected[name] for name in same}
    with pytest.raises(ValueError, match="shard_size was 2, not 3"):
        convert(smi, tmp_path / "out", "--shard-size", 3)
    assert convert(smi, tmp_path / "out", "--shard-size", 2)["read"] == 10


def test_molecules_of_held_back_folds_are_dropped_by_key(data: Path, tmp_path: Path) -> None:
    spectra = pq.read_table(data / "massbank_msms.parquet", columns=["inchikey14", "fold"]).to_pylist()
    held = {row["inchikey14"] for row in spectra if row["fold"] in ("val", "test")}
    pool = pq.read_table(data / "molecules.parquet")["inchikey14"].to_pylist()
    options = ("--canonical", "--data", data, "--drop-folds", "val", "test")
    summary = convert(data / "molecules.parquet", tmp_path / "out", *options)
    keys = shards(tmp_path / "out")["inchikey14"].to_pylist()
    assert keys == [key for key in pool if key not in held]
    assert summary["dropped"] == len(held) == len(pool) - len(keys) > 5


def test_keys_to_drop_are_computed_where_the_source_has_none(smi: Path, tmp_path: Path) -> None:
    full = Chem.MolToInchiKey(Chem.MolFromSmiles("C[C@@H](N)C(=O)O"))
    keys = tmp_path / "keys.csv"
    keys.write_text(f"name,InChI Key\nalanine,{full}\n", encoding="utf-8")
    summary = convert(smi, tmp_path / "out", "--drop", keys, "--drop-column", "InChI Key")
    assert summary["dropped"] == 1
    assert shards(tmp_path / "out")["smiles"].to_pylist() == [
        canonical_smiles(text) for text in GOOD if "@" not in text
    ]
    assert shards(tmp_path / "out")["inchikey14"].null_count == 0
    assert (summary["read"], summary["failed"]) == (10, 3)


def test_the_parent_of_a_salt_is_dropped_though_the_source_names_the_salt(tmp_path: Path) -> None:
    source, keys = tmp_path / "salts.parquet", tmp_path / "keys.parquet"
    salt = "[Na+].CC(=O)[O-]"
    pq.write_table(pa.table({"smiles": [salt, "CCO"], "inchikey14": [block(salt), block("CCO")]}), source)
    pq.write_table(pa.table({"inchikey14": [block("CC(=O)O")]}), keys)
    assert convert(source, tmp_path / "salts", "--drop", keys)["dropped"] == 0
    assert convert(source, tmp_path / "parents", "--drop", keys, "--parent")["dropped"] == 1
    assert shards(tmp_path / "parents")["smiles"].to_pylist() == ["CCO"]


def test_smiles_are_written_canonically_with_their_alphabet(smi: Path, tmp_path: Path) -> None:
    summary = convert(smi, tmp_path / "out", "--text", "smiles")
    table = shards(tmp_path / "out")
    assert table.column_names == ["smiles", "inchikey14", "n_tokens"]
    assert table["smiles"].to_pylist() == [
        *map(canonical_smiles, GOOD[:3]),
        canonical_smiles("*CC"),
        *map(canonical_smiles, GOOD[3:]),
    ]
    atoms = {token: count for token, count in summary["alphabet"].items() if token.startswith("[")}
    assert frequent_bracket_atoms(atoms, min_count=1) == ("[N+]", "[Na+]", "[O-]")
    assert summary["failed"] == 2


def test_a_folder_of_shards_is_a_source(smi: Path, tmp_path: Path) -> None:
    convert(smi, tmp_path / "first", "--shard-size", 3, "--inchikeys")
    again = convert(tmp_path / "first", tmp_path / "second", "--canonical")
    assert again["failed"] == 0
    assert shards(tmp_path / "second").equals(shards(tmp_path / "first"))


def test_all_splits_of_a_hub_dataset_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[tuple[str, bool]] = []

    def load(name: str, streaming: bool) -> dict[str, datasets.IterableDataset]:
        asked.append((name, streaming))
        parts = {"train": GOOD[:4], "validation": GOOD[4:]}
        return {
            split: datasets.Dataset.from_dict(
                {
                    "SMILES": texts,
                    "inchikey": [Chem.MolToInchiKey(Chem.MolFromSmiles(text)) for text in texts],
                }
            ).to_iterable_dataset()
            for split, texts in parts.items()
        }

    monkeypatch.setattr(datasets, "load_dataset", load)
    summary = convert("owner/molecules", tmp_path / "out")
    assert asked == [("owner/molecules", True)]
    assert (summary["read"], summary["converted"]) == (7, 7)
    assert shards(tmp_path / "out")["inchikey14"].to_pylist() == [block(text) for text in GOOD]
    with pytest.raises(ValueError, match=r"no column .structure. among SMILES, inchikey"):
        convert("owner/molecules", tmp_path / "other", "--smiles-column", "structure")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["missing.smi"], "no such file or folder"),
        (["{folder}"], "holds no .parquet file"),
        (["{smi}", "--drop", "{keys}"], "no column of InChIKeys"),
        (["{smi}", "--drop", "{keys}", "--drop-column", "name"], "'x' .* is no InChIKey"),
    ],
)
def test_a_wrong_source_or_list_of_keys_is_named(
    options: list[str], reason: str, smi: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    keys = tmp_path / "keys.csv"
    keys.write_text("name\nx\n", encoding="utf-8")
    names = {"folder": str(tmp_path / "empty"), "smi": str(smi), "keys": str(keys)}
    with pytest.raises(ValueError, match=reason):
        convert(
            *(option.format(**names) for option in options[:1]),
            tmp_path / "out",
            *(o.format(**names) for o in options[1:]),
        )


def test_folds_need_the_table_of_spectra(
    smi: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        convert(smi, tmp_path / "out", "--drop-folds", "val")
    assert "--drop-folds needs --data" in capsys.readouterr().err
