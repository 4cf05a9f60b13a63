"""What orders generated molecules: the search's own score, the precursor's mass, or a retrieval model's opinion.

Every re-ranker takes the molecules of several spectra at once, changes `rank` and `score` in place, and returns the
molecules in their new order; of equal scores the better beam score is first.
"""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from ...spectra.adducts import Adduct, parse_adduct
from ...spectra.masses import ppm_error
from ...spectra.spectrum import Spectrum
from ..encode import embed_molecules, embed_spectra
from ..loading import Loaded
from ..retrieval.precursor import polarity
from ..retrieval.query import Query
from ..retrieval.search import normalize
from .molecules import GeneratedMolecule

logger = logging.getLogger(__name__)
Floats = npt.NDArray[np.float64]
Molecules = list[GeneratedMolecule]
Restriction = Literal["adduct", "polarity", "none"]
WEIGHTS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 100.0)

BEAM_WEIGHT = 0.3
"""Of the beam score beside the score of specbridge-small: fitted by `fit_weight` on 130 val spectra, beams of denovo-small."""


class Reranker(Protocol):
    """Orders the molecules of some spectra.

    `name` is "none", "mass" or "learned". A call takes B spectra, their B queries (precursor and its readings) and the
    molecules of each, and returns B lists.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    def __call__(  # noqa: D102
        self, spectra: Sequence[Spectrum], queries: Sequence[Query], found: Sequence[Molecules]
    ) -> list[Molecules]: ...


class BeamOrder:
    """The search's own order: score is the beam score."""

    name = "none"

    def __call__(
        self, spectra: Sequence[Spectrum], queries: Sequence[Query], found: Sequence[Molecules]
    ) -> list[Molecules]:
        """Order by beam score; spectra and queries are not looked at."""
        return [_order(molecules, [m.beam_score for m in molecules]) for molecules in found]


class MassOrder:
    """LSM1's order: nearest to the precursor, ΔM = min over adducts |M − M_neutral(adduct)|; score is −ΔM in Da.

    Adduct and mass error of a molecule become those of the adduct with the least ΔM. A spectrum without precursor or
    without any adduct to try keeps the order of the beam. Source: LSM1-MS2, de novo generation (lsm1.md §6).

    Args:
        restrict: which adducts count: "adduct" the readings of the query (the recorded one where there is one), "polarity"
            those of the paper that have the spectrum's polarity, "none" all twelve of the paper.

    Raises:
        ValueError: another restriction.
    """

    name = "mass"

    def __init__(self, restrict: Restriction = "adduct") -> None:
        if restrict not in ("adduct", "polarity", "none"):
            raise ValueError(f"restrict {restrict!r} is none of adduct, polarity, none")
        self.restrict = restrict

    def __call__(
        self, spectra: Sequence[Spectrum], queries: Sequence[Query], found: Sequence[Molecules]
    ) -> list[Molecules]:
        """Order by ΔM."""
        ranked = []
        for spectrum, query, molecules in zip(spectra, queries, found, strict=True):
            adducts, precursor = self._adducts(spectrum, query), query.precursor_mz
            if not adducts or precursor is None:
                ranked.append(_order(molecules, [m.beam_score for m in molecules]))
                continue
            ranked.append(_order(molecules, [-_nearest(m, adducts, precursor) for m in molecules]))
        return ranked

    def _adducts(self, spectrum: Spectrum, query: Query) -> tuple[Adduct, ...]:
        if self.restrict == "adduct" and query.ions:
            return tuple(ion.adduct for ion in query.ions)
        mode = None if self.restrict == "none" else polarity(spectrum)
        return tuple(adduct for adduct in lsm1_adducts() if mode in (None, adduct.ion_mode))


class LearnedOrder:
    """The order of a retrieval model: its score of spectrum and molecule, plus `weight` times the beam score.

    The model's score is that of `annotate` with these molecules as the candidates of an open search: cosine, and fragment
    evidence where the checkpoint has some and the spectrum is of accurate mass. A spectrum that the model cannot
    read keeps the order of the beam.

    Args:
        loaded: of `inference.loading.load_retrieval`.
        weight: of the beam score; see `fit_weight`.
        ppm: molecules further than this from the precursor stay behind all others, as a search by mass leaves them out;
            None: the mass does not count. The scores do not show it.
        decode: the model's path, "fingerprint" or "projection"; the evidence is fitted beside the first.
        batch_size: spectra per forward pass.
    """

    name = "learned"

    def __init__(
        self,
        loaded: Loaded,
        weight: float = 0.0,
        ppm: float | None = 10.0,
        decode: str = "fingerprint",
        batch_size: int = 64,
    ) -> None:
        self.loaded, self.weight, self.ppm, self.decode = loaded, weight, ppm, decode
        self.batch_size = batch_size
        self._evidence = loaded.evidence if decode == "fingerprint" else None

    def __call__(
        self, spectra: Sequence[Spectrum], queries: Sequence[Query], found: Sequence[Molecules]
    ) -> list[Molecules]:
        """Order by the model's score and the beam score, molecules of the right mass first."""
        return self.order(found, self.model_scores(spectra, [[m.smiles for m in row] for row in found]))

    def order(self, found: Sequence[Molecules], scored: Sequence[Floats | None]) -> list[Molecules]:
        """As a call, with the model's scores at hand: those of `model_scores`."""
        ranked = []
        for molecules, learned in zip(found, scored, strict=True):
            beam = np.array([m.beam_score for m in molecules])
            inside = [self._inside(m) for m in molecules]
            scores = beam if learned is None else combine(learned, beam, self.weight)
            ranked.append(_order(molecules, scores.tolist(), inside))
        return ranked

    def _inside(self, molecule: GeneratedMolecule) -> bool:
        error = molecule.mass_error_ppm
        return self.ppm is None or error is None or abs(error) <= self.ppm

    def model_scores(
        self, spectra: Sequence[Spectrum], smiles: Sequence[Sequence[str]]
    ) -> list[Floats | None]:
        """The model's score of each spectrum's molecules, (n,) each; None where it cannot read the spectrum.

        Args:
            smiles: canonical, as `spectra.molecules` writes them.
        """
        model, processor = self.loaded.model, self.loaded.processor
        wanted = sorted({text for texts in smiles for text in texts})
        if not wanted:
            return [np.empty(0) for _ in smiles]
        vectors, failed = embed_spectra(spectra, model, processor, self.batch_size, self.decode)
        embeds = embed_molecules(wanted, model, self.loaded.tokenizer, decode=self.decode)
        # in the precision of a bank, so that the scores are those of a search in one
        embeds = embeds.astype(np.float16).astype(np.float32)
        place = {text: row for row, text in enumerate(wanted)}
        scored: list[Floats | None] = []
        for row, (spectrum, texts) in enumerate(zip(spectra, smiles, strict=True)):
            if row in failed:
                logger.warning("spectrum %d keeps the beam's order: %s", spectrum.index, failed[row])
                scored.append(None)
                continue
            cosine = embeds[[place[text] for text in texts]] @ normalize(vectors[row])
            length = float(np.linalg.norm(vectors[row]))
            scored.append(cosine.astype(np.float64) + self._explained(spectrum, texts, length))
        return scored

    def _explained(self, spectrum: Spectrum, smiles: Sequence[str], length: float) -> Floats:
        if self._evidence is None or not smiles or not self._evidence.applies(spectrum):
            return np.zeros(len(smiles))
        return self._evidence.scores(spectrum, smiles)[0] / max(length, 1e-6)


def combine(learned: Floats, beam: Floats, weight: float) -> Floats:
    """Learned score plus weight times beam score, (n,); a beam score of −∞ counts as the lowest finite one."""
    finite = beam[np.isfinite(beam)]
    return learned + weight * np.maximum(beam, finite.min() if len(finite) else 0.0)


def fit_weight(
    learned: Sequence[Floats],
    beam: Sequence[Floats],
    similarity: Sequence[Floats],
    weights: Sequence[float] = WEIGHTS,
) -> float:
    """The weight of the beam score under which the first molecules are most like the true ones.

    Args:
        learned: per validation spectrum the model's scores of its molecules, (n,) each, as `LearnedOrder.model_scores`.
        beam: their beam scores. similarity: their Tanimoto similarity to the true molecule.
        weights: to choose from; of equally good ones the first is taken.

    Raises:
        ValueError: no spectrum with a molecule, or lengths that differ.
    """
    triples = [(a, b, c) for a, b, c in zip(learned, beam, similarity, strict=True) if len(a)]
    if not triples or any(not len(a) == len(b) == len(c) for a, b, c in triples):
        raise ValueError(
            f"{len(triples)} spectra with molecules; give one score, beam score and similarity for each molecule"
        )

    def worth(weight: float) -> float:
        return float(np.mean([c[int(np.argmax(combine(a, b, weight)))] for a, b, c in triples]))

    return max(weights, key=worth)


@cache
def lsm1_adducts() -> tuple[Adduct, ...]:
    """The twelve adducts of LSM1's table (lsm1_adducts.csv)."""
    with Path(__file__).with_name("lsm1_adducts.csv").open(encoding="utf-8", newline="") as stream:
        return tuple(parse_adduct(row["name"]) for row in csv.DictReader(stream))


def _nearest(molecule: GeneratedMolecule, adducts: Sequence[Adduct], precursor_mz: float) -> float:
    """ΔM in Da over the adducts; enters the nearest one and its error."""

    def away(adduct: Adduct) -> float:
        return abs(molecule.exact_mass - adduct.neutral_mass(precursor_mz))

    best = min(adducts, key=away)
    molecule.adduct = best.name
    molecule.mass_error_ppm = float(ppm_error(precursor_mz, best.mz(molecule.exact_mass)))
    return away(best)


def _order(molecules: Molecules, scores: Sequence[float], first: Sequence[bool] | None = None) -> Molecules:
    """Enter scores and ranks; those of `first` before the others, of equal scores the better beam score."""
    for molecule, score in zip(molecules, scores, strict=True):
        molecule.score = -math.inf if math.isnan(score) else float(score)
    ahead = [True] * len(molecules) if first is None else list(first)
    order = sorted(
        range(len(molecules)), key=lambda i: (not ahead[i], -molecules[i].score, -molecules[i].beam_score)
    )
    for rank, place in enumerate(order, 1):
        molecules[place].rank = rank
    return [molecules[place] for place in order]


def reranker(
    choice: str, loaded: Any = None, ppm: float | None = 10.0, weight: float = BEAM_WEIGHT
) -> Reranker:
    """The re-ranker of a name: "none", "mass", "learned", or "auto": learned if a model is at hand, else mass.

    Args:
        loaded: the retrieval model of "learned"; see `LearnedOrder` for it, `ppm` and `weight`.

    Raises:
        ValueError: an unknown name, or "learned" without a model.
    """
    if choice == "auto":
        choice = "mass" if loaded is None else "learned"
    if choice == "learned":
        if loaded is None:
            raise ValueError("rerank 'learned' needs a retrieval model; give one, or use mass or none")
        return LearnedOrder(loaded, weight, ppm)
    if choice not in ("none", "mass"):
        raise ValueError(f"rerank {choice!r} is none of auto, learned, mass, none")
    return BeamOrder() if choice == "none" else MassOrder()
