from __future__ import annotations

import pytest
import torch
from contract import SPECTRA, ModelContract
from transformers import GPT2Config, GPT2LMHeadModel

from msformers.modeling.registry import MODELS
from msformers.modeling.selfies_gpt2 import SelfiesGpt2LMHeadModel, SelfiesGpt2Model

IDS = torch.tensor([[1, 5, 6, 7, 8, 2], [1, 9, 10, 5, 6, 2]])


def tiny(cls=SelfiesGpt2LMHeadModel, **fields):
    torch.manual_seed(0)
    return cls(MODELS["selfies-gpt2"].tiny_config(**fields)).eval()


def context(rows=2, count=3):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, count, 32, generator=generator)


class TestSelfiesGpt2(ModelContract):
    name = "selfies-gpt2"

    def inputs(self, spectra=SPECTRA):
        """Six tokens and three context vectors for each spectrum of the contract, by its number of peaks."""
        sizes = [len(spectrum["mz"]) for spectrum in spectra]
        ids = torch.stack([IDS[size % 2] for size in sizes])
        return {
            "input_ids": ids,
            "encoder_hidden_states": torch.stack([context(4)[size % 4] for size in sizes]),
        }

    def training_inputs(self, model_class):
        inputs = self.inputs()
        return inputs | ({"labels": inputs["input_ids"]} if model_class is SelfiesGpt2LMHeadModel else {})

    def pooled(self, output):
        return (output["logits"] if "logits" in output else output["last_hidden_state"])[:, -1]


def test_it_is_transformers_gpt2_behind_a_projection():
    model = tiny()
    names = ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "n_inner", "activation_function")
    fields = {name: getattr(model.config, name) for name in names}
    stock = GPT2LMHeadModel(
        GPT2Config(**fields, add_cross_attention=True, bos_token_id=1, eos_token_id=2)
    ).eval()
    report = stock.load_state_dict(model.state_dict(), strict=False)
    assert not report.missing_keys
    assert all(key.startswith("transformer.context_") for key in report.unexpected_keys)
    projected = model.transformer.project_context(context())
    expected = stock(IDS, encoder_hidden_states=projected).logits
    torch.testing.assert_close(model(IDS, encoder_hidden_states=context()).logits, expected)


def test_the_context_matters_and_its_mask_is_obeyed():
    model = tiny()
    for parameter in model.parameters():
        parameter.data.mul_(3)
    one = model(IDS, encoder_hidden_states=context()).logits
    assert not torch.allclose(one, model(IDS, encoder_hidden_states=context() + 1).logits, atol=1e-3)
    more = torch.cat([context(), torch.full((2, 2, 32), 9.0)], dim=1)
    mask = torch.tensor([[1, 1, 1, 0, 0]] * 2)
    padded = model(IDS, encoder_hidden_states=more, encoder_attention_mask=mask).logits
    torch.testing.assert_close(padded, one, atol=1e-5, rtol=0)


def test_a_context_of_another_width_is_refused():
    with pytest.raises(ValueError, match="context_size=32"):
        tiny()(IDS, encoder_hidden_states=torch.zeros(2, 1, 7))


def test_labels_are_shifted_and_padding_is_not_scored():
    model, labels = tiny(), IDS.clone()
    labels[1, 4:] = -100
    output = model(IDS, encoder_hidden_states=context(), labels=labels)
    chances = output.logits.log_softmax(-1)
    picked = [chances[0, place, IDS[0, place + 1]] for place in range(5)]
    picked += [chances[1, place, IDS[1, place + 1]] for place in range(3)]
    torch.testing.assert_close(output.loss, -torch.stack(picked).mean())


@pytest.mark.parametrize("beams", [1, 4])
def test_cached_generation_equals_uncached(beams):
    model = tiny()
    given = {
        "encoder_hidden_states": context(),
        "encoder_attention_mask": torch.tensor([[1, 1, 0], [1, 1, 1]]),
    }
    options = {"num_beams": beams, "num_return_sequences": beams, "max_length": 14, "do_sample": False}
    ids = IDS[:, :1]
    cached = model.generate(ids, **given, **options, use_cache=True)
    assert torch.equal(cached, model.generate(ids, **given, **options, use_cache=False))
    alone = model.generate(ids[1:], **{key: value[1:] for key, value in given.items()}, **options)
    width = min(cached.shape[1], alone.shape[1])
    assert torch.equal(cached[beams:, :width], alone[:, :width])


def test_generation_starts_by_itself():
    written = tiny().generate(encoder_hidden_states=context(), max_length=9)
    assert written.shape[0] == 2 and written[:, 0].tolist() == [1, 1]


def test_without_context_it_is_a_language_model():
    logits = tiny(SelfiesGpt2Model)(IDS).last_hidden_state
    assert logits.shape == (2, 6, 32)
