"""A small RoBERTa on SMILES whose [CLS] vector means something: the molecular side of SpecBridge.

The layers are those of transformers' RoBERTa; own is the pre-training: masked tokens, and molecular descriptors and
fingerprints read off [CLS] alone, so that near vectors are alike molecules and not alike strings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.roberta.modeling_roberta import RobertaLMHead, RobertaModel, RobertaPreTrainedModel
from transformers.utils import ModelOutput

from .base import MsFormersConfig
from .registry import register_head, register_model


class SmilesRobertaConfig(MsFormersConfig):
    """Size of the encoder, and what its pre-training heads predict.

    Attributes:
        vocab_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size: as in RoBERTa.
        max_position_embeddings: longest input + pad_token_id + 1.
        descriptor_names: descriptors predicted from [CLS]; empty = no descriptor head.
        descriptor_means, descriptor_scales: the targets are (value − mean) / scale.
        fingerprint_bits: length of the predicted Morgan fingerprint; 0 = no fingerprint head.
        mlm_weight, descriptor_weight, fingerprint_weight: weights of the three losses.
    """

    model_type = "msf_smiles_roberta"

    vocab_size: int = 200
    hidden_size: int = 256
    num_hidden_layers: int = 6
    num_attention_heads: int = 8
    intermediate_size: int = 1024
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 260
    type_vocab_size: int = 1
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    is_decoder: bool = False
    add_cross_attention: bool = False
    use_cache: bool = False
    tie_word_embeddings: bool = True
    descriptor_names: list[str] = field(default_factory=list)
    descriptor_means: list[float] = field(default_factory=list)
    descriptor_scales: list[float] = field(default_factory=list)
    fingerprint_bits: int = 0
    mlm_weight: float = 1.0
    descriptor_weight: float = 1.0
    fingerprint_weight: float = 1.0

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        for name in ("descriptor_means", "descriptor_scales"):
            found = len(getattr(self, name))
            if found not in (0, len(self.descriptor_names)):
                raise ValueError(
                    f"{name} has {found} values for {len(self.descriptor_names)} descriptor_names"
                )


@dataclass
class SmilesPreTrainingOutput(ModelOutput):
    """Output of `SmilesRobertaForPreTraining`.

    Attributes:
        loss: () weighted sum of the losses whose targets were given.
        mlm_loss, descriptor_loss, fingerprint_loss: () the parts, unweighted.
        logits: (B, L, vocab_size) masked-token logits.
        descriptors: (B, n_descriptors), standardised.
        fingerprint_logits: (B, fingerprint_bits).
        pooler_output: (B, hidden_size), the [CLS] vector.
        hidden_states, attentions: as in RoBERTa.
    """

    loss: Tensor | None = None
    mlm_loss: Tensor | None = None
    descriptor_loss: Tensor | None = None
    fingerprint_loss: Tensor | None = None
    logits: Tensor | None = None
    descriptors: Tensor | None = None
    fingerprint_logits: Tensor | None = None
    pooler_output: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


TINY = {
    "vocab_size": 200,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 130,
    "descriptor_names": ["MolWt", "MolLogP"],
    "fingerprint_bits": 64,
}


class FirstToken(nn.Module):
    """Pools by taking the first token, [CLS], as it is."""

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, L, d) to (B, d)."""
        return hidden[:, 0]


@register_model(
    "smiles-roberta",
    kind="molecule-encoder",
    paper="RoBERTa, arXiv 1907.11692; ChemBERTa, arXiv 2010.09885 (own pre-training)",
    licence="Apache-2.0",
    lora=("query", "value"),
    tiny=TINY,
)
class SmilesRobertaModel(RobertaModel):
    """RoBERTa encoder of SMILES tokens; the molecule vector, `pooler_output`, is ``last_hidden_state[:, 0]``, (B, hidden_size).

    Inputs are `input_ids` and `attention_mask`, int64 (B, L), of `msformers.tokenization.smiles`. There is no tanh
    pooler. State-dict keys are those of transformers' `RobertaModel`, so its checkpoints load.
    """

    config: SmilesRobertaConfig
    config_class = SmilesRobertaConfig
    main_input_name = "input_ids"
    accepts_loss_kwargs = False

    def __init__(self, config: SmilesRobertaConfig) -> None:
        super().__init__(config, add_pooling_layer=False)
        self.pooler = FirstToken()


@register_head("smiles-roberta", "AutoModelForPreTraining", "AutoModelForMaskedLM")
class SmilesRobertaForPreTraining(RobertaPreTrainedModel):
    """Masked-token, descriptor and fingerprint prediction; the last two from [CLS] only."""

    config: SmilesRobertaConfig
    config_class = SmilesRobertaConfig
    main_input_name = "input_ids"
    accepts_loss_kwargs = False
    _tied_weights_keys: ClassVar[dict[str, str]] = {
        "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    }

    def __init__(self, config: SmilesRobertaConfig) -> None:
        super().__init__(config)
        self.roberta = SmilesRobertaModel(config)
        self.lm_head = RobertaLMHead(config)
        descriptors = len(config.descriptor_names)
        self.descriptor_head = nn.Linear(config.hidden_size, descriptors) if descriptors else None
        bits = config.fingerprint_bits
        self.fingerprint_head = nn.Linear(config.hidden_size, bits) if bits else None
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        """The token decoder, tied to the word embeddings."""
        return self.lm_head.decoder

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Replace the token decoder."""
        self.lm_head.decoder = new_embeddings

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        descriptors: Tensor | None = None,
        fingerprints: Tensor | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> SmilesPreTrainingOutput | tuple[Any, ...]:
        """Predict, and with targets score.

        Args:
            input_ids: int64 (B, L), masked tokens already replaced by ``<mask>``.
            attention_mask: int64 (B, L), 1 = token.
            labels: int64 (B, L), the true token where masked, −100 elsewhere.
            descriptors: float (B, n_descriptors), standardised; NaN = unknown, not counted.
            fingerprints: (B, fingerprint_bits), 0 or 1.
            return_dict: False returns a tuple.
            kwargs: passed to the encoder (`output_hidden_states`, …).
        """
        hidden = self.roberta(input_ids, attention_mask=attention_mask, return_dict=True, **kwargs)
        cls = hidden.pooler_output
        output = SmilesPreTrainingOutput(
            logits=self.lm_head(hidden.last_hidden_state),
            descriptors=self.descriptor_head(cls) if self.descriptor_head is not None else None,
            fingerprint_logits=self.fingerprint_head(cls) if self.fingerprint_head is not None else None,
            pooler_output=cls,
            hidden_states=hidden.hidden_states,
            attentions=hidden.attentions,
        )
        self._score(output, labels, descriptors, fingerprints)
        use_dict = self.config.return_dict if return_dict is None else return_dict
        return output if use_dict else output.to_tuple()

    def _score(
        self,
        output: SmilesPreTrainingOutput,
        labels: Tensor | None,
        values: Tensor | None,
        bits: Tensor | None,
    ) -> None:
        """Fill in the losses whose targets are there."""
        parts: list[Tensor] = []
        if labels is not None and output.logits is not None:
            counted = (labels != -100).sum().clamp(min=1)
            summed = F.cross_entropy(output.logits.flatten(0, 1).float(), labels.flatten(), reduction="sum")
            output["mlm_loss"] = summed / counted
            parts.append(self.config.mlm_weight * output["mlm_loss"])
        if values is not None:
            predicted = self._expect(output.descriptors, "descriptors", "descriptor_names")
            known = values.isfinite()
            errors = (predicted.float() - values.float().nan_to_num())[known].square()
            output["descriptor_loss"] = errors.sum() / known.sum().clamp(min=1)
            parts.append(self.config.descriptor_weight * output["descriptor_loss"])
        if bits is not None:
            predicted = self._expect(output.fingerprint_logits, "fingerprints", "fingerprint_bits")
            output["fingerprint_loss"] = F.binary_cross_entropy_with_logits(predicted.float(), bits.float())
            parts.append(self.config.fingerprint_weight * output["fingerprint_loss"])
        if parts:
            output["loss"] = torch.stack(parts).sum()

    @staticmethod
    def _expect(predicted: Tensor | None, name: str, field_name: str) -> Tensor:
        if predicted is None:
            raise ValueError(
                f"{name} were given, but the model has no head for them: set {field_name} in its config"
            )
        return predicted
