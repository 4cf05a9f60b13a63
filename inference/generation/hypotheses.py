"""What a search for sequences is told and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How to search; the names and defaults are those of transformers' `GenerationConfig`.

    Attributes:
        num_beams: hypotheses kept per spectrum (beam searches).
        num_return_sequences: sequences reported per spectrum, at most `num_beams` in beam searches.
        max_length: tokens of a sequence at most, <s> and </s> included.
        length_penalty: a finished hypothesis is ranked by its log-probability / (generated tokens ** length_penalty).
        early_stopping: True stops when `num_beams` hypotheses are finished; False when the best running one cannot be
            expected to beat the worst finished one; "never" only when it cannot.
        num_beam_groups, diversity_penalty: of the diverse beam search.
        temperature, top_k, top_p: of sampling; top_k 0 and top_p 1 leave all tokens.
        bos_token_id, eos_token_id, pad_token_id: as in the SELFIES tokenizer.

    Raises:
        ValueError: a value is out of range.
    """

    num_beams: int = 100
    num_return_sequences: int = 100
    max_length: int = 128
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    num_beam_groups: int = 1
    diversity_penalty: float = 0.0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    bos_token_id: int = 1
    eos_token_id: int = 2
    pad_token_id: int = 0

    def __post_init__(self) -> None:
        for name, low in (
            ("num_beams", 1),
            ("num_return_sequences", 1),
            ("max_length", 2),
            ("num_beam_groups", 1),
            ("diversity_penalty", 0.0),
            ("top_k", 0),
        ):
            if not getattr(self, name) >= low:
                raise ValueError(f"{name} {getattr(self, name)}: give at least {low}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p {self.top_p}: give a share above 0 and up to 1")
        if not self.temperature > 0:
            raise ValueError(f"temperature {self.temperature}: give a number above 0")
        if self.early_stopping not in (True, False, "never"):
            raise ValueError(f'early_stopping {self.early_stopping!r}: give True, False or "never"')

    def check_beams(self) -> None:
        """Raise ValueError if a beam search cannot be made like this."""
        if self.num_return_sequences > self.num_beams:
            raise ValueError(
                f"num_return_sequences {self.num_return_sequences} is above num_beams {self.num_beams}; "
                "raise num_beams or ask for fewer"
            )
        if self.num_beams % self.num_beam_groups:
            raise ValueError(
                f"num_beams {self.num_beams} cannot be split into {self.num_beam_groups} equal groups; "
                "change num_beams or num_beam_groups"
            )


@dataclass(slots=True)
class Hypotheses:
    """Sequences found for each spectrum, best first.

    Attributes:
        sequences: per spectrum a list of int64 arrays of token ids, <s> first, </s> last unless `max_length` cut it off;
            no padding. Fewer than asked for where a logits processor left no way to go on.
        scores: per spectrum a float32 array, the log-probability of the generated tokens (</s> included) divided by
            their number ** length_penalty; with length_penalty 1 the mean log-probability.
    """

    sequences: list[list[npt.NDArray[np.int64]]] = field(default_factory=list)
    scores: list[npt.NDArray[np.float32]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.sequences)
