"""The shipped checkpoints of generation: they load by name, repeat molecules, and answer the demo within its masses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

import msformers
from msformers.checkpoints import resolve_checkpoint
from msformers.inference.generation.generate import generate
from msformers.inference.generation.options import GenerateOptions
from msformers.inference.loading import load_generator
from msformers.spectra.molecules import canonical_smiles
from msformers.spectra.read import read
from msformers.tokenization.selfies import decode_selfies, encode_selfies

DEMO = Path(msformers.__file__).parent / "demo"
NAMES = ("selfies-bert-small", "selfies-gpt2-small", "denovo-small")
KNOWN = (
    *("CC(=O)Oc1ccccc1C(=O)O", "CC(C)Cc1ccc(C(C)C(=O)O)cc1", "CN1CCCC1c1cccnc1", "NC(Cc1ccccc1)C(=O)O"),
    *("CC(=O)Nc1ccc(O)cc1", "COc1ccc(CCN)cc1OC", "O=C(O)C=Cc1ccc(O)c(O)c1", "CCN(CC)CC(=O)Nc1c(C)cccc1C"),
)
"""Aspirin, ibuprofen, nicotine, phenylalanine, paracetamol, dimethoxyphenethylamine, caffeic acid, lidocaine."""


def test_together_they_are_small() -> None:
    folders = [Path(resolve_checkpoint(name)) for name in NAMES]
    assert sum(path.stat().st_size for folder in folders for path in folder.iterdir()) <= 60e6
    for folder in folders:
        assert (folder / "training_log.csv").stat().st_size > 0


def test_most_molecules_are_repeated_from_their_vectors() -> None:
    bert, decoder = (
        auto.from_pretrained(resolve_checkpoint(name)).eval()
        for auto, name in ((AutoModel, NAMES[0]), (AutoModelForCausalLM, NAMES[1]))
    )
    assert bert.dtype == decoder.dtype == torch.float32
    tokenizer = AutoTokenizer.from_pretrained(resolve_checkpoint(NAMES[1]))
    exact = 0
    for smiles in KNOWN:
        batch = tokenizer([encode_selfies(smiles)], return_tensors="pt")
        vectors, real = bert.context(**batch)
        written = decoder.generate(
            batch["input_ids"][:, :1],
            encoder_hidden_states=vectors,
            encoder_attention_mask=real.long(),
            max_length=100,
        )
        text = tokenizer.decode(written[0], skip_special_tokens=True)
        exact += decode_selfies(text) == canonical_smiles(smiles)
    assert exact >= 6


@pytest.fixture(scope="module")
def answers() -> list:
    loaded = load_generator(resolve_checkpoint(NAMES[2]))
    options = GenerateOptions(n=5, beams=10, rerank="mass")
    records = [record for record in read(DEMO / "demo.mgf") if record.precursor_mz < 240]
    return list(generate(records, loaded.model, loaded.processor, loaded.tokenizer, options))


def test_the_demo_is_answered_within_its_masses(answers) -> None:
    assert len(answers) >= 10
    answered = [answer for answer in answers if answer.molecules]
    assert len(answered) >= 0.9 * len(answers)
    for answer in answered:
        assert all(abs(molecule.mass_error_ppm) <= 10.001 for molecule in answer.molecules)
        assert len({molecule.inchikey14 for molecule in answer.molecules}) == len(answer.molecules)


def test_the_spectrum_is_read(answers) -> None:
    """Benzene rings are proposed where they are, and seldom where they are not."""
    with_ring = {"paracetamol", "phenylalanine", "lidocaine", "ibuprofen"}
    without = {"caffeine", "nicotine", "atrazine"}
    found = {
        answer.native_id.lower(): answer.substructures.get("benzene ring", 0.0)
        for answer in answers
        if answer.molecules
    }
    shares = [
        [share for name, share in found.items() if any(word in name for word in words)]
        for words in (with_ring, without)
    ]
    assert all(shares), found
    assert sum(shares[0]) / len(shares[0]) > sum(shares[1]) / len(shares[1]) + 0.3
