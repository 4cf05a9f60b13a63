"""Pre-train the SELFIES BERT on masked tokens.

python training_scripts/pretrain_selfies_bert.py --recipe small --data ../shared/data --output runs/selfies-bert
"""

from __future__ import annotations

from collections.abc import Sequence

from molecule_stream import CORPUS_KEYS, load_corpus
from pretrain_smiles import MaskingCollator
from recipe import arguments, finish, load_recipe, run, start_logging, take, training_arguments
from transformers import set_seed

from msformers.modeling.selfies_bert import SelfiesBertConfig, SelfiesBertForMaskedLM

STAGE = "pretrain_selfies_bert"


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Run the command line; returns the validation loss."""
    start_logging()
    args = arguments(STAGE, "Pre-train a BERT on SELFIES.", argv)
    recipe = load_recipe(STAGE, args.recipe, args.set)
    model_settings = take(recipe.model, ("config", "attn_implementation"), "model")
    data = take(recipe.data, (*CORPUS_KEYS, "mask_fraction"), "data")
    set_seed(recipe.seed)
    corpus = load_corpus(args.data, data, recipe.seed, args.output / "cache")
    tokenizer = corpus.tokenizer
    places = tokenizer.model_max_length + 4
    fields = {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": places,
        **model_settings.get("config", {}),
    }
    model = SelfiesBertForMaskedLM(SelfiesBertConfig(**fields))
    model.set_attn_implementation(model_settings.get("attn_implementation", "sdpa"))
    settings = training_arguments(
        recipe, args.output, eval_strategy="steps", load_best_model_at_end=True, prediction_loss_only=True
    )
    trainer = corpus.trainer(
        model=model,
        args=settings,
        train_dataset=corpus.train,
        eval_dataset=corpus.held_out,
        data_collator=MaskingCollator(tokenizer, data.get("mask_fraction", 0.15), 0, False, recipe.seed),
        processing_class=tokenizer,
        lengths=corpus.lengths,
    )
    run(trainer, args.output, args.resume)
    figures = trainer.evaluate()
    finish(recipe, args.output, (trainer.accelerator.unwrap_model(trainer.model), tokenizer), [figures])
    return figures


if __name__ == "__main__":
    main()
