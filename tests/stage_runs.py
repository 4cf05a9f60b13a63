"""How tests start a training stage: its tiny recipe, on the processor, in this process."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[1] / "training_scripts"


def start(
    stage: str,
    data: Path | str,
    output: Path,
    settings: Sequence[str] = (),
    resume: bool = False,
    recipe: str = "tiny",
) -> dict[str, float]:
    """Run ``STAGE.py --recipe RECIPE`` with further settings (`section.key=value`); returns its figures."""
    small = ["data.min_peaks=2"] if stage == "pretrain_dreams" else []
    changes = ["training.use_cpu=true", *small, *settings]
    options = [part for entry in changes for part in ("--set", entry)]
    paths = ["--recipe", recipe, "--data", str(data), "--output", str(output)]
    script = importlib.import_module(stage)
    return script.main([*paths, *options, *(["--resume"] if resume else [])])
