"""All spectrum encoders side by side: parameters, spectra/s, nearest neighbours on known and on unknown molecules.

    taskset -c 0 python benchmarks/embedding.py --data ../shared/data

References: the training fold, at most four spectra of a molecule. Known: each query's molecule is among them, measured
otherwise. Unknown: molecules that no one trained on; the nearest among the references and all other spectra of the fold, for
molecules with at least two. `recall_at_1`: it is of the same molecule. `tanimoto_at_1`: of the nearest reference's molecule (Morgan radius 2,
2,048 bits). Cosine of embeddings, no precursor filter. Registered models without weights of ours appear with their
published size and speed alone. Speed: real spectra of the test fold, preparation included, similar lengths share a batch,
one after the other in one run on the same threads.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rdkit.Chem import MolFromSmiles, rdFingerprintGenerator
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "training_scripts"), str(ROOT / "benchmarks")]

from data import SpectrumDataset, SpectrumTable, at_most_per_molecule, load_spectra_table  # noqa: E402
from peers import N_BINS  # noqa: E402
from recipe import start_logging, write_figures  # noqa: E402

from msformers import MODELS, resolve_checkpoint  # noqa: E402
from msformers.inference.encode import spectrum_features  # noqa: E402
from msformers.inference.loading import load_embedder  # noqa: E402

logger = logging.getLogger("msformers.benchmark")
SHIPPED = ("specbridge-small", "nexamass-small", "lsm1-small", "lsm1-small-similarity")
BINNED = "binned spectrum (no model)"
MAX_PRECURSOR = 1000.0
Floats = npt.NDArray[np.float32]


class Binned:
    """Roots of intensities in bins of 1 Th: what an encoder has to be better than."""

    def __call__(self, rows: Sequence[dict[str, Any]]) -> Floats:
        """(n, 1005)."""
        binned = np.zeros((len(rows), N_BINS), dtype=np.float32)
        for target, row in zip(binned, rows, strict=True):
            inside = row["mz"] < N_BINS
            np.add.at(target, row["mz"][inside].astype(int), row["intensity"][inside])
        return np.sqrt(binned)


class Encoder:
    """A model and its extractor as one function of spectra."""

    def __init__(self, model: Any, extractor: Any) -> None:
        self.model, self.extractor = model.eval(), extractor

    @torch.inference_mode()
    def __call__(self, rows: Sequence[dict[str, Any]]) -> Floats:
        """(n, D)."""
        batch = self.extractor(list(rows), return_tensors="pt")
        return spectrum_features(self.model, dict(batch)).float().numpy()

    @property
    def parameters(self) -> int:
        """Weights of the spectrum side."""
        skipped = ("molecule_encoder.", "target_projection.", "retrieval_mlp.")
        return sum(p.numel() for name, p in self.model.named_parameters() if not name.startswith(skipped))


def published(name: str) -> Encoder:
    """A registered encoder at its published size with random weights, for its speed."""
    entry = MODELS[name]
    module, _, extractor = str(entry.extractor).partition(":")
    prepare = getattr(importlib.import_module(f"msformers.{module}"), extractor)
    config = entry.config_class()
    size = getattr(config, "n_highest_peaks", None)
    return Encoder(entry.model_class(config), prepare(**({"n_highest_peaks": size} if size else {})))


def embed(encoder: Any, rows: Sequence[dict[str, Any]], batch_size: int = 128, label: str = "") -> Floats:
    """Unit vectors (n, D) in the order given; spectra of similar length share a batch."""
    order = sorted(range(len(rows)), key=lambda place: -len(rows[place]["mz"]))
    found: Floats | None = None
    for start in tqdm(range(0, len(order), batch_size), desc=label, unit="batch", leave=False):
        chosen = order[start : start + batch_size]
        vectors = encoder([rows[place] for place in chosen])
        found = np.empty((len(rows), vectors.shape[1]), np.float32) if found is None else found
        found[chosen] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    if found is None:
        raise ValueError("there are no spectra to embed")
    return found


def nearest(queries: Floats, references: Floats, own: Sequence[int] | None = None) -> npt.NDArray[np.int64]:
    """Row of the reference with the highest cosine, (n,); `own`: each query's own row, which does not count."""
    best = []
    for start in range(0, len(queries), 512):
        scores = queries[start : start + 512] @ references.T
        if own is not None:
            scores[np.arange(len(scores)), own[start : start + 512]] = -np.inf
        best.append(scores.argmax(1))
    return np.concatenate(best)


class Tanimoto:
    """Tanimoto of molecules given as SMILES, each fingerprint computed once."""

    def __init__(self) -> None:
        self.generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
        self.bits: dict[str, npt.NDArray[np.bool_]] = {}

    def __call__(self, one: str, other: str) -> float:
        """0 to 1."""
        first, second = self._of(one), self._of(other)
        return float((first & second).sum() / max((first | second).sum(), 1))

    def _of(self, smiles: str) -> npt.NDArray[np.bool_]:
        if smiles not in self.bits:
            self.bits[smiles] = self.generator.GetFingerprintAsNumPy(MolFromSmiles(smiles)).astype(bool)
        return self.bits[smiles]


def neighbours(
    encoder: Any, tables: dict[str, SpectrumTable], tanimoto: Tanimoto, label: str
) -> dict[str, float]:
    """The figures of one encoder on both folds."""
    vectors = {}
    for fold, table in tables.items():
        dataset = SpectrumDataset(table)
        vectors[fold] = embed(encoder, [dataset[i] for i in range(len(dataset))], label=f"{label}: {fold}")
    train = tables["train"].rows
    figures: dict[str, float] = {}
    for fold, name in (("known_test", "known"), ("test", "unknown")):
        rows, own = tables[fold].rows, vectors[fold]
        found = nearest(own, vectors["train"])
        alike = [tanimoto(s, train["smiles_2d"][f]) for s, f in zip(rows["smiles_2d"], found, strict=True)]
        keys, all_keys, places, pool = rows["inchikey14"], train["inchikey14"], None, vectors["train"]
        chosen = np.arange(len(keys))
        if name == "unknown":
            chosen = np.array([i for i, key in enumerate(keys) if keys.count(key) > 1])
            pool, places = np.concatenate([pool, own]), (len(pool) + chosen).tolist()
            all_keys = all_keys + keys
            found = nearest(own[chosen], pool, places)
        same = [all_keys[f] == keys[i] for f, i in zip(found, chosen, strict=True)]
        figures |= {
            f"{name}_recall_at_1": float(np.mean(same)),
            f"{name}_tanimoto_at_1": float(np.mean(alike)),
        }
        figures |= {f"{name}_queries": float(len(same))}
    return {key: round(value, 4) for key, value in figures.items()}


def speed(encoder: Any, rows: Sequence[dict[str, Any]], seconds: float) -> float:
    """Spectra per second, over at least `seconds` or one pass."""
    order = sorted(range(len(rows)), key=lambda place: len(rows[place]["mz"]))
    batches = [[rows[i] for i in order[start : start + 64]] for start in range(0, len(order), 64)]
    np.random.default_rng(0).shuffle(batches)  # type: ignore[arg-type]
    encoder(batches[0])
    done, began = 0, time.perf_counter()
    for batch in batches:
        encoder(batch)
        done += len(batch)
        if time.perf_counter() - began > seconds:
            break
    return done / (time.perf_counter() - began)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    start_logging()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True)
    add("--models", nargs="*", default=list(SHIPPED), help="checkpoints: names, folders or Hub ids")
    add("--published", nargs="*", default=[n for n, e in MODELS.items() if e.kind == "spectrum-encoder"])
    add("--limit", type=int, help="a sample of each fold, to see that it runs")
    add("--per-molecule", type=int, default=4, help="references of each training molecule")
    add("--seconds", type=float, default=20.0, help="of each speed test")
    add("--output", type=Path, default=ROOT / "benchmarks" / "results" / "embedding")
    args = parser.parse_args(argv)
    tables = {fold: _table(args, fold) for fold in ("train", "known_test", "test")}
    sample = SpectrumDataset(tables["test"])
    rows = [sample[i] | {"charge": sample.table.rows["charge"][i]} for i in range(len(sample))]
    encoders: dict[str, Any] = {BINNED: Binned()}
    for name in args.models:
        loaded = load_embedder(resolve_checkpoint(name), "cpu")
        encoders[Path(name).name] = Encoder(loaded.model, loaded.processor)
    tanimoto, table = Tanimoto(), []
    for name, encoder in encoders.items():
        row = {"encoder": name, "weights": "ours" if name != BINNED else "none"}
        row |= {"parameters": getattr(encoder, "parameters", 0)}
        row |= {"spectra_per_s": round(speed(encoder, rows, args.seconds), 1)}
        table.append(row | neighbours(encoder, tables, tanimoto, name))
        logger.info("%s", table[-1])
    table += [_published_row(name, rows, args.seconds) for name in args.published]
    write_figures(args.output, table)


def _table(args: argparse.Namespace, fold: str) -> SpectrumTable:
    table = load_spectra_table(
        args.data, [fold], "all", limit=args.limit, extra_columns=["charge"], max_precursor_mz=MAX_PRECURSOR
    )
    return table.select(at_most_per_molecule(table, args.per_molecule, 0)) if fold == "train" else table


def _published_row(name: str, rows: Sequence[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Size and speed of a registered encoder, on the spectra that its extractor accepts (of 500)."""
    encoder = published(name)
    able = [row for row in rows[:500] if _accepted(encoder.extractor, row)]
    row = {"encoder": f"{name}, published size", "weights": "random", "parameters": encoder.parameters}
    row |= {"spectra_per_s": round(speed(encoder, able, seconds), 1)}
    logger.info("%s", row)
    return row


def _accepted(extractor: Any, row: dict[str, Any]) -> bool:
    """Casanovo, say, wants a charge and twenty peaks."""
    try:
        extractor([row], return_tensors="np")
    except ValueError:
        return False
    return True


if __name__ == "__main__":
    main()
