"""Peptides to token ids and back: the vocabularies of casanovo 4.x and 5.x, with ProForma on the outside."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizer

from ..spectra.peptides import parse_peptide, unimod_numbers

PAD, STOP = "<pad>", "$"
WATER = 18.010565
VERSIONS = ("4", "5")
# a mass is taken for the modification of the vocabulary that is this near, in Da
_NEAR = 0.005

_TOKEN = re.compile(r"([A-Z]?)(?:\[([^\]]+)\])?(-?)")
_OLD_PIECES = re.compile(r"(?<=.)(?=[A-Z])")
_OLD_TOKEN = re.compile(r"([A-Z]?)((?:[+-]\d+(?:\.\d+)?)*)")


class PeptideTokenizer(PreTrainedTokenizer):
    """Peptides in ProForma to ids in the order in which Casanovo writes them: C- to N-terminus, then stop.

    ``[Acetyl]-PEM[Oxidation]K`` is K, M[Oxidation], E, P, [Acetyl]-, $. Isoleucine is read as leucine, which has its mass.
    A modification is known by the name of the vocabulary, by its UNIMOD number (``[UNIMOD:35]``) or by its mass
    (``[+15.995]``); the notation of casanovo 4.x and MassIVE-KB (``M+15.995``, ``+42.011PEK``) is read too. Decoding gives
    ProForma, from the N-terminus. Id 0 is padding.

    Args:
        vocab_file: ``residues.csv`` of a checkpoint: token and mass in Da, in the order of their ids from 1 on.
        version: "4" or "5", whose vocabulary to take without a file, and in which notation its tokens are.
        residues: token to mass in the order of the ids, the stop token included, instead of a file.

    Raises:
        ValueError: an argument is wrong, or a peptide has something that is not in the vocabulary.
    """

    vocab_files_names: ClassVar[dict[str, str]] = {"vocab_file": "residues.csv"}
    model_input_names: ClassVar[list[str]] = ["input_ids", "attention_mask"]

    def __init__(
        self,
        vocab_file: str | None = None,
        version: str = "5",
        residues: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if version not in VERSIONS:
            raise ValueError(f"version must be one of {', '.join(VERSIONS)}, got {version!r}")
        if vocab_file is not None:
            residues = _read(vocab_file)
        self.version = version
        self.residues = dict(residues if residues is not None else published_residues(version))
        if STOP not in self.residues:
            raise ValueError(f"{vocab_file or 'residues'} has no stop token {STOP!r}; its row has mass 0")
        self._ids = {PAD: 0} | {token: index for index, token in enumerate(self.residues, start=1)}
        self._texts = list(self._ids)
        kwargs = {"pad_token": PAD, "eos_token": STOP, "unk_token": None, "model_max_length": 101} | kwargs
        super().__init__(version=version, **{"special_tokens_pattern": "eos"} | kwargs)

    @property
    def vocab_size(self) -> int:
        """Tokens, padding and stop included."""
        return len(self._ids)

    @property
    def masses(self) -> npt.NDArray[np.float64]:
        """Mass in Da by id, float64 (vocab_size,); 0 for padding and stop."""
        return np.array([0.0, *self.residues.values()])

    @property
    def n_terminal_token_ids(self) -> list[int]:
        """Ids of the N-terminal modifications."""
        return [index for token, index in self._ids.items() if self.proforma(token).endswith("]-")]

    def get_vocab(self) -> dict[str, int]:
        """Token to id, in the notation of the version."""
        return dict(self._ids)

    def split(self, peptide: str) -> list[str]:
        """Tokens of a peptide from the N-terminus, in the notation of the version.

        Raises:
            ValueError: it is no peptide, or something in it is not in the vocabulary; names both.
        """
        return [self._find(letter, tag, peptide) for letter, tag in _pieces(peptide)]

    def mass(self, peptide: str) -> float:
        """Neutral monoisotopic mass in Da."""
        return sum(self.residues[token] for token in self.split(peptide)) + WATER

    def proforma(self, token: str) -> str:
        """A token of the vocabulary in ProForma."""
        if self.version == "5" or token in (PAD, STOP):
            return token
        known = {old: new for new, old, _ in _table() if old}
        if token in known:
            return known[token]
        letter, shift = _old_parts(token)
        return f"{letter}[{shift:+g}]{'' if letter else '-'}"

    def _find(self, letter: str, tag: str, peptide: str) -> str:
        """The token of a residue ("" at the N-terminus) and its modification ("" for none)."""
        letter = letter.replace("I", "L")
        known = self._by_residue.get(letter, {})
        if tag in known:
            return known[tag]
        number = re.fullmatch(r"(?:UNIMOD|U):(\d+)", tag, re.IGNORECASE)
        shift = _number(tag)
        for name, token in known.items():
            if number and unimod_numbers().get(name) == int(number[1]):
                return token
            if shift is not None and name and abs(self._shift(letter, token) - shift) < _NEAR:
                return token
            if name.casefold() == tag.casefold().removeprefix("u:"):
                return token
        piece = f"{letter}[{tag}]{'' if letter else '-'}" if tag else letter
        choice = ", ".join(self.proforma(token) for token in known.values()) or "none of this residue"
        raise ValueError(
            f"peptide {peptide!r}: {piece!r} is not in the vocabulary; of this kind it has {choice}"
        )

    @cached_property
    def _by_residue(self) -> dict[str, dict[str, str]]:
        """Letter ("" for the N-terminus), then modification ("" for none), to token."""
        found: dict[str, dict[str, str]] = {}
        for token in self.residues:
            match = _TOKEN.fullmatch(self.proforma(token))
            if match:
                found.setdefault(match[1], {})[match[2] or ""] = token
        return found

    def _shift(self, letter: str, token: str) -> float:
        bare = {new: mass for new, _, mass in _table()}
        return self.residues[token] - (bare.get(letter, 0.0) if letter else 0.0)

    def _tokenize(self, text: str, **kwargs: Any) -> list[str]:
        return self.split(text)[::-1]

    def _convert_token_to_id(self, token: str) -> int:
        return self._ids[token]

    def _convert_id_to_token(self, index: int) -> str:
        return self._texts[index]

    def convert_tokens_to_string(self, tokens: Iterable[str]) -> str:
        """ProForma of tokens in decoding order, up to the stop token; padding is left out."""
        read = []
        for token in tokens:
            if token == STOP:
                break
            if token != PAD:
                read.append(self.proforma(token))
        return "".join(reversed(read))

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str]:
        """Write ``residues.csv``: token and mass in the order of the ids."""
        path = Path(save_directory) / f"{filename_prefix + '-' if filename_prefix else ''}residues.csv"
        rows = [f"{token},{mass!r}" for token, mass in self.residues.items()]
        path.write_text("\n".join(["token,mass", *rows]) + "\n", encoding="utf-8")
        return (str(path),)


@cache
def _table() -> tuple[tuple[str, str, float], ...]:
    """ProForma, notation of casanovo 4.x ("" = not in its vocabulary) and mass of every published token."""
    text = (files(__package__) / "residues.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return tuple((row["proforma"], row["casanovo4"], float(row["mass"])) for row in rows)


def published_residues(version: str) -> dict[str, float]:
    """Tokens and masses in Da of the published vocabulary in the order of their ids, from 1; stop has mass 0.

    Version 4 keeps the order of its configuration and ends with the stop token; version 5 sorts, and has no isoleucine.
    """
    if version == "4":
        return {old: mass for _, old, mass in _table() if old} | {STOP: 0.0}
    tokens = {new: mass for new, _, mass in _table() if new != "I"} | {STOP: 0.0}
    return dict(sorted(tokens.items()))


def _read(path: str) -> dict[str, float]:
    """Tokens and masses of a checkpoint's file.

    Raises:
        ValueError: a line is not a token and a mass, or a token comes twice; names path and line.
    """
    residues: dict[str, float] = {}
    with Path(path).open(encoding="utf-8", newline="") as stream:
        for line, row in enumerate(csv.reader(stream), start=1):
            if line == 1 and row == ["token", "mass"]:
                continue
            mass = _number(row[1]) if len(row) == 2 else None
            if mass is None or row[0] in residues:
                raise ValueError(f"{path}:{line}: {','.join(row)!r} is no new token with a mass in Da")
            residues[row[0]] = mass
    return residues


def _pieces(peptide: str) -> Sequence[tuple[str, str]]:
    """(letter, modification) of every residue; the letter is "" for a modification of the N-terminus."""
    bare = re.sub(r"\[[^\]]*\]", "", peptide)
    if re.search(r"\d", bare):
        try:
            parts = [_old_parts(piece) for piece in _OLD_PIECES.split(peptide)]
        except ValueError as error:
            raise ValueError(f"peptide {peptide!r}: {error}") from None
        return [(letter, f"{shift:+.6f}" if shift else "") for letter, shift in parts]
    parsed = parse_peptide(peptide)
    tags: dict[int, list[str]] = {}
    for modification in parsed.modifications:
        tags.setdefault(modification.position, []).append(modification.name)
    first = [("", _joined(tags[0]))] if 0 in tags else []
    return first + [
        (letter, _joined(tags.get(place, []))) for place, letter in enumerate(parsed.sequence, start=1)
    ]


def _joined(tags: list[str]) -> str:
    """Several modifications of one place as one: the sum of masses, or the names side by side."""
    shifts = [_number(tag) for tag in tags]
    if len(tags) > 1 and None not in shifts:
        return f"{sum(shift for shift in shifts if shift is not None):+.6f}"
    return "][".join(tags)


def _old_parts(piece: str) -> tuple[str, float]:
    """Letter and mass shift of a token such as ``M+15.995`` or ``+43.006-17.027``.

    Raises:
        ValueError: it is none.
    """
    match = _OLD_TOKEN.fullmatch(piece)
    if match is None or not piece:
        raise ValueError(f"{piece!r} is not a residue with mass shifts such as M+15.995")
    return match[1], sum(float(shift) for shift in re.findall(r"[+-]\d+(?:\.\d+)?", match[2]))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None
