"""Configuration of Casanovo."""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

from .base import MsFormersConfig

VERSIONS = ("4", "5")
# what differs between the two published architectures beside their layers
_BY_VERSION: dict[str, dict[str, Any]] = {
    "4": {
        "max_charge": 10,
        "eos_token_id": 28,
        "n_terminal_token_ids": [24, 25, 26, 27],
        "precursor_tolerance": 50.0,
    },
    "5": {
        "max_charge": 4,
        "eos_token_id": 1,
        "n_terminal_token_ids": [25, 26, 27, 28],
        "precursor_tolerance": 0.0,
    },
}

# a model for tests: every part present
TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "classifier_sizes": [24],
}


class CasanovoConfig(MsFormersConfig):
    """Architecture, vocabulary and search of Casanovo; the defaults are those of casanovo 5.2.1.

    Attributes:
        version: "4" (4.x: a linear intensity added to the m/z sinusoid) or "5" (5.x: both sinusoids, then a projection).
        hidden_size, num_hidden_layers, num_attention_heads, intermediate_size: of encoder and decoder alike.
        hidden_act, hidden_dropout, attention_dropout, layer_norm_eps: of both.
        pooling: the spectrum's vector: "mean_peaks" (as the foundation paper says) or "global" (the row of the learned
            spectrum token, as its published code does).
        vocab_size: tokens, padding included. pad_token_id: 0.
        max_charge, eos_token_id, n_terminal_token_ids: and `precursor_tolerance`: None for those of the version.
        residue_masses: mass in Da by token id (0 for padding and stop), for the precursor filter; empty = unknown.
        label_smoothing: of the training loss.
        min_length: fewest residues of a peptide that the search may report. max_length: most tokens, stop included.
        precursor_tolerance: in ppm; peptides outside lose 1 point of score. 0 = no filter, as in casanovo 5.2 and later.
        isotopes: first and last isotope that the precursor may be.
        classification_tasks: names of the classifier's outputs.
        classifier_sizes: hidden layers of each head; [512] on a frozen encoder, [1028, 128] multi-task.
        classifier_precursor: give the heads the precursor m/z and charge too (phosphorylation).
        freeze_encoder: train the heads only.
    """

    model_type = "msf_casanovo"

    version: str = "5"
    hidden_size: int = 512
    num_hidden_layers: int = 9
    num_attention_heads: int = 8
    intermediate_size: int = 1024
    hidden_act: Literal["relu", "gelu"] = "relu"
    hidden_dropout: float = 0.0
    attention_dropout: float = 0.0
    layer_norm_eps: float = 1e-5
    pooling: str = "mean_peaks"
    vocab_size: int = 29
    pad_token_id: int | None = 0
    max_charge: int | None = None
    eos_token_id: int | list[int] | None = None
    n_terminal_token_ids: list[int] | None = None
    residue_masses: list[float] = field(default_factory=list)
    label_smoothing: float = 0.01
    min_length: int = 6
    max_length: int = 100
    precursor_tolerance: float | None = None
    isotopes: list[int] = field(default_factory=lambda: [0, 1])
    classification_tasks: list[str] = field(default_factory=lambda: ["label"])
    classifier_sizes: list[int] = field(default_factory=lambda: [512])
    classifier_precursor: bool = False
    freeze_encoder: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        if self.version not in VERSIONS:
            raise ValueError(f"version must be one of {', '.join(VERSIONS)}, got {self.version!r}")
        for name, value in _BY_VERSION[self.version].items():
            if getattr(self, name) is None:
                setattr(self, name, value)
        self._check()
        super().__post_init__(**kwargs)

    def _check(self) -> None:
        if self.pooling not in ("mean_peaks", "global"):
            raise ValueError(f"pooling must be mean_peaks or global, got {self.pooling!r}")
        if self.hidden_size % (2 * self.num_attention_heads) or self.hidden_size < 4:
            raise ValueError(
                f"hidden_size = {self.hidden_size} must be even and divisible by "
                f"num_attention_heads = {self.num_attention_heads} with an even quotient"
            )
        if len(self.residue_masses) not in (0, self.vocab_size):
            raise ValueError(
                f"residue_masses has {len(self.residue_masses)} entries, vocab_size is {self.vocab_size}"
            )
        if not self.classification_tasks or len(set(self.classification_tasks)) < len(
            self.classification_tasks
        ):
            raise ValueError(f"classification_tasks must be distinct names, got {self.classification_tasks}")
