"""Configuration of NexaMass: every block of the published total is a field, so that other layouts are other values."""

from __future__ import annotations

from typing import Any, Literal

from .base import MsFormersConfig

LAYOUTS: dict[str, dict[str, Any]] = {
    "A": {},
    "B": {"mask_token": False, "logit_scale": False, "confidence_head": True},
    "C": {
        "mask_token": False,
        "n_positions": 257,
        "fingerprint_hidden": 0,
        "query_hidden": 384,
        "retrieval_hidden": [512],
        "rerank_hidden": 512,
        "logit_scale": False,
    },
}
"""Three layouts whose `NexaMassForStructurePrediction` has the published 14,106,690 parameters; A is the default.

The model card gives widths and the total but not every block: 4,283 layouts fit it (nexamass.md §2). When the header of the
published safetensors can be read, its shapes decide.
"""

TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "ssl_hidden": 16,
    "ssl_size": 12,
    "fingerprint_size": 64,
    "fingerprint_hidden": 16,
    "query_hidden": 16,
    "target_hidden": 16,
    "projection_size": 8,
    "retrieval_hidden": [16, 16],
}


class NexaMassConfig(MsFormersConfig):
    """Configuration of `NexaMassModel` and its heads; the defaults are NexaMass-V3-Struct, layout A.

    Args:
        n_features: numbers per peak that the extractor gives.
        n_highest_peaks: peaks kept.
        hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, hidden_act, linear_bias: of the encoder
            (pre-norm).
        hidden_dropout, attention_dropout: probabilities.
        mask_token: a learned vector that replaces masked peaks.
        n_positions: learned positions, 0 = none.
        annotation_size: tokens that the extractor annotates peaks with (unit bins, formulas), 0 = none, as published.
        context_size: tokens for polarity, adduct and precursor, added to the first token; 0 = none, as published.
        annotation_width: of the annotations' vectors, and of the pooled vector with `additive_path`; 0 = hidden_size.
        additive_path: the sum of all peaks' annotations is added past the layers, so that evidence can add up.
        ssl_hidden, ssl_size: contrastive head; its output has unit length.
        fingerprint_size, fingerprint_hidden: Morgan bits and the hidden layer before them, 0 = none.
        fingerprint_layers: residual layers after that hidden layer. fingerprint_dropout: around them.
        fingerprint_prior: rank by log-odds against the bits' frequencies in training instead of by probabilities.
        logit_clip: bound on the log-odds when ranking against the prior.
        query_hidden, target_hidden, projection_size: spectrum-side and fingerprint-side projections.
        retrieval_hidden: hidden layers of the retrieval MLP. rerank_hidden: of the rerank head, 0 = none.
        confidence_head: a linear score of the spectrum alone.
        logit_scale: a learned scale of the contrastive scores; else 1 / `temperature`.
        temperature: of all contrastive losses, initial value of the scale.
        ssl_weight, fingerprint_weight, retrieval_weight: of the parts of the structure loss.
        initializer_range: standard deviation of initial weights. layer_norm_eps: of all norms.
    """

    model_type = "msf_nexamass"

    n_features: int = 8
    n_highest_peaks: int = 256
    hidden_size: int = 384
    num_hidden_layers: int = 6
    num_attention_heads: int = 8
    intermediate_size: int = 1536
    hidden_act: Literal["relu", "gelu"] = "gelu"
    linear_bias: bool = True
    hidden_dropout: float = 0.1
    attention_dropout: float = 0.1
    mask_token: bool = True
    n_positions: int = 0
    annotation_size: int = 0
    context_size: int = 0
    annotation_width: int = 0
    additive_path: bool = False
    ssl_hidden: int = 384
    ssl_size: int = 192
    fingerprint_size: int = 2048
    fingerprint_hidden: int = 384
    fingerprint_layers: int = 0
    fingerprint_dropout: float = 0.1
    fingerprint_prior: bool = False
    logit_clip: float = 6.9
    query_hidden: int = 512
    target_hidden: int = 512
    projection_size: int = 256
    retrieval_hidden: list[int] | tuple[int, ...] = (512, 512)
    rerank_hidden: int = 0
    confidence_head: bool = False
    logit_scale: bool = True
    temperature: float = 0.1
    ssl_weight: float = 0.1
    fingerprint_weight: float = 1.0
    retrieval_weight: float = 0.5
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-5

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.additive_path and not self.annotation_size:
            raise ValueError("additive_path adds annotations up; it needs annotation_size")

    @property
    def path_width(self) -> int:
        """Width of the annotations' vectors."""
        return self.annotation_width or self.hidden_size

    @property
    def pooled_size(self) -> int:
        """Width of `pooler_output`."""
        return self.path_width if self.additive_path else self.hidden_size
