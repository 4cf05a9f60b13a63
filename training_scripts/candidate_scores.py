"""Candidate lists scored once as `msformers annotate` scores them: what confidence is calibrated and judged on."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from data import MoleculePool, SpectrumDataset, SpectrumTable, load_spectra_table, wrong_candidates
from rdkit.Chem import MolFromSmiles
from rdkit.Chem.Descriptors import ExactMolWt
from tqdm import tqdm

from msformers.inference.encode import embed_molecules, embed_spectra, weights_sha256
from msformers.inference.inputs import as_spectrum
from msformers.inference.loading import Loaded
from msformers.inference.retrieval.confidence import Listing
from msformers.inference.retrieval.search import TIE
from msformers.spectra.molecules import MoleculeError, canonical_smiles

logger = logging.getLogger("msformers.training")
PPM = 10.0
COLUMNS = ("cosine", "evidence", "explained")
Allowed = Mapping[str, Sequence[str]]


def validation_lists(table: SpectrumTable, data: Path) -> dict[str, Allowed]:
    """By InChIKey block, the molecules of the pool that each search allows: those within 10 ppm, and the isomers.

    Made as the lists of the test fold are: at most 256 by mass, isomers first, then the nearest.
    """
    pool = MoleculePool.load(data)
    lists: dict[str, Allowed] = {}
    columns = (table.rows[name] for name in ("inchikey14", "smiles_2d", "formula", "exact_mass"))
    for key, smiles, formula, mass in zip(*columns, strict=True):
        if key not in lists:
            near = wrong_candidates(pool, formula, mass, key, "mass", 255)
            near = [place for place in near if 1e6 * abs(pool.exact_mass[place] / mass - 1) <= PPM]
            isomers = pool.isomers(formula, key)
            lists[key] = {
                "mass": [smiles, *(pool.smiles[place] for place in near)],
                "formula": [smiles, *(pool.smiles[place] for place in isomers)],
            }
    return lists


def test_lists(data: Path) -> dict[str, Allowed]:
    """The same for the test fold out of ``candidates_test.parquet``, as `benchmarks/retrieval.py` reads it."""
    lists: dict[str, Allowed] = {}
    for row in pq.read_table(data / "candidates_test.parquet").to_pylist():
        masses = np.array([ExactMolWt(MolFromSmiles(text)) for text in row["candidates_256"]])
        inside = 1e6 * np.abs(masses / row["exact_mass"] - 1) <= PPM
        near = [text for text, good in zip(row["candidates_256"], inside, strict=True) if good]
        lists[row["inchikey14"]] = {"mass": near, "formula": row["candidates_formula"]}
    return lists


def _canonical(smiles: str) -> str:
    """How a molecule is written must not tell the truth from the others."""
    try:
        return canonical_smiles(smiles, parent=True)
    except MoleculeError as error:
        logger.warning("%s; it is used as written", error)
        return smiles


@dataclass(frozen=True)
class Case:
    """One spectrum whose molecule is known, with its ranked list.

    Attributes:
        listing: as `annotate` sees it. truth: place in the ranking, None if it is not among those ranked again.
        hit: chance that the first is the truth; ties are ordered by chance.
        molecule: InChIKey block. ion_mode, instrument_type: of the spectrum.
    """

    listing: Listing
    truth: int | None
    hit: float
    molecule: str
    ion_mode: str
    instrument_type: str


def cases(rows: Sequence[Mapping[str, Any]], search: str, depth: int, minimum: int = 2) -> list[Case]:
    """The lists of one kind of search with at least `minimum` candidates.

    Args:
        rows: of `scored`.
        search: "mass" or "formula". depth: best candidates by cosine that are ranked again by evidence; 0 = none.
    """
    return [_case(row, search, depth) for row in rows if len(row[search]) >= minimum]


def _case(row: Mapping[str, Any], search: str, depth: int) -> Case:
    places = np.asarray(row[search])
    cosine, evidence, explained = (np.asarray(row[name], float)[places] for name in COLUMNS)
    best = np.argsort(-cosine, kind="stable")
    scores = cosine[best]
    if depth and np.isfinite(evidence).any():
        best = best[:depth]
        scores = cosine[best] + evidence[best] / max(row["length"], 1e-6)
        order = np.argsort(-scores, kind="stable")
        best, scores = best[order], scores[order]
    else:
        explained[:] = np.nan
    true = places[best] == row["truth"]
    tied = scores >= scores[0] - TIE
    share = float(explained[best[0]])
    listing = Listing(
        *(scores, float(cosine[best[0]]), None if np.isnan(share) else share),
        *(row["length"], row["n_peaks"], len(places)),
    )
    place = int(true.argmax()) if true.any() else None
    names = (row["inchikey14"], row["ion_mode"], row["instrument_type"])
    return Case(listing, place, float(true[tied].mean()), *names)


def scored(
    loaded: Loaded, data: Path, fold: str, decode: str, depth: int, cache: Path
) -> list[dict[str, Any]]:
    """Rows of `score_fold` for a fold ("val" or "test"), kept in folder `cache` for the next time."""
    name = f"{fold}-{decode}-{depth}-{weights_sha256(loaded.model)[:12]}.parquet"
    if not (cache / name).is_file():
        table = load_spectra_table(data, [fold], "all", extra_columns=("ion_mode",))
        lists = validation_lists(table, data) if fold == "val" else test_lists(data)
        rows = [
            {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in row.items()}
            for row in score_fold(loaded, table, lists, depth, decode)
        ]
        cache.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), cache / name, compression="zstd")
    logger.info("scores of %s: %s", fold, cache / name)
    return pq.read_table(cache / name).to_pylist()


def score_fold(
    loaded: Loaded, table: SpectrumTable, lists: Mapping[str, Allowed], depth: int, decode: str
) -> Iterator[dict[str, Any]]:
    """Score the candidates of every spectrum that has a list, molecule by molecule.

    Args:
        loaded: checkpoint.
        table: the spectra. lists: by InChIKey block.
        depth: best candidates by cosine for which fragment evidence is computed.
        decode: the model's path.

    Yields:
        Per spectrum: candidates in the order of their SMILES as cosine, evidence and explained share (NaN where not
        asked), place of the truth among them, which of them each search allows, length of the embedding, and what the
        table says of the spectrum.
    """
    dataset = SpectrumDataset(table)
    spectra = [as_spectrum(dataset[place], place) for place in range(len(dataset))]
    queries, failed = embed_spectra(spectra, loaded.model, loaded.processor, decode=decode)
    if failed:
        raise ValueError(f"{len(failed)} spectra have no embedding, the first: {next(iter(failed.items()))}")
    by_key: dict[str, list[int]] = {}
    for place, key in enumerate(table.rows["inchikey14"]):
        by_key.setdefault(key, []).append(place)
    for key, places in tqdm(by_key.items(), desc="scoring lists", unit="molecule", mininterval=5):
        if key not in lists:
            continue
        allowed = {name: {_canonical(text) for text in smiles} for name, smiles in lists[key].items()}
        names = sorted(set().union(*allowed.values()))
        masks = {name: np.array([text in chosen for text in names]) for name, chosen in allowed.items()}
        truth = names.index(_canonical(table.rows["smiles_2d"][places[0]]))
        vectors = embed_molecules(names, loaded.model, loaded.tokenizer, decode=decode)
        for place in places:
            length = float(np.linalg.norm(queries[place]))
            cosine = vectors @ queries[place] / max(length, 1e-9)
            row = {"inchikey14": key, "truth": truth, "length": length, "cosine": cosine}
            row |= _evidence(loaded, spectra[place], names, cosine, masks, depth)
            row |= {name: np.flatnonzero(mask) for name, mask in masks.items()}
            row |= {name: table.rows[name][place] for name in ("ion_mode", "instrument_type")}
            yield row | {"n_peaks": len(table.peaks[place][0])}


def _evidence(
    loaded: Loaded, spectrum: Any, names: list[str], cosine: Any, masks: Mapping[str, Any], depth: int
) -> dict[str, Any]:
    """Evidence and explained share of the `depth` best of each search; NaN elsewhere."""
    evidence, explained = np.full((2, len(names)), np.nan)
    if depth and loaded.evidence is not None and loaded.evidence.applies(spectrum):
        ranked = (np.argsort(-np.where(mask, cosine, -np.inf), kind="stable") for mask in masks.values())
        best = [order[: min(depth, mask.sum())] for order, mask in zip(ranked, masks.values(), strict=True)]
        asked = np.unique(np.concatenate(best))
        evidence[asked], explained[asked] = loaded.evidence.scores(
            spectrum, [names[place] for place in asked]
        )
    return {"evidence": evidence, "explained": explained}
