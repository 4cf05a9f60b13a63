"""Configuration of SpecBridge: two encoders, the bridge between them, and its objective."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from transformers import AutoConfig, PreTrainedConfig

from .base import MsFormersConfig

CHEMBERTA = {
    "model_type": "roberta",
    "vocab_size": 581,
    "hidden_size": 768,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
}
"""Shape of the published molecule encoder (specbridge.md §1; the head count cannot be inferred, 12 is usual)."""

PAPER_MODE = {
    "pooling": "precursor",
    "prepend_precursor": True,
    "normalize_targets": True,
    "score": "cosine",
    "orthogonality_reduction": "frobenius",
    "orthogonality_weight": 1e-3,
}
"""What the paper describes where the public code, our default, does otherwise: ``SpecBridgeConfig(**PAPER_MODE)``."""


class SpecBridgeConfig(MsFormersConfig):
    """Both encoders, the bridge between them and its objective; defaults are the public code at published size.

    Attributes:
        spectrum_config, molecule_config: configurations of the encoders, as dict with `model_type` or as object.
        pooling: spectrum vector: the encoder's own ("precursor") or the mean of tokens with m/z > 0 ("mean_peaks").
        prepend_precursor: whether `peaks` start with the precursor (the feature extractor does it).
        projection_hidden, projection_dim: widths of the two-layer GELU head; projection_norm: its LayerNorm.
        projection: whether there is such a head (with unit vectors after it); without it W maps the encoder's vector.
        mapper_hidden, n_blocks, mapper_dropout: residual blocks after W.
        mapper_init: "orthogonal" (WWᵀ = I) or "xavier" (ablation).
        molecule_pooling: "cls" (first token), "mean" (over the mask) or "pooler_output".
        molecule_projection_dim: width of a trained head on the frozen molecule vectors; None = none, as published.
        normalize_targets: compare and return unit vectors (paper); else raw (code).
        score: similarity that ranks, "cosine" (paper) or "dot" (code).
        objective: "align", "contrastive" (symmetric InfoNCE), "hard_negative" (own wrong candidates per spectrum), or
            "fingerprint": molecules are bit vectors, a mapped spectrum holds each bit's log-odds against its prior.
        logit_clip: largest log-odds of a bit in "fingerprint".
        alignment_weight: of the mean squared error in "align".
        contrastive_weight: of InfoNCE added to "align"; the other objectives have weight 1.
        orthogonality_weight, orthogonality_reduction: the code's 1e-3 · 1e-3 · mean, or the paper's 1e-3 · ‖·‖²_F.
        temperature_init, temperature_trainable: τ of the contrastive objectives.
        in_batch_negatives: "hard_negative" also counts the other rows' molecules.
        unfreeze_last: spectrum-encoder blocks trained, from the end; 0 = frozen, −1 = the whole encoder.
    """

    model_type = "msf_specbridge"
    sub_configs = {"spectrum_config": AutoConfig, "molecule_config": AutoConfig}  # noqa: RUF012

    spectrum_config: dict[str, Any] | PreTrainedConfig | None = None
    molecule_config: dict[str, Any] | PreTrainedConfig | None = None
    pooling: Literal["precursor", "mean_peaks"] = "mean_peaks"
    prepend_precursor: bool = False
    projection_hidden: int = 2048
    projection_dim: int = 2048
    projection_norm: bool = True
    projection: bool = True
    mapper_hidden: int = 2048
    n_blocks: int = 8
    mapper_dropout: float = 0.0
    mapper_init: Literal["orthogonal", "xavier"] = "orthogonal"
    molecule_pooling: Literal["cls", "mean", "pooler_output"] = "cls"
    molecule_projection_dim: int | None = None
    normalize_targets: bool = False
    score: Literal["cosine", "dot"] = "dot"
    objective: Literal["align", "contrastive", "hard_negative", "fingerprint"] = "align"
    logit_clip: float = 6.9
    alignment_weight: float = 5.0
    contrastive_weight: float = 0.0
    orthogonality_weight: float = 1e-6
    orthogonality_reduction: Literal["mean", "frobenius"] = "mean"
    temperature_init: float = 0.07
    temperature_trainable: bool = True
    in_batch_negatives: bool = True
    unfreeze_last: int = 2

    def __post_init__(self, **kwargs: Any) -> None:
        self.spectrum_config = _encoder_config(
            self.spectrum_config, {"model_type": "msf_dreams"}, "spectrum_config"
        )
        self.molecule_config = _encoder_config(self.molecule_config, CHEMBERTA, "molecule_config")
        super().__post_init__(**kwargs)
        if self.pooling == "precursor" and not self.prepend_precursor:
            raise ValueError(
                "pooling='precursor' needs prepend_precursor=True: there is no precursor token otherwise"
            )
        if self.temperature_init <= 0:
            raise ValueError(f"temperature_init must be > 0, got {self.temperature_init}")

    @property
    def hidden_size(self) -> int:
        """Width of the shared space, D."""
        return int(self.molecule_projection_dim or self.molecule_config.hidden_size)  # type: ignore[union-attr]

    @property
    def uses_temperature(self) -> bool:
        """Whether a loss term has a temperature."""
        return self.objective in ("contrastive", "hard_negative") or self.contrastive_weight > 0


def _encoder_config(given: Any, default: Mapping[str, Any], name: str) -> PreTrainedConfig:
    if isinstance(given, PreTrainedConfig):
        return given
    fields = dict(default if given is None else given)
    if "model_type" not in fields:
        raise ValueError(f"{name} needs model_type, the registered encoder to build; it has {sorted(fields)}")
    return AutoConfig.for_model(**fields)
