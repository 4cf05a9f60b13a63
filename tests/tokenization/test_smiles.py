from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from msformers.tokenization.smiles import (
    SPECIAL_TOKENS,
    CanonicalSmiles,
    bracket_atom_counts,
    build_smiles_tokenizer,
    canonicalise_smiles,
    frequent_bracket_atoms,
    smiles_vocabulary,
)

SMILES = [
    "Cn1c(=O)c2c(ncn2C)n(C)c1=O",
    "CC(C)Cc1ccc(C(C)C(=O)O)cc1",
    "O=C(O)/C=C/c1ccc(O)cc1",
    "N[C@@H](Cc1c[nH]c2ccccc12)C(=O)O",
    "C[N+](C)(C)CC(O)CC(=O)[O-]",
    "Clc1ccc(Br)cc1",
    "[Fe+2].[125I]c1ccccc1",
    "C1CC2CC%10CC1CC2CC%10",
    "[Pt@SP1](N)(N)(Cl)Cl",
    "C",
]


@pytest.fixture(scope="module")
def tokenizer():
    return build_smiles_tokenizer()


@pytest.mark.parametrize("smiles", SMILES)
def test_round_trip_is_exact_and_nothing_is_unknown(tokenizer, smiles):
    ids = tokenizer(smiles)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == smiles


def test_tokens_of_a_known_molecule(tokenizer):
    assert tokenizer.tokenize("Clc1c[nH]c(Br)[C@@H]1[Fe]") == [
        *("Cl", "c", "1", "c", "[nH]", "c", "(", "Br", ")", "[C@@H]", "1"),
        *("[", "F", "e", "]"),
    ]


def test_aromatic_sulfur_neighbour_is_not_scandium(tokenizer):
    assert tokenizer.tokenize("Sc1ccccc1")[:2] == ["S", "c"]


def test_batches_pad_and_truncate(tokenizer):
    batch = tokenizer(SMILES, padding=True, truncation=True, max_length=12, return_tensors="pt")
    assert set(batch) == {"input_ids", "attention_mask"}
    assert batch["input_ids"].shape == (len(SMILES), 12)
    assert batch["attention_mask"][-1].tolist() == [1, 1, 1] + [0] * 9
    assert (batch["input_ids"][-1, 3:] == tokenizer.pad_token_id).all()
    assert (batch["input_ids"][0, -1] == tokenizer.eos_token_id).item()


def test_what_is_not_smiles_becomes_unknown_not_lost(tokenizer):
    assert tokenizer.tokenize("C C\n") == ["C", "<unk>", "C", "<unk>"]


def test_special_tokens_come_first():
    vocabulary = smiles_vocabulary()
    assert [vocabulary[token] for token in SPECIAL_TOKENS] == [0, 1, 2, 3, 4]
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))


def test_bracket_atoms_are_counted_and_checked():
    assert frequent_bracket_atoms(["[nH][nH][Si]", "[Si][B-]"], min_count=2) == ("[Si]", "[nH]")
    own = build_smiles_tokenizer(("[Fe]",))
    assert own.tokenize("[Fe][nH]") == ["[Fe]", "[", "n", "H", "]"]
    with pytest.raises(ValueError, match="nH"):
        build_smiles_tokenizer(("nH",))


def test_loads_without_this_package(tokenizer, tmp_path: Path):
    tokenizer.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tokenizer.json", "tokenizer_config.json"]
    code = (
        "import importlib.abc, json, sys\n"
        "class Blocked(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('msformers', 'rdkit'):\n"
        "            raise ImportError('blocked ' + name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
        "from transformers import AutoTokenizer\n"
        f"t = AutoTokenizer.from_pretrained({str(tmp_path)!r})\n"
        f"ids = t({SMILES!r})['input_ids']\n"
        "texts = t.batch_decode(ids, skip_special_tokens=True)\n"
        "json.dump([ids, texts, t.model_max_length], sys.stdout)"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    ids, texts, max_length = json.loads(output)
    assert ids == tokenizer(SMILES)["input_ids"]
    assert texts == SMILES and max_length == 256


def test_bracket_atoms_of_a_corpus_from_counts_of_its_parts():
    corpus = ["c1cc[nH]c1", "C[N+](C)(C)C", "[O-][N+](=O)C"]
    counts = bracket_atom_counts(corpus[:2]) + bracket_atom_counts(corpus[2:])
    assert counts == {"[nH]": 1, "[N+]": 2, "[O-]": 1}
    assert frequent_bracket_atoms(counts, min_count=1) == frequent_bracket_atoms(corpus, min_count=1)
    assert frequent_bracket_atoms(counts, min_count=1, limit=2) == ("[N+]", "[O-]")


def test_many_smiles_are_written_canonically_in_their_order():
    given = ["OCC", "C(C", "[Na+].CC(=O)[O-]", "C[C@H](N)C(=O)O", "*C", "[13CH4]"]
    found = list(canonicalise_smiles(iter(given), 1, inchikeys=True, progress=False))
    assert [record.index for record in found] == list(range(6))
    assert [record.smiles for record in found] == [
        *("CCO", "C(C", "CC(=O)[O-].[Na+]", "CC(N)C(=O)O", "*C", "C"),
    ]
    assert [bool(record.reason) for record in found] == [False, True, False, False, False, False]
    keys = [record.inchikey14 for record in found]
    assert keys[0] == "LFQSCWFLJHTTHZ" and keys[1] is keys[4] is None and keys[5] == "VNWKTOKETHGBQD"
    parent = next(canonicalise_smiles([given[2]], 1, parent=True, progress=False))
    assert parent == CanonicalSmiles(0, "CC(=O)O")
