r"""Train the GPT-2 decoder to write a molecule from its frozen SELFIES-BERT vectors.

python training_scripts/pretrain_selfies_gpt2.py --recipe small --data ../shared/data --output runs/selfies-gpt2 \
    --set model.encoder=runs/selfies-bert/model
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from molecule_stream import CORPUS_KEYS, load_corpus
from molecule_text import TokenizedMolecules
from recipe import arguments, finish, load_recipe, run, start_logging, take, training_arguments
from streaming import StreamTrainer
from torch import Tensor
from trainer import EpochTrainer
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerFast, set_seed

from msformers.checkpoints import resolve_checkpoint
from msformers.modeling.selfies_gpt2 import SelfiesGpt2Config, SelfiesGpt2LMHeadModel
from msformers.tokenization.selfies import SelfiesError, decode_selfies

STAGE = "pretrain_selfies_gpt2"
MODEL_KEYS = ("config", "attn_implementation", "encoder")
DATA_KEYS = (*CORPUS_KEYS, "mean_only", "reconstructions")


class TextCollator:
    """Pads token ids at the right; a molecule is its own label. Keeps (epoch, index) for what is drawn per example."""

    def __init__(self, pad: int = 0) -> None:
        self.pad = pad

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask`, `labels` (B, L) and `keys` (B, 2)."""
        width = max(len(item["ids"]) for item in features)
        ids = np.full((len(features), width), self.pad, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, item in enumerate(features):
            ids[row, : len(item["ids"])] = item["ids"]
            mask[row, : len(item["ids"])] = 1
        labels = np.where(mask == 1, ids, -100)
        keys = np.array([(item["epoch"], item["index"]) for item in features], dtype=np.int64)
        batch = {"input_ids": ids, "attention_mask": mask, "labels": labels, "keys": keys}
        return {name: torch.from_numpy(values) for name, values in batch.items()}


class ContextMixin:
    """A Trainer that gives the decoder the context of its own molecule.

    Args:
        encoder: frozen `SelfiesBertModel`.
        mean_only: share of the examples that keep the mean vector alone, drawn from (seed, epoch, index).
    """

    args: Any

    def __init__(self, *args: Any, encoder: Any, mean_only: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.encoder, self.mean_only = encoder.to(self.args.device), mean_only

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        inputs = super()._prepare_inputs(inputs)  # type: ignore[misc]
        if "encoder_hidden_states" in inputs:
            return inputs
        keys = inputs.pop("keys").tolist()
        with torch.no_grad():
            context, real = self.encoder.context(inputs["input_ids"], inputs["attention_mask"])
        drawn = np.array([np.random.default_rng([self.args.seed, 7, *key]).random() for key in keys])
        alone = torch.from_numpy(drawn < self.mean_only).to(real.device)
        real = torch.cat([real[:, :1], real[:, 1:] & ~alone[:, None]], dim=1)
        return {**inputs, "encoder_hidden_states": context, "encoder_attention_mask": real.long()}


class ContextTrainer(ContextMixin, EpochTrainer):
    """On a corpus in memory."""


class ContextStreamTrainer(ContextMixin, StreamTrainer):
    """On a streamed corpus."""


@torch.inference_mode()
def reconstruction_figures(
    decoder: Any,
    encoder: Any,
    tokenizer: PreTrainedTokenizerFast,
    molecules: TokenizedMolecules,
    limit: int,
    window: int,
    batch_size: int = 250,
) -> dict[str, float]:
    """Shares of molecules that greedy decoding gives back from their own vectors, and of valid ones.

    Args:
        decoder: left in the mode it was in.
        limit: the first so many molecules. window: tokens per context vector, 0 for the mean vector alone.
    """
    was_training = decoder.training
    decoder.eval()
    rows = sorted(range(min(limit, len(molecules))), key=lambda index: molecules.lengths[index])
    exact = valid = 0
    collator = TextCollator()
    for start in range(0, len(rows), batch_size):
        batch = collator([molecules[index] for index in rows[start : start + batch_size]])
        ids = batch["input_ids"].to(decoder.device)
        context, real = encoder.context(ids, batch["attention_mask"].to(decoder.device), window)
        written = decoder.generate(
            ids[:, :1],
            encoder_hidden_states=context,
            encoder_attention_mask=real.long(),
            max_length=min(tokenizer.model_max_length, ids.shape[1] + 8),
            num_beams=1,
            do_sample=False,
        )
        for text, truth in zip(_texts(tokenizer, written), _texts(tokenizer, ids), strict=True):
            found = _smiles(text)
            valid += bool(found)
            exact += text == truth or (bool(found) and found == _smiles(truth))
    decoder.train(was_training)
    return {"exact": exact / len(rows), "valid": valid / len(rows), "molecules": float(len(rows))}


def _texts(tokenizer: PreTrainedTokenizerFast, ids: Tensor) -> list[str]:
    return tokenizer.batch_decode(ids, skip_special_tokens=True)


def _smiles(selfies: str) -> str:
    """Canonical SMILES, "" if there is none."""
    try:
        return decode_selfies(selfies) if selfies else ""
    except SelfiesError:
        return ""


def build_decoder(settings: dict[str, Any], encoder: Any, tokenizer: Any) -> SelfiesGpt2LMHeadModel:
    """A new decoder of a recipe's section `model`, fitting encoder and tokenizer."""
    fields = {
        "vocab_size": len(tokenizer),
        "n_positions": tokenizer.model_max_length,
        "context_size": encoder.config.hidden_size,
        **settings.get("config", {}),
    }
    model = SelfiesGpt2LMHeadModel(SelfiesGpt2Config(**fields))
    model.set_attn_implementation(settings.get("attn_implementation", "sdpa"))
    return model


def both_figures(decoder: Any, encoder: Any, *rest: Any) -> dict[str, float]:
    """`reconstruction_figures` from all context vectors and, named ``…_mean_only``, from the mean vector alone."""
    parts = (decoder, encoder.to(decoder.device), *rest)
    several = reconstruction_figures(*parts, encoder.config.context_window)
    alone = reconstruction_figures(*parts, 0)
    return several | {f"{name}_mean_only": alone[name] for name in ("exact", "valid")}


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Run the command line; returns validation loss and reconstruction."""
    start_logging()
    args = arguments(STAGE, "Train a GPT-2 to write molecules from SELFIES-BERT vectors.", argv)
    recipe = load_recipe(STAGE, args.recipe, args.set)
    model_settings, data = take(recipe.model, MODEL_KEYS, "model"), take(recipe.data, DATA_KEYS, "data")
    set_seed(recipe.seed)
    name = resolve_checkpoint(str(model_settings.get("encoder", "selfies-bert-small")))
    encoder = AutoModel.from_pretrained(name, dtype=torch.float32).eval().requires_grad_(False)
    tokenizer = AutoTokenizer.from_pretrained(name)
    corpus = load_corpus(args.data, data, recipe.seed, args.output / "cache", tokenizer)
    measured = (encoder, tokenizer, corpus.held_out)
    trainer_class = ContextStreamTrainer if corpus.trainer is StreamTrainer else ContextTrainer
    trainer = trainer_class(
        model=build_decoder(model_settings, encoder, tokenizer),
        args=training_arguments(recipe, args.output, eval_strategy="steps"),
        train_dataset=corpus.train,
        eval_dataset=corpus.held_out,
        data_collator=TextCollator(),
        processing_class=tokenizer,
        lengths=corpus.lengths,
        figures=lambda decoder: both_figures(decoder, *measured, data.get("reconstructions", 500)),
        encoder=encoder,
        mean_only=data.get("mean_only", 0.25),
    )
    run(trainer, args.output, args.resume)
    model = trainer.accelerator.unwrap_model(trainer.model)
    final = both_figures(model, *measured, len(corpus.held_out))
    finish(recipe, args.output, (model, tokenizer), [final])
    return final


if __name__ == "__main__":
    main()
