from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contract import EMPTY, ONE_PEAK, SPECTRA, ModelContract
from torch.nn import functional
from transformers import AutoModel

from msformers.inference.encode import embed_spectra
from msformers.modeling.lsm1 import (
    Lsm1Config,
    Lsm1ForMaskedPeakModeling,
    Lsm1ForPropertyPrediction,
    Lsm1ForSpectrumSimilarity,
    Lsm1Model,
)
from msformers.modeling.registry import MODELS
from msformers.spectra.spectrum import Spectrum
from msformers.tokenization.lsm1 import Lsm1FeatureExtractor, Lsm1MaskingCollator


class TestLsm1(ModelContract):
    name = "lsm1"

    def training_inputs(self, model_class: type) -> dict[str, torch.Tensor]:
        if model_class is Lsm1ForMaskedPeakModeling:
            return dict(Lsm1MaskingCollator(self.extractor())(SPECTRA))
        extra = {
            Lsm1ForPropertyPrediction: {"property_values": torch.linspace(0, 1, 418).view(2, 209)},
            Lsm1ForSpectrumSimilarity: {"similarity": torch.tensor([0.3])},
        }
        return self.inputs() | extra.get(model_class, {})

    def build(self, model_class: type, **overrides: Any) -> Any:
        scale = {"property_low": [0.0] * 209, "property_high": [1.0] * 209}
        return super().build(model_class, **scale, **overrides)

    def test_order_of_peaks_does_not_count(self, model_class: type) -> None:
        """ALiBi reads the rank by m/z, which the extractor makes: the order in the file does not count."""
        reversed_spectra = [{**s, "mz": s["mz"][::-1], "intensity": s["intensity"][::-1]} for s in SPECTRA]
        model = self.build(model_class)
        assert torch.equal(self.embed(model, self.inputs(reversed_spectra)), self.embed(model))

    def test_bfloat16_keeps_the_mz(self, model_class: type) -> None:
        """The m/z are ids, made before the model; rounding it to bfloat16 first would be far worse."""
        model, inputs = self.build(model_class), self.inputs()
        rounded = [{**s, "mz": torch.tensor(s["mz"], dtype=torch.bfloat16).double().numpy()} for s in SPECTRA]
        exact = self.embed(model, inputs)
        damage = (self.embed(model, self.inputs(rounded)) - exact).norm()
        assert (self.embed(model.to(torch.bfloat16), inputs) - exact).norm() < 0.5 * damage


def tiny(cls: type = Lsm1Model, **overrides: Any) -> Any:
    torch.manual_seed(0)
    return cls(MODELS["lsm1"].tiny_config(**overrides)).eval()


def spectra(*sizes: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [
        {"mz": rng.uniform(50, 900, n), "intensity": rng.uniform(1, 100, n), "precursor_mz": 500.0 + n}
        for n in sizes
    ]


def masked_batch(*sizes: int) -> dict[str, torch.Tensor]:
    return dict(Lsm1MaskingCollator(Lsm1FeatureExtractor(), seed=1)(spectra(*sizes)))


HEADS = {
    Lsm1Model: 0,
    Lsm1ForMaskedPeakModeling: 512 + 3 * (512 * 1000 + 1000),
    Lsm1ForPropertyPrediction: 512 * 209 + 209,
    Lsm1ForSpectrumSimilarity: 512 * 128 + 128,
}


@pytest.mark.parametrize("model_class", HEADS)
@pytest.mark.parametrize("strict", [False, True])
def test_parameter_counts(model_class: type, strict: bool) -> None:
    d, ff, layers, part = 512, 2048, 8, 256
    codebooks = 3 * 1000 * part if strict else (1001 + 1001 + 1002) * part
    projection = 3 * part * d + d
    layer = 4 * d * d + 2 * d * ff + 2 * 2 * d
    count = codebooks + projection + layers * layer + 2 * d + HEADS[model_class]
    rows = {"vocab_integer": 1000, "vocab_fraction": 1000, "vocab_intensity": 1000}
    config = Lsm1Config(**rows, precursor_intensity_row=999) if strict else Lsm1Config()
    with torch.device("meta"):
        model = model_class(config)
    assert sum(p.numel() for p in model.parameters()) == count


def test_the_strict_codebooks_give_the_precursor_their_last_row() -> None:
    rows = {"vocab_integer": 1000, "vocab_fraction": 1000, "vocab_intensity": 1000}
    model = tiny(**rows, precursor_intensity_row=999)
    batch = Lsm1FeatureExtractor()(spectra(5, 2))
    assert model(**batch).pooler_output.isfinite().all()
    as_base_peak = batch["token_ids"].clone()
    as_base_peak[:, 0, 2] = 999
    tokens = [model.embeddings(ids) for ids in (batch["token_ids"], as_base_peak)]
    assert torch.equal(*tokens)
    own_row = tiny()
    assert not torch.equal(own_row.embeddings(batch["token_ids"]), own_row.embeddings(as_base_peak))


def test_the_vector_is_the_mean_of_all_tokens_and_the_precursor() -> None:
    batch, model = Lsm1FeatureExtractor()(spectra(6, 2)), tiny()
    output = model(**batch)
    for row, n in enumerate((7, 3)):
        mean = output.last_hidden_state[row, :n].mean(0)
        torch.testing.assert_close(output.pooler_output[row], mean, atol=1e-6, rtol=0)
    other = {**batch, "token_ids": batch["token_ids"].clone()}
    other["token_ids"][:, 0, 1] += 1
    assert not torch.allclose(model(**other).pooler_output, output.pooler_output, atol=1e-4)


def test_neither_the_batch_nor_its_padding_changes_a_spectrum() -> None:
    model, extractor = tiny(), Lsm1FeatureExtractor()
    with torch.no_grad():
        together = model(**extractor(spectra(40, 3, 64, 0))).pooler_output
        alone = torch.cat([model(**extractor(s)).pooler_output for s in spectra(40, 3, 64, 0)])
    torch.testing.assert_close(together, alone, atol=2e-6, rtol=0)
    batch = extractor(spectra(5, 2))
    junk = {**batch, "token_ids": batch["token_ids"].clone()}
    junk["token_ids"][batch["attention_mask"] == 0] = 7
    assert torch.equal(model(**junk).pooler_output, model(**batch).pooler_output)
    without_mask = {key: value for key, value in batch.items() if key != "attention_mask"}
    assert torch.equal(model(**without_mask).pooler_output, model(**batch).pooler_output)


@pytest.mark.parametrize("exempt", [False, True])
def test_attention_falls_with_the_distance_in_rank(exempt: bool) -> None:
    model = tiny(alibi_exempt_precursor=exempt)
    model.set_attn_implementation("eager")
    for layer in model.encoder.layers:
        torch.nn.init.zeros_(layer.attention.q_proj.weight)  # only ALiBi is left
    weights = model(**Lsm1FeatureExtractor()(spectra(8)), output_attentions=True).attentions[0][0]
    fall = weights[:, 3, 4:].log().diff(dim=-1)
    torch.testing.assert_close(fall, fall[:, :1].expand_as(fall), atol=1e-4, rtol=0)
    assert (fall < 0).all()
    if exempt:
        torch.testing.assert_close(weights[:, 3, 0], weights[:, 3, 3])
        torch.testing.assert_close(weights[:, 0], torch.full_like(weights[:, 0], 1 / 9))
    else:
        torch.testing.assert_close(weights[:, 3, 0], weights[:, 3, 6])


def test_autocast() -> None:
    model, batch = tiny(), Lsm1FeatureExtractor()(spectra(9, 4))
    exact = model(**batch).pooler_output
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(**batch).pooler_output
    assert functional.cosine_similarity(rough.float(), exact).min() > 0.999


def test_the_loss_is_100_integer_fraction_intensity_over_all_real_peaks() -> None:
    model, batch = tiny(Lsm1ForMaskedPeakModeling), masked_batch(12, 5)
    output = model(**batch)
    torch.testing.assert_close(
        output.loss, 100 * output.loss_integer + output.loss_fraction + output.loss_intensity
    )
    targets = torch.cat([batch["token_ids"][0, 1:13], batch["token_ids"][1, 1:6]])
    for column, part in enumerate(("integer", "fraction", "intensity")):
        logits = output[f"logits_{part}"]
        assert logits.shape == (17, 1000)
        expected = functional.cross_entropy(logits, targets[:, column])
        torch.testing.assert_close(output[f"loss_{part}"], expected)
    weighed = tiny(Lsm1ForMaskedPeakModeling, weight_integer=2.0, weight_fraction=0.0, weight_intensity=0.0)
    torch.testing.assert_close(weighed(**batch).loss, 2 * output.loss_integer)


def test_a_masked_peak_cannot_be_seen() -> None:
    model, batch = tiny(Lsm1ForMaskedPeakModeling), masked_batch(12, 5)
    other = {**batch, "token_ids": batch["token_ids"].clone(), "peaks": batch["peaks"].clone()}
    other["token_ids"][batch["peak_mask"]] = 321
    other["peaks"][batch["peak_mask"]] = 0.5
    assert torch.equal(model(**batch).logits_integer, model(**other).logits_integer)
    seen = {**batch, "peak_mask": torch.zeros_like(batch["peak_mask"])}
    assert not torch.allclose(model(**seen).logits_integer, model(**batch).logits_integer, atol=1e-4)
    del seen["peak_mask"]
    assert torch.isfinite(model(**seen).loss)


def test_reconstruction_errors_of_masked_and_visible_peaks() -> None:
    model, batch = tiny(Lsm1ForMaskedPeakModeling), masked_batch(3)
    output, ids = model(**batch), batch["token_ids"][0, 1:]
    for part, column in (("integer", 0), ("fraction", 1), ("intensity", 2)):
        output[f"logits_{part}"] = functional.one_hot(ids[:, column], 1000).float()
    errors = model.reconstruction_errors(output, batch)
    assert not errors.mz.any() and not errors.intensity.any()
    assert torch.equal(errors.masked, batch["peak_mask"][0, 1:]) and errors.masked.sum() == 1
    wrong = (ids + torch.tensor([[2, -1, 0], [0, 5, 0], [0, 0, -9]])).clamp(0, 999)
    for part, column in (("integer", 0), ("fraction", 1), ("intensity", 2)):
        output[f"logits_{part}"] = functional.one_hot(wrong[:, column], 1000).float()
    errors = model.reconstruction_errors(output, batch)
    assert errors.mz.tolist() == pytest.approx([1.999, 0.005, 0.0])
    assert errors.intensity.tolist() == pytest.approx([0.0, 0.0, 9 / 999])


def test_a_batch_without_any_peak_has_no_loss() -> None:
    model = tiny(Lsm1ForMaskedPeakModeling)
    loss = model(**Lsm1MaskingCollator(Lsm1FeatureExtractor())([EMPTY, EMPTY])).loss
    assert loss.item() == 0
    loss.backward()


def test_similarity_is_the_cosine_of_the_halves() -> None:
    model, batch = tiny(Lsm1ForSpectrumSimilarity), Lsm1FeatureExtractor()(spectra(5, 6, 7, 8))
    output = model(**batch, similarity=torch.tensor([0.2, 0.9], dtype=torch.float64))
    torch.testing.assert_close(output.embeddings.norm(dim=-1), torch.ones(4))
    assert output.embeddings.shape == (4, 12)
    cosine = functional.cosine_similarity(output.embeddings[:2], output.embeddings[2:])
    torch.testing.assert_close(output.loss, ((cosine - torch.tensor([0.2, 0.9])) ** 2).mean())
    with pytest.raises(ValueError, match=r"similarity \(3,\) does not pair the halves of 4 rows"):
        model(**batch, similarity=torch.zeros(3))


@pytest.mark.parametrize("model_class", [Lsm1ForMaskedPeakModeling, Lsm1ForSpectrumSimilarity])
def test_losses_fall_in_training(model_class: type) -> None:
    model = tiny(model_class, hidden_dropout=0.0, attention_dropout=0.0).train()
    batch = masked_batch(6, 7, 8, 9)
    if model_class is Lsm1ForSpectrumSimilarity:
        batch = {**Lsm1FeatureExtractor()(spectra(6, 7, 8, 9)), "similarity": torch.tensor([0.1, 0.8])}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(25):
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_a_pretrained_encoder_goes_into_every_head(tmp_path: Path) -> None:
    pretrained = tiny(Lsm1ForMaskedPeakModeling)
    pretrained.save_pretrained(tmp_path)
    batch = Lsm1FeatureExtractor()(SPECTRA)
    expected = AutoModel.from_pretrained(tmp_path).eval()(**batch).pooler_output
    for head in (Lsm1ForPropertyPrediction, Lsm1ForSpectrumSimilarity):
        model = head.from_pretrained(tmp_path).eval()
        assert torch.equal(model.model(**batch).pooler_output, expected)


def test_bad_spectra_cost_only_themselves() -> None:
    def spectrum(index: int, n: int, **fields: Any) -> Spectrum:
        rng = np.random.default_rng(n)
        peaks = {"mz": np.sort(rng.uniform(50, 900, n)), "intensity": rng.uniform(1, 9, n)}
        return Spectrum(index=index, native_id=f"scan={index}", **peaks, **fields)

    rows = [
        spectrum(0, 5, precursor_mz=500.0),
        spectrum(1, 5, precursor_mz=None),
        spectrum(2, 5, precursor_mz=1500.5),
        spectrum(3, 0, precursor_mz=500.0),
        spectrum(4, 1, precursor_mz=500.0, ion_mode="negative"),
        spectrum(5, 10_000, precursor_mz=500.0),
    ]
    vectors, failed = embed_spectra(rows, tiny(), Lsm1FeatureExtractor())
    assert vectors.shape == (6, 24) and set(failed) == {1, 2}
    assert "scan=1: precursor_mz is missing" in failed[1]
    assert "scan=2: precursor_mz is 1500.5, LSM1 reads up to 1000 Th" in failed[2]
    assert vectors[[0, 3, 4, 5]].any(axis=1).all()


def test_errors_say_what_to_do() -> None:
    for cls in (Lsm1Model, Lsm1ForMaskedPeakModeling, Lsm1ForPropertyPrediction):
        with pytest.raises(ValueError, match="prepare spectra with Lsm1FeatureExtractor"):
            tiny(cls)(**{k: v for k, v in Lsm1FeatureExtractor()(ONE_PEAK).items() if k != "token_ids"})
    with pytest.raises(ValueError, match="24 is not divisible by num_attention_heads = 5"):
        tiny(num_attention_heads=5)
    with pytest.raises(ValueError, match="the strict codebook of 1000 rows takes 999"):
        tiny(vocab_intensity=1000)
