"""What the checks of `contract.py` stand on: example spectra, and how to build, feed and read a registered model."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from transformers import set_seed

import msformers
from msformers.modeling.registry import ModelEntry

SPECTRA: list[dict[str, Any]] = [
    {"mz": [250.12345, 100.0763, 91.0542], "intensity": [30.0, 100.0, 5.0], "precursor_mz": 285.0786},
    {"mz": [77.0386, 105.0335, 51.0229, 182.9], "intensity": [10.0, 80.0, 3.0, 9.0], "precursor_mz": 199.075},
]
EMPTY = {"mz": [], "intensity": [], "precursor_mz": 199.075}
ONE_PEAK = {"mz": [77.0386], "intensity": [1.0], "precursor_mz": 199.075}


class ContractSupport:
    """`name` is the registry name; override `inputs`, `training_inputs`, `pooled`, `build` where the model differs."""

    name: str = ""
    atol = 1e-5

    # ---- what a model may override

    def inputs(self, spectra: list[dict[str, Any]] = SPECTRA) -> dict[str, torch.Tensor]:
        """A batch for `forward`, from the registered extractor."""
        return dict(self.extractor()(spectra, return_tensors="pt"))

    def training_inputs(self, model_class: type) -> dict[str, torch.Tensor]:
        """A batch through which every trainable parameter of `model_class` gets a gradient."""
        return self.inputs()

    def pooled(self, output: Any) -> torch.Tensor:
        """The vector of each spectrum or molecule."""
        names = ("embeddings", "spectrum_embeds", "pooler_output")
        return next(output[name] for name in names if output.get(name) is not None)

    # ---- helpers

    @property
    def entry(self) -> ModelEntry:
        return msformers.MODELS[self.name]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "model_class" in metafunc.fixturenames:
            metafunc.parametrize("model_class", self.entry.classes, ids=lambda cls: cls.__name__)

    def extractor(self) -> Any:
        module, _, name = (self.entry.extractor or pytest.skip("no feature extractor")).partition(":")
        size = getattr(self.entry.tiny_config(), "n_highest_peaks", None)
        return getattr(importlib.import_module(f"msformers.{module}"), name)(
            **({"n_highest_peaks": size} if size else {})
        )

    def build(self, model_class: type, **overrides: Any) -> Any:
        set_seed(0)
        return model_class(self.entry.tiny_config(**overrides)).eval()

    @torch.no_grad()
    def embed(self, model: Any, inputs: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
        return self.pooled(model(**(self.inputs() if inputs is None else inputs))).float()

    def close(self, a: torch.Tensor, b: torch.Tensor) -> None:
        torch.testing.assert_close(a, b, atol=self.atol, rtol=0)

    def reads_peaks(self, model: Any) -> None:
        if model.main_input_name != "peaks":
            pytest.skip("does not read spectra")

    def gradients(self, model: Any, model_class: type) -> dict[str, torch.Tensor | None]:
        model.train()
        for module in model.modules():
            if "dropout" in vars(module) and isinstance(module.dropout, float):
                module.dropout = 0.0
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        output = model(**self.training_inputs(model_class))
        loss = output.get("loss")
        weights = torch.linspace(-1, 1, self.pooled(output).shape[-1])
        (loss if loss is not None else (self.pooled(output) * weights).sum()).backward()
        return {key: p.grad for key, p in model.named_parameters() if p.requires_grad}
