"""The published program's side of benchmarks/casanovo.py: run by the interpreter of its own environment.

One JSON request per line on standard input, one JSON answer per line on standard output; arrays go through Parquet files.
Imports casanovo and nothing of ours.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import nullcontext
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from casanovo import __version__
from casanovo.config import Config
from casanovo.denovo.model import Spec2Pep
from depthcharge.tokenizers import PeptideTokenizer

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class Peer:
    """Casanovo with random weights of published size, and prepared spectra."""

    def versions(self) -> dict[str, str]:
        """Of casanovo and torch."""
        return {"casanovo": __version__, "torch": torch.__version__}

    def build(self, checkpoint: str, threads: int, seed: int, **sizes: Any) -> dict[str, int]:
        """Make the model and save its weights.

        The tokens that end or discard a peptide (stop, padding, N-terminal modifications) are made too unlikely to be
        chosen, so that every search takes all its steps.

        Args:
            checkpoint: file to write.
            threads: of torch. seed: of the weights.
            sizes: of `Spec2Pep`.
        """
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        residues = Config().residues
        tokenizer = PeptideTokenizer(residues=residues, replace_isoleucine_with_leucine=True, reverse=True)
        self.model = Spec2Pep(residues=residues, tokenizer=tokenizer, **sizes).eval()
        ending = [0, tokenizer.stop_int, *(i for name, i in tokenizer.index.items() if name.endswith("]-"))]
        with torch.no_grad():
            self.model.decoder.final.bias[ending] -= 100.0
        torch.save({"state_dict": self.model.state_dict()}, checkpoint)
        return {"parameters": sum(parameter.numel() for parameter in self.model.parameters())}

    def load(self, spectra: str) -> dict[str, int]:
        """Read prepared spectra: columns mz, intensity and precursor (neutral mass, charge, m/z)."""
        table = pq.read_table(spectra)
        columns = [
            [np.asarray(row, dtype=np.float32) for row in table[name].to_pylist()]
            for name in ("mz", "intensity", "precursor")
        ]
        self.spectra = list(zip(*columns, strict=True))
        return {"spectra": len(self.spectra)}

    def encode(self, batches: list[list[int]], half: bool, output: str | None = None) -> dict[str, float]:
        """Encode batches of spectra by their numbers; `half` computes in bfloat16 by autocast.

        With `output` also write the global row and the mean of the peaks' rows, one line per spectrum in order of batches.
        """
        vectors = []
        start, cpu = time.perf_counter(), time.process_time()
        context = torch.autocast("cpu", torch.bfloat16) if half else nullcontext()
        torch.backends.mha.set_fastpath_enabled(
            not half
        )  # PyTorch's fast path fails under autocast on the CPU
        with torch.inference_mode(), context:
            for rows in batches:
                mz, intensity, _ = self._batch(rows)
                states, padded = self.model.encoder(mz, intensity)
                vectors.append((states, padded))
        clocks = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
        if output:
            found = [np.concatenate([_vectors(*pair) for pair in vectors])]
            columns = {"vector": pa.array(list(found[0]), type=pa.list_(pa.float32()))}
            pq.write_table(pa.table(columns), output)
        return clocks

    def decode(self, batches: list[list[int]], beams: int) -> dict[str, float]:
        """Search peptides for batches of spectra, as many steps as the model was built for."""
        torch.backends.mha.set_fastpath_enabled(True)
        self.model.n_beams, self.model.top_match = beams, 1
        start, cpu = time.perf_counter(), time.process_time()
        with torch.inference_mode():
            for rows in batches:
                self.model.beam_search_decode(*self._batch(rows))
        return {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}

    def _batch(self, rows: list[int]) -> Batch:
        """Zero-padded tensors, as its data loader hands them on."""
        chosen = [self.spectra[row] for row in rows]
        width = max(len(mz) for mz, _, _ in chosen)
        peaks = np.zeros((2, len(rows), width), dtype=np.float32)
        for place, (mz, intensity, _) in enumerate(chosen):
            peaks[0, place, : len(mz)], peaks[1, place, : len(mz)] = mz, intensity
        precursors = np.stack([precursor for _, _, precursor in chosen])
        return torch.from_numpy(peaks[0]), torch.from_numpy(peaks[1]), torch.from_numpy(precursors)


def _vectors(states: torch.Tensor, padded: torch.Tensor) -> Any:
    """Global row and mean of the peaks' rows, (batch, 2 d)."""
    states = states.float()
    real = (~padded[:, 1:]).unsqueeze(-1)
    mean = (states[:, 1:] * real).sum(1) / real.sum(1)
    return torch.cat([states[:, 0], mean], dim=-1).numpy()


def main() -> None:
    """Answer requests until the input ends."""
    # what the program prints must not get between the answers
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    peer = Peer()
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(peer, request.pop("do"))(**request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
