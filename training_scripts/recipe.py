"""What the training scripts share: recipes, command line, the run itself, figures as CSV and JSON."""

from __future__ import annotations

import argparse
import csv
import json
import logging
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

import msformers

RECIPES = Path(__file__).resolve().parent / "recipes"
SECTIONS = ("model", "data", "training", "lora")
logger = logging.getLogger("msformers.training")


class RecipeLoader(yaml.SafeLoader):
    """YAML in which 3e-4 is a number: PyYAML wants 3.0e-4 and reads the other as a text."""


RecipeLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def parse_yaml(text: str) -> Any:
    """Plain values of a YAML text."""
    return RecipeLoader(text).get_single_data()


@dataclass
class Recipe:
    """One training run in writing.

    Attributes:
        model, data: settings of the stage, checked by its script.
        training: fields of `transformers.TrainingArguments`.
        lora: fields of `peft.LoraConfig`, or None for none.
        seed: of weights, order, augmentation and masking.
    """

    model: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    lora: dict[str, Any] | None = None
    seed: int = 1234


def load_recipe(stage: str, name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name ("tiny", "small", "paper") or path.

    Args:
        stage: name of the script, such as "align_specbridge".
        name_or_path: ``recipes/STAGE_NAME.yaml`` is looked up for a name.
        overrides: entries ``section.key=value``, the value as YAML.

    Raises:
        FileNotFoundError: no such recipe; lists those there are.
        ValueError: an unknown section, or an override that is not ``section.key=value``.
    """
    path = Path(name_or_path)
    if not path.is_file():
        path = RECIPES / f"{stage}_{name_or_path}.yaml"
    if not path.is_file():
        known = ", ".join(
            sorted(found.stem.removeprefix(f"{stage}_") for found in RECIPES.glob(f"{stage}_*.yaml"))
        )
        raise FileNotFoundError(f"no recipe {name_or_path!r} for {stage}: give a YAML file or one of {known}")
    content = parse_yaml(path.read_text(encoding="utf-8")) or {}
    for entry in overrides:
        place, separator, value = entry.partition("=")
        keys = place.split(".")
        if not separator or (len(keys) == 1 and keys[0] not in ("seed", "lora")):
            raise ValueError(f"--set {entry!r} must be section.key=value, for example training.max_steps=10")
        target = content
        for key in keys[:-1]:
            target = target.setdefault(key, {})
        target[keys[-1]] = parse_yaml(value)
    unknown = sorted(set(content) - {*SECTIONS, "seed"})
    if unknown:
        raise ValueError(f"{path}: unknown section {', '.join(unknown)}; known: seed, {', '.join(SECTIONS)}")
    return Recipe(**content)


def arguments(stage: str, description: str, argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line that all training scripts have."""
    parser = argparse.ArgumentParser(prog=stage, description=description)
    parser.add_argument("--recipe", default="small", help="tiny, small, paper, or a YAML file")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with the Parquet tables, or one of them"
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="folder for checkpoints, figures and the model"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --output")
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="change the recipe"
    )
    return parser.parse_args(argv)


def take(section: dict[str, Any], known: Sequence[str], where: str) -> dict[str, Any]:
    """The section itself, once all its keys are known.

    Raises:
        ValueError: naming the unknown key and the known ones.
    """
    unknown = sorted(set(section) - set(known))
    if unknown:
        raise ValueError(
            f"recipe section {where}: unknown {', '.join(unknown)}; known: {', '.join(sorted(known))}"
        )
    return section


def training_arguments(recipe: Recipe, output: Path, **defaults: Any) -> TrainingArguments:
    """`TrainingArguments` of a recipe; what exact resuming and our models need is fixed here."""
    fields: dict[str, Any] = {"save_total_limit": 2, "logging_steps": 50, "report_to": "none", **defaults}
    fields |= recipe.training
    return TrainingArguments(
        output_dir=str(output / "checkpoints"),
        seed=recipe.seed,
        data_seed=recipe.seed,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        save_only_model=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        **fields,
    )


class FiguresCallback(TrainerCallback):
    """Writes the whole log history as CSV and JSON at every log, so that a resumed run continues the same file."""

    def __init__(self, output: Path) -> None:
        self.output = output

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Rewrite ``log.csv`` and ``log.json``."""
        if state.is_world_process_zero:
            write_figures(self.output / "log", state.log_history)


def write_figures(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows of figures as ``path.csv`` and ``path.json``; columns in order of first appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    path.with_suffix(".json").write_text(json.dumps(list(rows), indent=1) + "\n", encoding="utf-8")


def run(trainer: Trainer, output: Path, resume: bool) -> dict[str, float]:
    """Train, from the last checkpoint when asked to, and return the final figures.

    Raises:
        FileNotFoundError: `resume` without a checkpoint.
    """
    checkpoints = Path(str(trainer.args.output_dir))
    last = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
    if resume and last is None:
        raise FileNotFoundError(f"nothing to resume in {checkpoints}; run without --resume first")
    if not resume and last is not None:
        raise FileExistsError(
            f"{checkpoints} holds a run already; add --resume to go on, or give another --output"
        )
    trainer.add_callback(FiguresCallback(output))
    parameters = [p for p in trainer.model.parameters() if p.requires_grad]
    logger.info(
        "%d trainable parameters, device %s, dtype %s, %d threads",
        *(sum(p.numel() for p in parameters), trainer.args.device),
        *("bf16" if trainer.args.bf16 else "float32", torch.get_num_threads()),
    )
    trainer.train(resume_from_checkpoint=last if resume else None)
    return {key: float(value) for entry in trainer.state.log_history for key, value in entry.items()}


def environment() -> dict[str, str]:
    """Versions that belong beside a training log."""
    import transformers

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "msformers": msformers.__version__,
        "command": " ".join(sys.argv),
    }


def finish(recipe: Recipe, output: Path, parts: Sequence[Any], figures: Sequence[dict[str, Any]]) -> None:
    """Save model and preparation to ``output/model``, the final figures and the recipe beside it."""
    for part in parts:
        part.save_pretrained(output / "model")
    write_figures(output / "figures", figures)
    content = asdict(recipe) | {"environment": environment()}
    (output / "recipe.json").write_text(json.dumps(content, indent=1), encoding="utf-8")


def start_logging() -> None:
    """Progress to standard error, one line per event."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S")
