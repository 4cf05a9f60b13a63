"""From generated sequences to distinct, valid molecules; what is no molecule is counted and costs only itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ...spectra.molecules import MoleculeRecord, molecule_record
from ...tokenization.selfies import decode_selfies
from ..retrieval.query import Query, best_adduct

CACHED = 65536


@dataclass(slots=True)
class GeneratedMolecule:
    """One molecule that a model proposes for a spectrum.

    Attributes:
        rank: 1 for the best.
        smiles: canonical, without stereo and isotopes, charges and parts as generated.
        selfies: the sequence as generated.
        formula: in Hill order, with its charge if it has one.
        exact_mass: monoisotopic, in Da, the sum of the atoms.
        inchikey14: first InChIKey block, which identifies the molecule.
        adduct: the one that explains the precursor best; None without a precursor or a reading of it.
        mass_error_ppm: measured minus expected precursor m/z for that adduct, in ppm of m/z.
        beam_score: mean log-probability of the tokens; the best of the sequences that give this molecule.
        score: what ranks: set by the re-ranker, the beam score until then.
        source: the search it came from, such as "beam" or "sample".
        consensus: mean agreement of its substructures with the other molecules, 0 to 1; None until counted.
    """

    rank: int
    smiles: str
    selfies: str
    formula: str
    exact_mass: float
    inchikey14: str
    adduct: str | None = None
    mass_error_ppm: float | None = None
    beam_score: float = 0.0
    score: float = 0.0
    source: str = "beam"
    consensus: float | None = None


@dataclass(frozen=True, slots=True)
class MoleculeSet:
    """The distinct molecules of one spectrum's sequences, best beam score first, and what became of the others.

    Attributes:
        molecules: ranked from 1.
        n_sequences: sequences read.
        n_invalid: those that are no molecule. n_duplicates: those whose molecule a better sequence gave already.
        problems: (SELFIES, reason) of each invalid sequence.
    """

    molecules: list[GeneratedMolecule]
    n_sequences: int = 0
    n_invalid: int = 0
    n_duplicates: int = 0
    problems: tuple[tuple[str, str], ...] = ()

    @property
    def validity(self) -> float:
        """Share of the sequences that are molecules; NaN without any sequence."""
        return 1.0 - self.n_invalid / self.n_sequences if self.n_sequences else math.nan

    @property
    def uniqueness(self) -> float:
        """Share of the valid sequences that are distinct molecules; NaN without any."""
        valid = self.n_sequences - self.n_invalid
        return len(self.molecules) / valid if valid else math.nan


def collect_molecules(
    selfies: Sequence[str],
    scores: Sequence[float],
    query: Query | None = None,
    *,
    source: str | Sequence[str] = "beam",
) -> MoleculeSet:
    """Distinct valid molecules of one spectrum's sequences.

    Args:
        selfies: the sequences, without special tokens.
        scores: mean log-probability of the tokens of each; one that is no number counts as the worst.
        query: readings of the precursor, for adduct and mass error.
        source: the search, one for all or one per sequence.

    Returns:
        One molecule per first InChIKey block, from its best sequence (of equal ones the first), best first.

    Raises:
        ValueError: not one score, or not one source, per sequence.
    """
    sources = [source] * len(selfies) if isinstance(source, str) else list(source)
    if not len(selfies) == len(scores) == len(sources):
        raise ValueError(
            f"{len(selfies)} sequences, {len(scores)} scores, {len(sources)} sources; give one of each per sequence"
        )
    found: dict[str, GeneratedMolecule] = {}
    problems: list[tuple[str, str]] = []
    worth = [-math.inf if math.isnan(score) else float(score) for score in scores]
    for place in sorted(range(len(selfies)), key=lambda i: -worth[i]):
        record = _read(selfies[place])
        if isinstance(record, str):
            problems.append((selfies[place], record))
        elif record.inchikey14 not in found:
            found[record.inchikey14] = _molecule(
                record, selfies[place], len(found) + 1, worth[place], sources[place], query
            )
    duplicates = len(selfies) - len(problems) - len(found)
    return MoleculeSet(list(found.values()), len(selfies), len(problems), duplicates, tuple(problems))


def collect_sequences(
    sequences: Iterable[Sequence[int]],
    scores: Sequence[float],
    tokenizer: Any,
    query: Query | None = None,
    *,
    source: str | Sequence[str] = "beam",
) -> MoleculeSet:
    """As `collect_molecules`, from token ids (n, L) of one spectrum, padded or not.

    Args:
        tokenizer: the SELFIES tokenizer of the model.
    """
    texts = [selfies_text(row, tokenizer) for row in sequences]
    return collect_molecules(texts, scores, query, source=source)


def selfies_text(ids: Sequence[int], tokenizer: Any) -> str:
    """The SELFIES of token ids (L,) up to the first end token; start and padding left out.

    Other special tokens stay in the text, which then is no molecule.
    """
    kept = []
    for number in (int(value) for value in ids):
        if number == tokenizer.eos_token_id:
            break
        if number not in (tokenizer.bos_token_id, tokenizer.pad_token_id):
            kept.append(number)
    return "".join(tokenizer.convert_ids_to_tokens(kept))


def _molecule(
    record: MoleculeRecord, selfies: str, rank: int, score: float, source: str, query: Query | None
) -> GeneratedMolecule:
    adduct, error = (None, None) if query is None else best_adduct(record.exact_mass, query)
    return GeneratedMolecule(
        rank=rank,
        smiles=record.smiles,
        selfies=selfies,
        formula=record.formula,
        exact_mass=record.exact_mass,
        inchikey14=record.inchikey14,
        adduct=adduct.name if adduct else None,
        mass_error_ppm=error,
        beam_score=score,
        score=score,
        source=source,
    )


@lru_cache(maxsize=CACHED)
def _read(selfies: str) -> MoleculeRecord | str:
    """The molecule of a SELFIES, or why it is none; spectra of one compound give the same ones again and again."""
    try:
        return molecule_record(decode_selfies(selfies))
    # RDKit raises RuntimeError where one of its own invariants is broken
    except (ValueError, RuntimeError) as error:
        return str(error)
