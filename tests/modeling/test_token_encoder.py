from __future__ import annotations

import pytest
import torch

from msformers.modeling.lsm1_config import TINY, Lsm1Config
from msformers.modeling.token_encoder import PreNormEncoder, alibi_bias, alibi_slopes


@pytest.mark.parametrize("heads", [1, 2, 8, 16])
def test_slopes_are_the_published_powers(heads: int) -> None:
    expected = [2 ** (-8 * k / heads) for k in range(1, heads + 1)]
    torch.testing.assert_close(alibi_slopes(heads), torch.tensor(expected))


def test_other_numbers_of_heads_take_slopes_in_between() -> None:
    """12 heads: those of 8, then every second one of 16."""
    slopes = alibi_slopes(12)
    assert slopes.shape == (12,) and len(set(slopes.tolist())) == 12
    torch.testing.assert_close(slopes[:8], alibi_slopes(8))
    torch.testing.assert_close(slopes[8:], alibi_slopes(16)[[0, 2, 4, 6]])
    assert (alibi_slopes(6) > 0).all() and (alibi_slopes(6) < 1).all()


def test_the_bias_falls_with_distance_in_both_directions() -> None:
    bias = alibi_bias(6, 9)
    assert bias.shape == (1, 6, 9, 9) and torch.equal(bias, bias.transpose(2, 3))
    assert (bias.diagonal(dim1=2, dim2=3) == 0).all()
    assert (bias[0, :, 0].diff(dim=-1) < 0).all()
    torch.testing.assert_close(bias[0, :, 2, 7], -5 * alibi_slopes(6))


def test_the_precursor_can_be_exempt() -> None:
    exempt, literal = alibi_bias(4, 5, exempt_first=True), alibi_bias(4, 5)
    assert not exempt[:, :, 0].any() and not exempt[:, :, :, 0].any()
    assert torch.equal(exempt[:, :, 1:, 1:], literal[:, :, 1:, 1:])


def encoder() -> PreNormEncoder:
    torch.manual_seed(0)
    config = Lsm1Config(**TINY)
    config._attn_implementation = "sdpa"
    return PreNormEncoder(config).eval()


def test_padding_is_computed_or_left_out_with_the_same_result() -> None:
    model, tokens = encoder(), torch.randn(3, 7, 24)
    real = torch.arange(7) < torch.tensor([[7], [1], [4]])
    bias = alibi_bias(6, 7)
    packed, plain = model(tokens, real, bias), model(tokens, real, bias, recorded=True)
    torch.testing.assert_close(packed[real], plain[real], atol=1e-5, rtol=0)
    assert not packed[~real].any() and plain.isfinite().all()


def test_what_stands_in_the_padding_is_not_seen() -> None:
    model, tokens = encoder(), torch.randn(2, 6, 24)
    real = torch.arange(6) < torch.tensor([[6], [3]])
    other = torch.where(real.unsqueeze(-1), tokens, 1e3)
    for recorded in (False, True):
        a, b = (model(t, real, recorded=recorded) for t in (tokens, other))
        assert torch.equal(a[real], b[real])
