from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from contract import SPECTRA, ModelContract

from msformers.modeling.dreams import (
    DreamsConfig,
    DreamsForPreTraining,
    DreamsForSpectrumEmbedding,
    DreamsModel,
)
from msformers.modeling.registry import MODELS
from msformers.tokenization.dreams import DreamsFeatureExtractor, DreamsPreTrainingCollator


class TestDreams(ModelContract):
    name = "dreams"

    def training_inputs(self, model_class: type) -> dict[str, torch.Tensor]:
        if model_class is DreamsForSpectrumEmbedding:
            return {**self.inputs([*SPECTRA, SPECTRA[0]]), "triplets": torch.tensor([[0, 1, 2]])}
        if model_class is DreamsForPreTraining:
            pair = {"first": SPECTRA[0], "second": SPECTRA[1], "order": 1}
            config = self.entry.tiny_config()
            collator = DreamsPreTrainingCollator(
                self.extractor(), config.num_mz_bins, config.mz_bin_size, shift_probability=0.0
            )
            return dict(collator([pair]))
        return self.inputs()


def tiny(cls: type = DreamsModel, **overrides: Any) -> Any:
    torch.manual_seed(0)
    return cls(MODELS["dreams"].tiny_config(**overrides)).eval()


def spectra(*sizes: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [
        {
            "mz": np.sort(rng.uniform(50, 900, n)),
            "intensity": rng.uniform(1, 100, n),
            "precursor_mz": 500.0 + n,
        }
        for n in sizes
    ]


@pytest.mark.parametrize(
    ("model_class", "count"),
    [
        (DreamsModel, 95_549_381),
        (DreamsForPreTraining, 116_051_429),
        (DreamsForSpectrumEmbedding, 117_101_029),
    ],
)
def test_published_parameter_counts(model_class: type, count: int) -> None:
    with torch.device("meta"):
        model = model_class(DreamsConfig())
    assert sum(p.numel() for p in model.parameters()) == count
    assert model.config.hidden_size == 1024


def test_embedding_model_without_the_heads_it_does_not_use() -> None:
    with torch.device("meta"):
        model = DreamsForSpectrumEmbedding(DreamsConfig(keep_pretraining_heads=False))
    assert sum(p.numel() for p in model.parameters()) == 95_549_381 + 1_049_600


def test_collapsed_padding_gives_the_numbers_of_full_padding() -> None:
    model, raw = tiny(), spectra(1, 3, 11, 12, 30, 0)
    collapsed = DreamsFeatureExtractor(12)(raw)
    full = DreamsFeatureExtractor(12, padding="max_length")(raw)
    with torch.no_grad():
        a, b = model(**collapsed), model(**full)
    torch.testing.assert_close(a.pooler_output, b.pooler_output, atol=2e-6, rtol=0)
    for row, n in enumerate((1, 3, 11, 12, 12, 0)):
        torch.testing.assert_close(
            a.last_hidden_state[row, : n + 1], b.last_hidden_state[row, : n + 1], atol=5e-6, rtol=0
        )
        if n < 12:  # the one padding token is every padding token
            one = a.last_hidden_state[row, n + 1].expand(12 - n, -1)
            torch.testing.assert_close(one, b.last_hidden_state[row, n + 1 :], atol=5e-6, rtol=0)


def test_packed_and_recorded_paths_agree() -> None:
    """A batch with filler is packed; asking for hidden states computes it unpacked."""
    model, inputs = tiny(), DreamsFeatureExtractor(12)(spectra(1, 9, 4))
    assert (inputs["token_counts"] == 0).any()
    with torch.no_grad():
        packed, recorded = model(**inputs), model(**inputs, output_hidden_states=True)
    present = inputs["token_counts"] > 0
    torch.testing.assert_close(
        packed.last_hidden_state[present], recorded.last_hidden_state[present], atol=2e-6, rtol=0
    )
    assert not packed.last_hidden_state[~present].any()


def test_pooled_only_is_the_pooled_output() -> None:
    model, inputs = tiny(), DreamsFeatureExtractor(12)(spectra(1, 9, 4))
    with torch.no_grad():
        short, full = model(**inputs, pooled_only=True), model(**inputs)
    assert short.last_hidden_state is None
    torch.testing.assert_close(short.pooler_output, full.pooler_output, atol=2e-6, rtol=0)


def test_gradients_through_collapsed_padding_are_those_of_full_padding() -> None:
    grads = []
    for padding in ("collapsed", "max_length"):
        model = tiny()
        model(**DreamsFeatureExtractor(12, padding=padding)(spectra(2, 7))).pooler_output[
            :, :5
        ].sum().backward()
        grads.append({k: p.grad for k, p in model.named_parameters() if p.grad is not None})
    for key, grad in grads[0].items():
        torch.testing.assert_close(grad, grads[1][key], atol=2e-5, rtol=1e-4, msg=key)


def test_the_published_model_depends_on_the_padding_length() -> None:
    model, raw = tiny(), spectra(5)
    outputs = [model(**DreamsFeatureExtractor(n, padding="max_length")(raw)).pooler_output for n in (6, 12)]
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3


def test_mask_padded_keys_makes_padding_invisible() -> None:
    model, raw = tiny(mask_padded_keys=True), spectra(5)
    batches = [DreamsFeatureExtractor(n, padding="max_length")(raw) for n in (5, 12)]
    outputs = [model(b["peaks"], attention_mask=b["attention_mask"]).pooler_output for b in batches]
    torch.testing.assert_close(outputs[0], outputs[1], atol=2e-6, rtol=0)


def test_autocast_does_not_touch_the_mz() -> None:
    model, inputs = tiny(), DreamsFeatureExtractor(12)(spectra(4, 6))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        features = model.embeddings.fourier(inputs["peaks"][..., 0])
        pooled = model(**inputs).pooler_output
    assert features.dtype == torch.float32
    with torch.no_grad():
        assert torch.equal(features, model.embeddings.fourier(inputs["peaks"][..., 0]))
        exact = model(**inputs).pooler_output
    assert torch.nn.functional.cosine_similarity(pooled.float(), exact).min() > 0.999


def test_pretraining_loss_is_the_weighted_sum_of_both_objectives() -> None:
    model = tiny(DreamsForPreTraining)
    pairs = [{"first": a, "second": b, "order": i} for i, (a, b) in enumerate([spectra(5, 8), spectra(9, 3)])]
    batch = DreamsPreTrainingCollator(DreamsFeatureExtractor(12), 200, 5.0, shift_probability=0.0)(pairs)
    output = model(**batch)
    assert output.mz_logits.shape == (int((batch["mz_labels"] != -100).sum()), 200)
    assert output.order_logits.shape == (2,)
    torch.testing.assert_close(output.loss, 0.8 * output.mask_loss + 0.2 * output.order_loss)
    sides = []
    for rows in ([0, 1], [2, 3]):
        part = {k: batch[k][rows] for k in ("peaks", "attention_mask", "token_counts", "mz_labels")}
        sides.append(model(**part).loss)
    torch.testing.assert_close(output.mask_loss, torch.stack(sides).mean(), atol=1e-5, rtol=1e-5)


def test_contrastive_loss_falls_in_training() -> None:
    model = tiny(DreamsForSpectrumEmbedding, hidden_dropout=0.0, attention_dropout=0.0).train()
    batch = DreamsFeatureExtractor(12)(spectra(6, 7, 8, 9))
    triplets = torch.tensor([[0, 1, 2], [1, 0, 3]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = model(**batch, triplets=triplets).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="32 is not divisible by num_attention_heads = 5"):
        DreamsConfig(**{**MODELS["dreams"].tiny, "num_attention_heads": 5})


def test_shape_of_peaks_is_checked() -> None:
    with pytest.raises(ValueError, match=r"\(batch, tokens, 2\)"):
        tiny()(torch.zeros(2, 5))
