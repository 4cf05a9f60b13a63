"""Spectra with their peptides as training examples, in memory or streamed; held back by peptide, never by spectrum."""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from streaming import Choice, SpectrumStream, open_source
from torch.utils.data import Dataset

from msformers.spectra.read import read
from msformers.spectra.spectrum import Spectrum
from msformers.tokenization.casanovo import CasanovoFeatureExtractor
from msformers.tokenization.peptides import PeptideTokenizer

PEPTIDES_FILE = "peptides.parquet"
PEPTIDE_FIELDS = ("peptide", "seq", "sequence")
"""Where a file may say the peptide: MGF ``SEQ=``, or a column of a table."""

logger = logging.getLogger("msformers.training")


def is_held_out(peptide: str, share: float) -> bool:
    """Whether a peptide belongs to the validation side: by a hash of its letters, I read as L."""
    letters = re.sub(r"\[[^\]]*\]|[^A-Z]", "", peptide).replace("I", "L")
    number = int.from_bytes(hashlib.sha1(letters.encode()).digest()[:4], "big")
    return number < share * 2**32


@dataclass(frozen=True)
class Preparation:
    """A spectrum and its peptide to an example, or to the reason why it is none.

    Attributes:
        extractor, tokenizer: of the model.
        max_length: tokens of a peptide at most, the stop included.
    """

    extractor: CasanovoFeatureExtractor
    tokenizer: PeptideTokenizer
    max_length: int = 101

    def __call__(self, spectrum: Any, peptide: str | None) -> dict[str, Any] | str:
        """``peaks`` (n, 2), ``precursors`` (3,) and ``labels`` (length,), or a reason."""
        if not peptide:
            return "no peptide is stated"
        try:
            labels = self.tokenizer(peptide).input_ids
        except ValueError:
            return "the peptide has something that is not in the vocabulary"
        if len(labels) > self.max_length:
            return "the peptide is too long"
        try:
            arrays = self.extractor([spectrum], return_tensors="np")
        except ValueError:
            return "the spectrum cannot be used (precursor, charge or too few peaks)"
        peaks, precursor = arrays["peaks"][0], arrays["precursors"][0]
        return {"peaks": peaks, "precursors": precursor, "labels": np.array(labels, dtype=np.int64)}


class PeptideExamples(Dataset):
    """Prepared examples, with (epoch, index).

    Args:
        examples: of `Preparation`.
        first: index of the first, where they are a block of a longer stream.
    """

    def __init__(self, examples: Sequence[dict[str, Any]], first: int = 0) -> None:
        self.examples, self.first = examples, first

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        return {**self.examples[index], "epoch": epoch, "index": self.first + index}

    @property
    def n_peaks(self) -> list[int]:
        """Peaks per example."""
        return [len(example["peaks"]) for example in self.examples]

    def sample(self, count: int | None, seed: int) -> PeptideExamples:
        """At most `count` examples, drawn with `seed`."""
        if count is None or count >= len(self):
            return self
        chosen = np.sort(np.random.default_rng(seed).choice(len(self), count, replace=False))
        return PeptideExamples([self.examples[place] for place in chosen])


class PeptideCollator:
    """Examples to the inputs of `CasanovoForPeptideSequencing`."""

    def __init__(self, extractor: CasanovoFeatureExtractor) -> None:
        self.extractor = extractor

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Tensors of one batch; labels are padded with 0."""
        arrays = self.extractor.collate([item["peaks"] for item in features])
        arrays["precursors"] = np.stack([item["precursors"] for item in features])
        labels = np.zeros((len(features), max(len(item["labels"]) for item in features)), dtype=np.int64)
        for row, item in zip(labels, features, strict=True):
            row[: len(item["labels"])] = item["labels"]
        return {name: torch.from_numpy(values) for name, values in (arrays | {"labels": labels}).items()}


def load_peptides(path: Path, prepare: Preparation, share: float) -> tuple[PeptideExamples, PeptideExamples]:
    """Training and validation examples of a file or folder of any format that states peptides.

    Args:
        path: a folder with ``peptides.parquet``, or annotated spectra (MGF with ``SEQ=``, a table with a peptide column).
        prepare: makes the examples; what it refuses is counted in the log.
        share: of the peptides that are held back.

    Raises:
        ValueError: no example is left on one side.
    """
    table = path / PEPTIDES_FILE
    sides: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    reasons: Counter[str] = Counter()
    for record in read(table if table.is_file() else path):
        if not isinstance(record, Spectrum):
            reasons["the record cannot be read"] += 1
            continue
        peptide = peptide_of(record.metadata)
        made = prepare(record, peptide)
        if isinstance(made, str):
            reasons[made] += 1
        else:
            sides[is_held_out(peptide or "", share)].append(made)
    for reason, count in reasons.most_common():
        logger.info("left out %d spectra: %s", count, reason)
    if not all(sides):
        raise ValueError(
            f"{path}: {len(sides[0])} examples for training and {len(sides[1])} for validation; give more annotated "
            "spectra (MGF: SEQ=, tables: column peptide) or another data.eval_share"
        )
    return PeptideExamples(sides[0]), PeptideExamples(sides[1])


def peptide_of(fields: Mapping[str, str]) -> str | None:
    """The peptide that a record states, None if it states none."""
    return next((fields[name].strip() for name in PEPTIDE_FIELDS if fields.get(name)), None)


class PeptideStream(SpectrumStream):
    """Examples without end from Parquet shards with the columns mz, intensity, precursor_mz, charge and peptide.

    Args:
        source: of `open_source`, such as a folder of shards.
        prepare: makes the examples; rows that it refuses are passed over.
        share: of the peptides that are held back, and therefore passed over too.
        options: seed, block and mixed_shards of `SpectrumStream`.
    """

    def __init__(self, source: str | Path, prepare: Preparation, share: float, **options: Any) -> None:
        self.prepare, self.share = prepare, share
        choice = Choice({}, max(prepare.extractor.min_peaks, 1))
        super().__init__(open_source(source, choice, ("charge", "peptide")), choice, **options)

    def examples(self, table: pa.Table, seed: int, first: int) -> PeptideExamples:
        """The rows of a block that can be learned from."""
        rows: Iterable[dict[str, Any]] = table.to_pylist()
        made = [
            self.prepare(row, row["peptide"])
            for row in rows
            if row["peptide"] and not is_held_out(row["peptide"], self.share)
        ]
        return PeptideExamples([example for example in made if not isinstance(example, str)], first)


def residue_masses(ids: npt.NDArray[np.int64], tokenizer: PeptideTokenizer) -> npt.NDArray[np.float64]:
    """Masses of the residues of token ids (length,) from the N-terminus; stop and padding left out."""
    masses = tokenizer.masses[ids[(ids != 0) & (ids != tokenizer.eos_token_id)]]
    return masses[::-1]
