from __future__ import annotations

import pytest
import torch
from contract import SPECTRA, ModelContract

from msformers.modeling.registry import MODELS
from msformers.modeling.selfies_bert import (
    MeanPooling,
    SelfiesBertForMaskedLM,
    SelfiesBertModel,
    place_codes,
)
from msformers.tokenization.selfies import build_selfies_tokenizer, encode_selfies, selfies_alphabet

SMILES = ["CC(=O)Oc1ccccc1C(=O)O", "Oc1ccccc1", "CCN(CC)CC"]
TEXTS = [encode_selfies(smiles) for smiles in SMILES]
TOKENIZER = build_selfies_tokenizer(selfies_alphabet(TEXTS))


def batch(texts=TEXTS):
    return dict(TOKENIZER(texts, padding=True, return_tensors="pt"))


def tiny(cls=SelfiesBertModel, **fields):
    torch.manual_seed(0)
    return cls(MODELS["selfies-bert"].tiny_config(**fields)).eval()


class TestSelfiesBert(ModelContract):
    name = "selfies-bert"

    def inputs(self, spectra=SPECTRA):
        """A molecule for each spectrum of the contract, by its number of peaks."""
        return batch([TEXTS[len(spectrum["mz"]) % 3] for spectrum in spectra])

    def training_inputs(self, model_class):
        inputs = self.inputs()
        return inputs | ({"labels": inputs["input_ids"]} if model_class is SelfiesBertForMaskedLM else {})

    def pooled(self, output):
        return output["pooler_output"] if "pooler_output" in output else output["logits"][:, 0]


def test_the_pooled_vector_is_the_mean_over_tokens():
    inputs, model = batch(), tiny()
    output = model(**inputs)
    length = int(inputs["attention_mask"][1].sum())
    torch.testing.assert_close(output.pooler_output[1], output.last_hidden_state[1, :length].mean(0))


def test_padding_is_found_without_a_mask():
    inputs, model = batch(), tiny()
    torch.testing.assert_close(model(inputs["input_ids"]).pooler_output, model(**inputs).pooler_output)


def test_context_is_the_mean_and_the_means_of_windows():
    inputs, model = batch(), tiny()
    hidden = model(**inputs).last_hidden_state
    vectors, real = model.context(**inputs)
    lengths = inputs["attention_mask"].sum(1)
    assert real.sum(1).tolist() == [1 + -(-int(length) // 4) for length in lengths]
    torch.testing.assert_close(vectors[:, 0], model(**inputs).pooler_output)
    torch.testing.assert_close(vectors[0, 2], hidden[0, 4:8].mean(0) + place_codes(3, 32)[1])
    last = int(lengths[1]) % 4 or 4
    row = hidden[1, : int(lengths[1])][-last:].mean(0)
    torch.testing.assert_close(
        vectors[1, int(real[1].sum()) - 1] - place_codes(9, 32)[int(real[1].sum()) - 2], row
    )


def test_context_of_one_molecule_does_not_depend_on_its_batch():
    inputs, model = batch(), tiny()
    vectors, real = model.context(**inputs)
    alone, _ = model.context(**batch(TEXTS[1:2]))
    torch.testing.assert_close(vectors[1][real[1]], alone[0], atol=1e-5, rtol=0)


def test_window_zero_is_the_mean_alone():
    inputs, model = batch(), tiny(context_window=0)
    vectors, real = model.context(**inputs)
    assert vectors.shape == (3, 1, 32) and real.all()
    with pytest.raises(ValueError, match="context_window"):
        tiny(context_window=-1)


def test_places_differ():
    codes = place_codes(40, 32)
    assert torch.cdist(codes, codes).add(torch.eye(40) * 9).min() > 0.2


def test_windows_of_padding_are_not_real():
    hidden, mask = torch.ones(1, 6, 2), torch.tensor([[1, 1, 1, 0, 0, 0]])
    means, real = MeanPooling.windows(hidden, mask, 2)
    assert real.tolist() == [[True, True, False]]
    assert means[0, :2].tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_masked_tokens_are_scored_alone():
    model, inputs = tiny(SelfiesBertForMaskedLM), batch()
    labels = torch.full_like(inputs["input_ids"], -100)
    labels[0, 3] = inputs["input_ids"][0, 3]
    output = model(**inputs, labels=labels)
    expected = torch.nn.functional.cross_entropy(output.logits[0, 3:4], labels[0, 3:4])
    torch.testing.assert_close(output.loss, expected)
