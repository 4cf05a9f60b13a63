"""Embeddings per second of DreaMS: collapsed padding, length batches and bfloat16 against the padded computation.

All contenders embed the same real spectra with the same published-size model (random weights, so that no released
weights are needed) in one run, interleaved chunk by chunk:

* reference: 101 tokens per spectrum, eager attention, the pair bias materialised as (batch, n, n, 980) and summed in
  every layer, as the published program does.
* padded: 101 tokens, all positions of the last layer, key bias and fused attention: the fair baseline.
* exact: one counted padding token, batches by length, last layer for the precursor token only; float32.
* bfloat16: exact, weights and activations in bfloat16, m/z features in float32.

Wall clock and processor time are both reported: on a shared machine the second is the steadier one. The reference may
run on fewer spectra (--reference-n), at another moment than the rest, so it is compared by processor time only.

    python benchmarks/dreams.py --spectra ../shared/data/massbank_msms.parquet --n 2000
"""

from __future__ import annotations

import argparse
import csv
import logging
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch.nn import functional

from msformers.modeling.dreams import DreamsConfig, DreamsForSpectrumEmbedding
from msformers.tokenization.collate import batch_by_length
from msformers.tokenization.dreams import DreamsFeatureExtractor

log = logging.getLogger("benchmarks.dreams")
Batch = dict[str, torch.Tensor]


def random_weights(model: DreamsForSpectrumEmbedding) -> None:
    """Fill every parameter at the scale of trained weights, by its name, independent of order."""
    for name, parameter in model.named_parameters():
        if name.endswith("frequencies"):
            continue
        offset, std = _scale(name, parameter.dim())
        rng = np.random.default_rng([0, zlib.crc32(name.encode())])
        values = offset + std * rng.standard_normal(tuple(parameter.shape), dtype=np.float32)
        parameter.data.copy_(torch.from_numpy(values))


def _scale(name: str, n_dims: int) -> tuple[float, float]:
    """Offset and standard deviation of a parameter."""
    if "norm" in name:
        return (1.0 if name.endswith("weight") else 0.0), 0.1
    if n_dims == 1:
        return 0.0, 0.02
    parts = {
        "fourier_mlp.layers.0": 0.01,
        "fourier_mlp.layers.4": 0.004,
        "fourier_mlp": 0.06,
        "peak_mlp": 0.5,
        "attention": 0.04,
    }
    return 0.0, next((std for part, std in parts.items() if part in name), 0.03)


def read_spectra(path: Path, n: int, seed: int) -> list[dict[str, Any]]:
    """`n` spectra drawn at random, with at least one peak and a precursor."""
    table = pq.read_table(path, columns=["mz", "intensity", "precursor_mz"])
    order = np.random.default_rng(seed).permutation(len(table))
    rows = (table.slice(int(i), 1).to_pylist()[0] for i in order)
    good = (row for row in rows if row["precursor_mz"] and len(row["mz"]))
    return [row for row, _ in zip(good, range(n), strict=False)]


def reference_forward(model: DreamsForSpectrumEmbedding, batch: Batch) -> torch.Tensor:
    """The published computation: pair bias (batch, n, n, d_fourier), summed in every layer, eager attention."""
    base, peaks = model.model, batch["peaks"]
    tokens, _ = base.embeddings(peaks)
    fourier = tokens[..., model.config.peak_size :]
    differences = fourier.unsqueeze(2) - fourier.unsqueeze(1)
    blank = (peaks[..., 0] == 0)[:, None, :, None]
    hidden = tokens
    for layer in base.layers:
        normed, attention = layer.attention_norm(hidden), layer.attention
        query, key, value = (
            attention._heads(p(normed)) for p in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        scores = query @ key.transpose(2, 3) * attention.scaling + differences.sum(-1).unsqueeze(1)
        weights = functional.softmax(scores.masked_fill(blank, -1e9), dim=-1)
        hidden = hidden + attention.o_proj((weights @ value).transpose(1, 2).flatten(2))
        hidden = hidden + layer.mlp(layer.mlp_norm(hidden))
    return model.head(base.norm(hidden)[:, 0])


def padded_forward(model: DreamsForSpectrumEmbedding, batch: Batch) -> torch.Tensor:
    """All 101 tokens through all layers, with our fused attention."""
    return model.head(model.model(**batch).pooler_output)


def exact_forward(model: DreamsForSpectrumEmbedding, batch: Batch) -> torch.Tensor:
    """What a user calls."""
    return model(**batch).embeddings


class Contender:
    """One way to embed, with its clock.

    Args:
        forward: model and batch to embeddings.
        extractor: preparation, timed as part of the contender.
        max_tokens: tokens of a batch (longest spectrum times spectra).
    """

    def __init__(
        self,
        model: DreamsForSpectrumEmbedding,
        forward: Callable[[DreamsForSpectrumEmbedding, Batch], torch.Tensor],
        extractor: DreamsFeatureExtractor,
        max_tokens: int,
    ) -> None:
        self.model, self.forward, self.extractor, self.max_tokens = model, forward, extractor, max_tokens
        self.reset()

    def reset(self) -> None:
        """Clock and results to zero."""
        self.seconds, self.cpu_seconds, self.n_spectra, self.n_tokens = 0.0, 0.0, 0, 0
        self.embeddings: list[torch.Tensor] = []

    def run(self, spectra: list[dict[str, Any]]) -> None:
        """Embed `spectra`, add to the clock."""
        start, cpu_start = time.perf_counter(), time.process_time()
        result = torch.empty(len(spectra), self.model.head.out_features)
        for indices, batch in self._batches(spectra):
            result[indices] = self.forward(self.model, batch).float()
            self.n_tokens += int((batch["token_counts"] > 0).sum())  # filler is packed away
        self.seconds += time.perf_counter() - start
        self.cpu_seconds += time.process_time() - cpu_start
        self.n_spectra += len(spectra)
        self.embeddings.append(result)

    def _batches(self, spectra: list[dict[str, Any]]) -> Iterator[tuple[list[int], Batch]]:
        full = self.extractor.n_highest_peaks + 1
        lengths = [
            full if self.extractor.padding == "max_length" else min(len(s["mz"]) + 2, full) for s in spectra
        ]
        for indices in batch_by_length(lengths, self.max_tokens):
            yield indices, dict(self.extractor([spectra[i] for i in indices]))


def contenders(max_tokens: int) -> dict[str, Contender]:
    """The four, sharing weights."""
    model = DreamsForSpectrumEmbedding(DreamsConfig(keep_pretraining_heads=False)).eval()
    random_weights(model)
    half = DreamsForSpectrumEmbedding(DreamsConfig(keep_pretraining_heads=False)).eval()
    half.load_state_dict(model.state_dict())
    half.to(torch.bfloat16)
    padded, collapsed = DreamsFeatureExtractor(padding="max_length"), DreamsFeatureExtractor()
    return {
        "reference": Contender(
            model, reference_forward, padded, 32 * 101
        ),  # its default batch size, 1.3 GB of bias
        "padded": Contender(model, padded_forward, padded, max_tokens),
        "exact": Contender(model, exact_forward, collapsed, max_tokens),
        "bfloat16": Contender(half, exact_forward, collapsed, max_tokens),
    }


def _speedup(run: Contender, base: Contender, clock: str) -> float:
    return round(run.n_spectra / getattr(run, clock) / (base.n_spectra / getattr(base, clock)), 2)


def report(runs: dict[str, Contender], threads: int) -> list[dict[str, Any]]:
    """One row per contender; differences are against `padded`."""
    truth = torch.cat(runs["padded"].embeddings)
    rows = []
    for name, run in runs.items():
        found = torch.cat(run.embeddings)[: len(truth)]
        base = truth[: len(found)]
        cosine = functional.cosine_similarity(found.double(), base.double(), dim=-1)
        rows.append(
            {
                "contender": name,
                "n_spectra": run.n_spectra,
                "threads": threads,
                "tokens_per_spectrum": round(run.n_tokens / run.n_spectra, 2),
                "embeddings_per_s": round(run.n_spectra / run.seconds, 3),
                "embeddings_per_cpu_s": round(run.n_spectra / run.cpu_seconds, 3),
                "speedup_vs_padded": _speedup(run, runs["padded"], "seconds"),
                "speedup_vs_padded_cpu": _speedup(run, runs["padded"], "cpu_seconds"),
                "speedup_vs_reference_cpu": _speedup(run, runs["reference"], "cpu_seconds"),
                "max_abs_diff_vs_padded": f"{(found - base).abs().max().item():.2e}",
                "min_cosine_vs_padded": f"{cosine.min().item():.7f}",
            }
        )
    return rows


def race(
    runs: dict[str, Contender], spectra: list[dict[str, Any]], chunk: int, reference_n: int
) -> Iterator[None]:
    """Let the contenders take turns, `chunk` spectra at a time; the slow reference stops after `reference_n`."""
    for name, run in runs.items():  # warm up, not timed
        run.run(spectra[:2])
        run.reset()
        log.info("%s ready", name)
    for start in range(0, len(spectra), chunk):
        part = spectra[start : start + chunk]
        for name, run in runs.items():
            todo = part[: max(0, reference_n - run.n_spectra)] if name == "reference" else part
            if todo:
                run.run(todo)
            rate = run.n_spectra / max(run.seconds, 1e-9)
            log.info("%d/%d %s %.2f embeddings/s", start + len(part), len(spectra), name, rate)
        yield


def write(rows: list[dict[str, Any]], path: Path) -> None:
    """Write the rows as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--spectra", type=Path, required=True, help="Parquet with mz, intensity, precursor_mz"
    )
    parser.add_argument("--n", type=int, default=2000, help="spectra")
    parser.add_argument(
        "--reference-n", type=int, default=None, help="spectra for the slow reference; default all"
    )
    parser.add_argument("--chunk", type=int, default=250, help="spectra between two changes of contender")
    parser.add_argument(
        "--max-tokens", type=int, default=3232, help="tokens per batch; 3232 = 32 padded spectra"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "dreams.csv")
    return parser.parse_args()


def main() -> None:
    """Run, log and write the CSV."""
    args = arguments()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    spectra = read_spectra(args.spectra, args.n, args.seed)
    runs = contenders(args.max_tokens)
    reference_n = args.n if args.reference_n is None else args.reference_n
    with torch.inference_mode():
        for _ in race(runs, spectra, args.chunk, reference_n):
            rows = report(runs, args.threads)
            write(rows, args.out)  # after every round, so that an interrupted run leaves what it measured
    for row in rows:
        log.info("%s", row)


if __name__ == "__main__":
    main()
