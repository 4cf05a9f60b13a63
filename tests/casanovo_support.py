"""Small Casanovo models and random batches for the tests of `modeling/casanovo*.py`."""

from __future__ import annotations

from typing import Any

import torch

from msformers.modeling.registry import MODELS


def tiny(cls: type, version: str, **overrides: Any) -> Any:
    """A model of `cls` with random weights, the same for every call."""
    torch.manual_seed(0)
    return cls(MODELS["casanovo"].tiny_config(version=version, **overrides)).eval()


def batch(*sizes: int) -> dict[str, torch.Tensor]:
    """Spectra of these numbers of random peaks, with precursors of charge 2."""
    torch.manual_seed(len(sizes))
    peaks, mask = torch.zeros(len(sizes), max(sizes), 2), torch.zeros(len(sizes), max(sizes))
    for row, size in enumerate(sizes):
        peaks[row, :size] = torch.rand(size, 2) * torch.tensor([1500.0, 1.0]) + torch.tensor([50.0, 0.0])
        mask[row, :size] = 1
    masses = torch.linspace(700, 1500, len(sizes))
    precursors = torch.stack([masses, torch.full_like(masses, 2), masses / 2 + 1.007276], dim=1)
    return {"peaks": peaks, "attention_mask": mask, "precursors": precursors}
