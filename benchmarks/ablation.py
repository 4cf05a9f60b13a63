"""The ablation table of SpecBridge (arXiv 2601.17204) at small size: freezing, objective, initialisation, depth.

    python benchmarks/ablation.py --data ../shared/data                # about half an hour on one thread
    python benchmarks/ablation.py --data ../shared/data --quick        # a minute, to see that it runs

One small DreaMS and one small SMILES RoBERTa are pre-trained once (or given as checkpoints), all molecules are encoded
once, and every variant is trained for the same number of steps from the same encoders and the same seed. Figures are
Recall@1/5/20 of the validation fold among isomers ("formula") and among isomers and nearest masses ("mass"). They
compare variants with one another; the encoders are far too small to compare with the paper's figures.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoTokenizer, set_seed

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "training_scripts"))

import pretrain_dreams  # noqa: E402
import pretrain_smiles  # noqa: E402
from align_specbridge import Prepared, build_trainer, load_tables  # noqa: E402
from data import MoleculePool  # noqa: E402
from molecules import CandidateLists, MoleculeIndex, encode, random_figures, retrieval_figures  # noqa: E402
from recipe import Recipe, start_logging, write_figures  # noqa: E402

from msformers.modeling.specbridge import PAPER_MODE, SpecBridgeModel  # noqa: E402
from msformers.tokenization.dreams import DreamsFeatureExtractor  # noqa: E402

logger = logging.getLogger("msformers.ablation")

N_PEAKS = 40
DREAMS = {
    "peak_size": 8,
    "fourier_size": 120,
    "fourier_hidden_size": 128,
    "fourier_depth": 3,
    "fourier_min_period": 0.002,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 512,
    "num_mz_bins": 20000,
    "n_highest_peaks": N_PEAKS,
}
ROBERTA = {
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 512,
    "fingerprint_bits": 1024,
    "mlm_weight": 0.5,
    "fingerprint_weight": 20.0,
}
BRIDGE = {
    **PAPER_MODE,
    "projection_hidden": 256,
    "projection_dim": 256,
    "mapper_hidden": 256,
}


@dataclass(frozen=True)
class Variant:
    """One row of the table; the defaults are the paper's choice, at small size.

    Attributes:
        group: what is varied. name: unique name, for ``--only``.
        random_encoder: start from an untrained spectrum encoder and train all of it.
    """

    group: str
    name: str
    objective: str = "align"
    unfreeze_last: int = 2
    mapper_init: str = "orthogonal"
    n_blocks: int = 8
    random_encoder: bool = False


VARIANTS = (
    Variant("base", "base"),
    Variant("freezing", "frozen", unfreeze_last=0),
    Variant("freezing", "last-1", unfreeze_last=1),
    Variant("freezing", "last-4", unfreeze_last=4),
    Variant("objective", "contrastive", objective="contrastive"),
    Variant("objective", "contrastive-frozen", objective="contrastive", unfreeze_last=0),
    Variant("encoder", "random-align", unfreeze_last=-1, random_encoder=True),
    Variant("encoder", "random-contrastive", objective="contrastive", unfreeze_last=-1, random_encoder=True),
    Variant("initialisation", "random-w", mapper_init="xavier"),
    Variant("depth", "depth-0", n_blocks=0),
    Variant("depth", "depth-2", n_blocks=2),
    Variant("depth", "depth-4", n_blocks=4),
)


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="ablation", description="SpecBridge's ablations at small size.")
    parser.add_argument("--data", type=Path, required=True, help="folder with the Parquet tables")
    parser.add_argument("--work", type=Path, default=Path("runs/ablation"), help="encoders and caches")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results/ablation.csv")
    parser.add_argument("--spectrum", help="checkpoint of a spectrum encoder instead of a small DreaMS")
    parser.add_argument("--molecule", help="checkpoint of a molecule encoder instead of a small RoBERTa")
    parser.add_argument("--only", nargs="*", choices=[v.name for v in VARIANTS], help="variants to run")
    parser.add_argument("--steps", type=int, default=300, help="of each variant")
    parser.add_argument("--pretrain-steps", type=int, default=400, help="of the spectrum encoder")
    parser.add_argument("--smiles-steps", type=int, default=300, help="of the molecule encoder")
    parser.add_argument("--molecules", type=int, default=20000, help="molecules of the molecule encoder")
    parser.add_argument("--limit", type=int, default=20000, help="training spectra")
    parser.add_argument("--eval-limit", type=int, default=1500, help="validation spectra")
    parser.add_argument("--candidates", type=int, default=63, help="wrong candidates per list at most")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1234)
    parser.add_argument("--quick", action="store_true", help="sizes of a minute, to see that it runs")
    args = parser.parse_args(argv)
    if args.quick:
        small = {"steps": 4, "pretrain_steps": 4, "smiles_steps": 4, "molecules": 1000, "limit": 500}
        vars(args).update(small, eval_limit=150, candidates=15, batch_size=16)
    return args


def pretrained(args: argparse.Namespace) -> tuple[str, str]:
    """Checkpoints of the two encoders, trained now unless they are given or there from an earlier run."""
    common = {"per_device_train_batch_size": args.batch_size, "learning_rate": 1e-3, "warmup_steps": 0.05}
    common |= {"eval_strategy": "no", "load_best_model_at_end": False, "save_strategy": "no"}
    spectrum, molecule = args.work / "dreams", args.work / "smiles"
    if not args.spectrum and not (spectrum / "model").is_dir():
        recipe = Recipe(
            {"config": DREAMS}, {"limit": args.limit}, {**common, "max_steps": args.pretrain_steps}
        )
        _train(pretrain_dreams, recipe, args, spectrum)
    if not args.molecule and not (molecule / "model").is_dir():
        names = ["MolWt", "MolLogP", "TPSA", "RingCount", "FractionCSP3", "NumHDonors", "NumHAcceptors"]
        data = {"limit": args.molecules, "eval_size": 200, "descriptors": names}
        recipe = Recipe(
            {"config": ROBERTA, "max_length": 128}, data, {**common, "max_steps": args.smiles_steps}
        )
        _train(pretrain_smiles, recipe, args, molecule)
    return args.spectrum or str(spectrum / "model"), args.molecule or str(molecule / "model")


def _train(stage: Any, recipe: Recipe, args: argparse.Namespace, output: Path) -> None:
    """Run a training script with a recipe that is written beside its output."""
    import yaml

    output.mkdir(parents=True, exist_ok=True)
    path = output / "recipe.yaml"
    sections = {"model": recipe.model, "data": recipe.data, "training": recipe.training, "seed": args.seed}
    path.write_text(yaml.safe_dump(sections), encoding="utf-8")
    stage.main(["--recipe", str(path), "--data", str(args.data), "--output", str(output)])


def prepare(args: argparse.Namespace, molecule: str) -> tuple[Prepared, CandidateLists, Recipe]:
    """Data, candidate lists by formula and by mass, and every molecule encoded once."""
    augmentation = {"peak_dropout": 0.1, "peak_ppm": 3, "precursor_ppm": 5}
    data = {"limit": args.limit, "eval_limit": args.eval_limit, "augmentation": augmentation}
    training = {
        "max_steps": args.steps,
        "per_device_train_batch_size": args.batch_size,
        "learning_rate": args.learning_rate,
        "weight_decay": 1e-4,
        "warmup_steps": 0.05,
        "lr_scheduler_type": "cosine",
        "eval_strategy": "no",
        "save_strategy": "no",
        "load_best_model_at_end": False,
        "disable_tqdm": True,
    }
    recipe = Recipe({}, data, training, seed=args.seed)
    train, validation = load_tables(args.data, recipe)
    pool, index = MoleculePool.load(args.data), MoleculeIndex()
    truth = [index.row(smiles) for smiles in train.rows["smiles_2d"]]
    formula, mass = (
        CandidateLists.build(validation, pool, index, kind, args.candidates, min(10, args.candidates))
        for kind in ("formula", "mass")
    )
    encoder = SpecBridgeModel.from_encoders(_fresh_dreams(), AutoModel.from_pretrained(molecule), n_blocks=0)
    embeds = encode(index.smiles, encoder, AutoTokenizer.from_pretrained(molecule), cache=args.work / "cache")
    return Prepared(train, formula, embeds, truth, None), mass, recipe


def _fresh_dreams() -> Any:
    from msformers.modeling.dreams import DreamsConfig, DreamsModel

    return DreamsModel(DreamsConfig(**DREAMS))


def measure(
    variant: Variant,
    recipe: Recipe,
    prepared: Prepared,
    mass: CandidateLists,
    ends: tuple[str, str],
    work: Path,
) -> dict[str, Any]:
    """Train one variant and measure it on both kinds of lists."""
    set_seed(recipe.seed)
    spectrum = AutoModel.from_pretrained(ends[0])
    if variant.random_encoder:
        spectrum = AutoModel.from_config(spectrum.config)
    names = ("objective", "unfreeze_last", "mapper_init", "n_blocks")
    fields = {name: getattr(variant, name) for name in names}
    model = SpecBridgeModel.from_encoders(
        spectrum, AutoModel.from_pretrained(ends[1]), **{**BRIDGE, **fields}
    )
    extractor = DreamsFeatureExtractor(getattr(spectrum.config, "n_highest_peaks", N_PEAKS))
    trainer = build_trainer(replace(recipe), model, extractor, prepared, work / variant.name)
    start = time.perf_counter()
    trainer.train()
    row: dict[str, Any] = {"group": variant.group, "variant": variant.name, **fields}
    row |= {
        "encoder": "random" if variant.random_encoder else "pretrained",
        "steps": trainer.state.global_step,
    }
    row |= {"trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad)}
    for kind, lists in (("formula", prepared.lists), ("mass", mass)):
        figures = retrieval_figures(model, extractor, lists, prepared.embeds)
        row |= {f"{kind}_{key}": round(value, 4) for key, value in figures.items()}
    return row | {"seconds": round(time.perf_counter() - start, 1)}


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Run the command line; returns the rows written."""
    start_logging()
    args = options(argv)
    ends = pretrained(args)
    prepared, mass, recipe = prepare(args, ends[1])
    command = f"python benchmarks/ablation.py {' '.join(sys.argv[1:] if argv is None else argv)}".rstrip()
    rows: list[dict[str, Any]] = []
    for variant in VARIANTS:
        if args.only and variant.name not in args.only:
            continue
        row = measure(variant, recipe, prepared, mass, ends, args.work)
        again = command if args.only else f"{command} --only {variant.name}"
        rows.append(row | {"threads": torch.get_num_threads(), "command": again})
        logger.info("%s: %s", variant.name, {key: row[key] for key in row if "recall" in key})
        write_figures(
            args.results.with_suffix(""), rows
        )  # after every variant: an interrupted run keeps its rows
    chance: dict[str, Any] = {"group": "control", "variant": "random order", "command": command}
    for kind, lists in (("formula", prepared.lists), ("mass", mass)):
        chance |= {f"{kind}_{key}": round(value, 4) for key, value in random_figures(lists).items()}
    rows.append(chance)
    write_figures(args.results.with_suffix(""), rows)
    return rows


if __name__ == "__main__":
    main()
