"""Write the vocabulary of the formula bag: heavy-atom compositions that are fragments of molecules and occur as peaks.

python training_scripts/build_fragments.py --data ../shared/data --output runs/fragments.json
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from data import MOLECULES_FILE, OPEN_LICENCES, SPECTRA_FILE, SpectrumDataset, load_spectra_table, table_path
from rdkit import Chem
from recipe import start_logging
from tqdm import tqdm

from msformers.spectra.fragmentation import composition_text, fragment
from msformers.tokenization.formula_bag import FormulaBagFeatureExtractor
from msformers.tokenization.formulas import N_BINS

logger = logging.getLogger("msformers.training")
HELD_BACK = ("val", "test")


def pool_sample(data: Path, count: int, seed: int) -> list[str]:
    """Random SMILES of the pool, none of a held-back fold."""
    spectra = pq.read_table(table_path(data, SPECTRA_FILE), columns=["inchikey14", "fold"])
    held_back = pc.is_in(spectra["fold"], pa.array(HELD_BACK))
    held = set(spectra.filter(held_back)["inchikey14"].to_pylist())
    table = pq.read_table(table_path(data, MOLECULES_FILE), columns=["smiles", "inchikey14"])
    order = np.random.default_rng(seed).permutation(len(table))[: 2 * count]
    rows = zip(
        table["smiles"].take(order).to_pylist(), table["inchikey14"].take(order).to_pylist(), strict=True
    )
    return [smiles for smiles, key in rows if key not in held][:count]


def count_fragments(smiles: Iterable[str], least: int) -> list[list[Any]]:
    """Rows (composition, least H, most H, molecules) of compositions in at least `least` molecules, most frequent first."""
    found: dict[bytes, list[int]] = {}
    for text in tqdm(list(smiles), desc="fragmenting", unit="molecule"):
        molecule = Chem.MolFromSmiles(text)
        if molecule is None or molecule.GetNumAtoms() > 120:
            continue
        fragments = fragment(molecule)
        of_molecule: dict[bytes, list[int]] = {}
        for counts, h in zip(
            fragments.composition.astype(np.uint8), fragments.hydrogens.tolist(), strict=True
        ):
            of_molecule.setdefault(counts.tobytes(), []).append(h)
        for key, hydrogens in of_molecule.items():
            row = found.setdefault(key, [999, 0, 0])
            row[0], row[1] = min(row[0], *hydrogens), max(row[1], *hydrogens)
            row[2] += 1
    rows = sorted(found.items(), key=lambda item: (-item[1][2], item[0]))
    return [[composition_text(np.frombuffer(k, np.uint8)), *v] for k, v in rows if v[2] >= least]


def seen_in_spectra(rows: list[list[Any]], data: Path, least: int) -> list[list[Any]]:
    """The rows whose composition explains a peak or loss in spectra of at least `least` training molecules."""
    table = load_spectra_table(data, ["train"], OPEN_LICENCES)
    extractor = FormulaBagFeatureExtractor(fragments=rows)
    first, size = 1 + 2 * N_BINS, len(rows)
    molecules: list[set[str]] = [set() for _ in rows]
    dataset = SpectrumDataset(table)
    for place in tqdm(range(len(dataset)), desc="looking up peaks", unit="spectrum"):
        batch = extractor(dataset[place], return_tensors="np")
        ids = batch["token_ids"][0] - first
        for row in set((ids[(ids >= 0) & (ids < 2 * size)] % size).tolist()):
            molecules[row].add(table.rows["inchikey14"][place])
    return [row for row, keys in zip(rows, molecules, strict=True) if len(keys) >= least]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    start_logging()
    parser = argparse.ArgumentParser(description="Write the vocabulary of the formula bag.")
    parser.add_argument("--data", type=Path, required=True, help="folder with the spectra and molecules")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--molecules", type=int, default=60_000, help="molecules drawn from the pool")
    parser.add_argument("--least-molecules", type=int, default=30, help="a composition is in so many of them")
    parser.add_argument("--least-observed", type=int, default=4, help="... and in spectra of so many")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    training = load_spectra_table(args.data, ["train"], OPEN_LICENCES)
    smiles = list(dict.fromkeys(training.rows["smiles_2d"]))
    rows = count_fragments(smiles + pool_sample(args.data, args.molecules, args.seed), args.least_molecules)
    kept = seen_in_spectra(rows, args.data, args.least_observed)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(kept))
    logger.info("%d compositions in molecules, %d of them seen in spectra", len(rows), len(kept))


if __name__ == "__main__":
    main()
