"""What several commands need: bundled inputs by name, threads, progress."""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol, TypeVar

from .cli import UsageError
from .spectra.spectrum import Problem, Spectrum

logger = logging.getLogger(__name__)
ItemT = TypeVar("ItemT")


class HasStatus(Protocol):
    """Any answer."""

    @property
    def status(self) -> str: ...  # noqa: D102


AnswerT = TypeVar("AnswerT", bound=HasStatus)


def demo_file(kind: str) -> Path:
    """The bundled file of a kind, "spectra" or "molecules"."""
    name = {"spectra": "demo.mgf", "molecules": "starter_molecules.csv"}[kind]
    return Path(str(files("msformers.demo"))) / name


def input_paths(names: Iterable[str], kind: str) -> list[Path]:
    """Paths of inputs; "demo" is the bundled file unless a path of that name exists.

    Raises:
        UsageError: a path does not exist.
    """
    return [_input_path(name, kind) for name in names]


def _input_path(name: str, kind: str) -> Path:
    path = Path(name)
    if path.exists():
        return path
    if name == "demo":
        return demo_file(kind)
    raise UsageError(f"{name}: no such file or folder; give a path, or demo for the bundled {kind}")


def output_path(name: str, suffixes: tuple[str, ...]) -> Path:
    """A file to write, checked before any work is done.

    Raises:
        UsageError: its ending is none of `suffixes`, its folder does not exist, or it is a folder itself.
    """
    path = Path(name)
    if path.suffix.lower() not in suffixes:
        raise UsageError(
            f"{name}: ends in none of {', '.join(suffixes)}; the ending of -o chooses the format"
        )
    if path.is_dir():
        raise UsageError(f"{name}: is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise UsageError(f"{name}: there is no folder {path.parent}; create it first")
    return path


def output_of(arguments: argparse.Namespace, suffixes: tuple[str, ...]) -> Path | None:
    """The file that -o names, checked before any work is done; None without it.

    Raises:
        UsageError: as `output_path`, and --resume without a .jsonl file.
    """
    output = output_path(arguments.output, suffixes) if arguments.output else None
    if arguments.resume and (output is None or output.suffix.lower() != ".jsonl"):
        raise UsageError("--resume needs -o with a .jsonl file")
    return output


def set_threads(arguments: argparse.Namespace) -> None:
    """Give torch the CPU threads asked for."""
    if arguments.threads is not None:
        import torch

        torch.set_num_threads(arguments.threads)


def with_progress(items: Iterable[ItemT], arguments: argparse.Namespace, unit: str) -> Iterator[ItemT]:
    """The items with a counting bar on standard error, if that is a terminal and --quiet is not set."""
    from tqdm import tqdm

    bar: Any = tqdm(items, unit=f" {unit}", disable=True if arguments.quiet else None)
    yield from bar


def noting(spectra: Iterable[Spectrum | Problem], problems: list[Problem]) -> Iterator[Spectrum | Problem]:
    """The records, with the problems among them also put into a list for the report."""
    for record in spectra:
        if isinstance(record, Problem):
            problems.append(record)
        yield record


def counted(answers: Iterable[AnswerT], counts: Counter[str]) -> Iterator[AnswerT]:
    """The answers, counted by their status as they pass."""
    for answer in answers:
        counts[answer.status] += 1
        yield answer


def log_counts(counts: Counter[str], statuses: Iterable[str], output: Path | None) -> None:
    """Say how many records there were of each status, in the order of `statuses`, and where the answers are."""
    found = [f"{counts[status]} {status}" for status in statuses if counts[status]]
    where = f" -> {output}" if output else ""
    logger.info("%d records: %s%s", counts.total(), ", ".join(found) or "none", where)


def table_line(cells: Iterable[str], widths: Iterable[int]) -> str:
    """One line of a table: cells padded or cut to their widths, control characters removed."""
    parts = []
    for cell, width in zip(cells, widths, strict=True):
        text = "".join(letter if letter.isprintable() else " " for letter in cell)
        parts.append((text if len(text) <= width else text[: width - 1] + "…").ljust(width))
    return "  ".join(parts).rstrip() + "\n"
