"""What a decoder may be told of the molecule it is to write: one or several context vectors for each thing known."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, PreTrainedConfig

from .base import MsFormersConfig
from .selfies_gpt2 import SelfiesGpt2Config
from .sinusoid import Sinusoid

KINDS = (
    *("spectrum", "fingerprint", "properties", "library", "library_similarity"),
    *("neutral_mass", "adduct_ids", "collision_energy", "polarity"),
)
"""The conditions, in the order in which their vectors follow each other."""

MASS_WAVELENGTHS = 0.01, 4000.0
ENERGY_WAVELENGTHS = 4.0, 400.0


class SpectrumToMoleculeConfig(MsFormersConfig):
    """A spectrum encoder, what else the decoder is told, and the decoder.

    Attributes:
        encoder_config, decoder_config: as dict with `model_type` or as object.
        molecule_config: of the frozen SELFIES BERT that reads library matches; None = they come as vectors only.
        encoder_class: Auto class that builds the encoder; its output must carry `pooler_output`, (B, d).
        encoder_fingerprint: the encoder predicts the fingerprint (`logits` of its output) where none is given.
        projection_hidden: hidden width of the two-layer projection of the spectrum vector; 0 = one linear layer.
        alignment: how the projected spectrum is compared to the molecule's SELFIES-BERT vector, "cosine" or "mse".
        alignment_weight: of that loss beside the language model's.
        fingerprint_size: Morgan bits, 0 = not told. fingerprint_tokens: likeliest bits that are told.
        fingerprint_threshold: least probability of a bit that is told.
        property_size: molecular properties, on the 0–1 scale of the property heads; 0 = not told.
        library: whether the nearest library match is told, by its SELFIES-BERT vectors.
        neutral_mass, collision_energy, polarity: whether these are told. adducts: those with a vector of their own.
        condition_dropout: probability with which each condition of an example is withheld in training.
        encoder_frozen: the encoder is not trained and stays in evaluation mode.
    """

    model_type = "msf_spectrum_to_molecule"
    sub_configs = {  # noqa: RUF012
        "encoder_config": AutoConfig,
        "decoder_config": AutoConfig,
        "molecule_config": AutoConfig,
    }

    encoder_config: dict[str, Any] | PreTrainedConfig | None = None
    decoder_config: dict[str, Any] | PreTrainedConfig | None = None
    molecule_config: dict[str, Any] | PreTrainedConfig | None = None
    encoder_class: str = "AutoModel"
    encoder_fingerprint: bool = False
    projection_hidden: int = 512
    alignment: Literal["cosine", "mse"] = "cosine"
    alignment_weight: float = 1.0
    fingerprint_size: int = 0
    fingerprint_tokens: int = 64
    fingerprint_threshold: float = 0.1
    property_size: int = 0
    library: bool = False
    neutral_mass: bool = True
    adducts: list[str] | tuple[str, ...] = ()
    collision_energy: bool = True
    polarity: bool = True
    condition_dropout: float = 0.1
    encoder_frozen: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        self.encoder_config = _part(self.encoder_config, "msf_dreams")
        self.decoder_config = _part(self.decoder_config, SelfiesGpt2Config.model_type)
        if self.molecule_config is not None:
            self.molecule_config = _part(self.molecule_config, "msf_selfies_bert")
        super().__post_init__(**kwargs)
        if self.encoder_fingerprint and not self.fingerprint_size:
            raise ValueError(
                "encoder_fingerprint needs fingerprint_size, the number of bits the encoder predicts"
            )

    @property
    def context_size(self) -> int:
        """Width of all context vectors."""
        return int(self.decoder_config.context_size)  # type: ignore[union-attr]

    @property
    def told(self) -> frozenset[str]:
        """Names of the conditions this model takes, besides the spectrum itself."""
        takes = {
            "fingerprint": self.fingerprint_size,
            "properties": self.property_size,
            **dict.fromkeys(("library", "library_similarity"), self.library),
            "neutral_mass": self.neutral_mass,
            "adduct_ids": self.adducts,
            "collision_energy": self.collision_energy,
            "polarity": self.polarity,
        }
        return frozenset(name for name, size in takes.items() if size)

    @property
    def hidden_size(self) -> int:
        """Width of the projected spectrum: that of the molecule vectors."""
        return self.context_size


def _part(given: Any, default: str) -> PreTrainedConfig:
    if isinstance(given, PreTrainedConfig):
        return given
    return AutoConfig.for_model(**{"model_type": default, **(given or {})})


class FingerprintTokens(nn.Module):
    """The likeliest bits of a fingerprint, each as one vector."""

    def __init__(self, config: SpectrumToMoleculeConfig) -> None:
        super().__init__()
        self.count = min(config.fingerprint_tokens, config.fingerprint_size)
        self.threshold = config.fingerprint_threshold
        self.bits = nn.Embedding(config.fingerprint_size, config.context_size)
        self.probability = nn.Linear(1, config.context_size)

    def forward(self, fingerprint: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (B, bits) to vectors (B, T, c) and their mask (B, T); at least one bit is told."""
        likeliest, which = fingerprint.float().topk(self.count, dim=-1)
        real = likeliest >= self.threshold
        real[:, 0] = True
        width = int(real.sum(-1).max())
        chance = self.probability((2 * likeliest[:, :width, None] - 1).to(self.probability.weight.dtype))
        return self.bits(which[:, :width]) + chance, real[:, :width]


class MoleculeConditions(nn.Module):
    """All conditions of a configuration; each that is given becomes vectors of width `context_size`.

    Args:
        config: says which conditions there are.
    """

    def __init__(self, config: SpectrumToMoleculeConfig) -> None:
        super().__init__()
        self.config, width = config, config.context_size
        self.kinds = nn.Embedding(len(KINDS), width)
        self.fingerprint = FingerprintTokens(config) if config.fingerprint_size else None
        self.properties = nn.Linear(config.property_size, width) if config.property_size else None
        self.library_similarity = nn.Linear(1, width) if config.library else None
        self.mass = Sinusoid(width, *MASS_WAVELENGTHS) if config.neutral_mass else None
        self.neutral_mass = nn.Linear(width, width) if config.neutral_mass else None
        self.adduct_ids = nn.Embedding(len(config.adducts) + 1, width) if config.adducts else None
        self.energy = Sinusoid(width, *ENERGY_WAVELENGTHS) if config.collision_energy else None
        self.collision_energy = nn.Linear(width, width) if config.collision_energy else None
        self.polarity = nn.Embedding(3, width) if config.polarity else None

    def forward(self, spectrum: Tensor | None = None, **given: Any) -> tuple[Tensor, Tensor]:
        """Context of a batch.

        Args:
            spectrum: projected spectra (B, c).
            given: `fingerprint` (B, bits) probabilities; `properties` (B, P), NaN = unknown; `library_embeds` (B, S, c),
                `library_mask` (B, S) and `library_similarity` (B,); `neutral_mass` (B,) Da, `collision_energy` (B,) eV,
                both NaN = unknown; `adduct_ids` (B,), `polarity` (B,), both 0 = unknown.

        Returns:
            Vectors (B, K, c) and their mask (B, K), True = told. In training each condition of each example is withheld
            with probability `condition_dropout`.

        Raises:
            ValueError: nothing is given, or something this model is not configured for.
        """
        given = {name: value for name, value in given.items() if value is not None}
        parts: dict[str, tuple[Tensor, Tensor]] = {}
        if spectrum is not None:
            parts["spectrum"] = spectrum[:, None], torch.ones_like(spectrum[:, :1], dtype=torch.bool)
        for name in KINDS[1:]:
            key = "library_embeds" if name == "library" else name
            if key in given:
                parts[name] = self._vectors(name, given)
        unknown = sorted(set(given) - {*KINDS, "library_embeds", "library_mask"})
        if unknown or not parts:
            wrong = f"unknown condition {', '.join(unknown)}" if unknown else "no condition is given"
            raise ValueError(f"{wrong}; known: {', '.join(KINDS)}")
        vectors = [found + self.kinds.weight[KINDS.index(name)] for name, (found, _) in parts.items()]
        masks = [self._withheld(mask) for _, mask in parts.values()]
        mask = torch.cat(masks, dim=1)
        # attention over nothing is not defined: an example without any condition looks at its first vector
        mask[:, 0] |= ~mask.any(1)
        return torch.cat(vectors, dim=1), mask

    def _vectors(self, name: str, given: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        dtype = self.kinds.weight.dtype
        if name == "fingerprint" and self.fingerprint is not None:
            return self.fingerprint(given[name])
        if name == "library" and self.library_similarity is not None:
            embeds = given["library_embeds"].to(dtype)
            mask = given.get("library_mask", torch.ones_like(embeds[..., 0]))
            return embeds, mask.bool()
        layer = getattr(self, name, None)
        if layer is None:
            raise ValueError(f"this model is not told {name}; leave it out, or configure the model for it")
        values = given[name]
        if isinstance(layer, nn.Embedding):
            return layer(values)[:, None], (values > 0)[:, None]
        wave = {"neutral_mass": self.mass, "collision_energy": self.energy}.get(name)
        known = values.isfinite().all(1) if values.dim() == 2 else values.isfinite()
        filled = values.nan_to_num().float()
        features = filled if values.dim() == 2 else filled[:, None]
        features = features if wave is None else wave(filled)
        return layer(features.to(dtype))[:, None], known[:, None]

    def _withheld(self, mask: Tensor) -> Tensor:
        if not self.training or not self.config.condition_dropout:
            return mask
        kept = torch.rand(len(mask), 1, device=mask.device) >= self.config.condition_dropout
        return mask & kept


def alignment_loss(projected: Tensor, target: Tensor, kind: str) -> Tensor:
    """Mean of 1 − cosine, or mean squared error, of projected spectra and molecule vectors, both (B, c)."""
    if kind == "mse":
        return F.mse_loss(projected.float(), target.float())
    return 1 - F.cosine_similarity(projected.float(), target.float(), dim=-1).mean()
