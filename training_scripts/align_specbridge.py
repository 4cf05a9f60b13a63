"""Train SpecBridge: spectra onto the frozen molecular space, model chosen by validation Recall@5.

python training_scripts/align_specbridge.py --recipe small --data ../shared/data --output runs/specbridge
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters import add_lora
from bridge import BridgeCollator, UnfreezeCallback, fit_procrustes, wrong_rows
from data import Augmentation, MoleculePool, SpectrumDataset, SpectrumTable, at_most_per_molecule
from molecules import CandidateLists, MoleculeIndex, encode, random_figures, retrieval_figures
from recipe import (
    Recipe,
    arguments,
    finish,
    load_recipe,
    run,
    start_logging,
    take,
    training_arguments,
)
from stages import FOLD_KEYS, load_folds
from torch import Tensor
from trainer import EpochTrainer
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoTokenizer, PreTrainedModel, set_seed

from msformers.modeling.morgan import MorganConfig
from msformers.modeling.specbridge import SpecBridgeModel
from msformers.tokenization.dreams import DreamsFeatureExtractor
from msformers.tokenization.formula_bag import FormulaBagFeatureExtractor
from msformers.tokenization.morgan import MorganTokenizer
from msformers.tokenization.smiles import build_smiles_tokenizer
from msformers.tokenization.spectrum import SpectrumFeatureExtractor

STAGE = "align_specbridge"
MODEL_KEYS = ("spectrum", "molecule", "extractor", "fragments", "bridge", "procrustes", "unfreeze_at_step")
DATA_KEYS = (
    *(*FOLD_KEYS, "most_per_molecule"),
    *("pool_limit", "eval_kind", "eval_candidates", "eval_min_candidates"),
    *("negatives", "negative_kind", "negative_pool"),
)
logger = logging.getLogger("msformers.training")


@dataclass
class Prepared:
    """All that does not depend on the weights being trained.

    Attributes:
        train: training spectra. lists: validation lists.
        embeds: (n, width) encoded molecules. truth, wrong: their rows for each training spectrum.
    """

    train: SpectrumTable
    lists: CandidateLists
    embeds: Tensor
    truth: list[int]
    wrong: list[list[int]] | None


def build_encoder(section: dict[str, Any], where: str) -> PreTrainedModel:
    """An encoder of a recipe: ``checkpoint: NAME`` or ``config: {model_type: …}``.

    Raises:
        ValueError: neither is given.
    """
    take(section, ("checkpoint", "config"), where)
    if "checkpoint" in section:
        return AutoModel.from_pretrained(section["checkpoint"])
    if "config" not in section:
        raise ValueError(f"recipe section {where} needs checkpoint or config")
    return AutoModel.from_config(AutoConfig.for_model(**section["config"]))


def build_extractor(model: dict[str, Any], bridge: dict[str, Any]) -> SpectrumFeatureExtractor:
    """The spectrum encoder's own extractor, DreaMS's with given settings, or the published code's raw peaks."""
    checkpoint = model["spectrum"].get("checkpoint")
    if "fragments" in model:
        rows = json.loads(Path(model["fragments"]).read_text())
        extractor = FormulaBagFeatureExtractor(fragments=rows, **model.get("extractor", {}))
        model["spectrum"]["config"]["vocab_size"] = extractor.vocab_size
        return extractor
    if not bridge.get("prepend_precursor", False):
        return SpectrumFeatureExtractor(**model.get("extractor", {}))
    if checkpoint and "extractor" not in model:
        return AutoFeatureExtractor.from_pretrained(checkpoint)
    return DreamsFeatureExtractor(**model.get("extractor", {}))


def load_tables(path: Path, recipe: Recipe) -> tuple[SpectrumTable, SpectrumTable]:
    """Training and validation spectra of a recipe."""
    data = {"eval_licences": "all"} | take(recipe.data, DATA_KEYS, "data")
    train, validation = load_folds(path, data, recipe.seed)
    if "most_per_molecule" in data:
        train = train.select(at_most_per_molecule(train, data["most_per_molecule"], recipe.seed))
    return train, validation


def build_model(recipe: Recipe) -> tuple[SpecBridgeModel, SpectrumFeatureExtractor, Any]:
    """Model, extractor and tokenizer of a recipe."""
    settings = take(recipe.model, MODEL_KEYS, "model")
    bridge = settings.get("bridge", {})
    extractor = build_extractor(settings, bridge)
    ends = [build_encoder(settings[end], f"model.{end}") for end in ("spectrum", "molecule")]
    model = SpecBridgeModel.from_encoders(*ends, **bridge)
    return model, extractor, build_tokenizer(settings["molecule"])


def build_tokenizer(molecule: dict[str, Any]) -> Any:
    """The molecule encoder's tokenizer: that of its checkpoint, of the Morgan encoder, or of SMILES."""
    if "checkpoint" in molecule:
        return AutoTokenizer.from_pretrained(molecule["checkpoint"])
    if molecule["config"]["model_type"] == MorganConfig.model_type:
        return MorganTokenizer(n_bits=molecule["config"].get("hidden_size", 2048))
    return build_smiles_tokenizer()


def prepare(
    path: Path, recipe: Recipe, model: SpecBridgeModel, tokenizer: Any, cache: Path | None
) -> Prepared:
    """Read the data of a recipe and encode every molecule once."""
    data = recipe.data
    train, validation = load_tables(path, recipe)
    pool = MoleculePool.load(path, data.get("pool_limit"), recipe.seed)
    index = MoleculeIndex()
    truth = [index.row(smiles) for smiles in train.rows["smiles_2d"]]
    lists = CandidateLists.build(
        validation,
        pool,
        index,
        data.get("eval_kind", "formula"),
        data.get("eval_candidates", 255),
        data.get("eval_min_candidates", 10),
    )
    hard = model.config.objective == "hard_negative"
    wrong = wrong_rows(train, pool, index, data) if hard else None
    logger.info(
        "%d training spectra, %d validation, %d molecules", len(train), len(lists.rows), len(index.rows)
    )
    return Prepared(train, lists, encode(index.smiles, model, tokenizer, cache=cache), truth, wrong)


def build_trainer(
    recipe: Recipe, model: SpecBridgeModel, extractor: Any, prepared: Prepared, output: Path
) -> EpochTrainer:
    """Freeze, add adapters, and put the Trainer together; `model` is changed in place."""
    data = recipe.data
    dataset = SpectrumDataset(prepared.train, Augmentation.from_recipe(data.get("augmentation")), recipe.seed)
    collator = BridgeCollator(
        extractor, prepared.embeds, prepared.truth, prepared.wrong, data.get("negatives", 8), recipe.seed
    )
    if recipe.model.get("procrustes"):
        fit_procrustes(model, dataset, collator, int(recipe.model["procrustes"]))
    if model.prior is not None:
        model.prior.fit(prepared.embeds[sorted(set(prepared.truth))])
    trainable = model.set_trainable()
    frozen = ["molecule_encoder"]
    trained: Any = add_lora(model, recipe.lora, "spectrum_encoder", frozen) if recipe.lora else model
    logger.info("%d parameters trainable before adapters", trainable)
    choice = {
        "eval_strategy": "steps",
        "metric_for_best_model": "recall_at_5",
        "load_best_model_at_end": True,
    }
    trainer = EpochTrainer(
        model=trained,
        args=training_arguments(
            recipe, output, **choice, greater_is_better=True, label_names=["target_embeds"]
        ),
        train_dataset=dataset,
        eval_dataset=dataset,
        data_collator=collator,
        processing_class=extractor,
        lengths=prepared.train.n_peaks if data.get("batch_by_length", True) else None,
        figures=lambda model: retrieval_figures(model, extractor, prepared.lists, prepared.embeds),
    )
    if recipe.model.get("unfreeze_at_step"):
        trainer.add_callback(UnfreezeCallback(model, int(recipe.model["unfreeze_at_step"])))
    return trainer


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Run the command line; returns the validation figures of the chosen model."""
    start_logging()
    args = arguments(STAGE, "Train SpecBridge on a frozen molecular space.", argv)
    recipe = load_recipe(STAGE, args.recipe, args.set)
    set_seed(recipe.seed)
    model, extractor, tokenizer = build_model(recipe)
    prepared = prepare(args.data, recipe, model, tokenizer, args.output / "cache")
    trainer = build_trainer(recipe, model, extractor, prepared, args.output)
    run(trainer, args.output, args.resume)
    final = trainer.accelerator.unwrap_model(trainer.model)
    final = final.merge_and_unload() if recipe.lora else final
    figures = retrieval_figures(final, extractor, prepared.lists, prepared.embeds)
    rows = [{"order": "model", **figures}, {"order": "random", **random_figures(prepared.lists)}]
    finish(recipe, args.output, (final, extractor, tokenizer), rows)
    logger.info("validation: %s", ", ".join(f"{key} {value:.4f}" for key, value in figures.items()))
    return figures


if __name__ == "__main__":
    main()
