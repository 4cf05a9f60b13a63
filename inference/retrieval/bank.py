"""A bank of molecules with their embeddings: built once, memory-mapped, searched by mass, by formula or open."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...spectra.adducts import parse_adduct
from ...spectra.masses import FormulaError, formula_mass, hill, parse_formula
from ..encode import embed_molecules
from .bank_sources import Source
from .bank_store import MANIFEST, MOLECULES, BankError, EmbeddingStore, MoleculeStore, read_manifest
from .precursor import ion_window
from .query import Candidate, Query, Ranking, Search, best_adduct
from .search import Floats, Hit, normalize, rank_open, rank_rows

PROBES = (
    "CCO",
    "CC(=O)Oc1ccccc1C(=O)O",
    "Cn1c(=O)c2c(ncn2C)n(C)c1=O",
    "NC(Cc1c[nH]c2ccccc12)C(=O)O",
    "OCC1OC(O)C(O)C(O)C1O",
)
"""Molecules whose embeddings tell whether a model still is the one a bank was built with."""
FORMULA_WINDOW = 0.01
BLOCK_SCORES = 1 << 26


class MoleculeBank:
    """Molecules sorted by exact mass beside their unit embeddings in a model's space.

    Made by `build`, opened by `load`. Molecules are canonical, without stereo, one per first InChIKey block.

    Args:
        folder: a finished bank.

    Raises:
        BankError: there is no finished bank, or its files do not fit its manifest.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        self.dim = int(self.manifest["dim"])
        self.decode = str(self.manifest.get("decode", "fingerprint"))
        self._molecules = MoleculeStore(self.folder / MOLECULES)
        rows = [int(shard["rows"]) for shard in self.manifest["shards"]]
        if sum(rows) != len(self._molecules):
            raise BankError(
                f"{self.folder}: {len(self._molecules)} molecules, {sum(rows)} embeddings; build it again"
            )
        self._embeddings = EmbeddingStore(self.folder, rows, self.dim)
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    @classmethod
    def load(cls, folder: str | Path) -> MoleculeBank:
        """Open a finished bank; embeddings stay on disk."""
        return cls(folder)

    @classmethod
    def build(
        cls, source: Source, model: Any, tokenizer: Any, out_dir: str | Path | None = None, **options: Any
    ) -> MoleculeBank:
        """Build a bank, or finish one that was interrupted; see `bank_build.build_bank` for the options.

        Args:
            source: molecules, as `bank_sources.read_molecules` takes them.
            model: has ``get_molecule_features``.
            tokenizer: its SMILES tokenizer.
            out_dir: where to keep it; None builds in a temporary folder that disappears with the bank.
            options: of `build_bank`.
        """
        from .bank_build import build_bank

        temporary = None
        if out_dir is None:
            temporary = tempfile.TemporaryDirectory(prefix="msformers-bank-")
            out_dir = temporary.name
        build_bank(source, model, tokenizer, Path(out_dir), **options)
        bank = cls(out_dir)
        bank._temporary = temporary
        return bank

    def __len__(self) -> int:
        return len(self._molecules)

    def __repr__(self) -> str:
        return f"MoleculeBank({str(self.folder)!r}, {len(self)} molecules, model {self.manifest['model']['name']!r})"

    def check_model(self, model: Any, tokenizer: Any) -> None:
        """Refuse a model whose molecular space is not the one of this bank.

        The model embeds `PROBES` again: the same weights give the same vectors (to 0.9999 cosine; to 0.995 if the
        bank was built in another dtype). A model that differs on the spectrum side only may share the bank.

        Raises:
            BankError: the model puts them elsewhere.
        """
        built = self.manifest["model"]
        remedy = f"build a bank with this model (msformers bank build … --model …), or search with {built['name']!r}"
        now = embed_molecules(PROBES, model, tokenizer, decode=self.decode)
        stored = np.asarray(self.manifest["probes"], dtype=np.float32)
        if now.shape != stored.shape:
            raise BankError(f"{self.folder}: {self.dim} dimensions, the model has {now.shape[1]}; {remedy}")
        cosine = float((now * normalize(stored)).sum(axis=1).min())
        same_dtype = built["dtype"] == str(getattr(model, "dtype", "")).removeprefix("torch.")
        if cosine < (0.9999 if same_dtype else 0.995):
            raise BankError(
                f"{self.folder}: was built with {built['name']!r} (weights {built['weights_sha256'][:12]}), another model "
                f"than the one in use (probe molecules agree to cosine {cosine:.4f} only); {remedy}"
            )

    def search(
        self,
        embeddings: npt.ArrayLike,
        precursor_mz: Sequence[float] | None = None,
        adduct: Sequence[str] | str = "[M+H]+",
        ppm: float = 10.0,
        formula: Sequence[str] | None = None,
        top_k: int = 10,
    ) -> list[list[Candidate]]:
        """Rank molecules for spectrum embeddings.

        Args:
            embeddings: (B, D) or (D,), of any length; they are normalised.
            precursor_mz: per spectrum; restricts to molecules whose `adduct` ion is within `ppm`. None: no restriction.
            adduct: of each spectrum, or one for all.
            ppm: tolerance in parts per million of m/z.
            formula: per spectrum; restricts to molecules of that formula, whatever the precursor.
            top_k: candidates per spectrum.

        Returns:
            Per spectrum the candidates, best first; empty if no molecule is allowed.
        """
        vectors = np.atleast_2d(np.asarray(embeddings, dtype=np.float32))
        names = [adduct] * len(vectors) if isinstance(adduct, str) else list(adduct)
        queries = []
        for i in range(len(vectors)):
            precursor = None if precursor_mz is None else float(precursor_mz[i])
            ions = () if precursor is None else (ion_window(parse_adduct(names[i]), precursor, ppm),)
            search: Search = "formula" if formula is not None else "open" if precursor is None else "mass"
            queries.append(Query(search, ions, None if formula is None else formula[i], precursor))
        return [ranking.candidates for ranking in self.rank(vectors, queries, top_k)]

    def rank(
        self,
        embeddings: Floats,
        queries: Sequence[Query],
        top_k: int = 10,
        bits: Floats | None = None,
    ) -> list[Ranking]:
        """Rank the molecules each query allows by cosine with its embedding.

        Args:
            embeddings: (B, D) float32.
            queries: B restrictions.
            top_k: at least 1.
            bits: (B, D) float32, chances of the fingerprint's bits; candidates of a bank of fingerprints then get their
                `fingerprint_similarity`.

        Raises:
            BankError: the embeddings have another width than the bank.
            FormulaError: a query's formula is none.
        """
        vectors = normalize(embeddings)
        if vectors.shape[1:] != (self.dim,) and len(vectors):
            raise BankError(
                f"{self.folder}: embeddings have {vectors.shape[1:]} dimensions, the bank {self.dim}"
            )
        rankings: list[Ranking | None] = [None] * len(vectors)
        opened = [i for i, query in enumerate(queries) if query.search == "open"]
        for i, query in enumerate(queries):
            if query.search != "open":
                rows = self._allowed(query)
                scores, similar = self._scored(vectors[i], rows, None if bits is None else bits[i])
                found = self._candidates(rank_rows(scores, rows, top_k), query, rows, similar)
                rankings[i] = Ranking(found, len(rows), np.sort(scores)[::-1])
        batch = max(1, min(256, BLOCK_SCORES // 65536))
        for start in range(0, len(opened), batch):
            part = opened[start : start + batch]
            for i, hits in zip(part, rank_open(vectors[part], self._embeddings.blocks(), top_k), strict=True):
                best = np.array([hit.score for hit in hits], dtype=np.float32)
                rows = np.sort(np.array([hit.row for hit in hits], dtype=np.int64))
                similar = None if bits is None else self._scored(vectors[i], rows, bits[i])[1]
                found = self._candidates(hits, queries[i], rows, similar)
                rankings[i] = Ranking(found, len(self), best)
        return [ranking for ranking in rankings if ranking is not None]

    def count(self, query: Query) -> int:
        """How many molecules a query allows."""
        if query.search == "mass" and len(query.ions) == 1:
            first, last = self._molecules.window(query.ions[0].low, query.ions[0].high)
            return last - first
        return len(self) if query.search == "open" else len(self._allowed(query))

    def _allowed(self, query: Query) -> npt.NDArray[np.int64]:
        """Rows a query allows, ascending."""
        if query.search == "formula":
            if query.formula is None:
                return np.empty(0, np.int64)
            wanted = hill(parse_formula(query.formula))
            mass = formula_mass(query.formula)
            first, last = self._molecules.window(mass - FORMULA_WINDOW, mass + FORMULA_WINDOW)
            found = self._molecules.formulas(first, last)
            rows = [first + i for i, text in enumerate(found) if _same_formula(text, wanted)]
            return np.array(rows, dtype=np.int64)
        spans = [self._molecules.window(ion.low, ion.high) for ion in query.ions]
        if len(spans) == 1:
            return np.arange(*spans[0])
        return np.unique(np.concatenate([np.empty(0, np.int64), *(np.arange(*span) for span in spans)]))

    def _scored(
        self, vector: Floats, rows: npt.NDArray[np.int64], bits: Floats | None = None
    ) -> tuple[Floats, Floats | None]:
        """Cosines of rows with a unit vector (D,), and similarities to chances of bits (D,), both (n,).

        Contiguous runs of rows are read at once. The unit vector of a fingerprint of n bits holds 1 / √n, so that its sum
        is √n: three products give what Σmin / Σmax needs.
        """
        asked = vector[:, None] if bits is None else np.stack([vector, bits, np.ones_like(vector)], axis=1)
        runs = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
        parts = [self._embeddings.read(int(run[0]), int(run[-1]) + 1) @ asked for run in runs if len(run)]
        products = np.concatenate([np.empty((0, asked.shape[1]), np.float32), *parts])
        if bits is None:
            return products[:, 0], None
        shared = products[:, 1] * products[:, 2]
        return products[:, 0], shared / np.maximum(products[:, 2] ** 2 + bits.sum() - shared, 1e-9)

    def _candidates(
        self, hits: Sequence[Hit], query: Query, rows: npt.NDArray[np.int64], similar: Floats | None
    ) -> list[Candidate]:
        """Hits with their molecules; `similar` belongs to `rows`, ascending."""
        places = np.searchsorted(rows, [hit.row for hit in hits])
        near = [None] * len(hits) if similar is None else similar[places].tolist()
        candidates = []
        molecules = self._molecules.get(hit.row for hit in hits)
        for hit, molecule, similarity in zip(hits, molecules, near, strict=True):
            adduct, error = best_adduct(molecule.exact_mass, query)
            candidates.append(
                Candidate(
                    rank=hit.rank,
                    smiles=molecule.smiles,
                    formula=molecule.formula,
                    inchikey=molecule.inchikey,
                    score=hit.score,
                    gap=hit.gap,
                    mass_error_ppm=error,
                    adduct=adduct.name if adduct else None,
                    name=molecule.name,
                    exact_mass=molecule.exact_mass,
                    expected_rank=hit.expected_rank,
                    cosine=hit.score,
                    fingerprint_similarity=similarity,
                )
            )
        return candidates


def _same_formula(text: str, wanted: str) -> bool:
    try:
        return hill(parse_formula(text)) == wanted
    except FormulaError:
        return False


def open_bank(
    candidates: object, model: Any, tokenizer: Any, decode: str = "fingerprint", **options: Any
) -> MoleculeBank:
    """A bank from whatever names candidates: a `MoleculeBank`, its folder, a molecule file, or a list of SMILES.

    A file or a list is built in a temporary folder, for the path `decode`. The model is checked against the bank.

    Raises:
        BankError: the folder holds no bank, or the bank belongs to another model or another path.
        SourceError: the file is no molecule file.
    """
    if isinstance(candidates, MoleculeBank):
        bank = candidates
    elif isinstance(candidates, str | Path) and (
        Path(candidates).is_dir() or Path(candidates).name == MANIFEST
    ):
        folder = Path(candidates)
        bank = MoleculeBank.load(folder.parent if folder.name == MANIFEST else folder)
    else:
        return MoleculeBank.build(candidates, model, tokenizer, None, decode=decode, **options)  # type: ignore[arg-type]
    if bank.decode != decode:
        raise BankError(
            f"{bank.folder}: holds embeddings of the path {bank.decode!r}, not {decode!r}; search with --decode "
            f"{bank.decode}, or build a bank with --decode {decode}"
        )
    bank.check_model(model, tokenizer)
    return bank
