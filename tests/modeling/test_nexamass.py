from typing import Any

import pytest
import torch
from contract import ModelContract

from msformers.modeling.nexamass import (
    NexaMassForContrastivePreTraining,
    NexaMassModel,
    contrastive_loss,
    embedding_spread,
)
from msformers.modeling.nexamass_config import LAYOUTS, NexaMassConfig
from msformers.modeling.nexamass_structure import NexaMassForStructurePrediction
from msformers.tokenization.nexamass import NexaMassFeatureExtractor

FRAGMENTS = [("C6", 0, 12, 100), ("C7O", 0, 8, 50), ("O", 0, 2, 100)]
ANNOTATED = {
    "annotation_size": 2017,
    "context_size": 74,
    "annotation_width": 40,
    "additive_path": True,
    "fingerprint_prior": True,
    "fingerprint_layers": 1,
}


def batch_of(count: int, **changes: Any) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(count)
    spectra = []
    for number in range(count):
        mz = (50 + 400 * torch.rand(4 + number, generator=generator)).sort().values
        intensity = torch.rand(len(mz), generator=generator)
        spectra.append({"mz": mz.tolist(), "intensity": intensity.tolist(), "precursor_mz": 500.2, **changes})
    return spectra


class TestNexaMass(ModelContract):
    name = "nexamass"

    @pytest.mark.skip("its numbers come from the extractor, in float64; the model does not read m/z")
    def test_bfloat16_keeps_the_mz(self, model_class: type) -> None: ...

    def training_inputs(self, model_class: type) -> dict[str, Any]:
        inputs: dict[str, Any] = dict(self.extractor()(batch_of(6)))
        peak_mask = torch.zeros(inputs["attention_mask"].shape, dtype=torch.bool)
        peak_mask[:, 0] = True
        inputs["peak_mask"] = peak_mask
        if model_class is not NexaMassModel:
            inputs["views"] = 2
        if model_class is NexaMassForStructurePrediction:
            generator = torch.Generator().manual_seed(1)
            inputs["fingerprints"] = (torch.rand(6, 64, generator=generator) < 0.3).float()
        return inputs

    def pooled(self, output: Any) -> torch.Tensor:
        return output["pooler_output"] if "pooler_output" in output else output["embeddings"]

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_the_published_number_of_parameters(self, layout: str) -> None:
        with torch.device("meta"):
            model = NexaMassForStructurePrediction(NexaMassConfig(**LAYOUTS[layout]))
        assert sum(parameter.numel() for parameter in model.parameters()) == 14_106_690

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_every_layout_runs(self, layout: str) -> None:
        small = {k: v for k, v in LAYOUTS[layout].items() if k not in ("query_hidden", "retrieval_hidden")}
        model = self.build(NexaMassForStructurePrediction, **small)
        output = model(**self.inputs(), fingerprints=torch.ones(2, 64))
        assert torch.isfinite(output.loss)
        assert ("confidence_logits" in output) == (layout == "B")

    def test_what_encode_gives(self) -> None:
        model = self.build(NexaMassForStructurePrediction)
        encoding = model.encode(**self.inputs())
        assert encoding.embedding.shape == (2, 12)
        assert encoding.query.shape == (2, 8)
        torch.testing.assert_close(encoding.embedding.norm(dim=-1), torch.ones(2))
        torch.testing.assert_close(encoding.query.norm(dim=-1), torch.ones(2))
        assert encoding.fingerprint.shape == (2, 64)
        assert ((encoding.fingerprint >= 0) & (encoding.fingerprint <= 1)).all()

    def test_too_many_peaks_for_the_positions(self) -> None:
        model = self.build(NexaMassModel, n_positions=3, mask_token=False)
        with pytest.raises(ValueError, match="4 peaks but positions for 2"):
            model(**self.inputs())

    def test_missing_features_and_masks(self) -> None:
        with pytest.raises(ValueError, match="NexaMassFeatureExtractor"):
            self.build(NexaMassModel)(torch.zeros(1, 3, 2))
        inputs = self.inputs()
        hidden = torch.ones_like(inputs["attention_mask"], dtype=torch.bool)
        with pytest.raises(ValueError, match="mask_token"):
            self.build(NexaMassModel, mask_token=False)(**inputs, peak_mask=hidden)

    def test_a_hidden_peak_is_not_read(self) -> None:
        model, inputs = self.build(NexaMassModel), self.inputs()
        hidden = torch.zeros_like(inputs["attention_mask"], dtype=torch.bool)
        hidden[:, 1] = True
        other = inputs["features"].clone()
        other[:, 1] = 9.0
        with torch.no_grad():
            first = model(**inputs, peak_mask=hidden).pooler_output
            second = model(**{**inputs, "features": other}, peak_mask=hidden).pooler_output
        torch.testing.assert_close(first, second)


class TestAnnotations:
    def model(self) -> tuple[NexaMassForStructurePrediction, NexaMassFeatureExtractor]:
        extractor = NexaMassFeatureExtractor(fragments=FRAGMENTS)
        torch.manual_seed(0)
        entry = TestNexaMass().entry
        return NexaMassForStructurePrediction(entry.tiny_config(**ANNOTATED)).eval(), extractor

    def test_sizes_agree_with_the_extractor(self) -> None:
        extractor = NexaMassFeatureExtractor(fragments=FRAGMENTS)
        assert extractor.annotation_size == ANNOTATED["annotation_size"]
        assert extractor.context_size == ANNOTATED["context_size"]

    def test_padding_does_not_count(self) -> None:
        model, extractor = self.model()
        spectra = batch_of(4, adduct="[M+H]+")
        with torch.no_grad():
            together = model.get_spectrum_features(**extractor(spectra))
            alone = torch.cat([model.get_spectrum_features(**extractor(one)) for one in spectra])
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)

    def test_annotations_are_required(self) -> None:
        model, _ = self.model()
        with pytest.raises(ValueError, match="annotation_ids"):
            model(**NexaMassFeatureExtractor()(batch_of(1)))

    def test_against_the_prior(self) -> None:
        model, extractor = self.model()
        assert model.prior is not None
        bits = torch.zeros(3, 64)
        bits[:2, :8] = 1
        model.prior.fit(bits)
        batch = extractor(batch_of(2))
        with torch.no_grad():
            logits = model(**batch).logits
            evidence = model.get_spectrum_features(**batch)
        clipped = logits.clamp(-6.9, 6.9) - model.prior.log_odds.clamp(-6.9, 6.9)
        torch.testing.assert_close(evidence, clipped)
        assert not model.prior.log_odds.requires_grad


class TestLosses:
    def test_spread_of_one_point_and_of_an_even_cloud(self) -> None:
        assert embedding_spread(torch.ones(5, 4)) == 0
        corners = torch.eye(192)
        assert embedding_spread(torch.cat([corners, -corners])) == pytest.approx(1.0)

    def test_contrastive_loss_prefers_equal_views(self) -> None:
        one = torch.nn.functional.normalize(
            torch.randn(8, 16, generator=torch.Generator().manual_seed(0)), dim=-1
        )
        assert contrastive_loss(torch.cat([one, one]), 0.1) < contrastive_loss(
            torch.cat([one, one.flip(0)]), 0.1
        )
        with pytest.raises(ValueError, match="even batch, got 3"):
            contrastive_loss(one[:3], 0.1)

    def test_equal_molecules_are_no_negatives(self) -> None:
        one = torch.nn.functional.normalize(
            torch.randn(2, 16, generator=torch.Generator().manual_seed(0)), dim=-1
        )
        same = torch.cat([one[:1], one[:1]])
        twice = torch.cat([same, same])
        assert contrastive_loss(twice, 0.1, torch.tensor([7, 7])) == pytest.approx(0.0, abs=1e-6)
        assert contrastive_loss(twice, 0.1) > 0.5

    def test_structure_loss_is_the_sum_of_its_parts(self) -> None:
        support = TestNexaMass()
        model = support.build(NexaMassForStructurePrediction)
        inputs = support.training_inputs(NexaMassForStructurePrediction)
        output = model(**inputs, molecule_ids=torch.arange(6))
        parts = (output.fingerprint_loss, output.retrieval_loss + output.match_loss, output.contrastive_loss)
        total = sum(weight * part for weight, part in zip((1.0, 0.5, 0.1), parts, strict=True))
        torch.testing.assert_close(output.loss, total)

    def test_the_wrong_pair_of_an_equal_molecule_does_not_count(self) -> None:
        support = TestNexaMass()
        model = support.build(NexaMassForStructurePrediction)
        inputs = support.training_inputs(NexaMassForStructurePrediction)
        output = model(**inputs, molecule_ids=torch.zeros(6, dtype=torch.long))
        assert output.match_loss == pytest.approx(0.0, abs=1e-6)


def test_pre_training_reports_the_spread() -> None:
    support = TestNexaMass()
    model = support.build(NexaMassForContrastivePreTraining)
    output = model(**support.training_inputs(NexaMassForContrastivePreTraining))
    assert 0 < output.spread <= 1
    assert output.loss > 0
