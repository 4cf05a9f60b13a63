from typing import Any

import pytest
import torch
from contract import ModelContract

from msformers.modeling.formula_bag import FormulaBagConfig, FormulaBagModel


class TestFormulaBag(ModelContract):
    name = "formula-bag"

    @pytest.mark.skip("a bag has no layers of tokens to look into")
    def test_hidden_states_and_attentions(self, model_class: type) -> None: ...

    @pytest.mark.skip("its numbers come from the extractor, in float64; the model does not read m/z")
    def test_bfloat16_keeps_the_mz(self, model_class: type) -> None: ...

    def test_order_of_peaks_does_not_count(self, model_class: type) -> None:
        model, inputs = self.build(model_class), self.inputs()
        order = torch.randperm(inputs["token_ids"].shape[1], generator=torch.Generator().manual_seed(0))
        shuffled = {key: v[:, order] if key.startswith("token") else v for key, v in inputs.items()}
        self.close(self.embed(model, shuffled), self.embed(model, inputs))

    def test_tokens_are_required(self) -> None:
        with pytest.raises(ValueError, match="FormulaBagFeatureExtractor"):
            self.build(FormulaBagModel)(torch.zeros(1, 3, 2))

    def test_a_weight_of_zero_is_no_token(self) -> None:
        model = self.build(FormulaBagModel)
        inputs: dict[str, Any] = self.inputs()
        more = dict(inputs)
        extra = torch.full((2, 1), 7)
        more["token_ids"] = torch.cat([inputs["token_ids"], extra], 1)
        more["token_weights"] = torch.cat([inputs["token_weights"], torch.zeros(2, 1)], 1)
        self.close(self.embed(model, inputs), self.embed(model, more))

    def test_parameters(self) -> None:
        model = FormulaBagModel(FormulaBagConfig(vocab_size=100, hidden_size=8, num_hidden_layers=2))
        bag, norm, layer = 100 * 8, 2 * 8, 8 * 8 + 8 + 2 * 8
        assert sum(p.numel() for p in model.parameters()) == bag + norm + 2 * layer
