"""The objectives of SpecBridge (specbridge.md §4), put together from `alignment.py` as the configuration says."""

from __future__ import annotations

from torch import Tensor

from .alignment import (
    alignment_loss,
    fingerprint_loss,
    hard_negative_loss,
    orthogonality_loss,
    symmetric_info_nce,
)
from .specbridge_config import SpecBridgeConfig


def bridge_losses(
    config: SpecBridgeConfig,
    weight: Tensor,
    embeds: Tensor,
    target: Tensor,
    *,
    temperature: Tensor | None = None,
    prior: Tensor | None = None,
    negatives: Tensor | None = None,
    negative_mask: Tensor | None = None,
    ignore: Tensor | None = None,
) -> dict[str, Tensor]:
    """The loss and its parts.

    Args:
        config: objective and weights.
        weight: W of the mapper, (D, projection_dim).
        embeds: (B, D) mapped spectra. target: (B, D) their molecules.
        temperature: τ, (), for the contrastive terms.
        prior: (D,) log-odds of each bit, for "fingerprint".
        negatives, negative_mask: (B, K, D) and (B, K), for "hard_negative".
        ignore: bool (B, B), pairs that are no negatives of each other.

    Returns:
        `loss`, and unweighted and detached `orthogonality_loss`, `alignment_loss`, `contrastive_loss`, where used.

    Raises:
        ValueError: "hard_negative" without negatives.
    """
    embeds, target = embeds.float(), target.float()
    ortho = orthogonality_loss(weight.float(), config.orthogonality_reduction)
    losses, loss = {"orthogonality_loss": ortho.detach()}, config.orthogonality_weight * ortho
    if config.objective == "align":
        aligned = alignment_loss(embeds, target, config.normalize_targets)
        losses["alignment_loss"] = aligned.detach()
        loss = loss + config.alignment_weight * aligned
    if prior is not None:
        loss = loss + fingerprint_loss(embeds, prior.float(), target)
    if temperature is not None:
        if config.objective == "hard_negative":
            if negatives is None:
                raise ValueError("objective 'hard_negative' needs negative_embeds or negative_input_ids")
            rest = (negatives.float(), temperature, negative_mask, config.in_batch_negatives, ignore)
            contrast = hard_negative_loss(embeds, target, *rest)
        else:
            contrast = symmetric_info_nce(embeds, target, temperature, ignore)
        losses["contrastive_loss"] = contrast.detach()
        main = config.objective in ("contrastive", "hard_negative")
        loss = loss + (1.0 if main else config.contrastive_weight) * contrast
    return {"loss": loss, **losses}
