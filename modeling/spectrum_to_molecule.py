"""Spectra to molecules: any spectrum encoder, a projection to the molecules' space, a decoder (LSM1-MS2, lsm1.md §6.4)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from inspect import signature
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import AutoModel, GenerationConfig, GenerationMixin, PreTrainedModel
from transformers.utils import ModelOutput

from .auto import auto_class
from .base import SpectrumPreTrainedModel
from .dreams_config import DreamsConfig
from .molecule_conditions import KINDS, MoleculeConditions, SpectrumToMoleculeConfig, alignment_loss
from .registry import MODELS, register_head, register_model
from .selfies_gpt2 import SelfiesGpt2Config, SelfiesGpt2LMHeadModel
from .sinusoid import Sinusoid

__all__ = ["SpectrumToMoleculeConfig", "SpectrumToMoleculeModel", "SpectrumToMoleculeOutput"]

CONDITIONS = frozenset({*KINDS[1:], "library_embeds", "library_mask", "library_ids"} - {"library"})
"""Keyword inputs that are conditions; all others go to the spectrum encoder."""


@dataclass
class SpectrumToMoleculeOutput(ModelOutput):
    """Output of `SpectrumToMoleculeModel`.

    Attributes:
        loss: () language-model loss + `alignment_weight` × alignment loss, of what was given.
        lm_loss, alignment_loss: () the parts, unweighted, detached.
        logits: (B, L, vocabulary) of the next tokens, when tokens were given.
        spectrum_embeds: (B, c) projected spectra, when there are spectra.
        context, context_mask: (B, K, c) and (B, K), what the decoder was told.
    """

    loss: Tensor | None = None
    lm_loss: Tensor | None = None
    alignment_loss: Tensor | None = None
    logits: Tensor | None = None
    spectrum_embeds: Tensor | None = None
    context: Tensor | None = None
    context_mask: Tensor | None = None


TINY = {
    "encoder_config": {"model_type": DreamsConfig.model_type, **MODELS["dreams"].tiny},
    "decoder_config": {"model_type": SelfiesGpt2Config.model_type, **MODELS["selfies-gpt2"].tiny},
    "projection_hidden": 24,
    "fingerprint_size": 64,
    "fingerprint_tokens": 8,
    "property_size": 3,
    "library": True,
    "adducts": ["[M+H]+", "[M-H]-"],
}


@register_head("spectrum-to-molecule", "AutoModelForMoleculeGeneration")
@register_model(
    "spectrum-to-molecule",
    kind="molecule-generator",
    paper="LSM1-MS2, de novo generation (conditions and mass-aware search are ours)",
    licence="Apache-2.0",
    lora=("q_proj", "v_proj", "c_attn", "q_attn"),
    tiny=TINY,
    extractor="tokenization.dreams:DreamsFeatureExtractor",
)
class SpectrumToMoleculeModel(SpectrumPreTrainedModel):
    """Encoder, projection, conditions and decoder.

    The projected spectrum is compared to the SELFIES-BERT vector of its molecule (alignment) and is one of the context
    vectors from which the decoder writes it (language model). What else is known goes into further context vectors; see
    `MoleculeConditions`.
    """

    config: SpectrumToMoleculeConfig
    config_class = SpectrumToMoleculeConfig
    _no_split_modules: ClassVar[list[str]] = ["GPT2Block", "PreNormLayer"]

    def __init__(self, config: SpectrumToMoleculeConfig) -> None:
        super().__init__(config)
        kind = AutoModel if config.encoder_class == "AutoModel" else auto_class(config.encoder_class)
        self.encoder: PreTrainedModel = kind.from_config(config.encoder_config)
        self._has_pooled_only = "pooled_only" in signature(self.encoder.forward).parameters
        width = int(
            getattr(config.encoder_config, "pooled_size", None) or config.encoder_config.hidden_size  # type: ignore[union-attr]
        )
        hidden, out = config.projection_hidden, config.context_size
        self.projection: nn.Module = nn.Linear(width, out)
        if hidden:
            self.projection = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, out))
        self.conditions = MoleculeConditions(config)
        self.decoder = SelfiesGpt2LMHeadModel(config.decoder_config)  # type: ignore[arg-type]
        self.molecule_encoder: PreTrainedModel | None = None
        if config.molecule_config is not None:
            self.molecule_encoder = AutoModel.from_config(config.molecule_config)
        self.freeze_constants()
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, Sinusoid):
            module.initialize()

    def freeze_constants(self) -> None:
        """Keep the molecule encoder and a frozen spectrum encoder out of training."""
        if self.molecule_encoder is not None:
            self.molecule_encoder.requires_grad_(False)
        if self.config.encoder_frozen:
            self.encoder.requires_grad_(False)

    def train(self, mode: bool = True) -> SpectrumToMoleculeModel:
        """Training mode; an encoder without a trainable parameter stays in evaluation mode (no dropout)."""
        super().train(mode)
        for part in (self.encoder, self.molecule_encoder):
            if part is not None and not any(parameter.requires_grad for parameter in part.parameters()):
                part.eval()
        return self

    @classmethod
    def from_parts(
        cls,
        encoder: PreTrainedModel,
        decoder: SelfiesGpt2LMHeadModel,
        molecule_encoder: PreTrainedModel | None = None,
        **fields: Any,
    ) -> SpectrumToMoleculeModel:
        """A new composite of a trained encoder and a trained decoder.

        Args:
            encoder: any registered spectrum encoder or a head of one; name its Auto class as `encoder_class` if it is a head.
            decoder: gives vocabulary and width of the context.
            molecule_encoder: the SELFIES BERT, to read library matches.
            fields: other fields of `SpectrumToMoleculeConfig`.
        """
        parts = {"encoder": encoder, "decoder": decoder, "molecule_encoder": molecule_encoder}
        names = {
            "encoder": "encoder_config",
            "decoder": "decoder_config",
            "molecule_encoder": "molecule_config",
        }
        given = {name: part for name, part in parts.items() if part is not None}
        configs = {names[name]: part.config for name, part in given.items()}
        model = cls(SpectrumToMoleculeConfig(**configs, **fields))
        for name, part in given.items():
            getattr(model, name).load_state_dict(part.state_dict())
        return model

    def get_spectrum_features(
        self, peaks: Tensor, attention_mask: Tensor | None = None, **inputs: Any
    ) -> Tensor:
        """Spectra to compare with each other, (B, d): the encoder's own features, else the projected vectors."""
        own = getattr(self.encoder, "get_spectrum_features", None)
        if own is not None:
            return own(peaks, attention_mask=attention_mask, **inputs)
        return self.encode_spectra(peaks, attention_mask, **inputs)[0]

    def encode_spectra(
        self, peaks: Tensor, attention_mask: Tensor | None = None, **inputs: Any
    ) -> tuple[Tensor, Tensor | None]:
        """Projected spectra (B, c), and the encoder's fingerprint as probabilities (B, bits) if it is configured so."""
        if self._has_pooled_only:
            inputs["pooled_only"] = True
        output = self.encoder(peaks, attention_mask=attention_mask, return_dict=True, **inputs)
        fingerprint = output.logits.sigmoid() if self.config.encoder_fingerprint else None
        return self.projection(output.pooler_output), fingerprint

    def _context(
        self, peaks: Tensor | None, attention_mask: Tensor | None, inputs: dict[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Context vectors, their mask, projected spectra."""
        given = {name: inputs.pop(name) for name in list(inputs) if name in CONDITIONS}
        spectrum = None
        if peaks is not None:
            spectrum, fingerprint = self.encode_spectra(peaks, attention_mask, **inputs)
            if fingerprint is not None and given.get("fingerprint") is None:
                given["fingerprint"] = fingerprint
        ids = given.pop("library_ids", None)
        if ids is not None:
            if self.molecule_encoder is None:
                raise ValueError(
                    "this model has no molecule encoder; give library_embeds in place of library_ids"
                )
            given["library_embeds"], given["library_mask"] = self.molecule_encoder.context(ids)
        return *self.conditions(spectrum, **given), spectrum

    def get_context(
        self, peaks: Tensor | None = None, attention_mask: Tensor | None = None, **inputs: Any
    ) -> tuple[Tensor, Tensor]:
        """What the decoder is told: vectors (B, K, c) and mask (B, K), 1 = told; arguments as in `forward`."""
        context, mask, _ = self._context(peaks, attention_mask, inputs)
        return context, mask.long()

    def forward(
        self,
        peaks: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        labels: Tensor | None = None,
        molecule_embeds: Tensor | None = None,
        return_dict: bool | None = None,
        **inputs: Any,
    ) -> SpectrumToMoleculeOutput | tuple[Any, ...]:
        """Context and, with targets, losses.

        Args:
            peaks: float32 (B, N, 2), m/z in Th and relative intensity; None to write from conditions alone.
            attention_mask: (B, N), 1 = real token.
            decoder_input_ids: int64 (B, L), tokens of the molecule; None takes those of `labels`.
            labels: int64 (B, L), the molecule's tokens, −100 for padding.
            molecule_embeds: (B, c), SELFIES-BERT vectors of the true molecules, for the alignment.
            return_dict: False returns a tuple.
            inputs: further inputs of the encoder, the conditions of `MoleculeConditions`, and `library_ids`, int64
                (B, S), SELFIES tokens of the library match for models that have a molecule encoder.
        """
        context, mask, spectrum = self._context(peaks, attention_mask, inputs)
        output = SpectrumToMoleculeOutput(spectrum_embeds=spectrum, context=context, context_mask=mask.long())
        if decoder_input_ids is None and labels is not None:
            decoder_input_ids = labels.masked_fill(labels == -100, self.decoder.config.pad_token_id or 0)
        parts = []
        if decoder_input_ids is not None:
            written = self.decoder(
                decoder_input_ids,
                attention_mask=(decoder_input_ids != (self.decoder.config.pad_token_id or 0)).long(),
                encoder_hidden_states=context,
                encoder_attention_mask=output["context_mask"],
                labels=labels,
                use_cache=False,
                return_dict=True,
            )
            output["logits"] = written.logits
            if labels is not None:
                parts.append(written.loss)
                output["lm_loss"] = written.loss.detach()
        if molecule_embeds is not None and spectrum is not None:
            aligned = alignment_loss(spectrum, molecule_embeds, self.config.alignment)
            parts.append(self.config.alignment_weight * aligned)
            output["alignment_loss"] = aligned.detach()
        if parts:
            output["loss"] = torch.stack(parts).sum()
        use_dict = self.config.return_dict if return_dict is None else return_dict
        return output if use_dict else output.to_tuple()

    @torch.no_grad()
    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """Token ids of molecules, by `generate` of the decoder.

        Args:
            args, kwargs: arguments of `forward` and those of transformers' `generate` (`num_beams`, `custom_generate`, …).
        """
        of_decoder = {name: kwargs.pop(name) for name in list(kwargs) if name in _generation_names()}
        context, mask = self.get_context(*args, **kwargs)
        return self.decoder.generate(
            encoder_hidden_states=context.contiguous(), encoder_attention_mask=mask, **of_decoder
        )


@cache
def _generation_names() -> frozenset[str]:
    """What `generate` understands itself; everything else describes the spectrum."""
    own = set(signature(GenerationMixin.generate).parameters) - {"self", "kwargs", "inputs"}
    return frozenset(own | set(GenerationConfig().to_dict()) | {"input_ids"})
