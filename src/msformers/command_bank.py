"""`msformers bank build`: molecule files to a searchable bank."""

from __future__ import annotations

import argparse
from pathlib import Path

from .checkpoints import resolve_checkpoint
from .command_support import input_paths, set_threads
from .inference.loading import load_retrieval
from .inference.retrieval.bank import MoleculeBank
from .inference.retrieval.bank_sources import source_files


def run(arguments: argparse.Namespace) -> None:
    """Build the bank, or finish it."""
    sources = input_paths(arguments.file, "molecules")
    source_files(sources)
    set_threads(arguments)
    loaded = load_retrieval(resolve_checkpoint(arguments.model), arguments.device, arguments.dtype)
    MoleculeBank.build(
        sources,
        loaded.model,
        loaded.tokenizer,
        Path(arguments.output),
        batch_size=arguments.batch_size,
        shard_rows=arguments.shard_rows,
        desalt=arguments.desalt,
        workers=arguments.workers,
        smiles_column=arguments.smiles_column,
        name_column=arguments.name_column,
        overwrite=arguments.overwrite,
        progress=not arguments.quiet,
        decode=arguments.decode,
    )
