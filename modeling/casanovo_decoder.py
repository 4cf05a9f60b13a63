"""The peptide decoder of Casanovo: a precursor token, then residues from the C-terminus to the N-terminus."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from .casanovo_config import CasanovoConfig
from .casanovo_layers import CasanovoDecoderLayer, KeysValues, PastTokens
from .layers import Packing, key_mask
from .sinusoid import Sinusoid

# longest wavelength of the position encoding
_LONGEST_POSITION = {"4": 1e4, "5": 1e5}


class DecoderState:
    """What a step of the search needs of the steps before: the spectra's keys and values, and those of every beam.

    Args:
        memory: per layer, keys and values of the spectra.
        memory_mask: (spectra, 1, 1, memory tokens), additive.
    """

    def __init__(self, memory: list[KeysValues], memory_mask: Tensor) -> None:
        self.memory, self.memory_mask = memory, memory_mask
        self.past = [PastTokens() for _ in memory]
        self.present: Tensor | None = None

    def select(self, rows: Tensor, spectra: Tensor | None = None) -> None:
        """Keep the beams `rows` (n * beams,) int64, which may repeat, and `spectra` (n,), None for all."""
        if spectra is not None:
            self.memory = [(key[spectra], value[spectra]) for key, value in self.memory]
            self.memory_mask = self.memory_mask[spectra]
        for past in self.past:
            past.select(rows)
        if self.present is not None:
            self.present = self.present[rows]


class CasanovoDecoder(nn.Module):
    """28,424,733 parameters in version 4 and 28,421,661 in version 5 at the published size.

    Args:
        config: sizes, version and vocabulary.
    """

    def __init__(self, config: CasanovoConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.tokens = nn.Embedding(config.vocab_size, size, padding_idx=config.pad_token_id)
        self.charge = nn.Embedding(config.max_charge or 0, size)
        self.mass = Sinusoid(size, 0.001, 1e4)
        self.positions = Sinusoid(size, 1.0, _LONGEST_POSITION[config.version])
        self.layers = nn.ModuleList(CasanovoDecoderLayer(config) for _ in range(config.num_hidden_layers))
        self.output = nn.Linear(size, config.vocab_size)

    def forward(self, tokens: Tensor, precursors: Tensor, memory: Tensor, memory_present: Tensor) -> Tensor:
        """Score every token given those before it.

        Args:
            tokens: (batch, length) int64, 0 = padding; the length may be 0.
            precursors: (batch, 3) float32: neutral mass in Da, charge, m/z.
            memory: (batch, memory tokens, d) of the encoder. memory_present: its mask, 1 = real.

        Returns:
            logits (batch, length + 1, vocabulary); row t scores token t.
        """
        state = self.begin(memory, memory_present)
        states = torch.cat([self.precursor_token(precursors), self.tokens(tokens)], dim=1)
        length = states.shape[1]
        present = nn.functional.pad(tokens != 0, (1, 0), value=True)
        visible = present[:, None] & torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
        mask = torch.zeros(visible.shape, dtype=states.dtype, device=tokens.device)
        mask = mask.masked_fill(~visible, torch.finfo(states.dtype).min).unsqueeze(1)
        states = self._placed(states, 0)
        for layer, keys_values in zip(self.layers, state.memory, strict=True):
            states = layer(states, mask, keys_values, state.memory_mask)
        return self.output(states)

    def begin(self, memory: Tensor, memory_present: Tensor) -> DecoderState:
        """Project the spectra for every layer, real tokens only; arguments as in `forward`."""
        packing = Packing.of(memory_present.float())
        packed = memory if packing is None else packing.pack(memory)
        projected = [cast(CasanovoDecoderLayer, layer).memory(packed, packing) for layer in self.layers]
        return DecoderState(projected, key_mask(memory_present, memory.dtype))

    def precursor_token(self, precursors: Tensor) -> Tensor:
        """The first token (batch, 1, d): neutral mass and charge of precursors (batch, 3)."""
        charge = self.charge(precursors[:, 1].long() - 1)
        return (self.mass(precursors[:, 0]) + charge.float()).to(charge.dtype).unsqueeze(1)

    def step(self, state: DecoderState, token: Tensor, present: Tensor | None = None) -> Tensor:
        """Append one token to every beam.

        Args:
            state: of the steps before; changed.
            token: (rows, 1, d), from `precursor_token` or `self.tokens`.
            present: (rows,) bool, False for padding, which later steps do not see; None = all real.

        Returns:
            logits (rows, vocabulary) of the next token.
        """
        new = torch.ones_like(token[:, :1, 0], dtype=torch.bool) if present is None else present[:, None]
        state.present = new if state.present is None else torch.cat([state.present, new], dim=1)
        states = self._placed(token, state.present.shape[1] - 1)
        mask = key_mask(state.present, token.dtype)
        for layer, keys_values, past in zip(self.layers, state.memory, state.past, strict=True):
            states = layer(states, mask, keys_values, state.memory_mask, past)
        return self.output(states[:, 0])

    def _placed(self, states: Tensor, first: int) -> Tensor:
        """`states` (rows, tokens, d) with the encoding of their positions, the first being `first`."""
        positions = torch.arange(first, first + states.shape[1], device=states.device)
        return (states.float() + self.positions(positions.float())).to(states.dtype)
