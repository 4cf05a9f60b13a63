from __future__ import annotations

import pytest
import torch
from contract import ModelContract
from torch.nn.functional import cosine_similarity, cross_entropy

from msformers.modeling.auto import AutoModelForMoleculeGeneration
from msformers.modeling.molecule_conditions import KINDS
from msformers.modeling.registry import MODELS
from msformers.modeling.selfies_bert import SelfiesBertModel
from msformers.modeling.spectrum_to_molecule import SpectrumToMoleculeModel

NAN = float("nan")
LABELS = torch.tensor([[1, 5, 6, 7, 2], [1, 8, 2, -100, -100]])


def conditions():
    generator = torch.Generator().manual_seed(3)
    return {
        "fingerprint": torch.rand(2, 64, generator=generator),
        "properties": torch.tensor([[0.1, 0.2, 0.3], [0.4, NAN, 0.6]]),
        "library_embeds": torch.randn(2, 5, 32, generator=generator),
        "library_mask": torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]),
        "library_similarity": torch.tensor([0.4, 0.9]),
        "neutral_mass": torch.tensor([284.0713, NAN], dtype=torch.float64),
        "adduct_ids": torch.tensor([1, 0]),
        "collision_energy": torch.tensor([NAN, 35.0]),
        "polarity": torch.tensor([1, 2]),
    }


class TestSpectrumToMolecule(ModelContract):
    name = "spectrum-to-molecule"

    def training_inputs(self, model_class):
        both = {name: values.clone() for name, values in conditions().items()}
        both["properties"][1, 1] = 0.5
        both["neutral_mass"][1], both["collision_energy"][0], both["adduct_ids"][1] = 198.07, 20.0, 2
        target = torch.randn(2, 32, generator=torch.Generator().manual_seed(4))
        return self.inputs() | both | {"labels": LABELS, "molecule_embeds": target}

    def build(self, model_class, **overrides):
        """Without chance: no condition is withheld in training."""
        return super().build(model_class, **{"condition_dropout": 0.0} | overrides)


CASE = TestSpectrumToMolecule()


def tiny(**fields):
    torch.manual_seed(0)
    return SpectrumToMoleculeModel(MODELS["spectrum-to-molecule"].tiny_config(**fields)).eval()


def test_every_condition_changes_what_is_told():
    model = tiny()
    full, mask = model.get_context(**CASE.inputs(), **conditions())
    # spectrum 1, fingerprint 8, properties 1, library 5, similarity 1, mass, adduct, energy, polarity 1 each
    assert full.shape == (2, 20, 32)
    assert mask[0].tolist() == [1] * 9 + [1] + [1, 1, 1, 0, 0] + [1, 1, 1, 0, 1]
    assert mask[1].tolist() == [1] * 9 + [0] + [1] * 5 + [1, 0, 0, 1, 1]
    for name in conditions():
        if name == "library_mask":
            continue
        fewer = {key: value for key, value in conditions().items() if key != name}
        if name == "library_embeds":
            fewer.pop("library_mask")
        assert model.get_context(**CASE.inputs(), **fewer)[0].shape[1] < 20


def test_likeliest_bits_are_told():
    model = tiny()
    bits = torch.zeros(1, 64)
    bits[0, [3, 9, 40]] = torch.tensor([0.9, 0.05, 0.6])
    context, mask = model.get_context(fingerprint=bits)
    assert mask.tolist() == [[1, 1]]
    layer, kinds = model.conditions.fingerprint, model.conditions.kinds.weight[KINDS.index("fingerprint")]
    expected = layer.bits.weight[3] + layer.probability(torch.tensor([0.8])) + kinds
    torch.testing.assert_close(context[0, 0], expected)


def test_masses_that_differ_by_ten_ppm_are_told_apart():
    model = tiny()
    masses = torch.tensor([400.0, 400.004], dtype=torch.float64)
    context, _ = model.get_context(neutral_mass=masses)
    same, _ = model.get_context(neutral_mass=masses[:1].repeat(2))
    assert (context[0] - context[1]).norm() > 1e-2 * context[0].norm()
    assert torch.equal(same[0], same[1])


def test_training_withholds_conditions_and_evaluation_does_not():
    model = tiny(condition_dropout=0.5)
    assert model.get_context(**CASE.inputs(), fingerprint=torch.ones(2, 64))[1].all()
    model.train()
    torch.manual_seed(0)
    told = torch.stack(
        [model.get_context(neutral_mass=torch.ones(2), polarity=torch.tensor([1, 1]))[1] for _ in range(200)]
    )
    assert told.any(-1).all(), "an example always has something to look at"
    assert 0.35 < 1 - told[..., 1].float().mean() < 0.65


def test_the_losses_are_those_of_language_and_alignment():
    model, target = tiny(alignment_weight=0.5), torch.ones(2, 32)
    output = model(**CASE.inputs(), **conditions(), labels=LABELS, molecule_embeds=target)
    logits, wanted = output.logits[:, :-1].flatten(0, 1), LABELS[:, 1:].flatten()
    torch.testing.assert_close(output.lm_loss, cross_entropy(logits, wanted))
    aligned = 1 - cosine_similarity(output.spectrum_embeds, target).mean()
    torch.testing.assert_close(output.alignment_loss, aligned)
    torch.testing.assert_close(output.loss, output.lm_loss + 0.5 * aligned)
    squared = tiny(alignment="mse")(**CASE.inputs(), molecule_embeds=target)
    torch.testing.assert_close(squared.loss, (squared.spectrum_embeds - 1).square().mean())


def test_generation_is_that_of_the_decoder_on_the_context():
    model = tiny()
    context, mask = model.get_context(**CASE.inputs(), **conditions())
    options = {"num_beams": 3, "num_return_sequences": 3, "max_length": 10}
    expected = model.decoder.generate(encoder_hidden_states=context, encoder_attention_mask=mask, **options)
    assert torch.equal(model.generate(**CASE.inputs(), **conditions(), **options), expected)


def test_library_tokens_are_read_by_the_molecule_encoder():
    bert = MODELS["selfies-bert"]
    model = tiny(molecule_config={"model_type": bert.model_type, **bert.tiny})
    assert not any(p.requires_grad for p in model.molecule_encoder.parameters())
    ids = torch.tensor([[1, 5, 6, 7, 8, 2], [1, 9, 2, 0, 0, 0]])
    vectors, real = model.molecule_encoder.context(ids)
    by_tokens = model.get_context(library_ids=ids, library_similarity=torch.tensor([0.5, 0.5]))
    by_vectors = model.get_context(
        library_embeds=vectors, library_mask=real, library_similarity=torch.tensor([0.5, 0.5])
    )
    assert all(torch.equal(a, b) for a, b in zip(by_tokens, by_vectors, strict=True))
    with pytest.raises(ValueError, match="no molecule encoder"):
        tiny().get_context(library_ids=ids)


def test_what_the_model_is_not_told_is_an_error():
    model = tiny(fingerprint_size=0, property_size=0, library=False, adducts=[], neutral_mass=False)
    assert model.config.told == {"collision_energy", "polarity"}
    with pytest.raises(ValueError, match="not told neutral_mass"):
        model.get_context(neutral_mass=torch.ones(2))
    with pytest.raises(ValueError, match="unknown condition"):
        model.conditions(None, colour=torch.ones(2))
    with pytest.raises(ValueError, match="no condition"):
        model.get_context()
    with pytest.raises(ValueError, match="encoder_fingerprint needs"):
        tiny(fingerprint_size=0, encoder_fingerprint=True)


def test_any_encoder_and_its_own_fingerprint(tmp_path):
    """The encoder may be another registered one, also a head that predicts the fingerprint."""
    entry = MODELS["nexamass"]
    torch.manual_seed(0)
    encoder = entry.heads["AutoModelForMolecularFingerprint"](entry.tiny_config()).eval()
    decoder = tiny().decoder
    fields = {
        "encoder_class": "AutoModelForMolecularFingerprint",
        "encoder_fingerprint": True,
        "encoder_frozen": True,
    }
    torch.manual_seed(0)
    bert = SelfiesBertModel(MODELS["selfies-bert"].tiny_config())
    model = SpectrumToMoleculeModel.from_parts(
        encoder, decoder, bert, fingerprint_size=64, library=True, **fields
    ).eval()
    assert not any(p.requires_grad for p in model.encoder.parameters())
    peaks = torch.tensor([[[91.05, 1.0], [65.04, 0.3]], [[77.04, 1.0], [51.02, 0.2]]])
    inputs = {"peaks": peaks, "features": torch.rand(2, 2, 8)}
    _, fingerprint = model.encode_spectra(**inputs)
    torch.testing.assert_close(fingerprint, encoder(**inputs).logits.sigmoid())
    with_own, _ = model.get_context(**inputs)
    given, _ = model.get_context(**inputs, fingerprint=fingerprint)
    assert torch.equal(with_own, given)
    model.train()
    assert not model.encoder.training and model.decoder.training
    model.eval().save_pretrained(tmp_path)
    loaded = AutoModelForMoleculeGeneration.from_pretrained(tmp_path)
    assert torch.equal(loaded.get_context(**inputs)[0], with_own)
    assert not any(p.requires_grad for p in loaded.encoder.parameters())
    torch.testing.assert_close(model.get_spectrum_features(**inputs), encoder.get_spectrum_features(**inputs))
