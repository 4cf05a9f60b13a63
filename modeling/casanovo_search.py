"""Beam search of Casanovo, with the published program's ranking taken literally.

Beams are ranked by the mean of the *logits* of their tokens. The mean of a finished beam is multiplied by 0, that of any
beam with padding by 1e-8: a finished beam thus still competes with unfinished ones of negative mean and may be continued
behind its stop token when they lose. Logits that the published program has not computed by then do not enter the mean.
"""

from __future__ import annotations

from itertools import chain

import numpy as np
import torch
from torch import Tensor

from .casanovo_decoder import CasanovoDecoder, DecoderState
from .casanovo_rules import Found, Hypothesis, SearchRules
from .outputs import PeptideSearchOutput

_PADDING_WEIGHT = 1e-8


class Beams:
    """The running beams of all spectra, in tensors (spectra, beams, ...).

    Attributes:
        tokens: (spectra, beams, length) int64.
        logits, probabilities: of those tokens, float32.
        known: bool, whether the published program knows that logit.
    """

    def __init__(self, tokens: Tensor, logits: Tensor) -> None:
        """The first tokens (spectra, beams), chosen by logits (spectra, vocabulary)."""
        self.tokens = tokens.unsqueeze(-1)
        self.logits = logits.gather(1, tokens).unsqueeze(-1)
        self.probabilities = logits.softmax(-1).gather(1, tokens).unsqueeze(-1)
        self.known = torch.ones_like(self.tokens, dtype=torch.bool)

    def total(self) -> tuple[Tensor, Tensor]:
        """Sum and number of the known logits, (spectra, beams)."""
        return self.logits.masked_fill(~self.known, 0.0).sum(-1), self.known.sum(-1)

    def select(self, spectra: Tensor) -> None:
        """Keep `spectra` (n,)."""
        for name in ("tokens", "logits", "probabilities", "known"):
            setattr(self, name, getattr(self, name)[spectra])

    def extend(self, parents: Tensor, tokens: Tensor, logits: Tensor, active: Tensor) -> None:
        """Replace every beam by a continuation.

        Args:
            parents, tokens: (spectra, beams) which beam goes on, with what.
            logits: (spectra, beams, vocabulary) of the parents. active: (spectra, beams) bool, unfinished parents.
        """
        rows = torch.arange(len(tokens), device=tokens.device).unsqueeze(1)
        new = {
            "tokens": tokens,
            "logits": logits[rows, parents, tokens],
            "probabilities": logits.softmax(-1)[rows, parents, tokens],
            "known": active[rows, parents],
        }
        for name, last in new.items():
            before = getattr(self, name)[rows, parents]
            setattr(self, name, torch.cat([before, last.unsqueeze(-1)], dim=-1))


class BeamSearch:
    """Peptides of encoded spectra.

    Args:
        decoder: gives the logits.
        rules: what is accepted, and the scores.
        beams: per spectrum.
        count: peptides reported per spectrum, at most `beams`.

    Raises:
        ValueError: `beams` or `count` is out of range.
    """

    def __init__(self, decoder: CasanovoDecoder, rules: SearchRules, beams: int = 1, count: int = 1) -> None:
        vocabulary = decoder.output.out_features
        if not 1 <= count <= beams <= vocabulary:
            raise ValueError(
                f"num_beams {beams} and num_return_sequences {count}: need "
                f"1 <= num_return_sequences <= num_beams <= {vocabulary} (the vocabulary)"
            )
        self.decoder, self.rules, self.beams, self.count = decoder, rules, beams, count

    def __call__(self, memory: Tensor, memory_present: Tensor, precursors: Tensor) -> PeptideSearchOutput:
        """Search.

        Args:
            memory: (spectra, memory tokens, d) of the encoder. memory_present: its mask, 1 = real.
            precursors: (spectra, 3) float32: neutral mass in Da, charge, m/z.
        """
        rules, decoder = self.rules, self.decoder
        found = [Found(self.beams, rules.version != "4") for _ in memory]
        spectra = torch.arange(len(memory), device=memory.device)
        state = decoder.begin(memory, memory_present)
        logits = decoder.step(state, decoder.precursor_token(precursors)).float()
        beams = Beams(logits.topk(self.beams, dim=1)[1], logits)
        state.select(spectra.repeat_interleave(self.beams))
        for length in range(1, rules.max_length + 1):
            finished, discarded, fits = rules.judge(beams.tokens, precursors[spectra])
            self._collect(beams, finished & ~discarded, fits, spectra.tolist(), found)
            done = finished | discarded
            if bool(done.all()) or length == rules.max_length:
                break
            kept = self._alive(beams, done)
            if len(kept) < len(spectra):
                spectra, done = spectra[kept], done[kept]
                beams.select(kept)
                state.select(self._rows(kept), kept)
            self._advance(beams, state, done)
        return self._output(found)

    def _alive(self, beams: Beams, done: Tensor) -> Tensor:
        """Spectra to go on with.

        Where all beams are done and their means are positive, each can only be followed by padding, for ever.
        """
        total, _ = beams.total()
        return (~(done & (total > 0)).all(-1)).nonzero().squeeze(1)

    def _rows(self, spectra: Tensor) -> Tensor:
        return (spectra.unsqueeze(1) * self.beams + torch.arange(self.beams, device=spectra.device)).flatten()

    def _advance(self, beams: Beams, state: DecoderState, done: Tensor) -> None:
        """Decode one token more, choose the continuations, and sort `beams` and `state` accordingly."""
        last = beams.tokens[..., -1].flatten()
        logits = self.decoder.step(state, self.decoder.tokens(last).unsqueeze(1), last != 0)
        logits = logits.float().unflatten(0, done.shape)
        active = ~done
        beams.known |= active.unsqueeze(
            -1
        )  # the published program decodes active beams from their first token on
        total, number = beams.total()
        mean = torch.where(
            active.unsqueeze(-1),
            (total.unsqueeze(-1) + logits) / (number.unsqueeze(-1) + 1),
            (total / number).unsqueeze(-1),
        )
        weight = active.to(mean.dtype).unsqueeze(-1).repeat(1, 1, mean.shape[-1])
        weight[..., 0] = _PADDING_WEIGHT
        # by token, then by beam: the order in which the published program breaks ties
        candidates = (mean * weight).transpose(1, 2).flatten(1)
        chosen = candidates.topk(self.beams, dim=1)[1]
        tokens, parents = chosen // self.beams, chosen % self.beams
        beams.extend(parents, tokens, logits, active)
        if self.beams > 1:
            spectra = torch.arange(len(tokens), device=tokens.device)
            state.select((spectra.unsqueeze(1) * self.beams + parents).flatten())

    def _collect(
        self, beams: Beams, ended: Tensor, fits: Tensor, spectra: list[int], found: list[Found]
    ) -> None:
        """Score the beams that ended and keep the best."""
        places = (ended & beams.known.all(-1)).nonzero()
        if not len(places):
            return
        rows, columns = places.unbind(1)
        tokens = beams.tokens[rows, columns].tolist()
        probabilities = beams.probabilities[rows, columns].double().cpu().numpy()
        for row, ids, values, fit in zip(
            rows.tolist(), tokens, probabilities, fits[rows, columns].tolist(), strict=True
        ):
            stopped = ids[-1] == self.rules.stop
            score, residues = self.rules.score(values, stopped, fit)
            found[spectra[row]].add(Hypothesis(score, tuple(ids[:-1] if stopped else ids), residues))

    def _output(self, found: list[Found]) -> PeptideSearchOutput:
        ranked = [one.best(self.count, self.rules.stop) for one in found]
        flat = list(chain.from_iterable(ranked))
        lengths = [len(hypothesis.tokens) for hypothesis in flat]
        sequences = np.zeros((len(flat), max(lengths, default=0)), dtype=np.int64)
        residues = np.full(sequences.shape, np.nan)
        for row, (hypothesis, length) in enumerate(zip(flat, lengths, strict=True)):
            sequences[row, :length] = hypothesis.tokens
            residues[row, :length] = hypothesis.residue_scores[::-1]
        spectrum = [index for index, one in enumerate(ranked) for _ in one]
        rank = [place for one in ranked for place in range(len(one))]
        scores = [hypothesis.score for hypothesis in flat]
        return PeptideSearchOutput(
            sequences=torch.from_numpy(sequences),
            lengths=torch.tensor(lengths, dtype=torch.long),
            spectrum_index=torch.tensor(spectrum, dtype=torch.long),
            rank=torch.tensor(rank, dtype=torch.long),
            scores=torch.tensor(scores, dtype=torch.float64),
            residue_scores=torch.from_numpy(residues),
        )
