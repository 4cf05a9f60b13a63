"""Beam search with 100 beams and 100 returned sequences: ours in batches against transformers' `generate`, one run.

    python benchmarks/generation.py                                         # random decoder of the small size
    python benchmarks/generation.py --model selfies-gpt2-small --encoder selfies-bert-small --data ../shared/data
    python benchmarks/generation.py --model denovo-small --data ../shared/data

Both sides write the same sequences (checked in the run) from the same context vectors with the same weights in float32:

* generate: ``model.generate(num_beams=100, num_return_sequences=100)``, one spectrum at a time.
* ours: `inference.generation.search.beam_search`, `--batch` spectra at a time.
* matrix products: those of the decoder's linear layers alone, for as many steps and beams as `generate` made. Both sides
  make them all, and on one core they are bound by arithmetic, so this is the ceiling of any exact search.

The contenders take turns batch by batch, each time beginning with another one. Wall clock and processor time are both
reported; on a shared machine the second is the steadier one.

Contexts: with a spectrum-to-molecule checkpoint those of validation spectra; with a SELFIES decoder those of validation
molecules by `--encoder`; else random vectors, and ends made likely so that sequences have the lengths of molecules.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, LogitsProcessorList
from transformers.pytorch_utils import Conv1D

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "training_scripts"), str(ROOT / "benchmarks")]

from casanovo import Clock  # noqa: E402
from data import at_most_per_molecule, load_spectra_table  # noqa: E402
from recipe import start_logging, write_figures  # noqa: E402

from msformers import resolve_checkpoint  # noqa: E402
from msformers.inference.generation.hypotheses import Hypotheses, SearchOptions  # noqa: E402
from msformers.inference.generation.search import beam_search  # noqa: E402
from msformers.inference.loading import load_generator  # noqa: E402
from msformers.modeling.selfies_gpt2 import SelfiesGpt2Config, SelfiesGpt2LMHeadModel  # noqa: E402
from msformers.tokenization.conditions import spectrum_conditions  # noqa: E402
from msformers.tokenization.selfies import encode_selfies  # noqa: E402

logger = logging.getLogger("msformers.benchmark")
SMALL = {"vocab_size": 300, "n_positions": 128, "n_embd": 256, "n_layer": 6, "n_head": 8, "context_size": 256}
CONTEXT_VECTORS = 24
EXPECTED_LENGTH = 42  # mean number of SELFIES symbols in molecules.parquet
REFERENCE = "generate"


class LikelyEnds:
    """Log-probabilities of a random decoder, bent so that sequences end like molecules; no special token but the end."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Processed scores (rows, vocabulary)."""
        scores = scores.clone()
        scores[:, [0, 1, 3, 4]] = -torch.inf
        scores[:, 2] += 3.0 * (input_ids.shape[1] - EXPECTED_LENGTH)
        return scores.log_softmax(-1)


class Sides:
    """Both searches on the same contexts.

    Args:
        decoder: in evaluation mode. context: (spectra, K, c). mask: (spectra, K).
        options: of both. processor: of both, or None.
    """

    def __init__(
        self, decoder: Any, context: Tensor, mask: Tensor, options: SearchOptions, processor: Any = None
    ) -> None:
        self.decoder, self.context, self.mask = decoder, context, mask
        self.options, self.processor = options, processor
        self.ours, self.theirs = Hypotheses(), Hypotheses()
        self.steps: list[int] = []

    def search(self, rows: list[int]) -> None:
        """Ours, all rows at once."""
        found = beam_search(self.decoder, self.context[rows], self.mask[rows], self.options, self.processor)
        self.ours.sequences += found.sequences
        self.ours.scores += found.scores

    def generate(self, rows: list[int]) -> None:
        """Transformers', row by row."""
        options, processors = self.options, LogitsProcessorList([self.processor] if self.processor else [])
        for row in rows:
            output = self.decoder.generate(
                encoder_hidden_states=self.context[[row]],
                encoder_attention_mask=self.mask[[row]],
                num_beams=options.num_beams,
                num_return_sequences=options.num_return_sequences,
                max_length=options.max_length,
                do_sample=False,
                use_cache=True,
                logits_processor=processors,
                return_dict_in_generate=True,
                output_scores=True,
            )
            self.theirs.sequences.append(list(output.sequences.numpy()))
            self.theirs.scores.append(output.sequences_scores.numpy())
            self.steps.append(len(output.scores))

    @torch.inference_mode()
    def multiply(self, rows: list[int]) -> None:
        """The matrix products of the steps that `generate` made for its last spectra."""
        layers = [layer for layer in self.decoder.modules() if isinstance(layer, Conv1D)]
        context_layers = {id(block.crossattention.c_attn) for block in self.decoder.transformer.h}
        weights = [layer.weight for layer in layers if id(layer) not in context_layers]
        weights.append(self.decoder.lm_head.weight.t())
        inputs = {len(weight): torch.randn(self.options.num_beams, len(weight)) for weight in weights}
        for _ in range(sum(self.steps[-len(rows) :])):
            for weight in weights:
                inputs[len(weight)] @ weight

    def compare(self) -> dict[str, Any]:
        """How far the two sides agree, over all spectra."""
        same, spectra, apart, lengths = [], 0, 0.0, []
        for ours, theirs, mine, other in zip(
            self.ours.sequences, self.theirs.sequences, self.ours.scores, self.theirs.scores, strict=True
        ):
            if len(ours) != len(theirs):
                raise ValueError(f"{len(ours)} sequences against {len(theirs)}; the searches do not agree")
            equal = [np.array_equal(a, b[: len(a)]) for a, b in zip(ours, theirs, strict=True)]
            same += equal
            spectra += all(equal)
            apart = max(apart, float(np.abs(mine - other).max()))
            lengths += [len(ids) for ids in ours]
        return {
            "same_sequences": round(float(np.mean(same)), 4),
            "spectra_all_same": spectra,
            "max_score_difference": f"{apart:.1e}",
            "mean_length": round(float(np.mean(lengths)), 1),
        }


def race(contenders: dict[str, Callable[[list[int]], None]], spectra: int, batch: int) -> dict[str, Clock]:
    """Let contenders take turns on batches; the products come last, for they repeat the steps of `generate`."""
    clocks = {name: Clock() for name in contenders}
    searches, last = list(contenders)[:2], list(contenders)[2:]
    for turn, start in enumerate(range(0, spectra, batch)):
        rows = list(range(start, min(start + batch, spectra)))
        for name in [*searches[turn % 2 :], *searches[: turn % 2], *last]:
            wall, cpu = time.perf_counter(), time.process_time()
            contenders[name](rows)
            used = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
            clocks[name].add(len(rows), used)
        rates = ", ".join(f"{name} {clock.cpu_seconds / clock.spectra:.2f}" for name, clock in clocks.items())
        logger.info("%d/%d CPU seconds per spectrum: %s", rows[-1] + 1, spectra, rates)
    return clocks


def random_decoder(seed: int = 0) -> Any:
    """A decoder of the small size with random weights, about as sure of the next symbol as a trained one."""
    torch.manual_seed(seed)
    decoder = SelfiesGpt2LMHeadModel(SelfiesGpt2Config(**SMALL, tie_word_embeddings=False)).eval()
    with torch.no_grad():
        decoder.lm_head.weight.normal_(std=3.0 / SMALL["n_embd"] ** 0.5)
    return decoder


def molecule_context(
    encoder: str, tokenizer: Any, data: Path, count: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Context vectors of validation molecules from a SELFIES BERT."""
    table = load_spectra_table(data, ("val",), licences="all")
    smiles = [table.rows["smiles_2d"][place] for place in at_most_per_molecule(table, 1, seed)]
    chosen = np.random.default_rng(seed).permutation(len(smiles))[:count].tolist()
    texts = [encode_selfies(smiles[place]) for place in chosen]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    model = AutoModel.from_pretrained(resolve_checkpoint(encoder)).eval()
    with torch.inference_mode():
        context, mask = model.context(batch["input_ids"], batch["attention_mask"])
    return context.clone(), mask.long()


def spectrum_context(loaded: Any, data: Path, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Context vectors of validation spectra, with what their records say beside the peaks."""
    from denovo import COLUMNS, spectrum_of

    table = load_spectra_table(data, ("val",), min_peaks=5, limit=count, seed=seed, extra_columns=COLUMNS)
    spectra = [spectrum_of(table, place) for place in range(len(table))]
    config = loaded.model.config
    told = spectrum_conditions(spectra, tuple(config.adducts), table.rows["exact_mass"])
    inputs = dict(loaded.processor(spectra, return_tensors="pt"))
    inputs |= {name: values for name, values in told.items() if name == "adduct_ids" or getattr(config, name)}
    with torch.inference_mode():
        context, mask = loaded.model.get_context(**inputs)
    return context.clone(), mask.long()


def sides(args: argparse.Namespace) -> Sides:
    """Decoder, contexts and options as the command line asks."""
    sizes = {"num_beams": args.beams, "num_return_sequences": args.beams, "max_length": args.max_length}
    options = SearchOptions(**sizes)
    if not args.model:
        shape = (args.n, CONTEXT_VECTORS, SMALL["context_size"])
        context = torch.randn(shape, generator=torch.Generator().manual_seed(args.seed))
        return Sides(
            random_decoder(args.seed), context, torch.ones(shape[:2], dtype=torch.long), options, LikelyEnds()
        )
    path = resolve_checkpoint(args.model)
    if not args.encoder:
        loaded = load_generator(path, "cpu")
        return Sides(loaded.model.decoder, *spectrum_context(loaded, args.data, args.n, args.seed), options)
    decoder = AutoModelForCausalLM.from_pretrained(path).eval()
    tokenizer = AutoTokenizer.from_pretrained(path)
    return Sides(decoder, *molecule_context(args.encoder, tokenizer, args.data, args.n, args.seed), options)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", help="a spectrum-to-molecule checkpoint, or with --encoder a SELFIES decoder")
    add("--encoder", help="a SELFIES BERT, for contexts of molecules")
    add("--data", type=Path, default=ROOT.parent / "shared" / "data")
    add("--n", type=int, default=16, help="spectra")
    add("--batch", type=int, default=4, help="spectra that ours searches at once")
    add("--beams", type=int, default=100, help="beams, and sequences returned")
    add("--max-length", type=int, default=80)
    add("--threads", type=int, default=1)
    add("--seed", type=int, default=0)
    add("--output", type=Path, default=Path(__file__).parent / "results" / "generation")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Run, log and write the figures."""
    args = arguments(argv)
    start_logging()
    torch.set_num_threads(args.threads)
    both = sides(args)
    args.n = len(both.context)
    contenders = {REFERENCE: both.generate, "ours": both.search, "matrix products": both.multiply}
    clocks = race(contenders, args.n, args.batch)
    name = Path(args.model).name if args.model else "random weights"
    shape = {"model": name, "beams": args.beams, "max_length": args.max_length, "batch": args.batch}
    base = clocks[REFERENCE]
    rows = [
        shape
        | {
            "contender": contender,
            "spectra": clock.spectra,
            "threads": args.threads,
            "seconds_per_spectrum": round(clock.seconds / clock.spectra, 3),
            "cpu_seconds_per_spectrum": round(clock.cpu_seconds / clock.spectra, 3),
            "ratio_wall": round(base.seconds / clock.seconds, 2),
            "ratio_cpu": round(base.cpu_seconds / clock.cpu_seconds, 2),
        }
        for contender, clock in clocks.items()
    ]
    rows[1] |= both.compare()
    write_figures(args.output, rows)
    for row in rows:
        logger.info("%s", row)
    return rows


if __name__ == "__main__":
    main()
