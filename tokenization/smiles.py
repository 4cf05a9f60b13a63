"""SMILES to token ids: a plain fast tokenizer that loads anywhere, also without this package.

The vocabulary is closed: every character a SMILES may hold is a token, and frequent bracket atoms (``[nH]``,
``[C@@H]``) are tokens of their own. An unseen bracket atom falls back to its characters, so no valid SMILES is lost.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

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


def frequent_bracket_atoms(smiles: Iterable[str], min_count: int = 100, limit: int = 400) -> tuple[str, ...]:
    """Bracket atoms worth a token of their own in a corpus.

    Args:
        smiles: canonical SMILES.
        min_count: how often an atom must occur.
        limit: how many atoms to return at most.

    Returns:
        The atoms, such as ``[nH]``, most frequent first (ties by text).
    """
    atom = re.compile(r"\[[^\[\]]+\]")
    counts: Counter[str] = Counter()
    for text in smiles:
        counts.update(atom.findall(text))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(text for text, count in ranked[:limit] if count >= min_count)


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
