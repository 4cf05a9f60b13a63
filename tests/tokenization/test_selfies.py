"""SELFIES: encoding with its check, the alphabet, the tokenizer, and the fast path to ids."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import selfies as library

from msformers.spectra.molecules import canonical_smiles
from msformers.tokenization.selfies import (
    Conversion,
    SelfiesError,
    build_selfies_tokenizer,
    check_selfies,
    constrained,
    constraints,
    convert_smiles,
    decode_selfies,
    encode_ids,
    encode_selfies,
    selfies_alphabet,
    selfies_vocabulary,
    split_selfies,
    token_counts,
)
from msformers.tokenization.smiles import SPECIAL_TOKENS

MOLECULES = (
    "CC(=O)Oc1ccccc1C(=O)O",
    "Cn1cnc2c1c(=O)n(C)c(=O)n2C",
    "CC(C)Cc1ccc([C@@H](C)C(=O)O)cc1",
    "C[N+](C)(C)CCO",
    "O=[N+]([O-])c1ccccc1",
    "CS(=O)(=O)c1ccc(Br)cc1",
    "F[B-](F)(F)F.C[n+]1ccccc1",
    "C[Si](C)(C)C#C",
    "C[Se]CCC(N)C(=O)O",
    "[O-][Cl+3]([O-])([O-])[O-].[Na+]",
    "CC(=O)OI(OC(C)=O)c1ccccc1",
    "[13CH3]C(F)(F)Cl",
)


@pytest.fixture(scope="module")
def corpus() -> list[str]:
    return [encode_selfies(smiles) for smiles in MOLECULES]


@pytest.fixture(scope="module")
def tokenizer(corpus: list[str]):
    return build_selfies_tokenizer(selfies_alphabet(corpus))


@pytest.mark.parametrize("smiles", MOLECULES)
def test_a_molecule_comes_back_without_stereo_and_isotopes(smiles: str) -> None:
    selfies = encode_selfies(smiles)
    assert decode_selfies(selfies) == canonical_smiles(smiles)
    assert "".join(split_selfies(selfies)) == selfies


def test_the_table_loses_no_hypervalent_iodine_which_the_default_does() -> None:
    with pytest.raises(library.EncoderError):
        library.encoder("CC(=O)OI(OC(C)=O)c1ccccc1")
    assert "[I]" in encode_selfies("CC(=O)OI(OC(C)=O)c1ccccc1")


def test_the_table_is_what_rdkit_takes_and_no_more() -> None:
    from rdkit import Chem, rdBase

    def accepted(atom: str, bonds: int) -> bool:
        return Chem.MolFromSmiles(f"[{atom}]" + "(C)" * bonds) is not None

    table = constraints()
    assert table.pop("?") == 8
    with rdBase.BlockLogs():
        for atom, bonds in table.items():
            assert accepted(atom, bonds), atom
            assert not any(accepted(atom, more) for more in range(bonds + 1, 9)), atom


def test_the_constraints_of_the_process_are_put_back() -> None:
    library.set_semantic_constraints("octet_rule")
    try:
        mine = library.get_semantic_constraints()
        assert encode_selfies("CS(=O)(=O)O")
        assert library.get_semantic_constraints() == mine
        with pytest.raises(KeyError), constrained():
            assert library.get_semantic_constraints() == constraints()
            raise KeyError
        assert library.get_semantic_constraints() == mine
    finally:
        library.set_semantic_constraints()


def test_conversion_gives_one_record_for_each_in_order() -> None:
    given = ["OCC", "C(C", "[Na+].CC(=O)[O-]", "*C", "C[C@H](N)C(=O)O"]
    found = list(convert_smiles(iter(given), 1, inchikeys=True, progress=False))
    assert [record.index for record in found] == [0, 1, 2, 3, 4]
    assert [record.selfies is None for record in found] == [False, True, False, True, False]
    assert [record.smiles for record in found] == ["CCO", "C(C", "CC(=O)[O-].[Na+]", "*C", "CC(N)C(=O)O"]
    assert [bool(record.reason) for record in found] == [False, True, False, True, False]
    assert found[0] == Conversion(0, "CCO", "[C][C][O]", "LFQSCWFLJHTTHZ")
    assert found[1].inchikey14 is None and "'C(C' is not a valid molecule" in found[1].reason
    parents = list(convert_smiles([given[2]], 1, parent=True, progress=False))
    assert (parents[0].smiles, parents[0].inchikey14) == ("CC(=O)O", None)


def test_conversion_is_lazy_and_leaves_the_constraints_alone() -> None:
    """An endless source can be converted, and what the user does between two results sees the user's constraints."""
    before = library.get_semantic_constraints()
    found = convert_smiles(itertools.cycle(["CCO", "CCN"]), 1, canonicalise=False, progress=False)
    assert [next(found).smiles for _ in range(600)] == ["CCO", "CCN"] * 300
    assert library.get_semantic_constraints() == before != constraints()


def test_an_unfaithful_selfies_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "encoder", lambda smiles: "[C][C]")
    with pytest.raises(SelfiesError, match="'CCO' has no faithful SELFIES: it comes back as 'CC'"):
        encode_selfies("CCO")
    assert encode_selfies("CCO", verify=False) == "[C][C]"


def test_deep_and_long_texts_are_refused_in_a_short_message() -> None:
    for text, reason in (
        ("[C][Branch3][P][P][P]" * 1100 + "[C]", "nested too deeply"),
        ("[C]" * 10_001, "longer"),
    ):
        with pytest.raises(SelfiesError, match=reason) as caught:
            decode_selfies(text)
        assert len(str(caught.value)) < 500


def test_random_symbols_are_molecules(corpus: list[str]) -> None:
    alphabet = [token for token in selfies_alphabet(corpus) if token != "."]
    rng = random.Random(0)
    texts = ["[C]" + "".join(rng.choices(alphabet, k=20)) for _ in range(300)]
    assert all(decode_selfies(text) for text in texts)


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("", "empty"),
        ("C(C", "not a valid molecule"),
        ("*CC", "has no SELFIES"),
        ("C(C)(C)(C)(C)C", "not a valid"),
    ],
)
def test_what_cannot_be_written_says_why(smiles: str, reason: str) -> None:
    with pytest.raises(SelfiesError, match=reason):
        encode_selfies(smiles)


@pytest.mark.parametrize(
    ("selfies", "reason"),
    [
        ("CCO", "character 0: 'CCO'"),
        ("[C][C", r"character 3: '\[C'"),
        ("[C] [O]", "character 3"),
        ("[C][Zz]", "cannot be decoded"),
        ("[C]<unk>", "<unk>"),
        ("", "no molecule"),
    ],
)
def test_what_cannot_be_read_says_why(selfies: str, reason: str) -> None:
    with pytest.raises(SelfiesError, match=reason):
        decode_selfies(selfies)


def test_alphabet_is_ordered_by_frequency_then_text_and_holds_the_robust_one(corpus: list[str]) -> None:
    alphabet = selfies_alphabet(corpus)
    counts = token_counts(corpus)
    found = [token for token in alphabet if token in counts]
    assert list(alphabet[: len(found)]) == sorted(counts, key=lambda token: (-counts[token], token))
    assert list(alphabet[len(found) :]) == sorted(alphabet[len(found) :])
    assert alphabet == selfies_alphabet(reversed(corpus)) == selfies_alphabet(counts)
    with constrained():
        assert library.get_semantic_robust_alphabet() <= set(alphabet)
    assert {".", "[Ring3]", "[#Branch3]", "[=I]"} <= set(alphabet)
    rare = selfies_alphabet(["[C][Fe]", "[C]"], min_count=2)
    assert "[Fe]" not in rare and rare[0] == "[C]"


def test_vocabulary_begins_with_the_special_tokens(tokenizer) -> None:
    assert list(selfies_vocabulary(["[C]", "[O]", "[C]"])) == [*SPECIAL_TOKENS, "[C]", "[O]"]
    ids = ("pad", "bos", "eos", "mask", "unk")
    assert [getattr(tokenizer, f"{name}_token_id") for name in ids] == [0, 1, 2, 3, 4]
    with pytest.raises(SelfiesError, match="'CO'"):
        selfies_vocabulary(["CO"])
    with pytest.raises(SelfiesError, match="one SELFIES symbol"):
        selfies_vocabulary(["[C][O]"])


def test_tokenizer_round_trip_and_ends(tokenizer, corpus: list[str]) -> None:
    batch = tokenizer(corpus, padding=True, return_tensors="pt")
    assert batch["input_ids"].shape == batch["attention_mask"].shape
    assert (batch["input_ids"][:, 0] == 1).all()
    assert (batch["input_ids"] != 4).all()
    assert tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True) == corpus


def test_ids_of_the_fast_path_are_the_tokenizers(tokenizer, corpus: list[str]) -> None:
    junk = [
        "",
        "xx[C] [N].[O",
        "[",
        "]",
        "[C]<unk",
        "<mask>[C]",
        "[<s>][C]",
        "[] [C]\n[Zz]",
        " <mask> [C]</s>",
        "[[C]]",
    ]
    rng = random.Random(1)
    junk += [
        "".join(rng.choices(["[C]", "[O", "]", ".", " ", "é", "<s>", "<", "[Zz]"], k=12)) for _ in range(200)
    ]
    vocabulary = tokenizer.get_vocab()
    assert encode_ids([*corpus, *junk], vocabulary) == tokenizer([*corpus, *junk])["input_ids"]
    short = tokenizer(corpus, truncation=True, max_length=9)["input_ids"]
    assert encode_ids(corpus, vocabulary, max_length=9) == short
    assert max(map(len, short)) == 9


def test_unknown_tokens_are_named(tokenizer) -> None:
    vocabulary = tokenizer.get_vocab()
    check_selfies("[C][O].[Na+1]", vocabulary)
    with pytest.raises(SelfiesError, match=r"token 1, '\[Fe\]', is not in the vocabulary"):
        check_selfies("[C][Fe]", vocabulary)
    assert tokenizer("[C][Fe]")["input_ids"][2] == 4


def test_saved_tokenizer_loads_without_this_package(tokenizer, corpus: list[str], tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    code = (
        "import importlib.abc, json, sys\n"
        "class Blocked(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('msformers', 'selfies', 'rdkit'):\n"
        "            raise ImportError('blocked ' + name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
        "from transformers import AutoTokenizer\n"
        "t = AutoTokenizer.from_pretrained(sys.argv[1])\n"
        "texts = json.loads(sys.argv[2])\n"
        "ids = t(texts)['input_ids']\n"
        "print(json.dumps([type(t).__name__, ids, t.batch_decode(ids, skip_special_tokens=True), t.model_max_length]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), json.dumps(corpus)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    name, ids, texts, length = json.loads(run.stdout.splitlines()[-1])
    assert ids == tokenizer(corpus)["input_ids"]
    assert texts == corpus
    assert length == 128
    assert name != "PythonBackend"


def test_a_sample_of_the_shared_molecules_comes_back(shared: Path) -> None:
    table = pq.read_table(shared / "data" / "molecules.parquet", columns=["smiles"])["smiles"].to_pylist()
    for smiles in random.Random(0).sample(table, 300):
        assert decode_selfies(encode_selfies(smiles, canonicalise=False)) == smiles
