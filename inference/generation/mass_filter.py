"""Generation within a mass: symbols that no molecule of the precursor's mass can hold are never chosen.

`MassLogitsProcessor` follows every row symbol by symbol (`tokenization.selfies_grammar`) and keeps those symbols after
which some formula of the spectrum's `MassTarget` is still in reach; the end is kept only for a molecule that has such a
formula. It is stricter than the grammar where the grammar is generous: bonds are not asked for in vain, branches are
not longer than what they may hold, ring bonds are all made, and nothing is written that the decoder would ignore unless
nothing else is left. So a molecule is spelled in fewer ways, those of `selfies.encoder` among them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from transformers import LogitsProcessor

from ...tokenization.selfies_atoms import Role
from ...tokenization.selfies_grammar import Derivation
from ...tokenization.smiles import BOS, EOS
from .mass_masks import MaskMaker
from .mass_nodes import HEAVY, PLENTY, Node
from .mass_target import MassTarget

__all__ = ["DEAD_END_SCORE", "MassLogitsProcessor", "MassTarget"]

DEAD_END_SCORE = -1e4
"""Score of the end where a row cannot become a molecule of its spectrum; a search ranks such rows last."""

_Row = tuple[Derivation, Node | None]
_PLACES = {name: place for place, name in enumerate(HEAVY)}


class MassLogitsProcessor(LogitsProcessor):
    """Keeps generated SELFIES within the formulas of their spectra, in `generate` and in any other search.

    Rows belong to spectra in equal blocks: row // rows_per_spectrum. The state of a row is found by its tokens, so rows
    may be reordered at will. One object serves one search at a time.

    Args:
        vocabulary: the tokenizer's `get_vocab()`.
        targets: one per spectrum; None leaves its molecules unrestricted.
        rows_per_spectrum: beams or samples of each spectrum.
        max_length: tokens of a sequence with both ends; None if nothing limits it.

    Raises:
        ValueError: the vocabulary has no end symbols, or rows_per_spectrum is below 1.
    """

    def __init__(
        self,
        vocabulary: Mapping[str, int],
        targets: Sequence[MassTarget | None],
        rows_per_spectrum: int = 1,
        max_length: int | None = None,
    ) -> None:
        missing = [token for token in (BOS, EOS) if token not in vocabulary]
        if missing or rows_per_spectrum < 1:
            raise ValueError(
                f"rows_per_spectrum {rows_per_spectrum} and symbols missing from the vocabulary {missing}; "
                "give at least one row, and the vocabulary of the SELFIES tokenizer"
            )
        self._maker = MaskMaker(vocabulary)
        self._bos, self._eos = vocabulary[BOS], vocabulary[EOS]
        self.targets = [
            None if target is None else target.limited(sorted(self._maker.elements)) for target in targets
        ]
        self.rows_per_spectrum, self.max_length = rows_per_spectrum, max_length
        self._roots = [None if target is None else Node.root(target) for target in self.targets]
        symbols = enumerate(self._maker.symbols)
        self._free = 1 << self._eos | sum(1 << place for place, symbol in symbols if symbol is not None)
        self._rows: dict[tuple[int, bytes], _Row] = {}
        self._parents: dict[tuple[int, bytes], _Row] = {}
        self._length = 0

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Scores (rows, V) with forbidden symbols at -inf, for tokens (rows, L) that start with ``<s>``.

        Every row keeps a finite score: a dead end may end, at `DEAD_END_SCORE`. Rows that have ended stay as they are.

        Raises:
            ValueError: there are more rows than the targets account for.
        """
        tokens = input_ids.cpu().numpy()
        if len(tokens) > len(self.targets) * self.rows_per_spectrum:
            raise ValueError(
                f"{len(tokens)} rows for {len(self.targets)} targets of {self.rows_per_spectrum} rows each; "
                "set rows_per_spectrum to the number of beams or samples"
            )
        masks = self._masks(tokens)
        width = scores.shape[1]
        size = (width + 7) // 8
        packed = np.frombuffer(b"".join(mask.to_bytes(size, "little") for mask in masks), dtype=np.uint8)
        bits = np.unpackbits(packed.reshape(len(masks), size), axis=1, count=width, bitorder="little")
        allowed = torch.from_numpy(bits.astype(bool)).to(scores.device)
        dead = ~allowed.any(dim=1)
        result = scores.masked_fill(~allowed, -torch.inf)
        result[dead, self._eos] = DEAD_END_SCORE
        return result  # type: ignore[return-value]

    def _masks(self, tokens: np.ndarray) -> list[int]:
        length = tokens.shape[1]
        if length != self._length:
            self._parents = self._rows if length == self._length + 1 else {}
            self._rows, self._length = {}, length
        symbols = PLENTY if self.max_length is None else self.max_length - length - 1
        masks = []
        known: dict[tuple[int, bytes], int] = {}
        everything = (1 << len(self._maker.symbols)) - 1
        for number, row in enumerate(tokens):
            spectrum = number // self.rows_per_spectrum
            root = self._roots[spectrum]
            ended = length > 1 and self._maker.symbols[row[-1]] is None
            if root is None or ended:
                masks.append(everything if ended else self._free)
            if root is None:
                continue
            key = (spectrum, row.tobytes())
            if ended:
                self._row(key, row, root)
                continue
            mask = known.get(key)
            if mask is None:
                mask = known[key] = self._mask(self._row(key, row, root), symbols)
            masks.append(mask)
        return masks

    def _mask(self, row: _Row, symbols: int) -> int:
        state, node = row
        if node is None or not state.regular or state.error is not None:
            return 0
        found = self._maker.mask(state, node, symbols)
        return found | 1 << self._eos if _finished(state, node) else found

    def _row(self, key: tuple[int, bytes], tokens: np.ndarray, root: Node) -> _Row:
        """The state of a row: that of its parent and one symbol, else from its start."""
        row = self._rows.get(key)
        if row is None:
            spectrum, prefix = key
            parent = self._parents.get((spectrum, prefix[: -tokens.itemsize]))
            if parent is not None:
                row = self._step(parent, int(tokens[-1]))
            else:
                row = (Derivation(), root)
                for token in tokens[1:].tolist():
                    row = self._step(row, token)
            self._rows[key] = row
        return row

    def _step(self, row: _Row, token: int) -> _Row:
        state, node = row
        symbol = self._maker.symbols[token]
        if symbol is None or symbol.role == Role.PART:
            return state, None
        after = state.advance(symbol)
        if node is not None and len(after.atoms) > len(state.atoms):
            place = _PLACES.get(after.atoms[-1].element)
            node = None if place is None else node.child(place)
        return after, node

    def matches(self, tokens: Sequence[int], spectrum: int) -> bool:
        """Whether ids, from ``<s>`` to ``</s>``, build a molecule that its spectrum allows; False for a dead end.

        Always False without ``</s>``; with no target, True for whatever has one.
        """
        ids = [int(token) for token in tokens]
        if self._eos not in ids:
            return False
        root = self._roots[spectrum]
        if root is None:
            return True
        row: _Row = (Derivation(), root)
        for token in ids[1 if ids[0] == self._bos else 0 : ids.index(self._eos)]:
            row = self._step(row, token)
        state, node = row
        return node is not None and state.regular and _finished(state, node)


def _finished(state: Derivation, node: Node) -> bool:
    """Whether the molecule has one of the formulas now, without unpaired electrons or ring bonds that were not made."""
    if state.pending is not None or (node.base - state.hydrogens, state.charge) not in node.finished:
        return False
    built = state.build()
    return built.valid and not built.radicals and state.regular
