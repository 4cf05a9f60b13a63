"""The benchmarks as importable modules, what they share, and tiny checkpoints with random weights for them to measure."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import msformers
from msformers.modeling.lsm1 import (
    Lsm1ForMaskedPeakModeling,
    Lsm1ForPropertyPrediction,
    Lsm1ForSpectrumSimilarity,
)
from msformers.modeling.ms2prop import MS2PropForPropertyPrediction
from msformers.spectra.descriptors import DESCRIPTOR_NAMES, LOG_DESCRIPTORS
from msformers.tokenization.lsm1 import Lsm1FeatureExtractor
from msformers.tokenization.ms2prop import MS2PropFeatureExtractor

ROOT = Path(__file__).resolve().parents[2]
# as when a benchmark is started; at import, so that a test module may import one at its top
sys.path[:0] = [str(ROOT / folder) for folder in ("benchmarks", "training_scripts")]
MODELS = {
    "masked": (Lsm1ForMaskedPeakModeling, Lsm1FeatureExtractor),
    "similarity": (Lsm1ForSpectrumSimilarity, Lsm1FeatureExtractor),
    "properties": (Lsm1ForPropertyPrediction, Lsm1FeatureExtractor),
    "ms2prop": (MS2PropForPropertyPrediction, MS2PropFeatureExtractor),
}


@pytest.fixture(scope="session")
def common(shared: Path) -> list[str]:
    """Options of every benchmark: the data, and 30 spectra of each fold."""
    return ["--data", str(shared / "data"), "--limit", "30"]


@pytest.fixture(scope="session")
def neighbours(common: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What benchmarks/neighbours.py keeps, and its check of five spectra of each fold in ``results.csv``."""
    pytest.importorskip("matchms", reason='needs pip install "msformers[bench]"')
    import neighbours as script

    folder = tmp_path_factory.mktemp("neighbours")
    script.main([*common, "--output", str(folder), "--verify", "5", "--results", str(folder / "results")])
    return folder


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A checkpoint of each of `MODELS`."""
    folders = {}
    values = np.random.default_rng(0).random((8, len(DESCRIPTOR_NAMES)))
    for name, (model_class, extractor_class) in MODELS.items():
        model_type = model_class.config_class.model_type
        entry: Any = next(e for e in msformers.MODELS.values() if e.model_type == model_type)
        torch.manual_seed(0)
        model: Any = model_class(entry.tiny_config())
        if hasattr(model, "fit_property_scale"):
            model.fit_property_scale(values, DESCRIPTOR_NAMES, LOG_DESCRIPTORS)
        folders[name] = str(tmp_path_factory.mktemp("checkpoints") / name)
        model.save_pretrained(folders[name])
        extractor_class().save_pretrained(folders[name])
    return folders
