from __future__ import annotations

import math

import pytest
import torch
from contract import SPECTRA, ModelContract
from transformers import AutoModel, AutoModelForMaskedLM, RobertaConfig, RobertaModel

from msformers.modeling.registry import MODELS
from msformers.modeling.smiles_roberta import SmilesRobertaForPreTraining, SmilesRobertaModel
from msformers.tokenization.smiles import build_smiles_tokenizer

SMILES = ["CC(=O)Oc1ccccc1C(=O)O", "Oc1ccccc1", "CCN(CC)CC"]


class TestSmilesRoberta(ModelContract):
    name = "smiles-roberta"

    def inputs(self, spectra=SPECTRA):
        """A molecule for each spectrum of the contract, by its number of peaks."""
        smiles = [SMILES[len(spectrum["mz"]) % 3] for spectrum in spectra]
        return dict(build_smiles_tokenizer()(smiles, padding=True, return_tensors="pt"))

    def training_inputs(self, model_class):
        inputs = self.inputs()
        if model_class is SmilesRobertaForPreTraining:
            inputs |= {
                "labels": inputs["input_ids"],
                "descriptors": torch.ones(2, 2),
                "fingerprints": torch.ones(2, 64),
            }
        return inputs


def tiny(cls=SmilesRobertaForPreTraining, **fields):
    torch.manual_seed(0)
    return cls(MODELS["smiles-roberta"].tiny_config(**fields)).eval()


def batch():
    return dict(build_smiles_tokenizer()(SMILES, padding=True, return_tensors="pt"))


def test_it_is_transformers_roberta():
    """Same weights, same numbers as the stock model; its checkpoints load."""
    model = tiny(SmilesRobertaModel)
    fields = {
        name: getattr(model.config, name)
        for name in (
            *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
            *("max_position_embeddings", "type_vocab_size", "pad_token_id"),
        )
    }
    stock = RobertaModel(RobertaConfig(**fields), add_pooling_layer=False).eval()
    stock.load_state_dict(model.state_dict())
    assert torch.allclose(stock(**batch()).last_hidden_state, model(**batch()).last_hidden_state, atol=1e-6)


def test_padding_does_not_matter():
    inputs = batch()
    model = tiny(SmilesRobertaModel)
    alone = model(**build_smiles_tokenizer()(SMILES[1:2], return_tensors="pt")).last_hidden_state[:, 0]
    assert torch.allclose(model(**inputs).last_hidden_state[1:2, 0], alone, atol=1e-5)


def test_the_loss_is_the_weighted_sum_of_its_parts():
    model = tiny(mlm_weight=2.0, descriptor_weight=0.5, fingerprint_weight=3.0)
    inputs = batch()
    labels = torch.full_like(inputs["input_ids"], -100)
    labels[:, 2] = inputs["input_ids"][:, 2]
    values = torch.tensor([[1.0, 2.0], [0.0, float("nan")], [0.5, -1.0]])
    bits = torch.randint(0, 2, (3, 64))
    output = model(**inputs, labels=labels, descriptors=values, fingerprints=bits)
    scores = output.logits[:, 2].log_softmax(-1)
    mlm = -scores[torch.arange(3), inputs["input_ids"][:, 2]].mean()
    known = [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1)]
    squared = sum((output.descriptors[i, j] - values[i, j]) ** 2 for i, j in known) / 5
    probability = output.fingerprint_logits.sigmoid()
    cross = -torch.where(bits == 1, probability.log(), (1 - probability).log()).mean()
    assert output.mlm_loss.item() == pytest.approx(mlm.item(), rel=1e-5)
    assert output.descriptor_loss.item() == pytest.approx(squared.item(), rel=1e-5)
    assert output.fingerprint_loss.item() == pytest.approx(cross.item(), rel=1e-5)
    assert output.loss.item() == pytest.approx((2 * mlm + 0.5 * squared + 3 * cross).item(), rel=1e-5)


def test_descriptors_are_read_from_the_first_token_alone():
    model = tiny()
    output = model(**batch())
    assert torch.equal(output.descriptors, model.descriptor_head(output.pooler_output))
    assert output.loss is None


def test_nothing_masked_gives_zero_and_not_nan():
    inputs = batch()
    output = tiny()(**inputs, labels=torch.full_like(inputs["input_ids"], -100))
    assert output.loss.item() == 0.0
    unknown = torch.full((3, 2), math.nan)
    assert tiny()(**inputs, descriptors=unknown).loss.item() == 0.0


def test_targets_without_a_head_are_refused():
    model = tiny(descriptor_names=[], fingerprint_bits=0)
    with pytest.raises(ValueError, match="descriptor_names"):
        model(**batch(), descriptors=torch.zeros(3, 2))
    with pytest.raises(ValueError, match="fingerprint_bits"):
        model(**batch(), fingerprints=torch.zeros(3, 8))


def test_every_parameter_learns():
    model = tiny().train()
    inputs = batch()
    model(
        **inputs, labels=inputs["input_ids"], descriptors=torch.zeros(3, 2), fingerprints=torch.zeros(3, 64)
    ).loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_save_and_load_with_heads_and_without(tmp_path):
    model = tiny()
    model.save_pretrained(tmp_path)
    loaded, info = SmilesRobertaForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert torch.equal(loaded.eval()(**batch()).logits, model(**batch()).logits)
    assert type(AutoModelForMaskedLM.from_pretrained(tmp_path)) is SmilesRobertaForPreTraining
    encoder, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert type(encoder) is SmilesRobertaModel and not info["missing_keys"]
    assert torch.equal(encoder.eval()(**batch()).last_hidden_state[:, 0], model(**batch()).pooler_output)
    assert loaded.lm_head.decoder.weight is loaded.roberta.embeddings.word_embeddings.weight


@pytest.mark.parametrize(
    ("fields", "message"), [({"descriptor_means": [1.0]}, "1 values for 2"), ({"layers": 3}, "layers")]
)
def test_what_a_configuration_refuses(fields, message):
    with pytest.raises(ValueError, match=message):
        MODELS["smiles-roberta"].tiny_config(**fields)
