"""Peers of the retrieval benchmark, trained by one loop on one fold: fingerprint FFN, and DeepSets on Fourier features.

Both predict the 2048 bits of a Morgan fingerprint and rank candidates by cosine, as their originals in MassSpecGym
(massspecgym.md §6; Dührkop 2015, Bushuiev et al. 2024).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

logger = logging.getLogger("msformers.benchmark")
N_BINS, N_PEAKS, N_BITS = 1005, 60, 2048
Row = dict[str, Any]


class FingerprintFFN(nn.Module):
    """Binned spectrum (B, 1005) to the logits of a fingerprint (B, 2048)."""

    def __init__(self, hidden: int = 1024, dropout: float = 0.3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in (N_BINS, hidden):
            layers += [nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden, N_BITS))

    @staticmethod
    def features(rows: Sequence[Row]) -> Tensor:
        """Square roots of intensities summed in bins of 1 Th."""
        binned = np.zeros((len(rows), N_BINS), dtype=np.float32)
        for target, row in zip(binned, rows, strict=True):
            inside = row["mz"] < N_BINS
            np.add.at(target, row["mz"][inside].astype(int), row["intensity"][inside])
        return torch.from_numpy(np.sqrt(binned))

    def forward(self, features: Tensor) -> Tensor:
        """(B, 1005) to (B, 2048)."""
        return self.layers(features)


class DeepSets(nn.Module):
    """Sum over peaks of an MLP of Fourier features of m/z and intensity, then an MLP: (B, 61, 2) to (B, 2048)."""

    def __init__(self, hidden: int = 256, frequencies: int = 64, dropout: float = 0.3) -> None:
        super().__init__()
        # wavelengths from 0.01 to 1000 Th, so that both decimals and nominal masses are seen
        self.register_buffer("wavelengths", torch.logspace(-2, 3, frequencies))
        self.peak = nn.Sequential(
            nn.Linear(2 * frequencies + 1, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )
        body: list[nn.Module] = [nn.LayerNorm(hidden)]
        for _ in range(2):
            body += [nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout)]
        self.body = nn.Sequential(*body, nn.Linear(hidden, N_BITS))

    @staticmethod
    def features(rows: Sequence[Row]) -> Tensor:
        """The precursor with intensity 1.1, then the 60 highest peaks; zeros behind."""
        peaks = np.zeros((len(rows), N_PEAKS + 1, 2), dtype=np.float64)
        for target, row in zip(peaks, rows, strict=True):
            kept = np.sort(np.argsort(-row["intensity"], kind="stable")[:N_PEAKS])
            target[0] = row["precursor_mz"], 1.1
            target[1 : len(kept) + 1, 0] = row["mz"][kept]
            target[1 : len(kept) + 1, 1] = row["intensity"][kept]
        longest = int((peaks[:, :, 1] > 0).sum(1).max())
        return torch.from_numpy(peaks[:, :longest])

    def forward(self, features: Tensor) -> Tensor:
        """(B, n, 2) float64 to (B, 2048)."""
        angles = 2 * torch.pi * features[..., :1] / self.wavelengths.double()
        real = (features[..., 1:] > 0).float()
        encoded = torch.cat([angles.sin(), angles.cos(), features[..., 1:]], dim=-1).float()
        return self.body((self.peak(encoded) * real).sum(1))


PEERS: dict[str, Callable[[], nn.Module]] = {"fingerprint-FFN": FingerprintFFN, "DeepSets-Fourier": DeepSets}


def train_peer(
    name: str, dataset: Any, bits: Tensor, truth: Sequence[int], epochs: int = 8, batch_size: int = 256
) -> nn.Module:
    """Train a peer.

    Args:
        name: of `PEERS`.
        dataset: spectra by (epoch, index), augmented as for our own models.
        bits: (n, 2048) fingerprints. truth: row of each spectrum's molecule.
    """
    torch.manual_seed(0)
    model = PEERS[name]()
    steps = epochs * (len(dataset) // batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps)
    rng = np.random.default_rng(0)
    bar = tqdm(total=steps, desc=f"training {name}", unit="step")
    for epoch in range(epochs):
        order = rng.permutation(len(dataset))[: steps // epochs * batch_size]
        for chosen in order.reshape(-1, batch_size).tolist():
            inputs = model.features([dataset[epoch, index] for index in chosen])  # type: ignore[operator]
            target = bits[[truth[index] for index in chosen]].float()
            loss = F.binary_cross_entropy_with_logits(model(inputs), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.update()
        bar.set_postfix(epoch=epoch, loss=f"{loss.item():.4f}")
    bar.close()
    return model.eval()


@torch.inference_mode()
def embed_peer(model: nn.Module, rows: Sequence[Row], batch_size: int = 256) -> npt.NDArray[np.float32]:
    """Predicted bit probabilities (n, 2048)."""
    starts = range(0, len(rows), batch_size)
    features: Callable[[Sequence[Row]], Tensor] = model.features  # type: ignore[assignment]
    parts = [model(features(rows[start : start + batch_size])).sigmoid() for start in starts]
    return torch.cat(parts).numpy()
