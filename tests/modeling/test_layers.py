from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from msformers.modeling.layers import (
    BiasedSelfAttention,
    FeedForward,
    Mlp,
    Packing,
    counted_key_mask,
    eager_attention,
)


def attention(implementation: str = "eager") -> BiasedSelfAttention:
    torch.manual_seed(0)
    config = SimpleNamespace(
        hidden_size=16, num_attention_heads=4, attention_dropout=0.0, _attn_implementation=implementation
    )
    return BiasedSelfAttention(config).eval()


def test_eager_attention_equals_torch() -> None:
    query, key, value, mask = (torch.randn(2, 4, 5, 8) for _ in range(3)), None, None, torch.randn(2, 1, 5, 5)
    query, key, value = query
    ours, weights = eager_attention(attention(), query, key, value, mask, scaling=8**-0.5)
    theirs = functional.scaled_dot_product_attention(query, key, value, mask)
    torch.testing.assert_close(ours.transpose(1, 2), theirs, atol=1e-6, rtol=0)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 5))


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_a_counted_key_is_that_many_equal_keys(implementation: str) -> None:
    layer, tokens, bias = attention(implementation), torch.randn(1, 4, 16), torch.randn(1, 4)
    none = torch.zeros(1, 4, dtype=torch.bool)
    counted = counted_key_mask(bias, none, torch.tensor([[1.0, 1.0, 1.0, 5.0]]), torch.float32)
    once, _ = layer(tokens, counted, none)
    repeat = torch.tensor([0, 1, 2, 3, 3, 3, 3, 3])
    many = counted_key_mask(bias[:, repeat], none[:, repeat], torch.ones(1, 8), torch.float32)
    written_out, _ = layer(tokens[:, repeat], many, none[:, repeat])
    torch.testing.assert_close(once, written_out[:, :4], atol=1e-6, rtol=0)


def test_a_blank_query_attends_evenly_to_all_that_counts() -> None:
    layer, tokens = attention(), torch.randn(1, 3, 16)
    padding, counts = torch.tensor([[False, True, False]]), torch.tensor([[1.0, 3.0, 0.0]])
    _, weights = layer(tokens, counted_key_mask(torch.randn(1, 3), padding, counts, torch.float32), padding)
    expected = torch.tensor([0.25, 0.75, 0.0]).expand(4, 3)
    torch.testing.assert_close(weights[0, :, 1], expected)
    assert (weights[0, :, 0, 2] == 0).all()


def test_key_bias_enters_the_scores() -> None:
    bias = torch.tensor([[0.0, math.log(3.0)]])
    none = torch.zeros(1, 2, dtype=torch.bool)
    mask = counted_key_mask(bias, none, torch.ones(1, 2), torch.float32)
    torch.testing.assert_close(mask.softmax(-1)[0, 0, 0], torch.tensor([0.25, 0.75]))


def test_packing_there_and_back() -> None:
    counts = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 4.0]])
    packing, states = Packing.of(counts), torch.randn(3, 3, 2)
    packed = packing.pack(states)
    assert packed.shape == (1, 6, 2)
    present = counts > 0
    assert torch.equal(packing.pad(packed)[present], states[present])
    zeros = packing.pad_with_zeros(packed)
    assert torch.equal(zeros[present], states[present]) and not zeros[~present].any()
    assert torch.equal(packed[:, packing.first], states[:, :1].transpose(0, 1))


def test_a_full_batch_is_not_packed() -> None:
    assert Packing.of(torch.ones(2, 3)) is None


def test_packed_attention_equals_padded_attention() -> None:
    layer, tokens = attention("sdpa"), torch.randn(2, 4, 16)
    counts = torch.tensor([[1.0, 1.0, 2.0, 0.0], [1.0, 1.0, 1.0, 3.0]])
    padding = torch.tensor([[False, False, True, True], [False, False, False, True]])
    mask = counted_key_mask(torch.randn(2, 4), padding, counts, torch.float32)
    packing = Packing.of(counts)
    padded, _ = layer(tokens, mask, padding)
    packed, _ = layer(packing.pack(tokens), mask, padding, False, packing)
    torch.testing.assert_close(packed, packing.pack(padded), atol=1e-6, rtol=0)
    first, _ = layer(packing.pack(tokens), mask[:, :, :1], padding[:, :1], True, packing)
    torch.testing.assert_close(first.transpose(0, 1), padded[:, :1], atol=1e-6, rtol=0)


def test_the_last_activation_of_an_mlp_has_no_dropout() -> None:
    mlp = Mlp([3, 4, 5], dropout=1.0).train()
    features = torch.randn(2, 3)
    # everything before the last layer is dropped, the last layer is not
    torch.testing.assert_close(mlp(features), functional.relu(mlp.layers[-1].bias).expand(2, 5))


def test_feed_forward_by_hand() -> None:
    layer = FeedForward(2, 3, 0.0)
    x = torch.randn(4, 2)
    expected = functional.relu(x @ layer.up_proj.weight.T) @ layer.down_proj.weight.T
    torch.testing.assert_close(layer(x), expected)
