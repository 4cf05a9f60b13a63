"""`msformers convert`: published checkpoints to folders for `from_pretrained`."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from .cli import UsageError

logger = logging.getLogger(__name__)


def run(arguments: argparse.Namespace) -> None:
    """Convert one checkpoint.

    Raises:
        UsageError: the file is missing or not a checkpoint of that system.
    """
    source = Path(arguments.checkpoint)
    if not source.is_file():
        raise UsageError(f"{source}: no such checkpoint file")
    try:
        if arguments.system == "dreams":
            from .modeling.convert.dreams import convert_dreams

            out = convert_dreams(source, arguments.output, arguments.peaks, arguments.heads)
        elif arguments.system == "casanovo":
            from .modeling.convert.casanovo import convert_casanovo

            out = convert_casanovo(source, arguments.output, arguments.heads)
        else:
            from .modeling.convert.specbridge import convert_specbridge

            out = convert_specbridge(source, arguments.output, arguments.molecule, arguments.heads)
    except ValueError as error:
        text = str(error)
        raise UsageError(text if str(source) in text else f"{source}: {text}") from error
    logger.info("wrote %s", out)
