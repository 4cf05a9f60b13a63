import pytest
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator
from transformers import AutoTokenizer

from msformers.tokenization.morgan import MorganTokenizer


def test_tokens_are_the_bits_of_the_fingerprint() -> None:
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    bits = generator.GetFingerprint(Chem.MolFromSmiles("CC(=O)Nc1ccc(O)cc1")).GetOnBits()
    assert MorganTokenizer()("CC(=O)Nc1ccc(O)cc1")["input_ids"] == [bit + 2 for bit in bits]


@pytest.mark.parametrize("other", ["C1=CC=CC=C1O", "Oc1ccccc1", "c1cc(O)ccc1"])
def test_the_way_a_smiles_is_written_does_not_show(other: str) -> None:
    tokenizer = MorganTokenizer()
    assert tokenizer(other)["input_ids"] == tokenizer("c1ccccc1O")["input_ids"]


def test_padding_and_what_cannot_be_read() -> None:
    batch = MorganTokenizer()(["CCO", "not a smiles", ""], padding=True, truncation=True, return_tensors="pt")
    assert batch["attention_mask"].sum(1).tolist()[1:] == [1, 0]
    assert batch["input_ids"][1, 0] == 1
    assert (batch["input_ids"][1, 1:] == 0).all()


def test_saves_and_loads_by_auto_tokenizer(tmp_path) -> None:
    MorganTokenizer(n_bits=512, radius=3).save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert type(loaded) is MorganTokenizer
    assert (loaded.n_bits, loaded.radius) == (512, 3)
    assert loaded("CCO")["input_ids"] == MorganTokenizer(n_bits=512, radius=3)("CCO")["input_ids"]
