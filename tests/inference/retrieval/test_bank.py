from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from msformers.inference.encode import embed_molecules
from msformers.inference.retrieval.bank import MoleculeBank, open_bank
from msformers.inference.retrieval.bank_store import BankError
from msformers.inference.retrieval.query import Query
from msformers.spectra.adducts import parse_adduct
from msformers.spectra.masses import formula_mass

QUIET: dict[str, Any] = {"progress": False}


def test_molecules_are_canonical_merged_and_sorted_by_mass(
    tmp_path: Path, model: Any, tokenizer: Any
) -> None:
    source = [
        ("C(C)O", "ethanol"),
        ("not a molecule", "junk"),
        ("OCC", "spirit"),
        ("C[C@H](N)C(=O)O", "L-alanine"),
        ("C[C@@H](N)C(=O)O", "D-alanine"),
        ("CC(=O)[O-]", "acetate"),
        ("CC(=O)O", "acetic acid"),
        ("C", ""),
    ]
    bank = MoleculeBank.build(source, model, tokenizer, tmp_path / "bank", **QUIET)
    table = pq.read_table(tmp_path / "bank" / "molecules.parquet").to_pylist()
    assert [row["smiles"] for row in table] == ["C", "CCO", "CC(=O)O", "CC(N)C(=O)O"]
    assert [row["name"] for row in table] == [
        "",
        "ethanol; spirit",
        "acetate; acetic acid",
        "L-alanine; D-alanine",
    ]
    assert table[1]["formula"] == "C2H6O" and table[1]["exact_mass"] == pytest.approx(
        formula_mass("C2H6O"), abs=1e-5
    )
    assert bank.manifest["counts"] == {"read": 8, "problems": 1, "duplicates": 3, "molecules": 4}
    problems = [json.loads(line) for line in (tmp_path / "bank" / "problems.jsonl").read_text().splitlines()]
    assert [(problem["index"], problem["native_id"], problem["value"]) for problem in problems] == [
        (1, "junk", "not a molecule")
    ]


def test_desalt_keeps_the_neutral_parent_when_asked(model: Any, tokenizer: Any) -> None:
    salt = ["CCN.Cl", "[Na+].CC(=O)[O-]"]
    as_is = MoleculeBank.build(salt, model, tokenizer, **QUIET)
    parent = MoleculeBank.build(salt, model, tokenizer, desalt=True, **QUIET)
    assert {m.smiles for m in as_is._molecules.get(range(2))} == {"CCN.Cl", "CC(=O)[O-].[Na+]"}
    assert {m.smiles for m in parent._molecules.get(range(2))} == {"CCN", "CC(=O)O"}


def test_many_shards_hold_the_same_as_one(tmp_path: Path, model: Any, tokenizer: Any) -> None:
    source = ["C" * n + tail for n in range(1, 40) for tail in ("", "O", "N", "C(=O)O", "Cl")]
    small = MoleculeBank.build(
        source, model, tokenizer, tmp_path / "s", shard_rows=7, chunk=11, batch_size=3, **QUIET
    )
    large = MoleculeBank.build(source, model, tokenizer, tmp_path / "l", workers=2, **QUIET)
    assert len(small.manifest["shards"]) > 10 and len(large.manifest["shards"]) == 1
    assert np.array_equal(small._molecules.masses, large._molecules.masses)
    assert (np.diff(small._molecules.masses) >= 0).all()
    assert small._molecules.get(range(len(small))) == large._molecules.get(range(len(large)))
    assert np.allclose(
        small._embeddings.read(0, len(small)), large._embeddings.read(0, len(large)), atol=1e-3
    )
    assert np.array_equal(small._embeddings.read(5, 23), small._embeddings.read(0, len(small))[5:23])


def test_stored_embeddings_are_unit_vectors_of_their_molecules(
    tmp_path: Path, model: Any, tokenizer: Any
) -> None:
    bank = MoleculeBank.build(["CCO", "CCN", "c1ccccc1"], model, tokenizer, tmp_path / "bank", **QUIET)
    stored = load_file(tmp_path / "bank" / "embeddings-00000.safetensors")["embeddings"]
    assert stored.dtype == np.float16
    fresh = embed_molecules([m.smiles for m in bank._molecules.get(range(3))], model, tokenizer)
    assert np.allclose(stored.astype(np.float32), fresh, atol=1e-3)
    assert np.allclose(np.linalg.norm(fresh, axis=1), 1.0, atol=1e-6)


def test_search_by_mass_formula_and_open(
    smi: Path, model: Any, tokenizer: Any, molecules: dict[str, str]
) -> None:
    bank = open_bank(smi, model, tokenizer, **QUIET)
    vectors = 5.0 * embed_molecules([molecules["glucose"], molecules["alanine"]], model, tokenizer)
    masses = [formula_mass("C6H12O6"), formula_mass("C3H7NO2")]
    mz = [parse_adduct("[M+Na]+").mz(masses[0]), parse_adduct("[M-H]-").mz(masses[1])]
    glucose, alanine = bank.search(vectors, mz, ["[M+Na]+", "[M-H]-"])
    assert [c.name for c in glucose] == ["glucose", "fructose"]
    assert [c.name for c in alanine] == ["alanine", "sarcosine"]
    assert glucose[0].score == pytest.approx(1.0, abs=1e-3)
    assert glucose[0].gap == pytest.approx(glucose[0].score - glucose[1].score, abs=1e-6)
    assert abs(glucose[0].mass_error_ppm or 99) < 0.1 and glucose[0].adduct == "[M+Na]+"
    shifted = bank.search(vectors[:1], [mz[0] * (1 + 5e-6)], "[M+Na]+")[0]
    assert shifted[0].mass_error_ppm == pytest.approx(5.0, abs=0.1)
    assert bank.search(vectors[:1], [mz[0] * (1 + 15e-6)], "[M+Na]+") == [[]]
    formula = bank.search(vectors[:1], formula=["H12C6O6"])[0]
    assert [c.name for c in formula] == ["glucose", "fructose"] and formula[0].mass_error_ppm is None
    everything = bank.search(vectors, top_k=100)
    assert [len(found) for found in everything] == [8, 8] and everything[1][0].name == "alanine"
    assert bank.count(Query("open")) == 8


def test_charged_molecules_are_found_by_their_own_ion(smi: Path, model: Any, tokenizer: Any) -> None:
    bank = open_bank(smi, model, tokenizer, **QUIET)
    found = bank.search(np.ones((1, 16)), [104.10699], "[M]+")[0]
    assert [c.name for c in found] == ["choline"] and abs(found[0].mass_error_ppm or 99) < 1.0


def test_another_model_is_refused(
    tmp_path: Path, smi: Path, model: Any, tokenizer: Any, bag_model: Any
) -> None:
    MoleculeBank.build(smi, model, tokenizer, tmp_path / "bank", **QUIET)
    assert len(open_bank(tmp_path / "bank", model, tokenizer)) == 8
    with pytest.raises(BankError, match=r"bag-0.*bank build"):
        open_bank(tmp_path / "bank", bag_model(seed=1), tokenizer)
    with pytest.raises(BankError, match="16 dimensions, the model has 8"):
        open_bank(tmp_path / "bank", bag_model(dim=8), tokenizer)
    import torch

    assert len(open_bank(tmp_path / "bank", model.to(torch.bfloat16), tokenizer)) == 8


def test_a_finished_bank_is_kept_and_another_one_never_overwritten_unasked(
    tmp_path: Path, smi: Path, model: Any, tokenizer: Any
) -> None:
    bank = tmp_path / "bank"
    MoleculeBank.build(smi, model, tokenizer, bank, **QUIET)
    calls = len(model.molecule_batches)
    before = (bank / "embeddings-00000.safetensors").stat().st_mtime_ns
    MoleculeBank.build(smi, model, tokenizer, bank, **QUIET)
    assert (bank / "embeddings-00000.safetensors").stat().st_mtime_ns == before
    assert len(model.molecule_batches) == calls
    with pytest.raises(BankError, match=r"another bank.*--overwrite"):
        MoleculeBank.build(smi, model, tokenizer, bank, desalt=True, **QUIET)
    (bank / "notes.txt").write_text("mine")
    assert len(MoleculeBank.build(["C"], model, tokenizer, bank, overwrite=True, **QUIET)) == 1
    assert (bank / "notes.txt").read_text() == "mine"
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").touch()
    with pytest.raises(BankError, match="other files"):
        MoleculeBank.build(smi, model, tokenizer, other, **QUIET)


def test_nothing_to_build_and_nothing_to_load_are_explained(
    tmp_path: Path, model: Any, tokenizer: Any
) -> None:
    with pytest.raises(BankError, match="none of 1 records"):
        MoleculeBank.build(["nonsense"], model, tokenizer, tmp_path / "a", **QUIET)
    with pytest.raises(BankError, match="none of 0 records"):
        MoleculeBank.build([], model, tokenizer, tmp_path / "b", **QUIET)
    with pytest.raises(BankError, match=r"unfinished.*again"):
        MoleculeBank.load(tmp_path / "a")
    with pytest.raises(BankError, match=r"no manifest\.json"):
        MoleculeBank.load(tmp_path)


def test_damage_is_noticed(tmp_path: Path, smi: Path, model: Any, tokenizer: Any) -> None:
    bank = tmp_path / "bank"
    MoleculeBank.build(smi, model, tokenizer, bank, **QUIET)
    shard = bank / "embeddings-00000.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-20])
    with pytest.raises(BankError, match=r"embeddings-00000.*--overwrite"):
        MoleculeBank.load(bank)
    shard.write_bytes(whole)
    manifest = json.loads((bank / "manifest.json").read_text())
    (bank / "manifest.json").write_text(json.dumps({**manifest, "format_version": 99}))
    with pytest.raises(BankError, match="version 99"):
        MoleculeBank.load(bank)
    (bank / "manifest.json").write_text("{")
    with pytest.raises(BankError, match="no JSON"):
        MoleculeBank.load(bank)


def test_a_temporary_bank_leaves_nothing_behind(model: Any, tokenizer: Any) -> None:
    bank = MoleculeBank.build(["CCO"], model, tokenizer, **QUIET)
    folder = bank.folder
    assert folder.is_dir()
    del bank
    assert not folder.exists()


OPTIONS = {"shard_rows": 20, "chunk": 50, "batch_size": 10, "progress": False}
BUILD = """
    import importlib.util, os, signal, sys
    from pathlib import Path
    from msformers.inference.retrieval.bank import MoleculeBank
    spec = importlib.util.spec_from_file_location("fakes", sys.argv[1])
    fakes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fakes)
    replace = os.replace
    def replace_and_die(source, target):
        replace(source, target)
        if Path(target).name == sys.argv[4]:
            os.kill(os.getpid(), signal.SIGKILL)
    os.replace = replace_and_die
    MoleculeBank.build(Path(sys.argv[2]), fakes.BagModel(), fakes.BagTokenizer(), sys.argv[3], **OPTIONS)
"""


@pytest.mark.parametrize(
    "stage", ["canonical-00001.parquet", "molecules.parquet", "embeddings-00003.safetensors"]
)
def test_a_killed_build_goes_on_where_it_was(tmp_path: Path, model: Any, tokenizer: Any, stage: str) -> None:
    source = tmp_path / "many.smi"
    chains = ["C" * (n % 60 + 1) + "OSNP"[n // 60] + "C" * (n // 60) for n in range(240)]
    source.write_text("".join(f"{smiles} m{n}\n" for n, smiles in enumerate(chains)) + "oops\n")
    script = tmp_path / "build.py"
    script.write_text(textwrap.dedent(BUILD).replace("OPTIONS", repr(OPTIONS)))
    fakes = Path(__file__).parent.parent / "conftest.py"
    bank = tmp_path / "bank"
    command = [sys.executable, str(script), str(fakes), str(source), str(bank), stage]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert not (bank / "manifest.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in bank.rglob("*-0*") if path.suffix != ".tmp"}
    assert list(bank.rglob(stage)) and kept
    second = MoleculeBank.build(source, model, tokenizer, tmp_path / "plain", **OPTIONS)
    calls = len(model.molecule_batches)
    first = MoleculeBank.build(source, model, tokenizer, bank, **OPTIONS)
    for path, changed in kept.items():
        if path.name.startswith("embeddings"):
            assert path.stat().st_mtime_ns == changed, f"{path.name} was computed again"
    fresh = len(model.molecule_batches) - calls
    assert fresh < calls if stage.startswith("embeddings") else fresh == calls
    assert first.manifest["counts"] == second.manifest["counts"]
    assert first.manifest["counts"]["problems"] == 1
    assert first._molecules.get(range(len(first))) == second._molecules.get(range(len(second)))
    assert np.array_equal(first._embeddings.read(0, len(first)), second._embeddings.read(0, len(second)))
    assert not (bank / ".building").exists()
