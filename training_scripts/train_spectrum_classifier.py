"""Train yes-or-no heads on a spectrum encoder: quality, chimericity, phosphorylation, glycosylation.

Labels are columns of the table of spectra, or of a CSV file with a column ``native_id``.

python training_scripts/train_spectrum_classifier.py --recipe small --data ../shared/data/peptides.parquet \
    --output runs/phospho --set model.checkpoint=casanovo-folder --set data.labels='{phospho: is_phospho}'
"""

from __future__ import annotations

import csv
import hashlib
import logging
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from encoders import HEAD_KEYS, build_extractor, build_model, finish_head, head_trainer
from recipe import Recipe, arguments, load_recipe, run, start_logging, take
from torch.utils.data import Dataset
from transformers import set_seed

from msformers.metrics.classification import area_under_roc
from msformers.modeling.auto import AutoModelForSpectrumClassification
from msformers.spectra.read import read
from msformers.spectra.spectrum import Spectrum

STAGE = "train_spectrum_classifier"
MODEL_KEYS = HEAD_KEYS
DATA_KEYS = (
    "labels",
    "label_file",
    "group",
    "eval_share",
    "eval_file",
    "limit",
    "patience",
    "batch_by_length",
)
YES, NO = frozenset(("1", "1.0", "true", "yes")), frozenset(("0", "0.0", "false", "no"))
logger = logging.getLogger("msformers.training")


class LabelledSpectra(Dataset):
    """Prepared spectra with their labels, and (epoch, index).

    Args:
        inputs: of the extractor, one spectrum each, without padding.
        labels: (spectra, tasks), NaN where unknown.
    """

    def __init__(self, inputs: Sequence[dict[str, Any]], labels: Sequence[Sequence[float]]) -> None:
        self.inputs, self.labels = inputs, np.asarray(labels, dtype=np.float32)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        return {**self.inputs[index], "labels": self.labels[index], "epoch": epoch, "index": index}

    @property
    def n_peaks(self) -> list[int]:
        """Peaks per spectrum."""
        return [inputs["peaks"].shape[1] for inputs in self.inputs]

    def select(self, places: Sequence[int]) -> LabelledSpectra:
        """The spectra at `places`."""
        return LabelledSpectra([self.inputs[place] for place in places], self.labels[list(places)])


class LabelCollator:
    """Prepared spectra to one batch."""

    def __init__(self, extractor: Any) -> None:
        self.extractor = extractor

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Inputs of the model and `labels` (batch, tasks)."""
        arrays = self.extractor.collate([item["peaks"][0] for item in features])
        if "precursors" in features[0]:
            arrays["precursors"] = np.concatenate([item["precursors"] for item in features])
        arrays["labels"] = np.stack([item["labels"] for item in features])
        return {name: torch.from_numpy(values) for name, values in arrays.items()}


def yes_or_no(text: str | None, where: str) -> float:
    """1, 0, or NaN for nothing.

    Raises:
        ValueError: another text; names it and its place.
    """
    bare = (text or "").strip().lower()
    if bare in YES or bare in NO:
        return float(bare in YES)
    if bare in ("", "nan", "null", "none", "-1", "-1.0"):
        return math.nan
    raise ValueError(f"{where}: label {text!r} is none of 1, 0, true, false, yes, no, or empty for unknown")


def load_labelled(path: Path, data: dict[str, Any], extractor: Any) -> tuple[LabelledSpectra, list[str]]:
    """Spectra with at least one label, and the group of each: groups are not split between training and validation.

    Args:
        path: spectra in any format.
        data: ``labels`` (task: column), ``label_file``, ``group`` (column; without it each spectrum is its own).
        extractor: prepares the spectra; what it refuses is counted in the log.

    Raises:
        ValueError: a label cannot be read, or no spectrum has one.
    """
    columns, given = dict(data["labels"]), _label_file(data.get("label_file"))
    inputs, labels, groups, lost = [], [], [], Counter[str]()
    for record in read(path):
        if not isinstance(record, Spectrum):
            lost["the record cannot be read"] += 1
            continue
        fields = given.get(record.native_id, {}) if given is not None else record.metadata
        row = [
            yes_or_no(fields.get(name), f"{path}: {record.native_id}: {name}") for name in columns.values()
        ]
        if all(math.isnan(value) for value in row):
            lost["it has no label"] += 1
            continue
        try:
            inputs.append(dict(extractor([record], return_tensors="np")))
        except ValueError:
            lost["the model cannot use it"] += 1
            continue
        labels.append(row)
        groups.append(fields.get(data.get("group", "")) or f"{record.path}:{record.index}")
    for reason, count in lost.most_common():
        logger.info("left out %d spectra: %s", count, reason)
    if not inputs:
        raise ValueError(f"{path}: no spectrum has a label in {', '.join(columns.values())}")
    return LabelledSpectra(inputs, labels), groups


def _label_file(path: str | None) -> dict[str, dict[str, str]] | None:
    """Rows of a CSV file by native id; None without a file."""
    if path is None:
        return None
    with Path(path).open(encoding="utf-8", newline="") as stream:
        return {row["native_id"]: row for row in csv.DictReader(stream)}


def load_sides(
    path: Path, data: dict[str, Any], extractor: Any, seed: int
) -> tuple[LabelledSpectra, LabelledSpectra]:
    """Training and validation spectra: from two files, or by a hash of their groups.

    Raises:
        ValueError: a side is empty.
    """
    spectra, groups = load_labelled(path, data, extractor)
    if data.get("eval_file"):
        train, held_out = spectra, load_labelled(Path(data["eval_file"]), data, extractor)[0]
    else:
        share = data.get("eval_share", 0.2)
        hashes = [
            int.from_bytes(hashlib.sha1(group.encode()).digest()[:4], "big") / 2**32 for group in groups
        ]
        sides = [
            [place for place, number in enumerate(hashes) if (number < share) is side]
            for side in (False, True)
        ]
        if not all(sides):
            raise ValueError(f"{path}: one side of the split is empty; change data.eval_share or data.group")
        train, held_out = (spectra.select(places) for places in sides)
    if data.get("limit") and data["limit"] < len(train):
        train = train.select(
            np.sort(np.random.default_rng(seed).permutation(len(train))[: data["limit"]]).tolist()
        )
    return train, held_out


@torch.inference_mode()
def classification_figures(
    model: Any, collate: LabelCollator, spectra: LabelledSpectra, batch_size: int = 64
) -> dict[str, float]:
    """Loss and area under the ROC curve of each task, and the mean of the areas.

    Args:
        model: left in the mode it was in.
    """
    was_training = model.training
    model.eval()
    logits, order = np.zeros_like(spectra.labels), np.argsort(spectra.n_peaks, kind="stable")
    loss = 0.0
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size].tolist()
        batch = {
            name: values.to(model.device) for name, values in collate([spectra[i] for i in chosen]).items()
        }
        output = model(**batch)
        logits[chosen] = output.logits.float().cpu().numpy()
        loss += float(output.loss) * len(chosen) / len(order)
    model.train(was_training)
    tasks = model.config.classification_tasks
    areas = {
        f"auroc_{task}": area_under_roc(spectra.labels[:, i], logits[:, i]) for i, task in enumerate(tasks)
    }
    measured = {name: value for name, value in areas.items() if not math.isnan(value)}
    mean = sum(measured.values()) / len(measured) if measured else 0.0
    return {"loss": loss, "auroc": mean, **measured, "spectra": float(len(spectra))}


def build_classifier(recipe: Recipe) -> tuple[Any, Any]:
    """Model with one head per task, and its extractor."""
    settings = dict(take(recipe.model, MODEL_KEYS, "model"))
    tasks = {"classification_tasks": list(recipe.data["labels"])}
    frozen = {"freeze_encoder": True} if settings.get("freeze_encoder") else {}
    settings["config"] = {**(settings.get("config") or {}), **tasks, **frozen}
    model = build_model(AutoModelForSpectrumClassification, settings)
    return model, build_extractor(model.config, settings)


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Run the command line; returns the validation figures of the chosen model."""
    start_logging()
    args = arguments(STAGE, "Train yes-or-no heads on a spectrum encoder.", argv)
    recipe = load_recipe(STAGE, args.recipe, args.set)
    set_seed(recipe.seed)
    data = take(recipe.data, DATA_KEYS, "data")
    model, extractor = build_classifier(recipe)
    train, held_out = load_sides(args.data, data, extractor, recipe.seed)
    logger.info("%d spectra, %d for validation", len(train), len(held_out))
    collate = LabelCollator(extractor)
    trainer = head_trainer(
        *(recipe, model, extractor, args.output, "greater", "auroc"),
        train_dataset=train,
        eval_dataset=held_out,
        data_collator=collate,
        lengths=train.n_peaks if data.get("batch_by_length", True) else None,
        figures=lambda model: classification_figures(model, collate, held_out),
    )
    run(trainer, args.output, args.resume)
    return finish_head(recipe, trainer, args.output)


if __name__ == "__main__":
    main()
