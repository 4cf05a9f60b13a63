"""Fixtures for every test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared data folder (MSFORMERS_DATA, else ../shared beside the repository)."""
    path = Path(os.environ.get("MSFORMERS_DATA", Path(__file__).resolve().parents[2] / "shared"))
    if not (path / "data").is_dir():
        pytest.skip(f"no shared data at {path} (set MSFORMERS_DATA)")
    return path


@pytest.fixture(scope="session")
def tiny_specbridge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete checkpoint folder of a tiny SpecBridge with random weights: model, feature extractor, tokenizer."""
    import torch

    import msformers
    from msformers.tokenization.dreams import DreamsFeatureExtractor
    from msformers.tokenization.smiles import build_smiles_tokenizer

    folder = tmp_path_factory.mktemp("checkpoints") / "specbridge-tiny"
    entry = msformers.MODELS["specbridge"]
    tokenizer = build_smiles_tokenizer(max_length=120)
    molecule = {**entry.tiny["molecule_config"], "vocab_size": len(tokenizer)}
    torch.manual_seed(0)
    model = entry.model_class(
        entry.tiny_config(molecule_config=molecule, pooling="precursor", prepend_precursor=True)
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    DreamsFeatureExtractor(n_highest_peaks=12).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_casanovo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete checkpoint folder of a tiny Casanovo with random weights, whose search ends after a few residues."""
    import torch

    import msformers
    from msformers.tokenization.casanovo import CasanovoFeatureExtractor
    from msformers.tokenization.peptides import PeptideTokenizer

    folder = tmp_path_factory.mktemp("checkpoints") / "casanovo-tiny"
    entry, tokenizer = msformers.MODELS["casanovo"], PeptideTokenizer()
    torch.manual_seed(0)
    limits = {"min_length": 2, "max_length": 12, "residue_masses": tokenizer.masses.tolist()}
    model = entry.heads["AutoModelForPeptideSequencing"](entry.tiny_config(**limits))
    with torch.no_grad():
        model.decoder.output.bias[tokenizer.eos_token_id] += 2.0
        model.decoder.output.bias[[0, *tokenizer.n_terminal_token_ids]] -= 5.0
    for part in (model, tokenizer, CasanovoFeatureExtractor()):
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_denovo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete checkpoint folder of a tiny spectrum-to-molecule model with random weights."""
    from denovo_support import save_tiny_denovo

    return save_tiny_denovo(tmp_path_factory.mktemp("checkpoints") / "denovo-tiny")
