"""`msformers info`: versions, devices, threads and shipped checkpoints."""

from __future__ import annotations

import argparse
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

from .checkpoints import list_shipped

LIBRARIES = (
    "msformers",
    "torch",
    "transformers",
    "huggingface-hub",
    "safetensors",
    "tokenizers",
    "datasets",
    "evaluate",
    "accelerate",
    "peft",
    "rdkit",
    "selfies",
    "numpy",
    "pyarrow",
    "matplotlib",
    "myopic-mces",
)


def run(arguments: argparse.Namespace) -> None:
    """Write the report to standard output."""
    import torch

    lines = [f"Python {platform.python_version()} on {platform.platform()}", "", "versions"]
    lines += [f"  {name:<16} {_version(name)}" for name in LIBRARIES]
    lines += ["", "devices", f"  cpu              {torch.get_num_threads()} threads"]
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        lines.append(
            f"  cuda:{number}           {properties.name}, {properties.total_memory / 2**30:.0f} GiB"
        )
    if torch.backends.mps.is_available():
        lines.append("  mps              Apple GPU")
    lines += ["", "shipped checkpoints"]
    for found in list_shipped():
        lines.append(f"  {found.name:<16} {found.model_type}, {found.size / 1e6:.1f} MB. {found.summary}")
    if not list_shipped():
        lines.append("  none")
    sys.stdout.write("\n".join(lines) + "\n")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
