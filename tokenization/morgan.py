"""SMILES to Morgan substructure tokens, behind the interface of a tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from transformers import PreTrainedTokenizer


class MorganTokenizer(PreTrainedTokenizer):
    """A molecule's tokens are the bits of its Morgan fingerprint: token i + 2 is bit i, 0 is filler, 1 unknown.

    The same molecule gives the same tokens however its SMILES is written. A SMILES that RDKit cannot read gives the
    single token ``<unk>``.

    Args:
        n_bits: length of the folded fingerprint. radius: in bonds.
    """

    vocab_files_names: ClassVar[dict[str, str]] = {"vocab_file": "morgan.json"}
    model_input_names: ClassVar[list[str]] = ["input_ids", "attention_mask"]

    def __init__(
        self,
        vocab_file: str | None = None,
        n_bits: int = 2048,
        radius: int = 2,
        **kwargs: Any,
    ) -> None:
        if vocab_file is not None:
            settings = json.loads(Path(vocab_file).read_text())
            n_bits, radius = int(settings["n_bits"]), int(settings["radius"])
        self.n_bits, self.radius = n_bits, radius
        kwargs = {"pad_token": "<pad>", "unk_token": "<unk>", "model_max_length": n_bits} | kwargs
        super().__init__(n_bits=n_bits, radius=radius, **kwargs)

    @property
    def vocab_size(self) -> int:
        """Bits and the two special tokens."""
        return self.n_bits + 2

    def get_vocab(self) -> dict[str, int]:
        """Token to id."""
        return {"<pad>": 0, "<unk>": 1} | {f"bit{i}": i + 2 for i in range(self.n_bits)}

    @cached_property
    def _generator(self) -> Any:
        from rdkit import RDLogger
        from rdkit.Chem import rdFingerprintGenerator

        RDLogger.DisableLog("rdApp.*")  # an unreadable SMILES is answered by <unk>, not by a line on stderr
        return rdFingerprintGenerator.GetMorganGenerator(radius=self.radius, fpSize=self.n_bits)

    def _tokenize(self, text: str, **kwargs: Any) -> list[str]:
        from rdkit import Chem

        molecule = Chem.MolFromSmiles(text)
        if molecule is None or molecule.GetNumAtoms() == 0:
            return ["<unk>"]
        return [f"bit{bit}" for bit in self._generator.GetFingerprint(molecule).GetOnBits()]

    def _convert_token_to_id(self, token: str) -> int:
        return int(token[3:]) + 2 if token.startswith("bit") else ("<pad>", "<unk>").index(token)

    def _convert_id_to_token(self, index: int) -> str:
        return f"bit{index - 2}" if index >= 2 else ("<pad>", "<unk>")[index]

    def convert_tokens_to_string(self, tokens: Iterable[str]) -> str:
        """Tokens joined by blanks: a fingerprint cannot be turned back into a SMILES."""
        return " ".join(tokens)

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str]:
        """Write the settings as ``morgan.json``."""
        path = Path(save_directory) / f"{filename_prefix + '-' if filename_prefix else ''}morgan.json"
        path.write_text(json.dumps({"n_bits": self.n_bits, "radius": self.radius}))
        return (str(path),)
