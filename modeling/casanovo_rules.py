"""What Casanovo's search accepts, when it stops, and how it scores: the rules of both versions."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .casanovo_config import CasanovoConfig

# constants of the published program, in Da
WATER, PROTON, ISOTOPE = 2 * 1.007825035 + 15.99491463, 1.00727646688, 1.00335
_SMALLEST = float(np.finfo(np.float64).eps)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SearchRules:
    """Limits of the search; `of` reads them from a configuration.

    Attributes:
        version: "4" or "5", of the scores.
        stop: id of the stop token. n_terminal: ids of N-terminal modifications.
        masses: (vocabulary,) float64 in Da by token id, 0 for padding and stop; needed with a `tolerance`.
        min_length: fewest residues of a peptide. max_length: most tokens, stop included.
        tolerance: of the precursor in ppm; 0 or infinity switches the filter off.
        isotopes: first and last isotope the precursor may be.
    """

    version: str
    stop: int
    n_terminal: Tensor
    masses: Tensor
    min_length: int
    max_length: int
    tolerance: float
    isotopes: tuple[int, int]

    @classmethod
    def of(cls, config: CasanovoConfig, **options: Any) -> SearchRules:
        """The rules of `config`, with what `options` states otherwise.

        Raises:
            TypeError: an option is not known.
            ValueError: one is out of range, or the filter is on and the configuration has no residue masses.
        """
        names = ("min_length", "max_length", "precursor_tolerance", "isotopes")
        unknown = sorted(set(options) - set(names))
        if unknown:
            raise TypeError(
                f"generate has no option {', '.join(map(repr, unknown))}; it has {', '.join(names)}"
            )
        chosen = {name: getattr(config, name) for name in names}
        chosen |= {name: value for name, value in options.items() if value is not None}
        first, last = chosen["isotopes"]
        tolerance = float(chosen["precursor_tolerance"] or 0.0)
        if not 1 <= chosen["min_length"] <= chosen["max_length"]:
            raise ValueError(
                f"min_length {chosen['min_length']} and max_length {chosen['max_length']}: "
                "need 1 <= min_length <= max_length"
            )
        if tolerance < 0 or math.isnan(tolerance) or first > last:
            raise ValueError(
                f"precursor_tolerance {tolerance} ppm with isotopes {first} to {last} allows no mass"
            )
        if 0 < tolerance < math.inf and not config.residue_masses:
            raise ValueError(
                "the precursor filter needs residue masses, which this checkpoint's configuration lacks; set "
                "config.residue_masses = tokenizer.masses.tolist(), or give precursor_tolerance=0"
            )
        return cls(
            version=config.version,
            stop=int(config.eos_token_id),  # type: ignore[arg-type]
            n_terminal=torch.tensor(config.n_terminal_token_ids, dtype=torch.long),
            masses=torch.tensor(config.residue_masses, dtype=torch.float64),
            min_length=chosen["min_length"],
            max_length=chosen["max_length"],
            tolerance=tolerance,
            isotopes=(first, last),
        )

    @property
    def filters(self) -> bool:
        """Whether the precursor mass is looked at."""
        return 0 < self.tolerance < math.inf

    def judge(self, tokens: Tensor, precursors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Which beams end with their last token.

        Args:
            tokens: (spectra, beams, length) int64. precursors: (spectra, 3) float32.

        Returns:
            finished (stop token, or too heavy for the precursor), discarded (padding, a misplaced N-terminal
            modification, too short) and fitting the precursor, each (spectra, beams) bool.
        """
        length = tokens.shape[-1]
        stopped, discarded = tokens[..., -1] == self.stop, tokens[..., -1] == 0
        residues = length - stopped.long()
        if length >= (3 if self.version == "4" else 2):
            inside = torch.arange(length, device=tokens.device) < (residues - 1).unsqueeze(-1)
            misplaced = torch.isin(tokens, self.n_terminal.to(tokens.device)) & inside
            discarded = discarded | misplaced.any(-1)
        discarded = discarded | (stopped & (residues < self.min_length))
        fits = torch.ones_like(stopped)
        if not self.filters:
            return stopped, discarded, fits
        # in float64, which not every device has
        fits, too_heavy = (mask.to(tokens.device) for mask in self._weigh(tokens.cpu(), precursors.cpu()))
        too_heavy = too_heavy & ~stopped & ~discarded
        return stopped | too_heavy, discarded, fits & ~too_heavy

    def _weigh(self, tokens: Tensor, precursors: Tensor) -> tuple[Tensor, Tensor]:
        """Whether beams match the precursor, and whether they exceed it even with the lightest of further tokens."""
        known = self.masses.clone()
        known[0] = torch.nan  # padding has no mass: neither does such a peptide match, nor is it too heavy
        behind = (tokens == self.stop).cumsum(-1) > 0
        mass = known[tokens].masked_fill(behind, 0.0).sum(-1) + WATER
        charge, observed = precursors[:, None, 1], precursors[:, None, 2]

        def errors(neutral: Tensor) -> Tensor:
            """In ppm, (isotopes, spectra, beams), in float32 as in the published program."""
            calculated = neutral.float() / charge + PROTON
            shifts = [i * ISOTOPE / charge for i in range(self.isotopes[0], self.isotopes[1] + 1)]
            return torch.stack([(calculated - (observed - shift)) / observed * 1e6 for shift in shifts])

        matches = (errors(mass).abs() < self.tolerance).any(0)
        exceeds = torch.zeros_like(matches)
        for loss in self.masses[self.masses < 0]:
            exceeds |= (errors(mass + loss) > self.tolerance).all(0)
        return matches, exceeds & ~matches

    def score(self, probabilities: Floats, stopped: bool, fits: bool) -> tuple[float, Floats]:
        """Score of a peptide, and of its residues in decoding order.

        Version 4: the mean of the probabilities, and for each residue the mean of that and its own. Version 5: their
        product, and each residue's own. One point less outside the precursor tolerance.

        Args:
            probabilities: (tokens,) of the chosen tokens, the stop token included if there is one.
            stopped: whether there is one; without it a probability of 0 counts for it.
            fits: whether the mass fits the precursor.
        """
        complete = probabilities if stopped else np.append(probabilities, 0.0)
        if self.version == "4":
            score = float(complete.mean())
            residues = (complete + score) / 2
        else:
            score = float(np.exp(np.log(np.clip(complete, _SMALLEST, 1.0)).sum()))
            residues = complete
        return score - (not fits), residues[:-1]


@dataclass(frozen=True)
class Hypothesis:
    """A finished peptide: token ids in decoding order without stop, its score and those of its residues."""

    score: float
    tokens: tuple[int, ...]
    residue_scores: Floats


@dataclass
class Found:
    """The best hypotheses of one spectrum, `size` at most; of duplicates version 4 keeps the first, version 5 the best."""

    size: int
    keep_better: bool
    hypotheses: list[Hypothesis] = field(default_factory=list)

    def add(self, new: Hypothesis) -> None:
        """Take `new` in, if it is good enough."""
        for place, old in enumerate(self.hypotheses):
            if old.tokens == new.tokens:
                if self.keep_better and new.score > old.score:
                    self.hypotheses[place] = new
                return
        self.hypotheses.append(new)
        if len(self.hypotheses) > self.size:
            worst = min(reversed(self.hypotheses), key=lambda hypothesis: hypothesis.score)
            self.hypotheses.remove(worst)

    def best(self, count: int, stop: int) -> list[Hypothesis]:
        """The `count` best, best first; of these, what goes on behind a stop token is no peptide and is left out."""
        ranked = sorted(self.hypotheses, key=lambda hypothesis: -hypothesis.score)[:count]
        return [hypothesis for hypothesis in ranked if stop not in hypothesis.tokens]
