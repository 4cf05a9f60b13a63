"""SMILES to token ids: a plain fast tokenizer that loads anywhere, also without this package.

The vocabulary is closed: every character a SMILES may hold is a token, and frequent bracket atoms (``[nH]``,
``[C@@H]``) are tokens of their own. An unseen bracket atom falls back to its characters, so no valid SMILES is lost.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ..spectra.molecules import MoleculeError, canonical_smiles, inchikey_block
from .parallel import map_chunks

if not __name__.startswith("msformers."):
    raise ImportError("import msformers.tokenization.smiles")

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, BOS, EOS, MASK, UNK = "<pad>", "<s>", "</s>", "<mask>", "<unk>"
SPECIAL_TOKENS = (PAD, BOS, EOS, MASK, UNK)

BRACKET_ATOMS = (
    *(
        "[nH]",
        "[C@H]",
        "[C@@H]",
        "[C@]",
        "[C@@]",
        "[N+]",
        "[O-]",
        "[n+]",
        "[N-]",
        "[NH+]",
        "[NH2+]",
        "[NH3+]",
    ),
    *(
        "[NH-]",
        "[S-]",
        "[S+]",
        "[S@]",
        "[S@@]",
        "[P+]",
        "[P@]",
        "[P@@]",
        "[O+]",
        "[o+]",
        "[s+]",
        "[n-]",
        "[nH+]",
    ),
    *(
        "[C-]",
        "[CH-]",
        "[c-]",
        "[cH-]",
        "[C+]",
        "[B-]",
        "[BH-]",
        "[Si]",
        "[Se]",
        "[se]",
        "[SeH]",
        "[I+]",
        "[Cl-]",
    ),
    *(
        "[Br-]",
        "[I-]",
        "[F-]",
        "[Na+]",
        "[K+]",
        "[Li+]",
        "[H]",
        "[2H]",
        "[13C]",
        "[13CH2]",
        "[13CH3]",
        "[15N]",
    ),
)
"""Bracket atoms that are one token by default, frequent in drug and natural-product collections."""

_CHARACTERS = string.ascii_letters + string.digits + "[]()=#$:/\\-+.@%*~"
_TWO_CHARACTER = ("Br", "Cl", "@@")
_RING_CLOSURES = tuple(f"%{number}" for number in range(10, 30))


_BRACKET_ATOM = re.compile(r"\[[^\[\]]+\]")


def bracket_atom_counts(smiles: Iterable[str]) -> Counter[str]:
    """How often each bracket atom occurs in a corpus; counts of its shards can be added."""
    counts: Counter[str] = Counter()
    for text in smiles:
        counts.update(_BRACKET_ATOM.findall(text))
    return counts


def frequent_bracket_atoms(
    smiles: Iterable[str] | Mapping[str, int], min_count: int = 100, limit: int = 400
) -> tuple[str, ...]:
    """Bracket atoms worth a token of their own in a corpus.

    Args:
        smiles: canonical SMILES, or what `bracket_atom_counts` gave for them.
        min_count: how often an atom must occur.
        limit: how many atoms to return at most.

    Returns:
        The atoms, such as ``[nH]``, most frequent first (ties by text).
    """
    counts = smiles if isinstance(smiles, Mapping) else bracket_atom_counts(smiles)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(text for text, count in ranked[:limit] if count >= min_count)


@dataclass(frozen=True, slots=True)
class CanonicalSmiles:
    """What became of one SMILES.

    Attributes:
        index: its place among those given, from 0.
        smiles: canonical; as given where it is no molecule.
        inchikey14: first InChIKey block, None where not asked for or InChI has none.
        reason: why it is no molecule, else "".
    """

    index: int
    smiles: str
    inchikey14: str | None = None
    reason: str = ""


def canonicalise_smiles(
    smiles: Iterable[str],
    workers: int | None = None,
    *,
    parent: bool = False,
    inchikeys: bool = False,
    progress: bool = True,
) -> Iterator[CanonicalSmiles]:
    """Canonical SMILES, without stereo and isotopes, of any number of SMILES in several processes, in their order.

    The input is read as fast as the results are taken (see `map_chunks`), so memory does not grow with it.

    Args:
        smiles: any iterable.
        workers: processes; None for all processors this process may use, 1 to work in this one.
        parent: keep the largest organic fragment and neutralise it.
        inchikeys: give the first InChIKey block of each.
        progress: show a bar.
    """
    from tqdm import tqdm

    total = len(smiles) if isinstance(smiles, Sized) else None
    found = map_chunks(
        partial(_written, parent=parent, inchikeys=inchikeys), enumerate(smiles), workers=workers
    )
    return iter(tqdm(found, "canonical SMILES", total, unit="mol", disable=not progress))


def _written(items: Sequence[tuple[int, str]], parent: bool, inchikeys: bool) -> list[CanonicalSmiles]:
    result = []
    for index, given in items:
        try:
            text = canonical_smiles(given, parent=parent)
        except MoleculeError as error:
            result.append(CanonicalSmiles(index, given, reason=str(error)))
            continue
        result.append(CanonicalSmiles(index, text, known_block(text) if inchikeys else None))
    return result


def known_block(smiles: str) -> str | None:
    """First InChIKey block of a valid SMILES, None where InChI has none for it."""
    try:
        return inchikey_block(smiles)
    except MoleculeError:
        return None


def smiles_vocabulary(bracket_atoms: Iterable[str] = BRACKET_ATOMS) -> dict[str, int]:
    """Token to id: special tokens first, then characters, ring closures and bracket atoms.

    Raises:
        ValueError: an entry of `bracket_atoms` is not of the form ``[…]``.
    """
    tokens = [*SPECIAL_TOKENS, *_CHARACTERS, *_TWO_CHARACTER, *_RING_CLOSURES]
    for atom in bracket_atoms:
        if not (atom.startswith("[") and atom.endswith("]") and len(atom) > 2):
            raise ValueError(f"bracket atom {atom!r} must look like '[nH]'; give it with its brackets")
        tokens.append(atom)
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}


def build_smiles_tokenizer(
    bracket_atoms: Iterable[str] = BRACKET_ATOMS, *, max_length: int = 256
) -> PreTrainedTokenizerFast:
    """A fast tokenizer for canonical SMILES: ``<s>`` tokens ``</s>``, exact round trip by `decode`.

    Args:
        bracket_atoms: bracket atoms that are one token each; others are split into characters.
        max_length: tokens per molecule, the two end tokens included; used with ``truncation=True``.

    Returns:
        A stock `PreTrainedTokenizerFast` (regex pre-tokenizer, WordLevel vocabulary). Its calls give ``input_ids`` and
        ``attention_mask``, int64 (B, L) with ``return_tensors="pt"``, 1 = token, 0 = padding. Canonicalise first
        (`msformers.spectra.molecules.canonical_smiles`): the tokenizer sees only how a molecule is written.
    """
    vocabulary = smiles_vocabulary(bracket_atoms)
    longer = [token for token in vocabulary if len(token) > 1 and token not in SPECIAL_TOKENS]
    longest_first = sorted(longer, key=lambda token: (-len(token), token))
    pattern = "|".join([*map(re.escape, longest_first), r"[\s\S]"])
    return fast_tokenizer(vocabulary, pattern, max_length)


def fast_tokenizer(vocabulary: dict[str, int], pattern: str, max_length: int) -> PreTrainedTokenizerFast:
    """A stock fast tokenizer: the matches of a regular expression are its words, and ``<s>`` … ``</s>`` their ends.

    Args:
        vocabulary: token to id, `SPECIAL_TOKENS` among them; what is not in it is ``<unk>``.
        pattern: of one token; text between two matches is one word too.
        max_length: tokens per text, the two end tokens included; used with ``truncation=True``.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=UNK))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    backend.decoder = decoders.Fuse()
    ends = [(BOS, vocabulary[BOS]), (EOS, vocabulary[EOS])]
    backend.post_processor = processors.TemplateProcessing(
        f"{BOS} $A {EOS}", f"{BOS} $A {EOS} $B {EOS}", ends
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=max_length,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        cls_token=BOS,
        sep_token=EOS,
        mask_token=MASK,
        unk_token=UNK,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
