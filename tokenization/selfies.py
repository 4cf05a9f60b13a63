"""Molecules as SELFIES, and SELFIES to token ids: a plain fast tokenizer that loads anywhere, also without this package.

SELFIES (Krenn et al. 2020, doi:10.1088/2632-2153/aba947) is a molecule as bracket symbols such as ``[C]``, ``[=Branch1]``
and ``[Ring1]``; every string of them is a molecule, by a table of the most bonds of each atom. The default table of the
library `selfies` loses hypervalent iodine and lets silicon or chloride have eight bonds. Here `constraints` is used
throughout: the default where RDKit agrees, and RDKit's greatest valence for the further atoms it lists.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ..spectra.molecules import MoleculeError, canonical_smiles, inchikey_block
from .parallel import map_chunks
from .selfies_constraints import constrained as constrained
from .selfies_constraints import constraints as constraints
from .smiles import BOS, EOS, SPECIAL_TOKENS, UNK, fast_tokenizer, known_block

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TOKEN_PATTERN = r"\[[^\]]*\]|\."
"""One SELFIES token: a bracket symbol, or the dot between the parts of a salt."""

_TOKEN = re.compile(TOKEN_PATTERN)
_WELL_FORMED = re.compile(r"(?:\[[^\[\]]+\]|\.)*")
_PIECE = re.compile(rf"{TOKEN_PATTERN}|(?:(?!{TOKEN_PATTERN})[\s\S])+")
_SPECIAL = re.compile("({})".format("|".join(map(re.escape, SPECIAL_TOKENS))))


class SelfiesError(ValueError):
    """A molecule SELFIES cannot write, or a text that is no SELFIES; says which and why."""


def encode_selfies(smiles: str, *, canonicalise: bool = True, verify: bool = True) -> str:
    """SELFIES of a SMILES, without stereo and isotopes.

    Args:
        smiles: any SMILES; the parts of a salt stay, with a ``.`` between them.
        canonicalise: write it with `canonical_smiles` first; False where it already is.
        verify: decode the result and compare (canonical SMILES, else the first InChIKey block).

    Raises:
        SelfiesError: not a molecule, not one SELFIES can write, or one that does not come back as it was.
    """
    try:
        text = canonical_smiles(smiles) if canonicalise else smiles
    except MoleculeError as error:
        raise SelfiesError(str(error)) from None
    with constrained() as selfies:
        try:
            result = str(selfies.encoder(text))
        except (selfies.EncoderError, RecursionError) as error:
            raise SelfiesError(f"SMILES {_short(text)} has no SELFIES: {_reason(error)}") from None
    if not result:
        raise SelfiesError(f"SMILES {_short(text)} has no SELFIES: it holds no atom")
    if verify:
        _check_same(text, result)
    return result


def decode_selfies(selfies: str) -> str:
    """Canonical SMILES, without stereo and isotopes, of the molecule that a SELFIES builds.

    Raises:
        SelfiesError: not SELFIES, a symbol the library does not know, or a molecule RDKit does not accept.
    """
    split_selfies(selfies)
    with constrained() as library:
        try:
            smiles = str(library.decoder(selfies))
        except (library.DecoderError, RecursionError) as error:
            raise SelfiesError(f"SELFIES {_short(selfies)} cannot be decoded: {_reason(error)}") from None
    try:
        return canonical_smiles(smiles)
    except MoleculeError as error:
        raise SelfiesError(f"SELFIES {_short(selfies)} builds no molecule: {error}") from None


def _short(text: str) -> str:
    return repr(text) if len(text) <= 200 else f"{text[:200]!r}…"


def _reason(error: Exception) -> str:
    """The library's message in one line, without the molecule it repeats."""
    if isinstance(error, RecursionError):
        return "branches are nested too deeply"
    lines = [line.strip() for line in str(error).splitlines()]
    return "; ".join(line for line in lines if line and not line.startswith("SMILES:")) or "unknown symbol"


def _check_same(smiles: str, selfies: str) -> None:
    """Check that a SELFIES builds the molecule of a canonical SMILES."""
    from rdkit import Chem, rdBase

    with constrained() as library, rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(library.decoder(selfies))
        if mol is not None and Chem.MolToSmiles(mol) == smiles:
            return
    decoded = decode_selfies(selfies)  # slower: it writes the SMILES until that changes nothing
    with suppress(MoleculeError):
        if decoded == canonical_smiles(smiles) or inchikey_block(decoded) == inchikey_block(smiles):
            return
    raise SelfiesError(f"SMILES {_short(smiles)} has no faithful SELFIES: it comes back as {_short(decoded)}")


@dataclass(frozen=True, slots=True)
class Conversion:
    """What became of one SMILES.

    Attributes:
        index: its place among those given, from 0.
        smiles: canonical SMILES; as given where there is no SELFIES.
        selfies: None where it could not be converted.
        inchikey14: first InChIKey block, None where not asked for or InChI has none.
        reason: why there is no SELFIES, else "".
    """

    index: int
    smiles: str
    selfies: str | None
    inchikey14: str | None = None
    reason: str = ""


def convert_smiles(
    smiles: Iterable[str],
    workers: int | None = None,
    *,
    canonicalise: bool = True,
    parent: bool = False,
    verify: bool = True,
    inchikeys: bool = False,
    progress: bool = True,
) -> Iterator[Conversion]:
    """SELFIES of any number of SMILES in several processes, one `Conversion` for each, in their order.

    The input is read as fast as the results are taken (see `map_chunks`), so memory does not grow with it.

    Args:
        smiles: any iterable.
        workers: processes; None for all processors this process may use, 1 to work in this one.
        canonicalise, verify: as in `encode_selfies`.
        parent: keep the largest organic fragment and neutralise it; needs `canonicalise`.
        inchikeys: give the first InChIKey block of each.
        progress: show a bar.
    """
    from tqdm import tqdm

    work = partial(_converted, canonicalise=canonicalise, parent=parent, verify=verify, inchikeys=inchikeys)
    total = len(smiles) if isinstance(smiles, Sized) else None
    found = map_chunks(work, enumerate(smiles), workers=workers)
    return iter(tqdm(found, "SMILES to SELFIES", total, unit="mol", disable=not progress))


def _converted(
    items: Sequence[tuple[int, str]], canonicalise: bool, parent: bool, verify: bool, inchikeys: bool
) -> list[Conversion]:
    result = []
    with constrained():  # once for all of them
        for index, given in items:
            try:
                text = canonical_smiles(given, parent=parent) if canonicalise else given
                selfies = encode_selfies(text, canonicalise=False, verify=verify)
            except (MoleculeError, SelfiesError) as error:
                result.append(Conversion(index, given, None, reason=str(error)))
                continue
            result.append(Conversion(index, text, selfies, known_block(text) if inchikeys else None))
    return result


def split_selfies(selfies: str) -> list[str]:
    """The tokens of a SELFIES in order: bracket symbols and dots.

    Raises:
        SelfiesError: something is not within brackets; says what and where.
    """
    match = _WELL_FORMED.match(selfies)
    if match is None or match.end() != len(selfies):
        place = match.end() if match is not None else 0
        raise SelfiesError(
            f"SELFIES {_short(selfies)} is malformed at character {place}: {selfies[place : place + 20]!r} is no symbol; "
            "symbols look like '[C]' or '[=Branch1]', with '.' between parts"
        )
    return _TOKEN.findall(selfies)


def token_counts(corpus: Iterable[str]) -> Counter[str]:
    """How often each token occurs in SELFIES."""
    counts: Counter[str] = Counter()
    for text in corpus:
        counts.update(_TOKEN.findall(text))
    return counts


def selfies_alphabet(corpus: Iterable[str] | Mapping[str, int], min_count: int = 1) -> tuple[str, ...]:
    """The tokens a model of a corpus needs, always in the same order.

    Args:
        corpus: SELFIES, or what `token_counts` gave for them (sum the counts of shards).
        min_count: how often a token of the corpus must occur; the tokens below are there in any case.

    Returns:
        The tokens of the corpus, most frequent first (ties by text), then what is missing of the semantically robust
        alphabet under `constraints` (atoms with each bond, branches, rings, index symbols) and the dot, by text.
    """
    counts = corpus if isinstance(corpus, Mapping) else token_counts(corpus)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    found = [token for token, count in ranked if count >= min_count]
    with constrained() as selfies:
        robust = sorted({*selfies.get_semantic_robust_alphabet(), "."})
    return tuple(dict.fromkeys([*found, *robust]))


def selfies_vocabulary(tokens: Iterable[str]) -> dict[str, int]:
    """Token to id: the special tokens (ids 0 to 4), then `tokens` in their order.

    Raises:
        SelfiesError: an entry is neither one bracket symbol nor the dot.
    """
    known = dict.fromkeys(SPECIAL_TOKENS)
    for token in tokens:
        if token not in known and split_selfies(token) != [token]:
            raise SelfiesError(f"token {token!r} must be one SELFIES symbol such as '[C]', or '.'")
        known[token] = None
    return {token: index for index, token in enumerate(known)}


def build_selfies_tokenizer(tokens: Iterable[str], *, max_length: int = 128) -> PreTrainedTokenizerFast:
    """A fast tokenizer for SELFIES: ``<s>`` tokens ``</s>``, exact round trip by `decode(skip_special_tokens=True)`.

    Args:
        tokens: of `selfies_alphabet`.
        max_length: tokens per molecule, the two end tokens included; used with ``truncation=True``.

    Returns:
        A stock `PreTrainedTokenizerFast` (regex pre-tokenizer, WordLevel vocabulary). Its calls give ``input_ids`` and
        ``attention_mask``, int64 (B, L) with ``return_tensors="pt"``, 1 = token, 0 = padding. A symbol it does not know
        and a run of text outside brackets become ``<unk>``; `check_selfies` names them.
    """
    return fast_tokenizer(selfies_vocabulary(tokens), TOKEN_PATTERN, max_length)


def check_selfies(selfies: str, vocabulary: Mapping[str, int]) -> None:
    """Check that a tokenizer knows every token (`vocabulary` is its `get_vocab()`).

    Raises:
        SelfiesError: malformed, or a token is not in the vocabulary; names it and its place.
    """
    for place, token in enumerate(split_selfies(selfies)):
        if token not in vocabulary:
            raise SelfiesError(
                f"SELFIES {_short(selfies)}: token {place}, {token!r}, is not in the vocabulary of {len(vocabulary)} tokens; "
                "build the tokenizer from a corpus that holds it, or leave the molecule out"
            )


def encode_ids(
    selfies: Sequence[str], vocabulary: Mapping[str, int], *, max_length: int | None = None
) -> list[list[int]]:
    """Token ids with both ends, exactly as the fast tokenizer gives, without its overhead for millions of molecules.

    Args:
        selfies: of any length.
        vocabulary: the tokenizer's `get_vocab()`.
        max_length: truncate to this many ids, the two end tokens included.
    """
    first, last, unknown = (vocabulary[token] for token in (BOS, EOS, UNK))
    room = None if max_length is None else max(max_length - 2, 0)
    result = []
    for text in selfies:
        parts = _SPECIAL.split(text) if "<" in text else (text,)
        ids = [vocabulary.get(token, unknown) for part in parts for token in _PIECE.findall(part)]
        result.append([first, *ids[:room], last])
    return result
