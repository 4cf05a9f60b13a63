"""Building a molecule bank: read, canonicalise, merge, sort, embed, describe; can be killed and run again."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from safetensors.numpy import save_file
from tqdm import tqdm

from ..encode import embed_molecules, runtime, weights_sha256
from .bank import PROBES
from .bank_molecules import Counts, canonicalise, merge_and_sort, write_text
from .bank_sources import Entry, Source, read_molecules, source_files
from .bank_store import FORMAT, FORMAT_VERSION, MANIFEST, MOLECULES, TENSOR, BankError, shard_name

logger = logging.getLogger(__name__)
WORK = ".building"
STATE = "state.json"
COUNTS = "counts.json"
PROBLEMS = "problems.jsonl"


def build_bank(
    source: Source,
    model: Any,
    tokenizer: Any,
    out_dir: Path,
    *,
    batch_size: int = 256,
    shard_rows: int = 32768,
    chunk: int = 16384,
    desalt: bool = False,
    workers: int = 1,
    smiles_column: str | None = None,
    name_column: str | None = None,
    overwrite: bool = False,
    progress: bool = True,
    decode: str = "fingerprint",
) -> None:
    """Build a bank in `out_dir`, or finish the one begun there; does nothing if it is finished and from the same input.

    Work is kept in pieces that are written whole or not at all: `chunk` source records, then the sorted molecules,
    then `shard_rows` embeddings. A killed build loses the piece in hand; running it again goes on after the others.

    Args:
        source: molecules, as `read_molecules` takes them; only a source of files can be resumed.
        model: has ``get_molecule_features``, on the device and in the dtype to use.
        tokenizer: the model's SMILES tokenizer.
        out_dir: folder to write; made if missing.
        batch_size: molecules per forward pass.
        shard_rows: molecules per shard of embeddings.
        chunk: source records canonicalised between two saves.
        desalt: keep the largest organic fragment of a molecule, neutralised; by default a molecule stays as it is.
        workers: processes that canonicalise.
        smiles_column: of a table; see `read_molecules`.
        name_column: of a table; see `read_molecules`.
        overwrite: start anew even if there is a bank, or a part of one.
        progress: show progress bars on standard error.
        decode: the model's path whose embeddings are kept, "fingerprint" or "projection".

    Raises:
        BankError: another bank, or a part of another one, is in `out_dir`; or the source holds no molecule.
        SourceError: the source cannot be read at all.
    """
    files = source_files(source)
    state = _state(
        files, model, {"desalt": desalt, "shard_rows": shard_rows, "chunk": chunk, "decode": decode}
    )
    work = out_dir / WORK
    if not _prepare(out_dir, state, overwrite, resumable=files is not None):
        return
    logger.info("building %s: %s", out_dir, runtime(model))
    if not (work / COUNTS).exists():
        entries = read_molecules(source, smiles_column, name_column)
        _collect(entries, out_dir, state["options"], workers, progress)
    saved = json.loads((work / COUNTS).read_text())
    counts = Counts(**saved["counts"])
    _write_problems(work, out_dir)
    if not counts.molecules:
        raise BankError(f"{out_dir}: none of {counts.read} records is a molecule; see {out_dir / PROBLEMS}")
    embed = partial(embed_molecules, model=model, tokenizer=tokenizer, batch_size=batch_size, decode=decode)
    _embed_shards(out_dir, saved["rows"], embed, batch_size, progress)
    _write_manifest(out_dir, saved["rows"], counts, state, embed(PROBES))
    shutil.rmtree(work)
    logger.info("%d molecules in %s; %d duplicates merged", counts.molecules, out_dir, counts.duplicates)
    if counts.problems:
        logger.warning("%d of %d records left out; why: %s", counts.problems, counts.read, out_dir / PROBLEMS)


def _collect(
    entries: Iterator[Entry], out_dir: Path, options: dict[str, Any], workers: int, progress: bool
) -> None:
    """Canonicalise, merge and sort the molecules, and note how many there are."""
    work, rate = out_dir / WORK, _Rate()
    with tqdm(desc="canonicalise", unit=" molecules", disable=None if progress else True) as bar:
        canonicalise(entries, work, options["chunk"], options["desalt"], workers, bar)
    counts, rows = merge_and_sort(work, out_dir / MOLECULES, options["shard_rows"])
    logger.info("canonicalised %d records, %.0f/s", counts.read, rate.of(counts.read))
    write_text(work / COUNTS, json.dumps({"counts": asdict(counts), "rows": rows}))


def _state(files: list[Path] | None, model: Any, options: dict[str, Any]) -> dict[str, Any]:
    """What a bank depends on; a build goes on only where this is the same."""
    name = str(getattr(getattr(model, "config", None), "_name_or_path", "") or type(model).__name__)
    return {
        "sources": [
            {"path": str(path), "bytes": path.stat().st_size, "mtime_ns": path.stat().st_mtime_ns}
            for path in files or ()
        ],
        "model": {
            "name": Path(name).name if Path(name).is_dir() else name,
            "class": type(model).__name__,
            "revision": getattr(getattr(model, "config", None), "_commit_hash", None),
            "weights_sha256": weights_sha256(model),
            "dtype": str(getattr(model, "dtype", "")).removeprefix("torch."),
        },
        "options": options,
    }


def _prepare(out_dir: Path, state: dict[str, Any], overwrite: bool, resumable: bool) -> bool:
    """Make the working folder; False if `out_dir` already holds this very bank, finished."""
    work, manifest = out_dir / WORK, out_dir / MANIFEST
    if overwrite:
        _remove(out_dir)
    if manifest.exists():
        if resumable and json.loads(manifest.read_text()).get("built_from") == state:
            logger.info("%s is already built from this source with this model", out_dir)
            return False
        raise BankError(
            f"{out_dir}: holds another bank; choose another folder, or replace it with --overwrite"
        )
    if (work / STATE).exists():
        if resumable and json.loads((work / STATE).read_text()) == state:
            logger.info("going on with the unfinished bank in %s", out_dir)
            return True
        raise BankError(
            f"{out_dir}: holds an unfinished bank from another source, model or option; choose another folder, "
            "or start anew with --overwrite"
        )
    if not overwrite and out_dir.is_dir() and any(out_dir.iterdir()) and not work.is_dir():
        raise BankError(f"{out_dir}: is a folder with other files in it; choose an empty or a new one")
    work.mkdir(parents=True, exist_ok=True)
    write_text(work / STATE, json.dumps(state))
    return True


def _remove(out_dir: Path) -> None:
    """Remove the files of a bank, and nothing else."""
    shutil.rmtree(out_dir / WORK, ignore_errors=True)
    for file in (out_dir / MANIFEST, out_dir / MOLECULES, out_dir / PROBLEMS, *out_dir.glob("embeddings-*")):
        file.unlink(missing_ok=True)


def _embed_shards(
    out_dir: Path, rows: list[int], embed: Callable[[list[str]], Any], batch_size: int, progress: bool
) -> None:
    """Embed the molecules shard by shard, float16 unit vectors; shards that exist are kept."""
    molecules = pq.ParquetFile(out_dir / MOLECULES)
    rate, fresh = _Rate(), 0
    with tqdm(total=sum(rows), desc="embed", unit=" molecules", disable=None if progress else True) as bar:
        for number, count in enumerate(rows):
            target = out_dir / shard_name(number)
            if not target.exists():
                smiles = molecules.read_row_group(number, columns=["smiles"])["smiles"].to_pylist()
                parts = []
                # pieces of a few batches: the bar moves, and molecules of similar length still meet
                for start in range(0, count, 16 * batch_size):
                    piece = smiles[start : start + 16 * batch_size]
                    parts.append(embed(piece).astype(np.float16))
                    bar.update(len(piece))
                temporary = target.with_suffix(".tmp")
                save_file({TENSOR: np.concatenate(parts)}, temporary)
                os.replace(temporary, target)
                fresh += count
            else:
                bar.update(count)
    logger.info("embedded %d molecules, %.0f/s", fresh, rate.of(fresh))


def _write_problems(work: Path, out_dir: Path) -> None:
    temporary = out_dir / (PROBLEMS + ".tmp")
    with temporary.open("wb") as target:
        for file in sorted(work.glob("problems-*.jsonl")):
            with file.open("rb") as part:
                shutil.copyfileobj(part, target)
    os.replace(temporary, out_dir / PROBLEMS)


def _write_manifest(
    out_dir: Path, rows: list[int], counts: Counts, state: dict[str, Any], probes: Any
) -> None:
    from ... import __version__

    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "msformers_version": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": state["model"],
        "dim": int(probes.shape[1]),
        "dtype": "float16",
        "normalized": True,
        "score": "cosine",
        "decode": state["options"]["decode"],
        "counts": asdict(counts),
        "canonical": "RDKit, without stereo, "
        + ("largest fragment neutralised" if state["options"]["desalt"] else "as is"),
        "sources": [
            {"path": item["path"], "bytes": item["bytes"], "sha256": _sha256(Path(item["path"]))}
            for item in state["sources"]
        ],
        "built_from": state,
        "molecules": {"file": MOLECULES, "sha256": _sha256(out_dir / MOLECULES)},
        "shards": [
            {"file": shard_name(number), "rows": count, "sha256": _sha256(out_dir / shard_name(number))}
            for number, count in enumerate(rows)
        ],
        "probe_smiles": PROBES,
        "probes": [[round(value, 6) for value in row] for row in probes.tolist()],
    }
    write_text(out_dir / MANIFEST, json.dumps(manifest, indent=1))


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class _Rate:
    """Counts per second since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def of(self, count: int) -> float:
        """`count` divided by the seconds passed."""
        return count / max(time.perf_counter() - self._start, 1e-9)
