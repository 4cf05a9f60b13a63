"""Going on after an interruption: what a .jsonl output holds already is not computed again."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from .cli import UsageError
from .spectra.spectrum import Problem, Spectrum

logger = logging.getLogger(__name__)


def keep_complete(output: Path) -> list[tuple[int, str]]:
    """Cut a .jsonl after its last record that is surely complete; (index, native_id) of those that stay.

    The rows of the last record may not all have been written, so that record is done again.
    """
    if not output.exists():
        return []
    done: list[tuple[int, str]] = []
    keep = 0
    with output.open("rb") as stream:
        at = 0
        for number, line in enumerate(stream, start=1):
            try:
                row = json.loads(line)
                here = (int(row["index"]), str(row["native_id"]))
            except (ValueError, KeyError, TypeError) as error:
                if line.endswith(b"\n"):
                    raise UsageError(f"{output}:{number}: is no row of msformers; use another -o") from error
                break
            if not done or done[-1] != here:
                done.append(here)
                keep = at
            at += len(line)
    with output.open("r+b") as stream:
        stream.truncate(keep)
    return done[:-1]


def skip_done(spectra: Iterator[Spectrum | Problem], done: list[tuple[int, str]]) -> None:
    """Pass over the records that an output holds already.

    Raises:
        UsageError: they are not those of this input.
    """
    for record, expected in zip(islice(spectra, len(done)), done, strict=False):
        if (record.index, record.native_id) != expected:
            raise UsageError(
                f"--resume: the output holds spectrum {expected[0]} {expected[1]!r} where the input has "
                f"{record.index} {record.native_id!r}; it belongs to another input, use another -o"
            )
    logger.info("going on after %d records", len(done))
