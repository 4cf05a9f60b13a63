from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from msformers.modeling.encodings import FourierFrequencies, fourier_features, period_frequencies


def test_the_published_frequencies() -> None:
    frequencies = period_frequencies(1e-4, 1000)
    assert frequencies.shape == (5997,) and frequencies.dtype == torch.float32
    assert frequencies[0] == 5000 and frequencies[4998].item() == pytest.approx(1 / (1e-4 * 9998))
    assert frequencies[4999] == 0.5 and frequencies[-1].item() == pytest.approx(1 / 999)


def test_frequencies_equal_the_reference(shared) -> None:
    golden = np.load(shared / "golden" / "dreams_golden.npz")
    assert np.array_equal(period_frequencies(1e-4, 1000).numpy(), golden["fourier_frequencies"])


def test_features_equal_the_reference(shared) -> None:
    golden = np.load(shared / "golden" / "dreams_golden.npz")
    features = fourier_features(
        torch.from_numpy(golden["fourier_mz"]).float(), period_frequencies(1e-4, 1000)
    )
    found = features.numpy()[:, golden["fourier_index"]]
    np.testing.assert_allclose(found, golden["fourier_features"], atol=1e-6, rtol=0)


def test_another_order_of_operations_is_another_function() -> None:
    mz, frequencies = torch.linspace(50, 950, 50), period_frequencies(1e-4, 1000)
    other = torch.cos(2 * torch.pi * (mz.unsqueeze(-1) * frequencies))
    assert (fourier_features(mz, frequencies)[:, :5997] - other).abs().max() > 0.1


def test_padding_has_cosine_one_and_sine_zero() -> None:
    features = fourier_features(torch.zeros(1), period_frequencies(0.1, 5))
    n = features.shape[1] // 2
    assert (features[:, :n] == 1).all() and (features[:, n:] == 0).all()


@pytest.mark.parametrize("cast", [lambda m: m.to(torch.bfloat16), lambda m: m.half(), lambda m: m.double()])
def test_frequencies_stay_float32(cast) -> None:
    module = FourierFrequencies(0.02, 40)
    mz = torch.tensor([123.4567])
    expected = module(mz)
    moved = cast(copy.deepcopy(module))
    assert moved.frequencies.dtype == torch.float32 and not moved.frequencies.requires_grad
    assert torch.equal(moved(mz), expected)


def test_frequencies_that_were_cast_anyway_are_recomputed() -> None:
    module = FourierFrequencies(0.02, 40)
    expected = module(torch.tensor([123.4567]))
    module.frequencies.data = module.frequencies.data.to(torch.bfloat16)
    assert torch.equal(module(torch.tensor([123.4567])), expected)


def test_no_frequency_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="no frequency"):
        period_frequencies(0.9, 2)
