from __future__ import annotations

import math

import pytest
import torch

from msformers.modeling.alignment import (
    alignment_loss,
    hard_negative_loss,
    orthogonality_loss,
    procrustes,
    same_group_mask,
    symmetric_info_nce,
)

PREDICTED = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
TARGET = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
TAU = torch.tensor(0.5)


def test_alignment_of_raw_vectors_is_the_mean_over_elements():
    # (2² + 4² + 1² + 2²) / 4
    assert alignment_loss(PREDICTED, TARGET).item() == pytest.approx(25 / 4)


def test_alignment_of_unit_vectors():
    # (0.6, 0.8) − (1, 0) and (1, 0) − (0, 1)
    assert alignment_loss(PREDICTED, TARGET, normalize=True).item() == pytest.approx((0.16 + 0.64 + 2) / 4)


@pytest.mark.parametrize(("reduction", "expected"), [("mean", (9 + 1 + 1 + 0) / 4), ("frobenius", 11.0)])
def test_orthogonality(reduction, expected):
    # W Wᵀ = [[4, 1], [1, 1]], minus I: [[3, 1], [1, 0]]
    weight = torch.tensor([[2.0, 0.0, 0.0], [0.5, math.sqrt(0.75), 0.0]])
    assert orthogonality_loss(weight, reduction).item() == pytest.approx(expected, rel=1e-6)


def cross_entropy(logits: list[float], true: int) -> float:
    return math.log(sum(math.exp(value) for value in logits)) - logits[true]


def test_symmetric_info_nce():
    # cosines [[0.6, 0.8], [1, 0]], over τ = 0.5
    rows = cross_entropy([1.2, 1.6], 0) + cross_entropy([2.0, 0.0], 1)
    columns = cross_entropy([1.2, 2.0], 0) + cross_entropy([1.6, 0.0], 1)
    assert symmetric_info_nce(PREDICTED, TARGET, TAU).item() == pytest.approx((rows + columns) / 4)


def test_equal_molecules_are_no_negatives():
    ignore = same_group_mask(torch.tensor([7, 7]))
    assert ignore.tolist() == [[False, True], [True, False]]
    assert symmetric_info_nce(PREDICTED, TARGET, TAU, ignore).item() == pytest.approx(0.0)
    assert not same_group_mask(torch.tensor([7, 8])).any()


def test_hard_negatives():
    negatives = torch.tensor([[[0.0, 1.0], [9.0, 9.0]], [[1.0, 0.0], [0.0, -1.0]]])
    mask = torch.tensor([[1, 0], [1, 1]])
    # row 0: truth 0.6, one wrong 0.8; row 1: truth 0, wrong 1 and 0
    expected = (cross_entropy([1.2, 1.6], 0) + cross_entropy([0.0, 2.0, 0.0], 0)) / 2
    assert hard_negative_loss(PREDICTED, TARGET, negatives, TAU, mask).item() == pytest.approx(expected)


def test_hard_negatives_with_the_batch():
    negatives, mask = torch.zeros(2, 1, 2), torch.zeros(2, 1)
    expected = (cross_entropy([1.2, 1.6], 0) + cross_entropy([0.0, 2.0], 0)) / 2
    found = hard_negative_loss(PREDICTED, TARGET, negatives, TAU, mask, in_batch=True)
    assert found.item() == pytest.approx(expected)
    alone = hard_negative_loss(
        PREDICTED, TARGET, negatives, TAU, mask, in_batch=True, ignore=same_group_mask(torch.tensor([1, 1]))
    )
    assert alone.item() == 0.0


def test_procrustes_finds_the_rotation():
    generator = torch.Generator().manual_seed(0)
    # with XᵀX = I the map onto fewer dimensions is found exactly
    source = torch.linalg.qr(torch.randn(200, 6, generator=generator) - 0.5).Q
    source = torch.linalg.qr(source - source.mean(0)).Q
    true = torch.linalg.qr(torch.randn(6, 4, generator=generator)).Q.T
    found = procrustes(source + 2, source @ true.T + 3)
    assert torch.allclose(found @ found.T, torch.eye(4), atol=1e-5)
    assert torch.allclose(found, true, atol=1e-4)


@pytest.mark.parametrize("shapes", [((3, 4), (2, 4)), ((3, 2), (3, 4))])
def test_procrustes_refuses_what_cannot_be(shapes):
    with pytest.raises(ValueError, match="procrustes"):
        procrustes(torch.zeros(*shapes[0]), torch.zeros(*shapes[1]))


def test_the_gradient_of_the_temperature_is_finite_where_pairs_are_masked():
    tau = torch.tensor(0.5, requires_grad=True)
    ignore = same_group_mask(torch.tensor([1, 1]))
    loss = hard_negative_loss(
        PREDICTED,
        TARGET,
        torch.ones(2, 2, 2),
        tau,
        torch.tensor([[1, 0], [0, 0]]),
        in_batch=True,
        ignore=ignore,
    )
    (loss + symmetric_info_nce(PREDICTED, TARGET, tau, ignore)).backward()
    assert tau.grad.isfinite()
