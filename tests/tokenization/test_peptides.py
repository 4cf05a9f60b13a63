from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from msformers.modeling.casanovo_config import CasanovoConfig
from msformers.tokenization.peptides import PeptideTokenizer, published_residues


@pytest.fixture(params=["4", "5"])
def tokenizer(request: pytest.FixtureRequest) -> PeptideTokenizer:
    return PeptideTokenizer(version=request.param)


def test_vocabulary_masses_and_ids_are_the_published(tokenizer: PeptideTokenizer, shared: Path) -> None:
    golden = np.load(shared / "golden" / f"casanovo_v{tokenizer.version}_golden.npz")
    assert list(tokenizer.get_vocab())[1:] == golden["vocab"][1:].tolist()
    np.testing.assert_array_equal(tokenizer.masses.astype(golden["masses"].dtype), golden["masses"])
    peptides = [str(peptide) for peptide in golden["sequence"]]
    ids = tokenizer(peptides, padding=True, return_tensors="np").input_ids
    np.testing.assert_array_equal(ids, golden["tokens"])
    assert tokenizer.batch_decode(ids)[2:4] == ["LQEEERER", "TN[Deamidated]GTTEEQTEAK"]


def test_the_configuration_knows_the_special_ids(tokenizer: PeptideTokenizer) -> None:
    config = CasanovoConfig(version=tokenizer.version)
    assert config.vocab_size == tokenizer.vocab_size == len(tokenizer) == 29
    assert config.eos_token_id == tokenizer.eos_token_id and config.pad_token_id == tokenizer.pad_token_id
    assert config.n_terminal_token_ids == tokenizer.n_terminal_token_ids


@pytest.mark.parametrize(
    ("text", "proforma"),
    [
        ("PEPTIDEK", "PEPTLDEK"),
        ("[Acetyl]-PEM[Oxidation]K", "[Acetyl]-PEM[Oxidation]K"),
        ("[UNIMOD:1]-PEM[UNIMOD:35]K", "[Acetyl]-PEM[Oxidation]K"),
        ("[+42.0106]-PEM[+15.9949]K", "[Acetyl]-PEM[Oxidation]K"),
        ("[+43.006][-17.027]-PEK", "[+25.980265]-PEK"),
        ("+42.011PEM+15.995K", "[Acetyl]-PEM[Oxidation]K"),
        ("+43.006-17.027PEC+57.021K", "[+25.980265]-PEC[Carbamidomethyl]K"),
        ("N[deamidated]Q[+0.984]K", "N[Deamidated]Q[Deamidated]K"),
    ],
)
def test_every_notation_is_read_and_proforma_written(
    tokenizer: PeptideTokenizer, text: str, proforma: str
) -> None:
    ids = tokenizer(text).input_ids
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids) == tokenizer.decode([*ids, 0, 0]) == proforma
    assert tokenizer.decode(ids[:-1]) == proforma
    assert tokenizer(proforma).input_ids == ids
    assert len(tokenizer.split(text)) == len(ids) - 1


def test_peptides_are_written_from_the_c_terminus(tokenizer: PeptideTokenizer) -> None:
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("[Acetyl]-GAK").input_ids)
    assert tokens[:3] == ["K", "A", "G"] and tokens[4] == "$"


def test_mass(tokenizer: PeptideTokenizer) -> None:
    # C34H53N7O15, and with oxygen
    assert tokenizer.mass("PEPTIDE") == pytest.approx(799.35997, abs=2e-5)
    assert tokenizer.mass("[Acetyl]-M[Oxidation]") == pytest.approx(207.05653, abs=2e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PEJ", "'PEJ': 'J' is not in the vocabulary"),
        ("S[Phospho]K", r"'S\[Phospho\]' is not in the vocabulary; of this kind it has S"),
        ("S[+79.966]K", "not in the vocabulary"),
        ("PEPT1DE", "peptide 'PEPT1DE': 'T1' is not a residue"),
        ("PE-K", "'-K' is not understood"),
        ("peptide", "not understood"),
        ("[Oxidation]-PEK", r"'\[Oxidation\]-' is not in the vocabulary"),
    ],
)
def test_what_cannot_be_read_is_named(tokenizer: PeptideTokenizer, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tokenizer(text)


def test_plain_cysteine_is_only_in_version_5() -> None:
    assert PeptideTokenizer(version="5").split("CK") == ["C", "K"]
    with pytest.raises(ValueError, match=r"of this kind it has C\[Carbamidomethyl\]"):
        PeptideTokenizer(version="4").split("CK")


def test_a_vocabulary_of_its_own_is_saved_with_the_checkpoint(tmp_path: Path) -> None:
    residues = {"G": 57.021464, "K": 128.094963, "S+79.966": 166.998359, "+42.011": 42.010565, "$": 0.0}
    tokenizer = PeptideTokenizer(version="4", residues=residues)
    assert tokenizer.decode(tokenizer("GS[+79.966]K").input_ids) == "GS[+79.966]K"
    tokenizer.save_pretrained(tmp_path)
    CasanovoConfig(version="4", vocab_size=6, eos_token_id=5, n_terminal_token_ids=[4]).save_pretrained(
        tmp_path
    )
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert type(again) is PeptideTokenizer and again.version == "4"
    assert again.residues == residues and again.n_terminal_token_ids == [4]


def test_broken_vocabularies_are_named(tmp_path: Path) -> None:
    path = tmp_path / "residues.csv"
    path.write_text("token,mass\nG,57.02\nK,heavy\n")
    with pytest.raises(ValueError, match=r"residues\.csv:3: 'K,heavy'"):
        PeptideTokenizer(str(path))
    path.write_text("token,mass\nG,57.02\n")
    with pytest.raises(ValueError, match=r"residues\.csv has no stop token"):
        PeptideTokenizer(str(path))
    with pytest.raises(ValueError, match="version must be one of 4, 5"):
        PeptideTokenizer(version="3")


def test_published_vocabularies() -> None:
    old, new = published_residues("4"), published_residues("5")
    assert len(old) == len(new) == 28
    assert list(old)[-1] == "$" and next(iter(new)) == "$" and "I" not in new
