"""Put a trained model into hub_cards/: weights stored in half precision and loaded in single, its preparation, its log.

python training_scripts/ship.py runs/denovo hub_cards/denovo-small
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from recipe import start_logging
from safetensors.torch import load_file, save_file

logger = logging.getLogger("msformers.training")
BESIDE = ("preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def ship(run: Path, folder: Path, keep: Sequence[str] = ()) -> int:
    """Copy ``run/model`` to `folder`; the card there stays.

    ``dtype`` in config.json stays float32, so that `from_pretrained` gives a float32 model as it gave in training.

    Args:
        run: output of a training script.
        folder: of hub_cards.
        keep: parts of names of weights that stay in single precision.

    Returns:
        Bytes of the folder.

    Raises:
        FileNotFoundError: the run has no model.
        ValueError: a weight is too large for half precision.
    """
    model = run / "model"
    weights = load_file(model / "model.safetensors")
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: _half(name, tensor, keep) for name, tensor in weights.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    (folder / "model.safetensors").chmod(0o644)  # safetensors writes for the owner alone
    config: dict[str, Any] = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config = _without_paths(config) | {"dtype": "float32"}
    text = json.dumps(config, indent=2, sort_keys=True)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
    for name in BESIDE:
        if (model / name).is_file():
            shutil.copyfile(model / name, folder / name)
    shutil.copyfile(run / "log.csv", folder / "training_log.csv")
    return sum(path.stat().st_size for path in folder.iterdir())


def _without_paths(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration, and those nested in it, without the places its parts were loaded from."""
    kept = {name: value for name, value in config.items() if name != "_name_or_path"}
    return {name: _without_paths(value) if isinstance(value, dict) else value for name, value in kept.items()}


def _half(name: str, tensor: torch.Tensor, keep: Sequence[str]) -> torch.Tensor:
    if not tensor.is_floating_point() or any(part in name for part in keep):
        return tensor
    half = tensor.half()
    if not half.isfinite().all():
        raise ValueError(f"{name} holds values beyond half precision; keep it with --keep {name}")
    return half


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="ship", description=__doc__)
    parser.add_argument("run", type=Path, help="output of a training script")
    parser.add_argument("folder", type=Path, help="folder below hub_cards")
    parser.add_argument("--keep", nargs="*", default=["terms", "log_odds"], help="weights that stay float32")
    args = parser.parse_args(argv)
    start_logging()
    logger.info("%s: %.1f MB", args.folder, ship(args.run, args.folder, args.keep) / 1e6)


if __name__ == "__main__":
    main()
