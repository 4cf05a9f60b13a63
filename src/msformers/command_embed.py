"""`msformers embed`: spectra to a Parquet table of embeddings."""

from __future__ import annotations

import argparse
import logging
import os
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from .checkpoints import resolve_checkpoint
from .command_support import input_paths, output_path, set_threads, with_progress
from .inference.embed import Embedding, embed
from .inference.loading import load_embedder
from .spectra.read import read

logger = logging.getLogger(__name__)
ROWS = 4096
SCHEMA = pa.schema(
    [
        ("index", pa.int64()),
        ("native_id", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("embedding", pa.list_(pa.float32())),
    ]
)


def run(arguments: argparse.Namespace) -> None:
    """Embed the files; one row per record, `embedding` null where there is none and `reason` says why."""
    files = input_paths(arguments.file, "spectra")
    output = output_path(arguments.output, (".parquet",))
    set_threads(arguments)
    loaded = load_embedder(resolve_checkpoint(arguments.model), arguments.device, arguments.dtype)
    spectra = with_progress(read(files), arguments, "spectra")
    counts = write_embeddings(
        embed(spectra, loaded.model, loaded.processor, batch_size=arguments.batch_size), output
    )
    found = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    logger.info("%d records: %s -> %s", counts.total(), found or "none", output)


def write_embeddings(embeddings: Iterable[Embedding], path: Path) -> Counter[str]:
    """Write embeddings as they come; the file appears under its name when complete. Returns the count per status."""
    counts: Counter[str] = Counter()
    partial, stream = path.with_name(path.name + ".part"), iter(embeddings)
    with pq.ParquetWriter(partial, SCHEMA, compression="zstd") as writer:
        while rows := list(islice(stream, ROWS)):
            counts.update(row.status for row in rows)
            columns = {name: [getattr(row, name) for row in rows] for name in SCHEMA.names}
            writer.write_table(pa.table(columns, schema=SCHEMA))
    os.replace(partial, path)
    return counts
