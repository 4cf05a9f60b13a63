"""Losses and closed-form fits that bring one embedding space onto another (SpecBridge, arXiv 2601.17204)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


def alignment_loss(predicted: Tensor, target: Tensor, normalize: bool = False) -> Tensor:
    """Mean squared error between mapped spectra and molecules, mean over all elements.

    Args:
        predicted: mapper outputs μ, (B, D).
        target: molecule vectors z_m, (B, D).
        normalize: compare unit vectors (the paper, eq. of L_align); else raw vectors (the public code).

    Returns:
        Scalar.
    """
    if normalize:
        predicted, target = F.normalize(predicted, dim=-1), F.normalize(target, dim=-1)
    return F.mse_loss(predicted, target)


def orthogonality_loss(weight: Tensor, reduction: Literal["mean", "frobenius"] = "mean") -> Tensor:
    """How far the rows of W are from orthonormal.

    Args:
        weight: W, (out, in), out ≤ in for the loss to reach 0.
        reduction: "mean" is mean((WWᵀ−I)²), the public code; "frobenius" is ‖WWᵀ−I‖²_F, the paper.

    Returns:
        Scalar.
    """
    gram = weight @ weight.T
    squared = (gram - torch.eye(weight.shape[0], dtype=gram.dtype, device=gram.device)).square()
    return squared.mean() if reduction == "mean" else squared.sum()


def same_group_mask(groups: Tensor) -> Tensor:
    """Off-diagonal pairs of the same molecule: they are no negatives of each other.

    Args:
        groups: molecule number of each row, int (B,).

    Returns:
        bool (B, B), True where row and column are different entries of one molecule.
    """
    same = groups[:, None] == groups[None, :]
    return same & ~torch.eye(len(groups), dtype=torch.bool, device=groups.device)


def symmetric_info_nce(
    predicted: Tensor, target: Tensor, temperature: Tensor, ignore: Tensor | None = None
) -> Tensor:
    """Symmetric InfoNCE over a batch: mean of the row and the column cross-entropy of cosines / τ.

    Args:
        predicted: (B, D), normalised here.
        target: (B, D), normalised here; row i belongs to row i.
        temperature: τ, scalar, > 0.
        ignore: bool (B, B), True for pairs that are no negatives (see `same_group_mask`).

    Returns:
        Scalar.
    """
    logits = F.normalize(predicted, dim=-1) @ F.normalize(target, dim=-1).T / temperature
    if ignore is not None:
        logits = logits.masked_fill(ignore, float("-inf"))
    labels = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def hard_negative_loss(
    predicted: Tensor,
    target: Tensor,
    negatives: Tensor,
    temperature: Tensor,
    mask: Tensor | None = None,
    in_batch: bool = False,
    ignore: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of the true molecule against its own hard negatives, such as its isomers.

    Args:
        predicted: (B, D), normalised here.
        target: (B, D), the true molecules.
        negatives: (B, K, D), wrong molecules of each row.
        temperature: τ, scalar, > 0.
        mask: (B, K), 1 or True = a real negative, 0 = filler.
        in_batch: the targets of the other rows count as negatives, too.
        ignore: bool (B, B), with `in_batch`: pairs that are no negatives.

    Returns:
        Scalar; rows without any negative give 0.
    """
    query, positive = F.normalize(predicted, dim=-1), F.normalize(target, dim=-1)
    # divided before it is masked: the gradient of -inf / τ is not a number
    hard = torch.einsum("bd,bkd->bk", query, F.normalize(negatives, dim=-1)) / temperature
    if mask is not None:
        hard = hard.masked_fill(~mask.bool(), float("-inf"))
    logits = [(query * positive).sum(-1, keepdim=True) / temperature, hard]
    if in_batch:
        others = torch.eye(len(query), dtype=torch.bool, device=query.device)
        others = others if ignore is None else others | ignore
        logits.append((query @ positive.T / temperature).masked_fill(others, float("-inf")))
    labels = torch.zeros(len(query), dtype=torch.long, device=query.device)
    return F.cross_entropy(torch.cat(logits, dim=1), labels)


@torch.no_grad()
def procrustes(source: Tensor, target: Tensor) -> Tensor:
    """Semi-orthogonal W that best turns centred `source` into centred `target` (specbridge.md §3).

    With XᵀY = UΣVᵀ of the centred X and Y, W = (UVᵀ)ᵀ.

    Args:
        source: X, (N, in).
        target: Y, (N, out), out ≤ in.

    Returns:
        W, (out, in), WWᵀ = I when XᵀY has full rank.

    Raises:
        ValueError: the two do not have the same number of rows, or out > in.
    """
    if len(source) != len(target):
        raise ValueError(f"procrustes needs pairs: {len(source)} sources, {len(target)} targets")
    if target.shape[1] > source.shape[1]:
        raise ValueError(
            f"procrustes cannot map {source.shape[1]} dimensions onto {target.shape[1]} orthogonally"
        )
    x = (source - source.mean(0)).double()
    y = (target - target.mean(0)).double()
    u, _, vh = torch.linalg.svd(x.T @ y, full_matrices=False)
    return (u @ vh).T.to(source.dtype)


def fingerprint_loss(log_odds: Tensor, prior: Tensor, bits: Tensor) -> Tensor:
    """Binary cross-entropy of bits whose log-odds are given against their prior, mean over all bits.

    Args:
        log_odds: (B, D). prior: (D,) log-odds of each bit before any spectrum is seen.
        bits: (B, D), above 0 = present.
    """
    return F.binary_cross_entropy_with_logits(log_odds + prior, (bits > 0).to(log_odds.dtype))
