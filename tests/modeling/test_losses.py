from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from msformers.modeling.losses import (
    cosine_triplet_loss,
    focal_cross_entropy,
    mean_over_sides,
    retention_order_loss,
)


def test_focal_loss_with_gamma_zero_is_cross_entropy() -> None:
    logits, targets = torch.randn(6, 9), torch.randint(0, 9, (6,))
    expected = functional.cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(focal_cross_entropy(logits, targets, 0.0), expected)


def test_focal_loss_by_hand() -> None:
    # probabilities 3/4 and 1/4: (1 - p)^2 * -log p
    logits = torch.tensor([[np.log(3.0), 0.0], [np.log(3.0), 0.0]], dtype=torch.float32)
    loss = focal_cross_entropy(logits, torch.tensor([0, 1]), 2.0)
    expected = [0.25**2 * -np.log(0.75), 0.75**2 * -np.log(0.25)]
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-5)


def test_focal_loss_has_finite_gradients_where_it_is_certain() -> None:
    logits = torch.tensor([[80.0, 0.0], [0.0, 80.0]], requires_grad=True)
    focal_cross_entropy(logits, torch.tensor([0, 0]), 5.0).sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_focal_loss_equals_the_reference(shared) -> None:
    golden = np.load(shared / "golden" / "dreams_golden.npz")
    loss = focal_cross_entropy(
        torch.from_numpy(golden["masked_logits"]), torch.from_numpy(golden["masked_target_class"]), 5.0
    )
    np.testing.assert_allclose(loss.numpy(), golden["masked_focal_loss"], rtol=1e-5)


def test_retention_order_ignores_the_unknown() -> None:
    logits = torch.tensor([2.0, -1.0, 5.0])
    known = functional.binary_cross_entropy_with_logits(logits[:2], torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(retention_order_loss(logits, torch.tensor([1, 0, -100])), known)
    assert retention_order_loss(logits, torch.full((3,), -100)).item() == 0.0


def test_triplet_loss_by_hand() -> None:
    anchor = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    positive = torch.tensor([[2.0, 0.0], [0.0, 3.0]])  # cosines 1 and 0
    negative = torch.tensor([[0.0, 5.0], [4.0, 0.0]])  # cosines 0 and 1
    assert cosine_triplet_loss(anchor, positive, negative, 0.1).item() == pytest.approx((0.0 + 1.1) / 2)


def test_mean_over_sides_weighs_the_sides_not_the_peaks() -> None:
    losses, rows = torch.tensor([1.0, 3.0, 8.0]), torch.tensor([0, 0, 1])
    assert mean_over_sides(losses, rows, None).item() == pytest.approx(4.0)
    assert mean_over_sides(losses, rows, torch.tensor([[0, 1]])).item() == pytest.approx((2.0 + 8.0) / 2)
    assert mean_over_sides(losses[:0], rows[:0], None).item() == 0.0
