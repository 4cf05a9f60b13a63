"""Molecules as token ids for the language models: read, held-back ones dropped, converted to SELFIES, tokenised once."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from data import MOLECULES_FILE, SPECTRA_FILE, table_path
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from msformers.tokenization.selfies import (
    build_selfies_tokenizer,
    convert_smiles,
    encode_ids,
    selfies_alphabet,
    token_counts,
)

MOLECULE_KEYS = ("source", "limit", "drop_folds", "eval_size", "min_count", "max_length")
logger = logging.getLogger("msformers.training")


@dataclass
class MoleculeTable:
    """Molecules to train a language model on.

    Attributes:
        smiles, selfies, inchikey14: one entry per molecule.
        n_dropped: molecules of held-back folds that were left out. n_failed: those SELFIES cannot write.
    """

    smiles: list[str]
    selfies: list[str]
    inchikey14: list[str]
    n_dropped: int = 0
    n_failed: int = 0


def held_back(data: Path, folds: Sequence[str]) -> set[str]:
    """First InChIKey blocks of all molecules of these folds of the spectra in folder `data`.

    Raises:
        FileNotFoundError: there is no table of spectra, so nobody knows what is held back.
    """
    if not folds:
        return set()
    table = pq.read_table(table_path(data, SPECTRA_FILE), columns=["fold", "inchikey14"])
    return set(table.filter(pc.field("fold").isin(list(folds)))["inchikey14"].to_pylist())


def load_molecules(data: Path, settings: dict[str, Any], seed: int, cache: Path) -> MoleculeTable:
    """Molecules of a recipe's section `data` (its `MOLECULE_KEYS`).

    Args:
        data: folder with the tables.
        settings: `source`, a Parquet file or folder of shards with smiles, inchikey14 and, if converted, selfies
            (default: the table of molecules in `data`); `limit`, a sample; `drop_folds`, by default val and test.
        seed: of the sample.
        cache: folder for the conversion, so that a resumed run does not convert again.
    """
    source = Path(settings.get("source") or table_path(data, MOLECULES_FILE))
    files = sorted(source.glob("*.parquet")) if source.is_dir() else [source]
    columns = ["smiles", "inchikey14"]
    names = pq.read_schema(files[0]).names if files else []
    missing = [name for name in columns if name not in names]
    if missing:
        raise ValueError(
            f"{source} has no column {', '.join(missing)}; it has {', '.join(names) or 'no files'}"
        )
    columns += ["selfies"] if "selfies" in names else []
    table = pa.concat_tables([pq.read_table(file, columns=columns) for file in files])
    dropped = held_back(data, settings.get("drop_folds", ["val", "test"]))
    kept = table.filter(pc.invert(pc.is_in(table["inchikey14"], pa.array(sorted(dropped), pa.string()))))
    n_dropped, limit = len(table) - len(kept), settings.get("limit")
    if limit is not None and limit < len(kept):
        kept = kept.take(
            pa.array(np.sort(np.random.default_rng(seed).choice(len(kept), limit, replace=False)))
        )
    smiles, keys = kept["smiles"].to_pylist(), kept["inchikey14"].to_pylist()
    texts = kept["selfies"].to_pylist() if "selfies" in names else _converted(smiles, cache)
    good = [index for index, text in enumerate(texts) if text]
    logger.info("%d molecules; %d of held-back folds dropped", len(good), n_dropped)
    return MoleculeTable(
        [smiles[i] for i in good],
        [texts[i] for i in good],
        [keys[i] for i in good],
        n_dropped,
        len(texts) - len(good),
    )


def _converted(smiles: Sequence[str], cache: Path) -> list[str | None]:
    """SELFIES of every SMILES, None where there is none; kept in folder `cache`."""
    path = cache / f"selfies-{hashlib.sha256(chr(10).join(smiles).encode()).hexdigest()[:16]}.parquet"
    if not path.is_file():
        result: list[str | None] = [None] * len(smiles)
        for found in convert_smiles(smiles, canonicalise=False):
            result[found.index] = found.selfies
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"selfies": pa.array(result, pa.string())}), path)
    return pq.read_table(path)["selfies"].to_pylist()


class TokenizedMolecules(Dataset):
    """Token ids of molecules in one flat array; items are {"ids", "epoch", "index", "row"}, the key (epoch, index) or index.

    Args:
        ids: token ids of each molecule, end tokens included.
        rows: of the table of molecules, one per molecule.
    """

    def __init__(self, ids: Sequence[Sequence[int]], rows: npt.NDArray[np.int64]) -> None:
        self.rows = rows
        self.lengths = np.array([len(row) for row in ids], dtype=np.int64)
        self.ends = np.cumsum(self.lengths)
        self.flat = np.fromiter(
            (i for row in ids for i in row), dtype=np.int16, count=int(self.lengths.sum())
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def ids(self, index: int) -> npt.NDArray[np.int64]:
        """Token ids of one molecule, int64 (L,)."""
        end = self.ends[index]
        return self.flat[end - self.lengths[index] : end].astype(np.int64)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        return {"ids": self.ids(index), "epoch": epoch, "index": index, "row": int(self.rows[index])}


def build_tokenizer(table: MoleculeTable, settings: dict[str, Any]) -> PreTrainedTokenizerFast:
    """The tokenizer of a corpus: tokens that occur `min_count` times, and the robust alphabet."""
    alphabet = selfies_alphabet(token_counts(table.selfies), settings.get("min_count", 10))
    return build_selfies_tokenizer(alphabet, max_length=settings.get("max_length", 128))


def tokenized(
    table: MoleculeTable, tokenizer: PreTrainedTokenizerFast, eval_size: int, seed: int
) -> tuple[TokenizedMolecules, TokenizedMolecules]:
    """Training and `eval_size` held-out molecules by a seeded shuffle.

    Molecules with an unknown token or too many tokens are left out of both.
    """
    vocabulary, longest = tokenizer.get_vocab(), tokenizer.model_max_length
    unknown = tokenizer.unk_token_id
    ids = encode_ids(table.selfies, vocabulary)
    fits = np.array([i for i, row in enumerate(ids) if len(row) <= longest and unknown not in row])
    logger.info(
        "%d of %d molecules are longer than %d tokens or hold unknown ones",
        len(ids) - len(fits),
        len(ids),
        longest,
    )
    order = np.random.default_rng(seed).permutation(len(fits))
    # the held-out ones stay shuffled: the first few hundred are then a fair sample
    held_out, train = fits[order[:eval_size]], np.sort(fits[order[eval_size:]])
    parts = [TokenizedMolecules([ids[i] for i in rows], rows) for rows in (train, held_out)]
    return parts[0], parts[1]
