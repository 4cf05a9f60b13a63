"""Losses, each with its input, its target and its source."""

from __future__ import annotations

import torch
from torch.nn import functional

IGNORED = -100


def focal_cross_entropy(logits: torch.Tensor, targets: torch.Tensor, gamma: float) -> torch.Tensor:
    """Cross-entropy weighted by ``(1 - p_target) ** gamma``, so that easy targets count little.

    Lin et al. 2017, eq. 4; DreaMS uses gamma 5 for masked m/z bins.

    Args:
        logits: (n, classes).
        targets: (n,) int64.
        gamma: 0 gives plain cross-entropy.

    Returns:
        (n,) float32, not reduced.
    """
    cross_entropy = functional.cross_entropy(logits.float(), targets, reduction="none")
    return (1 - torch.exp(-cross_entropy)).clamp_min(0) ** gamma * cross_entropy


def retention_order_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of "the first spectrum eluted before the second" (DreaMS, Methods, "Retention order").

    Args:
        logits: (n,).
        labels: (n,) 1 if it did, 0 if not, -100 where unknown (ignored).

    Returns:
        () mean over the known ones; 0 with a gradient path when none is known.
    """
    known = labels != IGNORED
    losses = functional.binary_cross_entropy_with_logits(
        logits.float(), labels.clamp_min(0).to(torch.float32), reduction="none"
    )
    return (losses * known).sum() / known.sum().clamp_min(1)


def cosine_triplet_loss(
    anchor: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, margin: float
) -> torch.Tensor:
    """``max(0, margin - cos(anchor, positive) + cos(anchor, negative))``, mean (DreaMS, Methods, contrastive head).

    Args:
        anchor, positive, negative: (n, d), need not be normalised.
        margin: 0.1 in the paper.

    Returns:
        ().
    """
    anchor, positive, negative = anchor.float(), positive.float(), negative.float()
    near = functional.cosine_similarity(anchor, positive, dim=-1)
    far = functional.cosine_similarity(anchor, negative, dim=-1)
    return functional.relu(margin - near + far).mean()


def mean_over_sides(losses: torch.Tensor, rows: torch.Tensor, pairs: torch.Tensor | None) -> torch.Tensor:
    """Mean of losses per peak; with pairs of spectra, the mean of the first spectra's mean and the second spectra's.

    Args:
        losses: (n,), one per masked peak.
        rows: (n,) int64, the spectrum of each.
        pairs: (pairs, 2) int64, rows of first and second spectra; or None.

    Returns:
        (); 0 with a gradient path where there is no peak.
    """
    sides = [losses] if pairs is None else [losses[torch.isin(rows, side)] for side in pairs.unbind(1)]
    return torch.stack([side.sum() / max(len(side), 1) for side in sides]).mean()
