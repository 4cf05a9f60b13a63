from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from contract import SPECTRA, ModelContract

from msformers.modeling.casanovo import CasanovoForPeptideSequencing, CasanovoModel
from msformers.modeling.casanovo_classifier import CasanovoForSpectrumClassification
from msformers.modeling.casanovo_config import CasanovoConfig
from msformers.modeling.registry import MODELS
from msformers.tokenization.casanovo import CasanovoFeatureExtractor
from msformers.tokenization.peptides import PeptideTokenizer

PEPTIDES = ["PEPTIDEK", "[Acetyl]-GM[Oxidation]R"]


class CasanovoContract(ModelContract):
    """The preparation of version 4 serves both: it knows spectra of few peaks."""

    name = "casanovo"
    version = ""

    def inputs(self, spectra: list[dict[str, Any]] = SPECTRA) -> dict[str, torch.Tensor]:
        charged = [{**spectrum, "charge": 2} for spectrum in spectra]
        return dict(CasanovoFeatureExtractor("4")(charged))

    def training_inputs(self, model_class: type) -> dict[str, torch.Tensor]:
        inputs = self.inputs()
        if model_class is CasanovoForPeptideSequencing:
            tokenizer = PeptideTokenizer(version=self.version)
            inputs["labels"] = tokenizer(PEPTIDES, padding=True, return_tensors="pt").input_ids
        if model_class is CasanovoForSpectrumClassification:
            inputs["labels"] = torch.tensor([1.0, 0.0])
        return inputs

    def build(self, model_class: type, **overrides: Any) -> Any:
        return super().build(model_class, version=self.version, **overrides)

    def per_peak(self, change: Any) -> dict[str, torch.Tensor]:
        inputs = self.inputs()
        return {key: v if key == "precursors" else change(v) for key, v in inputs.items()}

    def test_filler_does_not_count(self, model_class: type) -> None:
        model = self.build(model_class)
        longer = self.per_peak(lambda v: torch.cat([v, torch.zeros_like(v[:, :3])], dim=1))
        self.close(self.embed(model, longer), self.embed(model))

    def test_order_of_peaks_does_not_count(self, model_class: type) -> None:
        model = self.build(model_class)
        self.close(self.embed(model, self.per_peak(lambda v: v.flip(1))), self.embed(model))


class TestCasanovo4(CasanovoContract):
    name = "casanovo"
    version = "4"


class TestCasanovo5(CasanovoContract):
    name = "casanovo"
    version = "5"
