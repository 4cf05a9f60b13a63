"""Sines and cosines of masses, intensities and positions over a range of wavelengths, in float32 whatever the model's dtype."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import initialization as init


def wavelength_terms(count: int, shortest: float, longest: float) -> torch.Tensor:
    """Wavelengths over 2 pi, (count,) float32, from `shortest` to `longest` in equal ratios, each step in float32.

    Raises:
        ValueError: fewer than two, or a wavelength that is not positive.
    """
    if count < 2 or shortest <= 0 or longest <= 0:
        raise ValueError(f"{count} wavelengths from {shortest} to {longest}: need two or more, all above 0")
    steps = torch.arange(count, dtype=torch.float32) / (count - 1)
    return shortest / (2 * math.pi) * (longest / shortest) ** steps


class Sinusoid(nn.Module):
    """Encodes a number x as ``sin(x / t_1) ... sin(x / t_n), cos(x / t_1) ... cos(x / t_n)`` (Casanovo; depthcharge).

    At m/z 2500 the angles reach 1.6e7 rad, where neighbouring float32 numbers are 1 rad apart: the encoding is defined by
    the float32 quotient and by the very terms t. They are therefore kept with the weights, and stay float32 under
    ``.to(torch.bfloat16)`` and under a half-precision load.

    Args:
        size: of the encoding, even.
        shortest, longest: wavelengths, in the unit of x.
    """

    terms: torch.Tensor

    def __init__(self, size: int, shortest: float, longest: float) -> None:
        super().__init__()
        self.range = size // 2, shortest, longest
        self.register_buffer("terms", wavelength_terms(*self.range))

    def initialize(self) -> None:
        """Fill the terms of a module that was built on the meta device."""
        init.copy_(self.terms, wavelength_terms(*self.range))

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
        def keep_float32(tensor: torch.Tensor) -> torch.Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == torch.float32 else tensor.to(moved.device)

        return super()._apply(keep_float32, recurse)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """(...,) to (..., size) float32; `values` receives no gradient."""
        terms = self.terms
        if (
            terms.dtype != torch.float32
        ):  # a loader or sharder cast them: take those of the wavelengths instead
            terms = wavelength_terms(*self.range).to(values.device)
        angles = values.detach().float().unsqueeze(-1) / terms
        return torch.cat([angles.sin(), angles.cos()], dim=-1)
