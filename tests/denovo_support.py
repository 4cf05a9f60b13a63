"""A complete checkpoint folder of a tiny generator with random weights: model, feature extractor, tokenizer."""

from __future__ import annotations

from pathlib import Path

import torch

import msformers
from msformers.tokenization.dreams import DreamsFeatureExtractor
from msformers.tokenization.selfies import build_selfies_tokenizer

TOKENS = (
    *("[C]", "[=C]", "[#C]", "[N]", "[=N]", "[O]", "[=O]", "[S]", "[Cl]", "[F]", "[Br]", "[P]"),
    *(
        "[Branch1]",
        "[=Branch1]",
        "[#Branch1]",
        "[Branch2]",
        "[Ring1]",
        "[=Ring1]",
        "[Ring2]",
        "[N+1]",
        "[O-1]",
    ),
)


def save_tiny_denovo(folder: Path, seed: int = 0) -> Path:
    """Write the checkpoint; every symbol is about as likely as any other, and sequences end after a few."""
    entry = msformers.MODELS["spectrum-to-molecule"]
    tokenizer = build_selfies_tokenizer(TOKENS, max_length=48)
    decoder = {**entry.tiny["decoder_config"], "vocab_size": len(tokenizer), "n_positions": 48}
    torch.manual_seed(seed)
    config = entry.tiny_config(decoder_config=decoder, library=False, property_size=0, fingerprint_size=0)
    model = entry.heads["AutoModelForMoleculeGeneration"](config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    DreamsFeatureExtractor(n_highest_peaks=12).save_pretrained(folder)
    return folder
