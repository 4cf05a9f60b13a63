"""The methods of `denovo.py` that need a checkpoint: generated molecules in every order, and training molecules re-ranked."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from denovo_baselines import MassSorted, Proposals

from msformers import resolve_checkpoint
from msformers.inference.encode import weights_sha256
from msformers.inference.generation.molecules import GeneratedMolecule
from msformers.inference.generation.rerank import BeamOrder, LearnedOrder, MassOrder, Reranker, fit_weight
from msformers.inference.loading import Loaded, load_retrieval
from msformers.inference.retrieval.precursor import read_precursor
from msformers.inference.retrieval.query import Query, best_adduct
from msformers.metrics.molecules import max_tanimoto
from msformers.spectra.molecules import molecule_record
from msformers.spectra.spectrum import Spectrum

SHORTLIST = 200
"""Training molecules per spectrum that fragment evidence is asked about, as in `annotate`."""


class GeneratedMethods:
    """What `--model` and `--reranker` make possible; loaded when first needed."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args

    @cached_property
    def retrieval(self) -> Loaded:
        """The re-ranker's checkpoint.

        Raises:
            SystemExit: none is given.
        """
        if not self.args.reranker:
            raise SystemExit("this method needs --reranker, a retrieval checkpoint such as nexamass-small")
        return load_retrieval(resolve_checkpoint(self.args.reranker), self.args.device)

    def label(self, method: str) -> str:
        """What tells the runs of one method apart in the names of their folders."""
        if method == "ranked-same-mass":
            return Path(self.args.reranker).name
        free = "-free" if self.args.no_mass_filter else ""
        return f"{Path(self.args.model).name}-{self.args.strategy}-{self.args.beams}{free}"

    def made_from(self, method: str) -> dict[str, Any]:
        """What decides the proposals of a method beside the spectra."""
        if method == "ranked-same-mass":
            return {"method": method, "weights": weights_sha256(self.retrieval.model)}
        return {}

    def ranked_same_mass(
        self, pool: MassSorted, spectra: Sequence[Spectrum], count: int
    ) -> Iterator[Proposals]:
        """All training molecules within the tolerance in the order of the re-ranker, the first `count`."""
        cosine, full = LearnedOrder(replace(self.retrieval, evidence=None)), LearnedOrder(self.retrieval)
        for spectrum in spectra:
            smiles = [pool.smiles[place] for place in pool.within(spectrum)]
            for order, kept in ((cosine, SHORTLIST), (full, count)):
                (scores,) = order.model_scores([spectrum], [smiles])
                if scores is not None:
                    smiles = [smiles[place] for place in np.argsort(-scores, kind="stable")[:kept]]
            yield Proposals.known(smiles[:count])

    def orders(
        self, method: str, spectra: Sequence[Spectrum], found: Sequence[Proposals], truth: Sequence[str]
    ) -> dict[str, list[Proposals]]:
        """Generated molecules in the order of the search, by mass, and by the re-ranker where one is given."""
        queries = [query_of(spectrum) for spectrum in spectra]
        molecules = [as_molecules(p, q) for p, q in zip(found, queries, strict=True)]
        orders: dict[str, Reranker] = {"beam": BeamOrder(), "mass": MassOrder()}
        if self.args.reranker:
            weight = self.args.weight
            if weight is None:
                weight = self._fitted(spectra, molecules, truth)
            orders["learned"] = LearnedOrder(self.retrieval, weight)
            orders[f"learned {weight:g}"] = orders.pop("learned")
        answers = {}
        for name, order in orders.items():
            ranked = order(spectra, queries, [[replace(m) for m in row] for row in molecules])
            answers[f"{method}, {name}"] = [
                replace(p, smiles=[m.smiles for m in row], scores=[m.score for m in row])
                for p, row in zip(found, ranked, strict=True)
            ]
        return answers

    def _fitted(
        self,
        spectra: Sequence[Spectrum],
        molecules: Sequence[Sequence[GeneratedMolecule]],
        truth: Sequence[str],
    ) -> float:
        """The weight of the beam score, fitted on these spectra.

        Raises:
            SystemExit: they are of the test fold, on which nothing is fitted.
        """
        if self.args.fold == "test":
            raise SystemExit("give the --weight that was fitted on val; nothing is fitted on test")
        smiles = [[m.smiles for m in row] for row in molecules]
        scores = LearnedOrder(self.retrieval).model_scores(spectra, smiles)
        known = [place for place, values in enumerate(scores) if values is not None]
        return fit_weight(
            [np.asarray(scores[place]) for place in known],
            [np.array([m.beam_score for m in molecules[place]]) for place in known],
            [
                max_tanimoto([truth[place]] * len(smiles[place]), [[s] for s in smiles[place]])
                for place in known
            ],
        )


def query_of(spectrum: Spectrum) -> Query:
    """The readings of a spectrum's precursor."""
    return Query("mass", read_precursor(spectrum).ions, None, spectrum.precursor_mz)


def as_molecules(found: Proposals, query: Query) -> list[GeneratedMolecule]:
    """Kept proposals as the re-rankers take them."""
    molecules = []
    for rank, (smiles, score) in enumerate(zip(found.smiles, found.scores, strict=True), 1):
        record = molecule_record(smiles)
        adduct, error = best_adduct(record.exact_mass, query)
        facts = (record.smiles, "", record.formula, record.exact_mass, record.inchikey14)
        molecules.append(
            GeneratedMolecule(rank, *facts, adduct.name if adduct else None, error, score, score)
        )
    return molecules
