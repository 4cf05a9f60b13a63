"""DreaMS outside this package: published with its code, and exported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from msformers.modeling.dreams import DreamsModel
from msformers.modeling.registry import MODELS
from msformers.tokenization.dreams import DreamsFeatureExtractor

SPECTRA = [
    {"mz": [50.5, 60.25], "intensity": [1.0, 2.0], "precursor_mz": 100.0},
    {"mz": [51.0, 62.5, 70.0, 81.1], "intensity": [4.0, 3.0, 2.0, 1.0], "precursor_mz": 120.0},
]

PUBLISH = """
import sys, torch, msformers
from msformers.modeling.dreams import DreamsConfig, DreamsModel
DreamsConfig.register_for_auto_class()
DreamsModel.register_for_auto_class("AutoModel")
torch.manual_seed(0)
DreamsModel(msformers.MODELS["dreams"].tiny_config()).save_pretrained(sys.argv[1])
"""
USE = """
import sys, torch
sys.modules["msformers"] = None  # as if it were not installed
from transformers import AutoModel
model = AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True).eval()
peaks = torch.tensor([[[100.0, 1.1], [50.5, 0.5], [60.25, 1.0]]])
print("pooled", *model(peaks).pooler_output[0, :4].tolist())
"""


def test_a_repository_with_its_code_needs_no_msformers(tmp_path: Path) -> None:
    folder = tmp_path / "dreams-remote"
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}

    def run(code: str) -> str:
        command = [sys.executable, "-c", code, str(folder)]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
        ).stdout

    run(PUBLISH)
    found = [float(word) for word in run(USE).split()[-4:]]
    model = DreamsModel.from_pretrained(folder).eval()
    peaks = torch.tensor([[[100.0, 1.1], [50.5, 0.5], [60.25, 1.0]]])
    torch.testing.assert_close(torch.tensor(found), model(peaks).pooler_output[0, :4].detach())


def test_export_with_free_batch_and_peak_numbers() -> None:
    torch.manual_seed(0)
    model = DreamsModel(MODELS["dreams"].tiny_config()).eval()
    extractor = DreamsFeatureExtractor(12)
    example = dict(extractor(SPECTRA))
    free = {key: {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC} for key in example}
    exported = torch.export.export(model, (), example, dynamic_shapes=free, strict=False).module()
    other = dict(extractor([{**SPECTRA[0], "mz": [50.0 + i for i in range(7)], "intensity": [1.0] * 7}] * 3))
    with torch.no_grad():
        assert torch.equal(exported(**other).pooler_output, model(**other).pooler_output)
        packed = model(**example).pooler_output  # the batch has filler, which the exported graph computes
        torch.testing.assert_close(exported(**example).pooler_output, packed, atol=2e-6, rtol=0)
