from __future__ import annotations

import pytest
import torch

from msformers.modeling.sinusoid import Sinusoid, wavelength_terms


def test_ends_of_the_published_wavelengths() -> None:
    terms = wavelength_terms(256, 0.001, 1e4)
    assert terms.dtype == torch.float32
    assert terms[[0, -1]].tolist() == pytest.approx([1.5915e-4, 1591.549], rel=1e-4)
    assert wavelength_terms(256, 1e-6, 1.0)[[0, -1]].tolist() == pytest.approx([1.5915e-7, 0.15915], rel=1e-4)


def test_sines_come_first_and_the_quotient_is_float32() -> None:
    module = Sinusoid(8, 0.001, 1e4)
    mz = torch.tensor([[250.12345, 2500.0]])
    encoded = module(mz)
    angles = (mz.unsqueeze(-1) / module.terms).double()
    torch.testing.assert_close(encoded[..., :4], angles.sin().float())
    torch.testing.assert_close(encoded[..., 4:], angles.cos().float())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_stored_terms_survive_every_cast(dtype: torch.dtype) -> None:
    module = Sinusoid(8, 0.001, 1e4)
    module.terms.mul_(1.000001)
    stored, mz = module.terms.clone(), torch.tensor([812.3])
    expected = module(mz)
    assert torch.equal(module.to(dtype).terms, stored) and torch.equal(module(mz), expected)


def test_terms_that_a_loader_has_cast_are_computed_again() -> None:
    module, mz = Sinusoid(8, 0.001, 1e4), torch.tensor([812.3])
    expected = module(mz)
    module.terms = module.terms.to(torch.bfloat16)
    assert torch.equal(module(mz), expected)


def test_impossible_wavelengths_are_refused() -> None:
    with pytest.raises(ValueError, match="need two or more, all above 0"):
        Sinusoid(2, 0.001, 1e4)
    with pytest.raises(ValueError, match="all above 0"):
        Sinusoid(8, 0.0, 1e4)
