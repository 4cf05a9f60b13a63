from __future__ import annotations

from typing import Any

import pytest
import torch
from casanovo_support import batch, tiny
from contract import SPECTRA, ModelContract
from peft import LoraConfig, get_peft_model

from msformers.modeling.casanovo import CasanovoForPeptideSequencing, CasanovoModel
from msformers.modeling.casanovo_classifier import CasanovoForSpectrumClassification
from msformers.modeling.casanovo_config import CasanovoConfig
from msformers.modeling.casanovo_layers import grouped
from msformers.modeling.registry import MODELS
from msformers.tokenization.casanovo import CasanovoFeatureExtractor
from msformers.tokenization.peptides import PeptideTokenizer

PEPTIDES = ["PEPTIDEK", "[Acetyl]-GM[Oxidation]R"]


class CasanovoContract(ModelContract):
    """The preparation of version 4 serves both: it knows spectra of few peaks."""

    name = "casanovo"
    version = ""

    def inputs(self, spectra: list[dict[str, Any]] = SPECTRA) -> dict[str, torch.Tensor]:
        charged = [{**spectrum, "charge": 2} for spectrum in spectra]
        return dict(CasanovoFeatureExtractor("4")(charged))

    def training_inputs(self, model_class: type) -> dict[str, torch.Tensor]:
        inputs = self.inputs()
        if model_class is CasanovoForPeptideSequencing:
            inputs["labels"] = labels(self.version)
        if model_class is CasanovoForSpectrumClassification:
            inputs["labels"] = torch.tensor([1.0, 0.0])
        return inputs

    def build(self, model_class: type, **overrides: Any) -> Any:
        return super().build(model_class, version=self.version, **overrides)

    def per_peak(self, change: Any) -> dict[str, torch.Tensor]:
        return {key: v if key == "precursors" else change(v) for key, v in self.inputs().items()}

    def test_filler_does_not_count(self, model_class: type) -> None:
        model = self.build(model_class)
        longer = self.per_peak(lambda v: torch.cat([v, torch.zeros_like(v[:, :3])], dim=1))
        self.close(self.embed(model, longer), self.embed(model))

    def test_order_of_peaks_does_not_count(self, model_class: type) -> None:
        model = self.build(model_class)
        self.close(self.embed(model, self.per_peak(lambda v: v.flip(1))), self.embed(model))


class TestCasanovo4(CasanovoContract):
    name = "casanovo"
    version = "4"


class TestCasanovo5(CasanovoContract):
    name = "casanovo"
    version = "5"


@pytest.fixture(params=["4", "5"])
def version(request: pytest.FixtureRequest) -> str:
    return request.param


def labels(version: str) -> torch.Tensor:
    return PeptideTokenizer(version=version)(PEPTIDES, padding=True, return_tensors="pt").input_ids


@pytest.mark.parametrize(
    ("number", "encoder", "decoder"), [("4", 18_926_080, 28_424_733), ("5", 19_449_856, 28_421_661)]
)
def test_published_parameter_counts(number: str, encoder: int, decoder: int) -> None:
    with torch.device("meta"):
        model = CasanovoForPeptideSequencing(CasanovoConfig(version=number))
    assert sum(p.numel() for p in model.model.parameters()) == encoder
    assert sum(p.numel() for p in model.decoder.parameters()) == decoder


def test_pooling_is_the_mean_of_the_peaks_or_the_spectrum_token(version: str) -> None:
    inputs = batch(3, 9, 6)
    with torch.no_grad():
        mean = tiny(CasanovoModel, version)(**inputs)
        token = tiny(CasanovoModel, version, pooling="global")(**inputs)
    rows = mean.last_hidden_state
    expected = torch.stack([rows[i, 1 : n + 1].mean(0) for i, n in enumerate((3, 9, 6))])
    torch.testing.assert_close(mean.pooler_output, expected, atol=1e-6, rtol=0)
    assert torch.equal(token.pooler_output, rows[:, 0])
    assert not rows[0, 4:].any() and not rows[2, 7:].any()


def test_ragged_and_padded_ways_agree(version: str) -> None:
    model, inputs = tiny(CasanovoModel, version), batch(3, 9, 6)
    with torch.no_grad():
        ragged, padded = model(**inputs), model(**inputs, output_hidden_states=True)
        inferred = model(inputs["peaks"])
    for other in (padded, inferred):
        torch.testing.assert_close(ragged.last_hidden_state, other.last_hidden_state, atol=2e-6, rtol=0)


def test_groups_of_spectra_fit_in_the_cache() -> None:
    assert grouped([3, 4, 5, 20, 2, 1], 9) == [[3, 4], [5], [20], [2, 1]]
    assert grouped([], 9) == []


def test_the_encoder_is_blind_to_the_precursor(version: str) -> None:
    model, inputs = tiny(CasanovoModel, version), batch(5, 5)
    with torch.no_grad():
        assert torch.equal(
            model(**inputs).pooler_output, model(**inputs | {"precursors": None}).pooler_output
        )


def test_training_loss_is_smoothed_and_ignores_padding(version: str) -> None:
    model, inputs, target = tiny(CasanovoForPeptideSequencing, version), batch(4, 7), labels(version)
    output = model(**inputs, labels=target)
    real = target != 0
    chosen = output.logits[:, :-1].log_softmax(-1)[real]
    expected = -chosen.gather(1, target[real][:, None]).mean()
    torch.testing.assert_close(output.loss, expected)
    smoothed = 0.99 * expected - 0.01 * chosen.mean()
    torch.testing.assert_close(model.train()(**inputs, labels=target).loss, smoothed)
    first = model(**inputs).logits
    torch.testing.assert_close(first, output.logits[:, :1], atol=2e-6, rtol=0)


@torch.no_grad()
def test_steps_with_the_cache_equal_the_whole_sequence(version: str) -> None:
    model, inputs = tiny(CasanovoForPeptideSequencing, version), batch(4, 7)
    decoder, tokens = model.decoder, torch.randint(1, 29, (2, 6))
    tokens[1, 2] = 0
    memory = model.model(inputs["peaks"]).last_hidden_state
    present = torch.nn.functional.pad(inputs["attention_mask"], (1, 0), value=1)
    whole = decoder(tokens, inputs["precursors"], memory, present)
    state = decoder.begin(memory, present)
    found = [decoder.step(state, decoder.precursor_token(inputs["precursors"]))]
    for column in tokens.T:
        found.append(decoder.step(state, decoder.tokens(column).unsqueeze(1), column != 0))
    torch.testing.assert_close(torch.stack(found, dim=1), whole, atol=5e-6, rtol=0)


@pytest.mark.parametrize(
    ("precursors", "message"),
    [
        (None, "precursors are missing"),
        (torch.ones(2, 2), r"must be \(2, 3\)"),
        (torch.ones(2, 3, dtype=torch.bfloat16), "bfloat16"),
        (torch.tensor([[700.0, 2, 351], [700.0, 0, 351]]), r"precursors\[1\] has charge 0"),
        (torch.tensor([[700.0, 11, 351], [700.0, 1, 351]]), r"precursors\[0\] has charge 11"),
    ],
)
def test_wrong_precursors_are_named(version: str, precursors: Any, message: str) -> None:
    model, inputs = tiny(CasanovoForPeptideSequencing, version), batch(4, 7) | {"precursors": precursors}
    for call in (model, model.generate):
        with pytest.raises(ValueError, match=message):
            call(**inputs)


def test_autocast_keeps_close(version: str) -> None:
    model, inputs, target = tiny(CasanovoForPeptideSequencing, version), batch(4, 7), labels(version)
    exact = model(**inputs, labels=target)
    for recorded in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = model(**inputs, labels=target, output_hidden_states=recorded)
        assert (found.logits.float() - exact.logits).abs().max() < 0.05


def test_an_adapted_model_still_generates(version: str) -> None:
    model, inputs = tiny(CasanovoForPeptideSequencing, version), batch(6, 9)
    options = {"num_beams": 2, "min_length": 1, "max_length": 8, "precursor_tolerance": 0}
    before = model.generate(**inputs, **options)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=list(MODELS["casanovo"].lora)))
    assert torch.equal(adapted.generate(**inputs, **options).sequences, before.sequences)


def test_heads_of_the_published_tasks() -> None:
    frozen = tiny(CasanovoForSpectrumClassification, "4", classifier_sizes=[512], freeze_encoder=True)
    assert [tuple(layer.weight.shape) for layer in frozen.heads[0].layers] == [(512, 32), (1, 512)]
    assert {name.split(".")[0] for name, p in frozen.named_parameters() if p.requires_grad} == {"heads"}
    with torch.device("meta"):
        multi, phospho = (
            CasanovoForSpectrumClassification(CasanovoConfig(version="4", **fields))
            for fields in (
                {"classifier_sizes": [1028, 128], "classification_tasks": ["quality", "chimericity"]},
                {"classifier_precursor": True},
            )
        )
    sizes = [[tuple(layer.weight.shape) for layer in head.layers] for head in multi.heads]
    assert sizes == 2 * [[(1028, 512), (128, 1028), (1, 128)]]
    assert [tuple(layer.weight.shape) for layer in phospho.heads[0].layers] == [(512, 514), (1, 512)]


def test_unknown_labels_do_not_count() -> None:
    model = tiny(CasanovoForSpectrumClassification, "5", classification_tasks=["quality", "chimericity"])
    inputs = batch(4, 7, 5)
    known = torch.tensor([[1.0, torch.nan], [torch.nan, 0.0], [-1.0, torch.nan]])
    output = model(**inputs, labels=known)
    p = output.logits.sigmoid()
    torch.testing.assert_close(output.loss, -(p[0, 0].log() + (1 - p[1, 1]).log()) / 2)
    nothing = model(**inputs, labels=torch.full((3, 2), torch.nan)).loss
    nothing.backward()
    assert nothing.item() == 0
    with pytest.raises(ValueError, match=r"labels are \(3, 1\), expected \(3, 2\)"):
        model(**inputs, labels=torch.ones(3))


def test_the_phosphorylation_head_sees_precursor_and_charge() -> None:
    model = tiny(CasanovoForSpectrumClassification, "4", classifier_precursor=True)
    inputs = batch(4, 7)
    other = inputs["precursors"] + torch.tensor([0.0, 1.0, 0.0])
    assert not torch.allclose(model(**inputs).logits, model(**inputs | {"precursors": other}).logits)
    with pytest.raises(ValueError, match="precursors are missing"):
        model(**inputs | {"precursors": None})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"version": "3"}, "version must be one of 4, 5, got '3'"),
        ({"pooling": "max"}, "pooling must be mean_peaks or global"),
        ({"num_attention_heads": 5}, "hidden_size = 32 must be even and divisible"),
        ({"residue_masses": [1.0]}, "residue_masses has 1 entries, vocab_size is 29"),
        ({"classification_tasks": ["a", "a"]}, "distinct names"),
    ],
)
def test_impossible_configurations_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CasanovoConfig(**{**MODELS["casanovo"].tiny, **fields})
