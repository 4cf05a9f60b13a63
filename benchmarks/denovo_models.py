"""The methods of `denovo.py` that need a checkpoint: generated molecules in every order, and training molecules re-ranked."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from denovo_baselines import MassSorted, Proposals
from tqdm import tqdm

from msformers import resolve_checkpoint
from msformers.inference.encode import weights_sha256
from msformers.inference.generation.generate import generate
from msformers.inference.generation.library_condition import LibraryCondition
from msformers.inference.generation.molecules import GeneratedMolecule
from msformers.inference.generation.options import GenerateOptions
from msformers.inference.generation.rerank import BeamOrder, LearnedOrder, MassOrder, fit_weight
from msformers.inference.loading import Loaded, load_generator, load_retrieval
from msformers.inference.retrieval.precursor import read_precursor
from msformers.inference.retrieval.query import Query, best_adduct
from msformers.metrics.molecules import max_tanimoto
from msformers.spectra.molecules import molecule_record
from msformers.spectra.spectrum import Spectrum

Molecules = list[GeneratedMolecule]
Scores = npt.NDArray[np.float64]
CHUNK = 200
SHORTLIST = 200
"""Training molecules per spectrum that fragment evidence is asked about, as in `annotate`."""


class MassAlone:
    """A spectrum-to-molecule model that is told nothing but the neutral mass, and not even that if it has no such input."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def get_context(self, **inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Context (B, K, c) and its mask (B, K); zeros where nothing is left to tell."""
        mass = inputs.get("neutral_mass")
        if mass is not None and self.model.config.neutral_mass:
            return self.model.get_context(neutral_mass=mass)
        like = next(iter(inputs.values()))
        context = torch.zeros(len(like), 1, self.model.config.context_size, device=like.device)
        return context, torch.ones(context.shape[:2], dtype=torch.long, device=like.device)


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

    @cached_property
    def generator(self) -> Loaded:
        """The spectrum-to-molecule model.

        Raises:
            SystemExit: none is given.
        """
        if not self.args.model:
            raise SystemExit("this method needs --model, a checkpoint of a spectrum-to-molecule model")
        return load_generator(resolve_checkpoint(self.args.model), self.args.device)

    def label(self, method: str) -> str:
        """What tells the runs of one method apart in the names of their folders."""
        if method == "ranked-same-mass":
            return Path(self.args.reranker or "").name
        free = "-free" if self.args.no_mass_filter else f"-{self.args.ppm:g}ppm"
        return f"{Path(self.args.model or '').name}-{self.args.strategy}-{self.args.beams}{free}"

    def made_from(self, method: str) -> dict[str, Any]:
        """What decides the proposals of a method beside the spectra."""
        if method == "ranked-same-mass":
            return {"weights": weights_sha256(self.retrieval.model)}
        made = {"weights": weights_sha256(self.generator.model), "library": str(self.args.library)}
        return made | {
            name: getattr(self.args, name) for name in ("beams", "strategy", "no_mass_filter", "ppm", "seed")
        }

    def generated(self, spectra: Sequence[Spectrum], with_spectrum: bool) -> Iterator[Proposals]:
        """Molecules of the model in the order of the search."""
        args, loaded = self.args, self.generator
        options = GenerateOptions(
            n=args.beams,
            beams=args.beams,
            strategy=args.strategy,
            seed=args.seed,
            mass_filter=not args.no_mass_filter,
            ppm=args.ppm,
            rerank="none",
        )
        library = None
        if with_spectrum and args.library:
            library = LibraryCondition.load(args.library, loaded)
        elif with_spectrum:
            library = LibraryCondition.of_checkpoint(resolve_checkpoint(args.model), loaded)
        model = loaded.model if with_spectrum else MassAlone(loaded.model)
        parts = (loaded.processor, loaded.tokenizer, options)
        for answer in generate(spectra, model, *parts, library=library, batch_size=args.batch_size):
            yield Proposals(
                [molecule.smiles for molecule in answer.molecules],
                answer.n_generated,
                answer.n_generated - answer.n_valid,
                answer.n_valid - answer.n_distinct,
                [molecule.beam_score for molecule in answer.molecules],
            )

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
        self,
        method: str,
        spectra: Sequence[Spectrum],
        found: Sequence[Proposals],
        truth: Sequence[str],
        folder: Path,
    ) -> dict[str, list[Proposals]]:
        """Generated molecules in the order of the search, by mass, and by the re-ranker where one is given.

        Args:
            truth: SMILES of the spectra's molecules, to fit the weight on.
            folder: keeps the re-ranker's scores.
        """
        queries = [query_of(spectrum) for spectrum in spectra]
        molecules = [as_molecules(p, q) for p, q in zip(found, queries, strict=True)]
        ranked = {
            f"{method}, {name}": order(spectra, queries, _copies(molecules))
            for name, order in (("beam", BeamOrder()), ("mass", MassOrder()))
        }
        if self.args.reranker:
            scored = self._scored(spectra, molecules, folder)
            weight = _fitted(molecules, scored, truth, self.args)
            name = f"{method}, learned {weight:g}"
            ranked[name] = LearnedOrder(self.retrieval, weight, self.args.ppm).order(
                _copies(molecules), scored
            )
        return {
            name: [
                replace(p, smiles=[m.smiles for m in row], scores=[m.score for m in row])
                for p, row in zip(found, rows, strict=True)
            ]
            for name, rows in ranked.items()
        }

    def _scored(
        self, spectra: Sequence[Spectrum], molecules: Sequence[Molecules], folder: Path
    ) -> list[Scores | None]:
        """The re-ranker's scores, kept chunk by chunk."""
        order = LearnedOrder(self.retrieval)
        weights = weights_sha256(self.retrieval.model)[:12]
        scored: list[Scores | None] = []
        for start in tqdm(range(0, len(spectra), CHUNK), desc="re-ranker", unit=f"{CHUNK} spectra"):
            path = folder / f"scores-{weights}-{start:06d}.parquet"
            if not path.is_file():
                part = slice(start, start + CHUNK)
                smiles = [[m.smiles for m in row] for row in molecules[part]]
                found = order.model_scores(spectra[part], smiles)
                columns = {"scores": [None if row is None else row.tolist() for row in found]}
                pq.write_table(pa.table(columns), path.with_suffix(".part"))
                path.with_suffix(".part").rename(path)
            kept = pq.read_table(path)["scores"].to_pylist()
            scored += [None if row is None else np.array(row, dtype=np.float64) for row in kept]
        return scored


def _copies(molecules: Sequence[Molecules]) -> list[Molecules]:
    """For a re-ranker to change."""
    return [[replace(molecule) for molecule in row] for row in molecules]


def _fitted(
    molecules: Sequence[Molecules],
    scored: Sequence[Scores | None],
    truth: Sequence[str],
    args: argparse.Namespace,
) -> float:
    """The weight of the beam score: the one given, else fitted on these spectra.

    Raises:
        SystemExit: they are of the test fold, on which nothing is fitted.
    """
    if args.weight is not None:
        return float(args.weight)
    if args.fold == "test":
        raise SystemExit("give the --weight that was fitted on val; nothing is fitted on test")
    known = [place for place, values in enumerate(scored) if values is not None and len(values)]
    likeness = [
        max_tanimoto([truth[place]] * len(molecules[place]), [[m.smiles] for m in molecules[place]])
        for place in known
    ]
    beam = [np.array([m.beam_score for m in molecules[place]]) for place in known]
    return fit_weight([np.asarray(scored[place]) for place in known], beam, likeness) if known else 0.0


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
