"""SpecBridge (arXiv 2601.17204): a spectrum encoder bridged onto a frozen molecular space, ranked by similarity."""

from __future__ import annotations

from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel, PreTrainedModel

from .alignment import same_group_mask
from .base import SpectrumPreTrainedModel
from .dreams import DreamsConfig
from .mapper import (
    Mapper,
    Prior,
    ProjectionHead,
    Temperature,
    encoder_blocks,
    init_bridge_weights,
    masked_mean,
)
from .outputs import SpecBridgeOutput
from .registry import MODELS, register_head, register_model
from .smiles_roberta import SmilesRobertaConfig
from .specbridge_config import CHEMBERTA, PAPER_MODE, SpecBridgeConfig
from .specbridge_loss import bridge_losses

__all__ = ["CHEMBERTA", "PAPER_MODE", "SpecBridgeConfig", "SpecBridgeModel", "SpecBridgeOutput"]

TINY = {
    "spectrum_config": {"model_type": DreamsConfig.model_type, **MODELS["dreams"].tiny},
    "molecule_config": {"model_type": SmilesRobertaConfig.model_type, **MODELS["smiles-roberta"].tiny},
    "projection_hidden": 24,
    "projection_dim": 40,
    "mapper_hidden": 24,
    "n_blocks": 2,
}


@register_head("specbridge", "AutoModelForMoleculeRetrieval")
@register_model(
    "specbridge",
    kind="retrieval",
    paper="arXiv 2601.17204",
    licence="Apache-2.0",
    lora=("q_proj", "v_proj"),
    tiny=TINY,
    extractor="tokenization.spectrum:SpectrumFeatureExtractor",
)
class SpecBridgeModel(SpectrumPreTrainedModel):
    """Spectrum encoder, projection head and mapper on one side, a frozen molecule encoder on the other.

    A spectrum becomes μ = mapper(normalise(head(pool(encoder(peaks))))), (B, D); a molecule its encoder's pooled
    vector, (B, D). Candidates are ranked by `similarity`.
    """

    config: SpecBridgeConfig
    config_class = SpecBridgeConfig

    def __init__(self, config: SpecBridgeConfig) -> None:
        super().__init__(config)
        self.spectrum_encoder: PreTrainedModel = AutoModel.from_config(config.spectrum_config)
        # DreaMS can leave out the last layer's work for all tokens but the pooled one
        self._has_pooled_only = "pooled_only" in signature(self.spectrum_encoder.forward).parameters
        self.molecule_encoder: PreTrainedModel = AutoModel.from_config(config.molecule_config)
        width = int(config.spectrum_config.hidden_size)  # type: ignore[union-attr]
        self.projection: ProjectionHead | None = None
        if config.projection:
            self.projection = ProjectionHead(
                width, config.projection_hidden, config.projection_dim, config.projection_norm
            )
        self.mapper = Mapper(
            config.projection_dim if config.projection else width,
            config.hidden_size,
            config.mapper_hidden,
            config.n_blocks,
            config.mapper_dropout,
        )
        self.molecule_projection: ProjectionHead | None = None
        if config.molecule_projection_dim:
            molecule_width = int(config.molecule_config.hidden_size)  # type: ignore[union-attr]
            self.molecule_projection = ProjectionHead(
                molecule_width,
                config.projection_hidden,
                config.molecule_projection_dim,
                config.projection_norm,
            )
        self.temperature: Temperature | None = None
        if config.uses_temperature:
            self.temperature = Temperature(config.temperature_init, config.temperature_trainable)
        self.prior: Prior | None = Prior(config.hidden_size) if config.objective == "fingerprint" else None
        self.freeze_constants()
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        init_bridge_weights(module, self.config.mapper_init)

    def freeze_constants(self) -> None:
        """Keep the molecule encoder out of training."""
        self.molecule_encoder.requires_grad_(False)

    @classmethod
    def from_encoders(
        cls, spectrum: PreTrainedModel | str, molecule: PreTrainedModel | str, **fields: Any
    ) -> SpecBridgeModel:
        """A new bridge between two trained encoders, given as models or as checkpoint names.

        Args:
            spectrum: any spectrum encoder. molecule: any text or graph encoder that `AutoModel` loads.
            fields: other fields of `SpecBridgeConfig`.
        """
        ends = [
            AutoModel.from_pretrained(end) if isinstance(end, str) else end for end in (spectrum, molecule)
        ]
        model = cls(
            SpecBridgeConfig(spectrum_config=ends[0].config, molecule_config=ends[1].config, **fields)
        )
        model.spectrum_encoder.load_state_dict(ends[0].state_dict())
        model.molecule_encoder.load_state_dict(ends[1].state_dict())
        return model

    def set_trainable(self, unfreeze_last: int | None = None) -> int:
        """Freeze the molecule encoder, and the spectrum encoder but its last blocks with their norms.

        Args:
            unfreeze_last: blocks to train, None = as configured, 0 = none, −1 = the whole spectrum encoder.

        Returns:
            Number of trainable parameters.
        """
        count = self.config.unfreeze_last if unfreeze_last is None else unfreeze_last
        self.spectrum_encoder.requires_grad_(count < 0)
        for block in encoder_blocks(self.spectrum_encoder)[-count:] if count > 0 else ():
            block.requires_grad_(True)
        for module in self.modules():
            if hasattr(module, "freeze_constants"):  # such as the Fourier frequencies of DreaMS
                module.freeze_constants()
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

    def train(self, mode: bool = True) -> SpecBridgeModel:
        """Training mode; an encoder without a trainable parameter stays in evaluation mode (no dropout)."""
        super().train(mode)
        for encoder in (self.spectrum_encoder, self.molecule_encoder):
            if not any(parameter.requires_grad for parameter in encoder.parameters()):
                encoder.eval()
        return self

    def get_spectrum_features(
        self, peaks: Tensor, attention_mask: Tensor | None = None, **spectrum_inputs: Any
    ) -> Tensor:
        """Spectra in the molecular space.

        Args:
            peaks: float32 (B, N, 2), m/z in Th and relative intensity.
            attention_mask: (B, N), 1 = real token.
            spectrum_inputs: what else the spectrum encoder takes (`token_counts`, …).

        Returns:
            (B, D); unit vectors with `normalize_targets`.
        """
        mapped = self.mapper(self.encode_spectra(peaks, attention_mask, **spectrum_inputs))
        if self.prior is not None:
            mapped = self.prior.clip(mapped, self.config.logit_clip)
        return F.normalize(mapped, dim=-1) if self.config.normalize_targets else mapped

    def encode_spectra(
        self, peaks: Tensor, attention_mask: Tensor | None = None, **spectrum_inputs: Any
    ) -> Tensor:
        """Vectors before the mapper, (B, projection_dim), of unit length; without a head the encoder's own."""
        precursor = self.config.pooling == "precursor"
        if precursor and self._has_pooled_only:
            spectrum_inputs["pooled_only"] = True
        output = self.spectrum_encoder(
            peaks, attention_mask=attention_mask, return_dict=True, **spectrum_inputs
        )
        if precursor:
            pooled = output.pooler_output
        else:
            real = (
                peaks[..., 0] > 0 if attention_mask is None else (peaks[..., 0] > 0) & attention_mask.bool()
            )
            pooled = masked_mean(output.last_hidden_state, real)
        return pooled if self.projection is None else F.normalize(self.projection(pooled), dim=-1)

    def encode_molecules(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **molecule_inputs: Any
    ) -> Tensor:
        """Pooled vectors of the frozen molecule encoder, (B, width): what `target_embeds` takes.

        Args:
            input_ids: int64 (B, L), tokens of canonical SMILES.
            attention_mask: int64 (B, L), 1 = token.
            molecule_inputs: what else the molecule encoder takes.
        """
        output = self.molecule_encoder(
            input_ids, attention_mask=attention_mask, return_dict=True, **molecule_inputs
        )
        if self.config.molecule_pooling == "pooler_output":
            return output.pooler_output
        hidden = output.last_hidden_state
        if self.config.molecule_pooling == "cls":
            return hidden[:, 0]
        return masked_mean(hidden, torch.ones_like(input_ids) if attention_mask is None else attention_mask)

    def get_molecule_features(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **molecule_inputs: Any
    ) -> Tensor:
        """Molecules in the shared space, (B, D); arguments as in `encode_molecules`."""
        return self.project_molecules(self.encode_molecules(input_ids, attention_mask, **molecule_inputs))

    def project_molecules(self, encoded: Tensor) -> Tensor:
        """Encoder vectors (…, width) to the shared space (…, D): the trained head, if there is one, and the norm."""
        if self.molecule_projection is not None:
            encoded = self.molecule_projection(encoded)
        return F.normalize(encoded, dim=-1) if self.config.normalize_targets else encoded

    def similarity(self, spectrum_embeds: Tensor, molecule_embeds: Tensor) -> Tensor:
        """Scores (B, M) of spectra (B, D) against molecules (M, D), cosine or dot product as configured."""
        if self.config.score == "cosine":
            spectrum_embeds = F.normalize(spectrum_embeds, dim=-1)
            molecule_embeds = F.normalize(molecule_embeds, dim=-1)
        return spectrum_embeds @ molecule_embeds.T

    def forward(
        self,
        peaks: Tensor,
        attention_mask: Tensor | None = None,
        input_ids: Tensor | None = None,
        molecule_attention_mask: Tensor | None = None,
        target_embeds: Tensor | None = None,
        negative_input_ids: Tensor | None = None,
        negative_attention_mask: Tensor | None = None,
        negative_embeds: Tensor | None = None,
        negative_mask: Tensor | None = None,
        molecule_ids: Tensor | None = None,
        return_dict: bool | None = None,
        **spectrum_inputs: Any,
    ) -> SpecBridgeOutput | tuple[Any, ...]:
        """Embed spectra and, when their molecules are given, compute the objective.

        Args:
            peaks: float32 (B, N, 2), m/z in Th and relative intensity.
            attention_mask: (B, N), 1 = real token.
            input_ids, molecule_attention_mask: int64 (B, L), tokens of each spectrum's molecule.
            target_embeds: (B, width), the same already encoded (`encode_molecules`), instead of `input_ids`.
            negative_input_ids, negative_attention_mask: int64 (B, K, L), wrong candidates of each spectrum.
            negative_embeds: (B, K, width), the same already encoded.
            negative_mask: (B, K), 1 = a real candidate, 0 = filler.
            molecule_ids: int (B,), equal for equal molecules: these are no negatives of each other.
            return_dict: False returns a tuple.
            spectrum_inputs: what else the spectrum encoder takes.

        Raises:
            ValueError: "hard_negative" is trained without negatives.
        """
        embeds = self.get_spectrum_features(peaks, attention_mask, **spectrum_inputs)
        output = SpecBridgeOutput(spectrum_embeds=embeds)
        target = self._molecules(input_ids, molecule_attention_mask, target_embeds)
        if target is not None:
            negatives = self._negatives(negative_input_ids, negative_attention_mask, negative_embeds)
            ignore = None if molecule_ids is None else same_group_mask(molecule_ids)
            output["molecule_embeds"] = target
            losses = bridge_losses(
                self.config,
                self.mapper.W.weight,
                embeds,
                target,
                temperature=None if self.temperature is None else self.temperature(),
                prior=None if self.prior is None else self.prior.log_odds,
                negatives=negatives,
                negative_mask=negative_mask,
                ignore=ignore,
            )
            for name, value in losses.items():
                output[name] = value
        use_dict = self.config.return_dict if return_dict is None else return_dict
        return output if use_dict else output.to_tuple()

    def _molecules(self, ids: Tensor | None, mask: Tensor | None, encoded: Tensor | None) -> Tensor | None:
        if encoded is None and ids is not None:
            with torch.no_grad():
                encoded = self.encode_molecules(ids, mask)
        return None if encoded is None else self.project_molecules(encoded.detach())

    def _negatives(self, ids: Tensor | None, mask: Tensor | None, encoded: Tensor | None) -> Tensor | None:
        if ids is None:
            return self._molecules(None, None, encoded)
        flat = self._molecules(ids.flatten(0, 1), None if mask is None else mask.flatten(0, 1), None)
        return None if flat is None else flat.unflatten(0, ids.shape[:2])
