"""Configuration of DreaMS."""

from __future__ import annotations

from typing import Any

from .base import MsFormersConfig

# a model for tests: every part present, 67 frequencies instead of 5,997
TINY: dict[str, Any] = {
    "peak_size": 12,
    "fourier_size": 20,
    "fourier_hidden_size": 16,
    "fourier_min_period": 0.02,
    "fourier_max_period": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "num_mz_bins": 200,
    "mz_bin_size": 5.0,
    "n_highest_peaks": 12,
}


class DreamsConfig(MsFormersConfig):
    """Architecture and objectives of DreaMS; the defaults are the published embedding model.

    Attributes:
        peak_size, fourier_size: width of the two parts of a token; together they are `hidden_size`.
        fourier_hidden_size, fourier_depth: the MLP on the Fourier features of the m/z.
        fourier_min_period, fourier_max_period: periods of the Fourier features in Th, see `period_frequencies`.
        max_mz: divisor of the m/z that enters the peak part, in Th.
        mask_padded_keys: False as published (padding is attended to); True makes padding invisible.
        n_highest_peaks, precursor_intensity: preparation the weights expect (60 peaks for the SSL model).
        num_mz_bins, mz_bin_size, focal_gamma, order_loss_weight: the pre-training objectives; bins in Th.
        mask_value: m/z that stands for "masked".
        embedding_size: output width of the embedding head; None for `hidden_size`.
        keep_pretraining_heads: the embedding model carries the two pre-training heads, frozen and unused, as the
            published file does.
        triplet_margin: margin of the contrastive loss.
    """

    model_type = "msf_dreams"

    peak_size: int = 44
    fourier_size: int = 980
    fourier_hidden_size: int = 512
    fourier_depth: int = 5
    fourier_min_period: float = 1e-4
    fourier_max_period: int = 1000
    max_mz: float = 1000.0
    num_hidden_layers: int = 7
    num_attention_heads: int = 8
    intermediate_size: int = 4096
    hidden_dropout: float = 0.1
    attention_dropout: float = 0.1
    layer_norm_eps: float = 1e-5
    mask_padded_keys: bool = False
    n_highest_peaks: int = 100
    precursor_intensity: float = 1.1
    num_mz_bins: int = 20000
    mz_bin_size: float = 0.05
    focal_gamma: float = 5.0
    order_loss_weight: float = 0.2
    mask_value: float = -1.0
    embedding_size: int | None = None
    keep_pretraining_heads: bool = True
    triplet_margin: float = 0.1

    def __post_init__(self, **kwargs: Any) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"peak_size + fourier_size = {self.hidden_size} is not divisible by "
                f"num_attention_heads = {self.num_attention_heads}"
            )
        super().__post_init__(**kwargs)

    @property
    def hidden_size(self) -> int:
        """Width of a token."""
        return self.peak_size + self.fourier_size
