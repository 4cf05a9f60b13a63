"""Encodings of m/z. They work in float32 in a fixed order of operations whatever the dtype of the model."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import initialization as init


def period_frequencies(min_period: float, max_period: int) -> torch.Tensor:
    """Frequencies (n,) float32 in 1/Th: fine periods below one Th, then whole periods below `max_period`.

    ``1 / (min_period * i)`` for even i below ``1 / min_period``, then ``1 / i`` for i in 2 ... max_period - 1, each
    computed in float64. The published DreaMS set is ``period_frequencies(1e-4, 1000)``: 4,999 + 998 values, 5000 to
    0.001001 (DreaMS, Bushuiev et al. 2025, Methods, "Fourier features").

    Raises:
        ValueError: the arguments give no frequency.
    """
    fine = [1 / (min_period * i) for i in range(2, round(1 / min_period), 2)]
    whole = [1 / i for i in range(2, max_period)]
    if not fine and not whole:
        raise ValueError(f"min_period {min_period} and max_period {max_period} give no frequency")
    return torch.tensor(fine + whole, dtype=torch.float64).to(torch.float32)


def fourier_features(mz: torch.Tensor, frequencies: torch.Tensor) -> torch.Tensor:
    """cos, then sin, of ``(2 pi mz) * frequency``.

    Angles reach 3e7 rad, where neighbouring float32 numbers are 2 rad apart: the features are defined by this order of
    operations in float32, and any other order, float64, bfloat16 or TF32 gives other numbers. The product is
    elementwise so that no matrix-multiplication setting can touch it.

    Args:
        mz: (...,) float32, in Th. Neither argument receives a gradient.
        frequencies: (n,) float32, in 1/Th.

    Returns:
        (..., 2n) float32.
    """
    angles = (2 * math.pi * mz.detach().float()).unsqueeze(-1) * frequencies.detach()
    n = frequencies.numel()
    features = angles.new_empty(*angles.shape[:-1], 2 * n)
    features[..., :n] = angles.cos()
    features[..., n:] = angles.sin_()
    return features


class FourierFrequencies(nn.Module):
    """The frozen frequencies of `fourier_features`; they stay float32 under ``.to(torch.bfloat16)``, ``.half()``, ...

    Args:
        min_period, max_period: as in `period_frequencies`.
    """

    def __init__(self, min_period: float, max_period: int) -> None:
        super().__init__()
        self.min_period, self.max_period = min_period, max_period
        self.frequencies = nn.Parameter(period_frequencies(min_period, max_period))
        self.freeze_constants()

    def freeze_constants(self) -> None:
        """Keep the frequencies out of training."""
        self.frequencies.requires_grad_(False)

    def initialize(self) -> None:
        """Fill the frequencies of a module that was built on the meta device."""
        init.copy_(self.frequencies, period_frequencies(self.min_period, self.max_period))

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
        def keep_float32(tensor: torch.Tensor) -> torch.Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == torch.float32 else tensor.to(moved.device)

        return super()._apply(keep_float32, recurse)

    def forward(self, mz: torch.Tensor) -> torch.Tensor:
        """m/z (...,) in Th to features (..., 2n) float32."""
        frequencies: torch.Tensor = self.frequencies
        if frequencies.dtype != torch.float32:  # a loader or sharder cast it: take the exact ones instead
            frequencies = period_frequencies(self.min_period, self.max_period).to(mz.device)
        return fourier_features(mz, frequencies)
