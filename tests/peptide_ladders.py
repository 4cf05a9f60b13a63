"""Peptide spectra made in the test: the b and y ions of a peptide."""

from __future__ import annotations

from typing import Any

import numpy as np

from msformers.spectra.spectrum import Spectrum
from msformers.tokenization.peptides import PeptideTokenizer

PROTON, WATER = 1.007276, 18.010565
TOKENIZER = PeptideTokenizer()
PEPTIDES = ("AEVNLPDGK", "GTC[Carbamidomethyl]QWEYSAR", "[Acetyl]-SVHFM[Oxidation]LDAR", "LPAEEQNGVSTFDK")


def ladder_mz(peptide: str) -> np.ndarray:
    """m/z of the singly charged b and y ions, sorted; an N-terminal modification belongs to the first residue."""
    masses = [TOKENIZER.residues[token] for token in TOKENIZER.split(peptide)]
    if peptide.startswith("["):
        masses = [masses[0] + masses[1], *masses[2:]]
    b = np.cumsum(masses)[:-1] + PROTON
    y = np.cumsum(masses[::-1])[:-1] + WATER + PROTON
    return np.sort(np.concatenate([b, y]))


def peptide_spectrum(peptide: str, charge: int = 2, seed: int = 0, **fields: Any) -> Spectrum:
    """A spectrum of `peptide` with its ladder, a little noise, and an exact precursor."""
    rng = np.random.default_rng(seed)
    ladder = ladder_mz(peptide)
    noise = rng.uniform(120, 900, 12)
    mz = np.concatenate([ladder, noise])
    intensity = np.concatenate([rng.uniform(0.3, 1.0, len(ladder)), rng.uniform(0.05, 0.15, len(noise))])
    order = np.argsort(mz)
    precursor = TOKENIZER.mass(peptide) / charge + PROTON
    given = {"native_id": peptide, "precursor_mz": precursor, "charge": charge, "ion_mode": "positive"}
    return Spectrum(mz[order], (intensity / intensity.max()).astype(np.float32)[order], **{**given, **fields})


def mgf(*spectra: Spectrum, **more: str) -> str:
    """The text of an MGF file; `more` are header lines that each record gets."""
    blocks = []
    for spectrum in spectra:
        head = [f"TITLE={spectrum.native_id}", *(f"{key}={value}" for key, value in more.items())]
        if spectrum.precursor_mz is not None:
            head.append(f"PEPMASS={spectrum.precursor_mz:.6f}")
        if spectrum.charge is not None:
            head.append(f"CHARGE={abs(spectrum.charge)}{'+' if spectrum.charge > 0 else '-'}")
        peaks = [f"{mz:.5f} {height:.5f}" for mz, height in zip(spectrum.mz, spectrum.intensity, strict=True)]
        blocks.append("\n".join(["BEGIN IONS", *head, *peaks, "END IONS"]))
    return "\n\n".join(blocks) + "\n"
