"""NexaMass for structures: Morgan fingerprint, projections of spectra and fingerprints, retrieval and rerank heads."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.utils.generic import can_return_tuple

from .alignment import same_group_mask, symmetric_info_nce
from .mapper import Prior, Temperature
from .morgan import multi_hot
from .nexamass import NexaMassModel, NexaMassPreTrainedModel, ProjectionMlp, contrastive_loss
from .nexamass_config import NexaMassConfig
from .outputs import SpectrumEncoding, StructurePredictionOutput
from .registry import register_head

N_SPECIAL = 2  # tokens of MorganTokenizer that are no bit
SHIFTS = (1, 2, 3, 5)  # wrong pairs for the retrieval MLP: the fingerprint of a neighbour in the batch


class FingerprintHead(nn.Module):
    """Pooled spectrum (B, d) to one logit per bit (B, bits), by a hidden layer and residual layers if configured."""

    def __init__(self, config: NexaMassConfig) -> None:
        super().__init__()
        width = config.fingerprint_hidden
        self.dropout = nn.Dropout(config.fingerprint_dropout)
        self.hidden = nn.Linear(config.pooled_size, width) if width else None
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(config.fingerprint_layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(config.fingerprint_layers))
        self.bits = nn.Linear(width or config.pooled_size, config.fingerprint_size)

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, d) to (B, bits)."""
        hidden = pooled if self.hidden is None else self.dropout(F.gelu(self.hidden(pooled)))
        for layer, norm in zip(self.layers, self.norms, strict=True):
            hidden = norm(hidden + self.dropout(F.gelu(layer(hidden))))
        return self.bits(hidden)


@register_head("nexamass", "AutoModelForMoleculeRetrieval", "AutoModelForMolecularFingerprint")
class NexaMassForStructurePrediction(NexaMassPreTrainedModel):
    """NexaMass-V3-Struct: 14,106,690 parameters at the published size.

    Candidates are ranked by one of two paths: "fingerprint", cosine of predicted bits and the molecule's; "projection",
    dot product of the learned projections of spectrum and fingerprint.
    """

    decode_paths = ("fingerprint", "projection")

    def __init__(self, config: NexaMassConfig) -> None:
        super().__init__(config)
        self.model = NexaMassModel(config)
        self.ssl_head = ProjectionMlp(config.pooled_size, config.ssl_hidden, config.ssl_size)
        self.fingerprint_head = FingerprintHead(config)
        self.query_projection = ProjectionMlp(config.pooled_size, config.query_hidden, config.projection_size)
        self.target_projection = ProjectionMlp(
            config.fingerprint_size, config.target_hidden, config.projection_size
        )
        self.retrieval_mlp = ProjectionMlp(4 * config.projection_size, *config.retrieval_hidden, 1)
        self.rerank_head: ProjectionMlp | None = None
        if config.rerank_hidden:
            self.rerank_head = ProjectionMlp(3 * config.projection_size, config.rerank_hidden, 1)
        self.confidence_head = nn.Linear(config.pooled_size, 1) if config.confidence_head else None
        self.temperature = Temperature(config.temperature, True) if config.logit_scale else None
        self.prior = Prior(config.fingerprint_size) if config.fingerprint_prior else None
        self.freeze_constants()
        self.post_init()

    def freeze_constants(self) -> None:
        """Keep the bits' frequencies out of training."""
        if self.prior is not None:
            self.prior.freeze_constants()

    def _pooled(self, peaks: Tensor, attention_mask: Tensor | None, inputs: dict[str, Any]) -> Tensor:
        return self.model(peaks, attention_mask=attention_mask, pooled_only=True, **inputs).pooler_output

    def encode(self, peaks: Tensor, attention_mask: Tensor | None = None, **inputs: Any) -> SpectrumEncoding:
        """All that the model says of spectra; arguments as in `NexaMassModel`.

        Returns:
            embedding (B, 192) and query (B, 256) of unit length, fingerprint (B, 2048) probabilities.
        """
        pooled = self._pooled(peaks, attention_mask, inputs)
        return SpectrumEncoding(
            embedding=F.normalize(self.ssl_head(pooled), dim=-1),
            fingerprint=self._bit_logits(pooled).sigmoid(),
            query=F.normalize(self.query_projection(pooled), dim=-1),
        )

    def _bit_logits(self, pooled: Tensor) -> Tensor:
        """Logits of the bits (B, bits); the head speaks against the prior, if there is one."""
        logits = self.fingerprint_head(pooled)
        return logits if self.prior is None else logits + self.prior.log_odds

    def get_spectrum_features(
        self, peaks: Tensor, attention_mask: Tensor | None = None, **inputs: Any
    ) -> Tensor:
        """Fingerprint path: (B, bits) to compare with molecules by cosine: probabilities, or evidence against the prior."""
        pooled = self._pooled(peaks, attention_mask, inputs)
        if self.prior is None:
            return self._bit_logits(pooled).sigmoid()
        return self.prior.clip(self.fingerprint_head(pooled), self.config.logit_clip)

    def get_molecule_features(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Fingerprint path: bits (B, bits) of molecules as tokens of `MorganTokenizer`, int64 (B, L)."""
        size = self.config.fingerprint_size
        return multi_hot(input_ids, attention_mask, size, N_SPECIAL).to(
            self.fingerprint_head.bits.weight.dtype
        )

    encode_molecules = get_molecule_features

    def project_molecules(self, encoded: Tensor) -> Tensor:
        """Bits are compared as they are."""
        return encoded

    def get_query_features(
        self, peaks: Tensor, attention_mask: Tensor | None = None, **inputs: Any
    ) -> Tensor:
        """Projection path: spectra as unit vectors (B, projection_size)."""
        return F.normalize(self.query_projection(self._pooled(peaks, attention_mask, inputs)), dim=-1)

    def get_target_features(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Projection path: molecules as unit vectors (B, projection_size); arguments as `get_molecule_features`."""
        return self.project_fingerprints(self.get_molecule_features(input_ids, attention_mask))

    def project_fingerprints(self, bits: Tensor) -> Tensor:
        """Bits (…, bits) to unit vectors (…, projection_size)."""
        return F.normalize(self.target_projection(bits.to(self.fingerprint_head.bits.weight.dtype)), dim=-1)

    def similarity(self, spectrum_embeds: Tensor, molecule_embeds: Tensor) -> Tensor:
        """Cosines (B, M) of spectra (B, D) and molecules (M, D), both of one path."""
        return F.normalize(spectrum_embeds, dim=-1) @ F.normalize(molecule_embeds, dim=-1).T

    def match_logits(self, query: Tensor, target: Tensor) -> Tensor:
        """Retrieval MLP on [q, t, |q − t|, q·t], plus the rerank head on [q, t, q·t] if there is one: (…,) logits.

        Args:
            query, target: (…, projection_size) unit vectors, broadcast against each other.
        """
        query, target = torch.broadcast_tensors(query, target)
        product = query * target
        logits = self.retrieval_mlp(torch.cat([query, target, (query - target).abs(), product], dim=-1))
        if self.rerank_head is not None:
            logits = logits + self.rerank_head(torch.cat([query, target, product], dim=-1))
        return logits.squeeze(-1)

    @can_return_tuple
    def forward(
        self,
        peaks: Tensor,
        attention_mask: Tensor | None = None,
        fingerprints: Tensor | None = None,
        molecule_ids: Tensor | None = None,
        views: int = 1,
        **inputs: Any,
    ) -> StructurePredictionOutput:
        """Predict fingerprints and, when the true ones are given, the loss.

        Loss: `fingerprint_weight` × binary cross-entropy of the bits + `retrieval_weight` × (InfoNCE of query and target +
        cross-entropy of the retrieval MLP on true and wrong pairs) + `ssl_weight` × contrastive loss of two views
        (nexamass.md §4).

        Args:
            peaks: float32 (B, N, 2), m/z in Th and relative intensity. attention_mask, inputs: as in `NexaMassModel`.
            fingerprints: (B, bits), above 0 = present.
            molecule_ids: int (B,), equal for equal molecules: no negatives of each other.
            views: 2 if the second half of the batch holds second views of the first half: adds the contrastive loss.
        """
        pooled = self._pooled(peaks, attention_mask, inputs)
        embeddings = F.normalize(self.ssl_head(pooled), dim=-1)
        query = F.normalize(self.query_projection(pooled), dim=-1)
        output = StructurePredictionOutput(
            logits=self._bit_logits(pooled),
            embeddings=embeddings,
            query_embeds=query,
            pooler_output=pooled,
        )
        if self.confidence_head is not None:
            output["confidence_logits"] = self.confidence_head(pooled).squeeze(-1)
        if fingerprints is not None:
            self._add_losses(output, fingerprints, molecule_ids, views)
        return output

    def _add_losses(
        self, output: StructurePredictionOutput, fingerprints: Tensor, groups: Tensor | None, views: int
    ) -> None:
        config = self.config
        logits, query = output["logits"].float(), output["query_embeds"]
        bits = (fingerprints > 0).to(logits.dtype)
        fingerprint = F.binary_cross_entropy_with_logits(logits, bits)
        loss = config.fingerprint_weight * fingerprint
        parts = {"fingerprint_loss": fingerprint}
        if config.retrieval_weight:
            target = self.project_fingerprints(bits)
            tau = torch.tensor(config.temperature) if self.temperature is None else self.temperature()
            ignore = None if groups is None else same_group_mask(groups)
            parts["retrieval_loss"] = symmetric_info_nce(query, target, tau, ignore)
            parts["match_loss"] = self._match_loss(query, target, groups)
            loss = loss + config.retrieval_weight * (parts["retrieval_loss"] + parts["match_loss"])
        if config.ssl_weight and views == 2:
            half = None if groups is None else groups.chunk(2)[0]
            parts["contrastive_loss"] = contrastive_loss(output["embeddings"], config.temperature, half)
            loss = loss + config.ssl_weight * parts["contrastive_loss"]
        output["loss"] = loss
        for name, value in parts.items():
            output[name] = value.detach()

    def _match_loss(self, query: Tensor, target: Tensor, groups: Tensor | None) -> Tensor:
        """Cross-entropy of the retrieval MLP: the true fingerprint among those of neighbours in the batch."""
        wrong = torch.stack([target.roll(shift, 0) for shift in SHIFTS], dim=1)
        logits = self.match_logits(query[:, None], torch.cat([target[:, None], wrong], dim=1))
        if groups is not None:
            same = torch.stack([groups.roll(shift) == groups for shift in SHIFTS], dim=1)
            logits = logits.masked_fill(F.pad(same, (1, 0)), torch.finfo(logits.dtype).min)
        return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))
