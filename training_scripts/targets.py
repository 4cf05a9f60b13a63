"""What molecules are to be predicted as: their 209 descriptors and Morgan fingerprints, computed once and kept."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file
from tqdm import tqdm

from msformers.spectra.descriptors import DESCRIPTOR_NAMES, descriptors
from msformers.spectra.molecules import MoleculeError

FINGERPRINT_BITS, FINGERPRINT_RADIUS = 2048, 2
POOL_FROM = 500  # fewer molecules are done before processes have started
logger = logging.getLogger("msformers.training")


class Molecules:
    """Distinct molecules of spectra, and which of them each spectrum shows.

    Args:
        smiles: one per spectrum.

    Attributes:
        smiles: distinct SMILES in order of text, so that the same molecules give the same cache.
        rows: int64 (spectra,), the place of each spectrum's molecule in `smiles`.
    """

    def __init__(self, smiles: Sequence[str]) -> None:
        self.smiles = sorted(set(smiles))
        places = {text: place for place, text in enumerate(self.smiles)}
        self.rows = np.array([places[text] for text in smiles], dtype=np.int64)


def descriptor_matrix(smiles: Sequence[str], cache: Path) -> npt.NDArray[np.float64]:
    """Columns `DESCRIPTOR_NAMES`, (molecules, 209) in RDKit's units; NaN where unknown, a whole row for no molecule.

    Args:
        smiles: distinct molecules.
        cache: folder to keep the result in, by a hash of molecules, names and RDKit's version.
    """
    return _kept("descriptors", smiles, _descriptors, cache, "\n".join(DESCRIPTOR_NAMES))


def morgan_fingerprints(smiles: Sequence[str], cache: Path) -> npt.NDArray[np.uint8]:
    """Morgan fingerprints of radius 2, 2048 bits packed into (molecules, 256) uint8 from the low bit on; all zero for no molecule."""
    name = f"morgan-{FINGERPRINT_RADIUS}-{FINGERPRINT_BITS}"
    return _kept("fingerprints", smiles, _fingerprint, cache, name)


def tanimoto_rows(fingerprints: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.float32]]:
    """For each molecule its Tanimoto similarity to all, (molecules,) float32, by RDKit; 0 to one without bits."""
    from rdkit.DataStructs import BulkTanimotoSimilarity, CreateFromBinaryText

    vectors = [CreateFromBinaryText(packed.tobytes()) for packed in fingerprints]
    return (np.array(BulkTanimotoSimilarity(vector, vectors), dtype=np.float32) for vector in vectors)


def _descriptors(smiles: str) -> npt.NDArray[np.float64]:
    try:
        return descriptors(smiles)
    except MoleculeError:
        return np.full(len(DESCRIPTOR_NAMES), np.nan)


def _fingerprint(smiles: str) -> npt.NDArray[np.uint8]:
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdFingerprintGenerator

    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
    if mol is None:
        return np.zeros(FINGERPRINT_BITS // 8, dtype=np.uint8)
    generator = rdFingerprintGenerator.GetMorganGenerator(FINGERPRINT_RADIUS, fpSize=FINGERPRINT_BITS)
    return np.packbits(generator.GetFingerprintAsNumPy(mol), bitorder="little")


def _kept(
    name: str, smiles: Sequence[str], function: Callable[[str], Any], cache: Path, settings: str
) -> npt.NDArray[Any]:
    """The rows of `function`, from the cache or computed by all processors this process may use."""
    from rdkit import __version__ as version

    key = hashlib.sha256("\n".join([*smiles, settings, version]).encode()).hexdigest()[:16]
    path = cache / f"{name}-{key}.safetensors"
    if path.is_file():
        return load_file(path)[name]
    rows = np.stack(_mapped(function, smiles, name))
    cache.mkdir(parents=True, exist_ok=True)
    save_file({name: rows}, path)
    return rows


def _mapped(function: Callable[[str], Any], smiles: Sequence[str], name: str) -> list[Any]:
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    show = partial(tqdm, total=len(smiles), desc=name, unit="mol")
    if workers == 1 or len(smiles) < POOL_FROM:
        return [function(text) for text in show(smiles)]
    with ProcessPoolExecutor(workers) as pool:
        return list(show(pool.map(function, smiles, chunksize=64)))
