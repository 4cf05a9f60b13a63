"""Small complete folders to publish: an encoder, an adapter for it, a bank."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

import msformers
from msformers.spectra.spectrum import Spectrum
from msformers.tokenization.lsm1 import Lsm1FeatureExtractor

CARD = "---\nlicense: cc-by-4.0\nlibrary_name: transformers\n---\n\n# Test\n\nMade by a test.\n"
SPECTRUM = Spectrum(mz=[100.1, 150.2, 200.3], intensity=[0.2, 1.0, 0.5], precursor_mz=251.2, charge=1)


def save_encoder(folder: Path, seed: int = 0) -> Path:
    """A tiny LSM1 encoder with random weights."""
    torch.manual_seed(seed)
    entry = msformers.MODELS["lsm1"]
    entry.model_class(entry.tiny_config()).save_pretrained(folder)
    Lsm1FeatureExtractor().save_pretrained(folder)
    (folder / "README.md").write_text(CARD)
    return folder


def save_adapter(base: str, folder: Path, revision: str) -> tuple[Path, Any]:
    """A LoRA adapter on the encoder `base` of the Hub, changed from its neutral start; the adapted model too."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel

    model = AutoModel.from_pretrained(base, revision=revision)
    names = list(msformers.MODELS["lsm1"].lora)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=names, revision=revision))
    torch.manual_seed(1)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    adapted.save_pretrained(folder)
    config = folder / "adapter_config.json"
    content = {**json.loads(config.read_text()), "base_model_name_or_path": base, "revision": revision}
    config.write_text(json.dumps(content, indent=2))
    (folder / "README.md").write_text(CARD.replace("---\n\n", f"base_model: {base}\n---\n\n", 1))
    return folder, adapted.eval()


def embed(model: Any, processor: Any) -> torch.Tensor:
    """The pooled output of one spectrum."""
    with torch.no_grad():
        return model.eval()(**processor([SPECTRUM], return_tensors="pt")).pooler_output
