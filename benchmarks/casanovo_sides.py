"""The two sides of benchmarks/casanovo.py with the same calls: the published program in its own process, and ours."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from msformers import AutoModelForPeptideSequencing
from msformers.spectra.read import read
from msformers.spectra.spectrum import Spectrum
from msformers.tokenization.casanovo import CasanovoFeatureExtractor

Inputs = dict[str, npt.NDArray[Any]]


class Peer:
    """The published program in its own process; calls are requests (see casanovo_peer.py)."""

    def __init__(self, interpreter: str) -> None:
        script = Path(__file__).with_name("casanovo_peer.py")
        self.process = subprocess.Popen(
            [interpreter, "-P", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, do: str, **request: Any) -> dict[str, Any]:
        """One answer.

        Raises:
            RuntimeError: the process has ended; its own words are on standard error.
        """
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("the peer has no pipes")
        self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the peer ended at {do!r}; is casanovo installed for its interpreter?")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait()


class Ours:
    """Our model on prepared spectra, with the same calls as the peer."""

    def __init__(self, folder: Path, spectra: Sequence[Inputs]) -> None:
        self.model = AutoModelForPeptideSequencing.from_pretrained(folder).eval()
        self.half = AutoModelForPeptideSequencing.from_pretrained(folder, dtype=torch.bfloat16).eval()
        self.spectra, self.extractor = spectra, CasanovoFeatureExtractor()
        self.vectors: list[npt.NDArray[np.float32]] = []

    def encode(self, batches: Sequence[Sequence[int]], half: bool) -> dict[str, float]:
        """Clocks of encoding batches; the vectors go to `vectors`, as the peer writes them."""
        encoder = (self.half if half else self.model).model
        kept = []
        start, cpu = time.perf_counter(), time.process_time()
        with torch.inference_mode():
            for rows in batches:
                batch = self._batch(rows)
                kept.append((encoder(batch["peaks"], batch["attention_mask"]), batch["attention_mask"]))
        clocks = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
        for output, mask in kept:
            states = output.last_hidden_state.float()
            mean = states[:, 1:].sum(1) / mask.sum(1, keepdim=True)
            self.vectors.append(torch.cat([states[:, 0], mean], dim=-1).numpy())
        return clocks

    def decode(self, batches: Sequence[Sequence[int]], beams: int, steps: int) -> dict[str, float]:
        """Clocks of searching peptides of `steps` tokens."""
        start, cpu = time.perf_counter(), time.process_time()
        with torch.inference_mode():
            for rows in batches:
                self.model.generate(**self._batch(rows), num_beams=beams, min_length=1, max_length=steps)
        return {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}

    def _batch(self, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        arrays = self.extractor.collate([self.spectra[row]["peaks"][0] for row in rows])
        arrays["precursors"] = np.concatenate([self.spectra[row]["precursors"] for row in rows])
        return {name: torch.from_numpy(values) for name, values in arrays.items()}


def prepared(path: Path, n: int) -> list[Inputs]:
    """`n` real spectra (the first that version 5 takes), through our preparation, which equals the published one."""
    extractor, found = CasanovoFeatureExtractor(), []
    for spectrum in read(path / "peptides.parquet" if path.is_dir() else path):
        if isinstance(spectrum, Spectrum) and spectrum.charge:
            try:
                found.append(dict(extractor([spectrum], return_tensors="np")))
            except ValueError:
                continue
        if len(found) == n:
            break
    return found


def write_spectra(spectra: Sequence[Inputs], path: Path) -> None:
    """For the peer."""
    columns = {
        "mz": [inputs["peaks"][0, :, 0] for inputs in spectra],
        "intensity": [inputs["peaks"][0, :, 1] for inputs in spectra],
        "precursor": [inputs["precursors"][0] for inputs in spectra],
    }
    arrays = {name: pa.array(values, type=pa.list_(pa.float32())) for name, values in columns.items()}
    pq.write_table(pa.table(arrays), path)
