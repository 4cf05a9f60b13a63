"""Configuration of LSM1-MS2."""

from __future__ import annotations

from typing import Any

from .heads import PropertyConfig

# a model for tests: all codebooks, narrow
TINY: dict[str, Any] = {
    "token_size": 8,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "intermediate_size": 48,
    "similarity_size": 12,
    "num_properties": 209,
    "n_highest_peaks": 12,
}


class Lsm1Config(PropertyConfig):
    """Architecture and objectives of LSM1-MS2.

    The paper's table of sizes is not in its text; the defaults are the size this package recommends for its data.

    Attributes:
        vocab_integer, vocab_fraction, vocab_intensity: rows of the codebooks. 1,000 are classes of peaks; row 1000 (of
            intensity: 1001) is padding. With 1000, 1000, 1000 and `precursor_intensity_row` 999 the codebooks are
            literally "of size 1,000": an id beyond the last row falls on it.
        precursor_intensity_row: row of the intensity codebook that is the precursor's preset intensity of 2,000.
        token_size: width of each of the three vectors of a token.
        hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, hidden_act: the encoder, pre-norm.
        hidden_dropout, attention_dropout, property_dropout: probabilities.
        alibi_exempt_precursor: give the precursor no distance to any peak; False as published.
        n_highest_peaks: preparation the weights expect.
        weight_integer, weight_fraction, weight_intensity: of the three reconstruction losses.
        similarity_size: width of the similarity head.
        initializer_range: standard deviation of codebooks and mask vector at the start.
    """

    model_type = "msf_lsm1"

    vocab_integer: int = 1001
    vocab_fraction: int = 1001
    vocab_intensity: int = 1002
    precursor_intensity_row: int = 1000
    token_size: int = 256
    hidden_size: int = 512
    num_hidden_layers: int = 8
    num_attention_heads: int = 16
    intermediate_size: int = 2048
    hidden_act: str = "gelu"
    hidden_dropout: float = 0.1
    attention_dropout: float = 0.1
    layer_norm_eps: float = 1e-5
    alibi_exempt_precursor: bool = False
    n_highest_peaks: int = 64
    weight_integer: float = 100.0
    weight_fraction: float = 1.0
    weight_intensity: float = 1.0
    similarity_size: int = 128
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size = {self.hidden_size} is not divisible by num_attention_heads = {self.num_attention_heads}"
            )
        if not 0 <= self.precursor_intensity_row < self.vocab_intensity:
            raise ValueError(
                f"precursor_intensity_row = {self.precursor_intensity_row} is no row of vocab_intensity = "
                f"{self.vocab_intensity}; the strict codebook of 1000 rows takes 999"
            )
        super().__post_init__(**kwargs)
