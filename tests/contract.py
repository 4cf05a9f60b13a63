"""What every registered model must do. A model's test inherits `ModelContract` and gives its name; that is all.

    class TestDreams(ModelContract):
        name = "dreams"

Each check runs for the base model and for every head of the registry entry, on the tiny configuration. Models that do
not read spectra, or that need other inputs, override `inputs`.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch
import transformers
from contract_support import EMPTY, ONE_PEAK, SPECTRA, ContractSupport
from huggingface_hub.errors import StrictDataclassFieldValidationError
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, set_seed

from msformers.modeling.auto import auto_class

__all__ = ["EMPTY", "ONE_PEAK", "SPECTRA", "ModelContract"]


class ModelContract(ContractSupport):
    """The checks; what they need of a model is in `ContractSupport`."""

    # ---- saving and loading

    def test_save_and_load_are_exact(self, model_class: type, tmp_path: Any) -> None:
        model = self.build(model_class)
        model.save_pretrained(tmp_path)
        loaded, report = model_class.from_pretrained(tmp_path, output_loading_info=True)
        assert not any(report.values()), report
        assert torch.equal(self.embed(model), self.embed(loaded.eval()))
        assert [p.requires_grad for p in model.parameters()] == [p.requires_grad for p in loaded.parameters()]

    def test_safetensors_hold_the_state_dict(self, model_class: type, tmp_path: Any) -> None:
        model = self.build(model_class)
        model.save_pretrained(tmp_path)
        assert set(load_file(tmp_path / "model.safetensors")) == set(model.state_dict()) - set(
            model.all_tied_weights_keys
        )
        assert not list(tmp_path.glob("*.bin"))

    def test_sharded_save(self, model_class: type, tmp_path: Any) -> None:
        model = self.build(model_class)
        model.save_pretrained(tmp_path, max_shard_size="20KB")
        assert len(list(tmp_path.glob("*.safetensors"))) > 1
        assert torch.equal(self.embed(model), self.embed(model_class.from_pretrained(tmp_path).eval()))

    def test_every_weight_is_initialised_from_the_meta_device(self, model_class: type, tmp_path: Any) -> None:
        model = self.build(model_class)
        model.config.save_pretrained(tmp_path)
        save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
        set_seed(1)
        fresh = model_class.from_pretrained(tmp_path)
        for key, buffer in model.named_buffers():
            assert torch.equal(buffer, fresh.get_buffer(key)), key
        for key, parameter in model.named_parameters():
            other = fresh.get_parameter(key)
            assert torch.isfinite(other).all(), key
            if parameter.numel() > 200:
                spread = parameter.std().item()
                assert other.std().item() == pytest.approx(spread, rel=0.3, abs=1e-6), key
                assert abs(other.mean().item() - parameter.mean().item()) < 0.3 * spread + 1e-6, key

    def test_auto_classes_find_it(self, model_class: type, tmp_path: Any) -> None:
        self.build(model_class).save_pretrained(tmp_path)
        assert type(AutoConfig.from_pretrained(tmp_path)) is self.entry.config_class
        base = AutoModel.from_pretrained(tmp_path)
        assert type(base) is self.entry.model_class
        for auto_name, head in self.entry.heads.items():
            assert type(auto_class(auto_name).from_pretrained(tmp_path)) is head

    def test_head_checkpoints_hold_the_base_model(self, model_class: type, tmp_path: Any) -> None:
        if model_class is self.entry.model_class:
            pytest.skip("is the base model")
        model = self.build(model_class)
        model.save_pretrained(tmp_path)
        _, report = self.entry.model_class.from_pretrained(tmp_path, output_loading_info=True)
        assert not report["missing_keys"] and not report["mismatched_keys"], report

    def test_extractor_round_trip(self, tmp_path: Any) -> None:
        extractor = self.extractor()
        extractor.save_pretrained(tmp_path)
        again = AutoFeatureExtractor.from_pretrained(tmp_path)
        assert type(again) is type(extractor) and again.to_dict() == extractor.to_dict()

    # ---- numbers

    def test_deterministic(self, model_class: type) -> None:
        model = self.build(model_class)
        assert torch.equal(self.embed(model), self.embed(model))
        assert torch.equal(self.embed(model), self.embed(self.build(model_class)))

    def test_batch_equals_single(self, model_class: type) -> None:
        model, spectra = self.build(model_class), [*SPECTRA, ONE_PEAK]
        alone = torch.cat([self.embed(model, self.inputs([spectrum])) for spectrum in spectra])
        self.close(self.embed(model, self.inputs(spectra)), alone)

    def test_filler_does_not_count(self, model_class: type) -> None:
        model, inputs = self.build(model_class), self.inputs()
        self.reads_peaks(model)
        longer = {key: torch.cat([v, torch.zeros_like(v[:, :3])], dim=1) for key, v in inputs.items()}
        self.close(self.embed(model, longer), self.embed(model, inputs))

    def test_order_of_peaks_does_not_count(self, model_class: type) -> None:
        model, inputs = self.build(model_class), self.inputs()
        self.reads_peaks(model)
        order = torch.cat(
            [torch.zeros(1, dtype=torch.long), torch.arange(1, inputs["peaks"].shape[1]).flip(0)]
        )
        self.close(
            self.embed(model, {key: v[:, order] for key, v in inputs.items()}), self.embed(model, inputs)
        )

    def test_sdpa_equals_eager(self, model_class: type) -> None:
        if not model_class._supports_sdpa:
            pytest.skip("has no attention")
        model = self.build(model_class)
        model.set_attn_implementation("sdpa")
        fused = self.embed(model)
        model.set_attn_implementation("eager")
        self.close(fused, self.embed(model))

    def test_empty_and_one_peak_spectra(self, model_class: type) -> None:
        model = self.build(model_class)
        self.reads_peaks(model)
        assert torch.isfinite(self.embed(model, self.inputs([EMPTY, ONE_PEAK, *SPECTRA]))).all()
        assert torch.isfinite(self.embed(model, self.inputs([EMPTY]))).all()

    def test_bfloat16_round_trip(self, model_class: type, tmp_path: Any) -> None:
        model = self.build(model_class)
        exact = self.embed(model)
        model.to(torch.bfloat16).save_pretrained(tmp_path)
        loaded = model_class.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
        assert loaded.dtype == torch.bfloat16
        assert torch.equal(self.embed(model), self.embed(loaded))
        assert torch.nn.functional.cosine_similarity(self.embed(loaded), exact).min() > 0.99

    def test_bfloat16_keeps_the_mz(self, model_class: type) -> None:
        """The error of a bfloat16 model is far below what rounding the m/z to bfloat16 would do."""
        model, inputs = self.build(model_class), self.inputs()
        self.reads_peaks(model)
        with torch.no_grad():
            for parameter in model.parameters():  # a fresh tiny model hardly looks at the m/z
                if parameter.dim() > 1:
                    parameter.mul_(2)
        exact = self.embed(model, inputs)
        rounded = {**inputs, "peaks": inputs["peaks"].to(torch.bfloat16).float()}
        damage = (self.embed(model, rounded) - exact).norm()
        assert (self.embed(model.to(torch.bfloat16), inputs) - exact).norm() < 0.5 * damage

    def test_half_precision_peaks_are_refused(self, model_class: type) -> None:
        model, inputs = self.build(model_class), self.inputs()
        self.reads_peaks(model)
        with pytest.raises(ValueError, match="float32"):
            model(**{**inputs, "peaks": inputs["peaks"].to(torch.bfloat16)})

    # ---- outputs

    def test_hidden_states_and_attentions(self, model_class: type) -> None:
        model = self.build(model_class)
        model.set_attn_implementation("eager")
        output = model(**self.inputs(), output_hidden_states=True, output_attentions=True)
        if "hidden_states" not in output:
            pytest.skip("a composite model: ask its encoders")
        assert len(output["hidden_states"]) == model.config.num_hidden_layers + 1
        assert len(output["attentions"]) == model.config.num_hidden_layers
        for weights in output["attentions"]:
            torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights.sum(-1)))
        self.close(self.pooled(output).detach(), self.embed(model))

    def test_tuple_equals_dict(self, model_class: type) -> None:
        model = self.build(model_class)
        with torch.no_grad():
            values, named = model(**self.inputs(), return_dict=False), model(**self.inputs())
        assert isinstance(values, tuple) and not isinstance(named, tuple)
        assert all(
            torch.equal(a, b) for a, b in zip(values, named.to_tuple(), strict=True) if torch.is_tensor(a)
        )

    def test_copies_are_independent(self, model_class: type) -> None:
        model = self.build(model_class)
        before, twin = self.embed(model), copy.deepcopy(model)
        assert torch.equal(self.embed(twin), before)
        for parameter in twin.parameters():
            parameter.data.add_(0.1)
        assert torch.equal(self.embed(model), before)

    def test_signature_and_documentation(self, model_class: type) -> None:
        assert (
            next(iter(list(inspect.signature(model_class.forward).parameters)[1:]))
            == model_class.main_input_name
        )
        text = model_class.forward.__doc__ or ""
        assert "Args:" in text and ("(batch" in text or "(B," in text), "forward must document its shapes"
        assert model_class.main_input_name != "peaks" or "m/z" in text

    # ---- training

    def test_every_parameter_gets_a_gradient(self, model_class: type) -> None:
        grads = self.gradients(self.build(model_class), model_class)
        assert (
            grads
            and [key for key, grad in grads.items() if grad is None or not torch.isfinite(grad).all()] == []
        )

    def test_activation_checkpointing_gives_the_same_gradients(self, model_class: type) -> None:
        if not model_class.supports_gradient_checkpointing:
            pytest.skip("has no layers worth checkpointing")
        plain, checkpointed = self.build(model_class), self.build(model_class)
        checkpointed.activation_checkpointing_enable()
        expected, found = self.gradients(plain, model_class), self.gradients(checkpointed, model_class)
        for key, grad in expected.items():
            torch.testing.assert_close(found[key], grad, atol=1e-6, rtol=1e-4, msg=key)

    def test_the_loss_is_not_rescaled_by_the_trainer(self, model_class: type) -> None:
        assert model_class.accepts_loss_kwargs is False

    def test_lora(self, model_class: type, tmp_path: Any) -> None:
        if not self.entry.lora:
            pytest.skip("registers no LoRA targets")
        base, model = self.build(model_class), self.build(model_class)
        before = self.embed(model)
        adapted = get_peft_model(model, LoraConfig(r=2, target_modules=list(self.entry.lora)))
        trainable = {key for key, p in adapted.named_parameters() if p.requires_grad}
        assert trainable and all("lora_" in key for key in trainable)
        self.close(self.embed(adapted), before)
        with torch.no_grad():
            for key, parameter in adapted.named_parameters():
                if "lora_B" in key:
                    parameter.normal_(std=0.5)
        changed = self.embed(adapted)
        assert not torch.allclose(changed, before, atol=1e-3)
        adapted.save_pretrained(tmp_path)
        reloaded = PeftModel.from_pretrained(base, tmp_path).eval()
        self.close(self.embed(reloaded), changed)
        torch.testing.assert_close(self.embed(adapted.merge_and_unload()), changed, atol=1e-4, rtol=1e-4)

    # ---- configuration

    def test_configuration_round_trip(self, tmp_path: Any) -> None:
        config = self.entry.tiny_config()
        config.save_pretrained(tmp_path)
        assert self.entry.config_class.from_pretrained(tmp_path).to_dict() == config.to_dict()

    def test_unknown_configuration_keys_are_errors(self) -> None:
        with pytest.raises(ValueError, match="no_such_field"):
            self.entry.tiny_config(no_such_field=1)

    def test_wrong_configuration_types_are_errors(self) -> None:
        types = {key: value for key, value in self.entry.tiny.items() if isinstance(value, int)}
        with pytest.raises(StrictDataclassFieldValidationError):
            self.entry.tiny_config(**{next(iter(types)): "seven"})

    def test_the_tiny_model_is_tiny(self) -> None:
        assert sum(p.numel() for p in self.build(self.entry.model_class).parameters()) < 1_000_000
        assert self.entry.paper and self.entry.licence and self.entry.kind
        assert transformers.AutoConfig.for_model(self.entry.model_type).model_type == self.entry.model_type
