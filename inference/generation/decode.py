"""One batch of spectra through a model: context, search, molecules, order and consensus."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...spectra.masses import formula_mass, hill, parse_formula
from ...spectra.spectrum import Spectrum
from ...tokenization.conditions import spectrum_conditions
from ...tokenization.selfies_atoms import read_symbol
from ..encode import device_of
from ..retrieval.query import Query
from .consensus import consensus
from .consensus_calibration import ConsensusCalibration
from .hypotheses import Hypotheses, SearchOptions
from .mass_filter import MassLogitsProcessor
from .mass_target import MassTarget
from .molecules import GeneratedMolecule, MoleculeSet, collect_sequences
from .options import GenerateOptions, Generation, OptionError
from .rerank import Reranker, reranker
from .search import beam_search, diverse_beam_search, sample
from .search_beams import LogitsProcessor
from .substructures import Substructure, load_substructures, match_substructures

Condition = Callable[[Sequence[Spectrum]], Mapping[str, Tensor]]
"""Further conditions of B spectra, by the names `SpectrumToMoleculeModel.get_context` knows them under, (B, …) each."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One record to answer.

    Attributes:
        answer: to be filled.
        query: readings of the precursor, and what the molecules are held to; None if there is nothing to generate.
        target: the formulas they may have; None if their mass is not restricted.
    """

    answer: Generation
    query: Query | None = None
    target: MassTarget | None = None


class Decoder:
    """A model with all that it generates with.

    Args:
        model, processor, tokenizer: of one checkpoint.
        options: how to generate.
        given: orders the molecules, unless the options ask for "mass" or "none".
        library, properties: further conditions, for a model that was trained with them.
        substructures: of the consensus; by default the bundled ones.
        calibration: turns the consensus of substructures into probabilities.

    Raises:
        ValueError: the options ask for a re-ranker that is not given; an `OptionError`: for more symbols than the model
            can write.

    Attributes:
        order: what ranks the molecules.
        elements: those that the tokenizer's symbols stand for.
        max_length: tokens of a sequence, start and end included.
        needs_precursor: whether the feature extractor refuses a spectrum without precursor m/z.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        tokenizer: Any,
        options: GenerateOptions,
        given: Reranker | None = None,
        library: Condition | None = None,
        properties: Condition | None = None,
        substructures: Sequence[Substructure] | None = None,
        calibration: ConsensusCalibration | None = None,
    ) -> None:
        self.model, self.processor, self.tokenizer, self.options = model, processor, tokenizer, options
        if library is not None and not model.config.library:
            raise OptionError("this model was not trained to be told library matches; leave the library out")
        if properties is not None and not model.config.property_size:
            raise OptionError("this model was not trained to be told properties; leave them out")
        self.conditions = [condition for condition in (library, properties) if condition is not None]
        self.substructures = load_substructures() if substructures is None else tuple(substructures)
        fixed = options.rerank in ("mass", "none") or given is None
        self.order: Reranker = reranker(options.rerank) if fixed or given is None else given
        self.calibration = calibration
        self.needs_precursor = _refuses_unknown_precursor(processor)
        atoms = [read_symbol(token).atom for token in tokenizer.get_vocab()]
        self.elements = frozenset({"H", *(atom.element for atom in atoms if atom is not None)})
        longest = int(model.decoder.config.max_position_embeddings)
        self.max_length = longest if options.max_length is None else options.max_length + 2
        if self.max_length > longest:
            raise OptionError(
                f"max_length {options.max_length}: the model writes at most {longest - 2} symbols; give less"
            )

    def __call__(self, plans: Sequence[Plan]) -> None:
        """Generate for some records and enter the molecules into their answers; those without a query are left alone."""
        wanted = [(plan, plan.query, plan.answer.spectrum) for plan in plans]
        found = [(plan, query, spectrum) for plan, query, spectrum in wanted if query and spectrum]
        if not found:
            return
        plans, queries, spectra = (list(column) for column in zip(*found, strict=True))
        with torch.inference_mode():
            sequences, scores = self.search(spectra, queries, [plan.target for plan in plans])
        how = self.options.strategy
        sets = [
            collect_sequences(sequences[row], scores[row], self.tokenizer, query, source=how)
            for row, query in enumerate(queries)
        ]
        kept = [_fitting(one, query) for one, query in zip(sets, queries, strict=True)]
        ranked = self.order(spectra, queries, kept)
        for plan, query, one, molecules in zip(plans, queries, sets, ranked, strict=True):
            self._enter(plan.answer, query, one, molecules)

    def shown(self, spectrum: Spectrum) -> Spectrum:
        """The spectrum as the model gets it: a precursor m/z that it cannot do without is taken to be the highest peak's."""
        if spectrum.precursor_mz is not None and spectrum.precursor_mz > 0.0:
            return spectrum
        return replace(spectrum, precursor_mz=float(spectrum.mz.max()) if self.needs_precursor else None)

    def search(
        self, spectra: Sequence[Spectrum], queries: Sequence[Query], targets: Sequence[MassTarget | None]
    ) -> tuple[list[list[list[int]]], list[list[float]]]:
        """Token ids and mean log-probabilities of the sequences of each spectrum, best first."""
        device = device_of(self.model)
        shown = [self.shown(spectrum) for spectrum in spectra]
        batch = self.processor(shown, return_tensors="pt")
        inputs: dict[str, Any] = {name: values.to(device) for name, values in batch.items()}
        told = _told(self.model.config, spectra, queries)
        for condition in self.conditions:
            told |= condition(shown)
        # Apple's MPS has no float64
        lesser = {torch.float64: torch.float32} if device.type == "mps" else {}
        inputs |= {
            name: values.to(device, lesser.get(values.dtype, values.dtype)) for name, values in told.items()
        }
        context, mask = self.model.get_context(**inputs)
        within = MassLogitsProcessor(
            self.tokenizer.get_vocab(), targets, self.options.beams, max_length=self.max_length
        )
        found = self._sequences(context, mask, spectra, within)
        chosen: list[list[list[int]]] = []
        scores: list[list[float]] = []
        for row, (sequences, values) in enumerate(zip(found.sequences, found.scores, strict=True)):
            ids = [sequence.tolist() for sequence in sequences]
            # where few molecules have the mass, a search fills its beams with sequences that came to nothing
            good = [targets[row] is None or within.matches(one, row) for one in ids]
            chosen.append([one for one, is_good in zip(ids, good, strict=True) if is_good])
            scores.append(values[np.array(good, dtype=np.bool_)].tolist())
        return chosen, scores

    def _sequences(
        self, context: Tensor, mask: Tensor, spectra: Sequence[Spectrum], within: LogitsProcessor
    ) -> Hypotheses:
        """The search asked for, on context vectors (B, K, c) and their mask (B, K)."""
        options, tokenizer = self.options, self.tokenizer
        how: dict[str, Any] = {}
        if options.strategy == "diverse":
            how = {"num_beam_groups": options.beam_groups, "diversity_penalty": options.diversity}
        elif options.strategy == "sample":
            how = {"temperature": options.temperature, "top_p": options.top_p}
        settings = SearchOptions(
            num_beams=options.beams,
            num_return_sequences=options.beams,
            max_length=self.max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **how,
        )
        given = (self.model.decoder, context, mask, settings, within)
        if options.strategy == "sample":
            # a seed of its own for every spectrum: the same molecules in any batch, and after an interruption
            return sample(*given, seed=[options.seed + spectrum.index for spectrum in spectra])
        return (diverse_beam_search if options.strategy == "diverse" else beam_search)(*given)

    def _enter(
        self, answer: Generation, query: Query, found: MoleculeSet, molecules: list[GeneratedMolecule]
    ) -> None:
        answer.n_generated, answer.n_valid = found.n_sequences, found.n_sequences - found.n_invalid
        answer.n_distinct = len(found.molecules)
        answer.molecules = molecules[: self.options.n]
        answer.n_held_back = answer.n_distinct - len(answer.molecules)
        if not molecules:
            nothing = _nothing(answer, query)
            answer.status, answer.reason = "no_molecules", f"{nothing}; {answer.reason}".removesuffix("; ")
            return
        unordered = self.order.name == "mass" and query.precursor_mz is None
        answer.ranked_by = "none" if unordered else self.order.name
        # all that fit count, as on the spectra that the calibration was fitted on, however few are listed
        answer.unlisted = [molecule.smiles for molecule in molecules[self.options.n :]]
        agreed = consensus([molecule.smiles for molecule in molecules], self.substructures)
        names = [substructure.name for substructure in self.substructures]
        answer.substructures = dict(zip(names, agreed.scores.tolist(), strict=True))
        if self.calibration is not None and len(molecules) > 1:
            chances = zip(names, self.calibration.probabilities(agreed).tolist(), strict=True)
            answer.substructure_probabilities = {name: one for name, one in chances if not math.isnan(one)}
        for molecule, value in zip(molecules, agreed.agreement().tolist(), strict=True):
            molecule.consensus = None if math.isnan(value) else value
        if answer.spectrum is not None and answer.spectrum.smiles:
            matches, valid = match_substructures([answer.spectrum.smiles], self.substructures)
            if valid[0]:
                answer.known_substructures = dict(zip(names, matches[0].tolist(), strict=True))


def _refuses_unknown_precursor(processor: Any) -> bool:
    mz, intensity = np.linspace(100.0, 130.0, 31), np.ones(31, dtype=np.float32)
    try:
        processor([Spectrum(mz, intensity, charge=1)], return_tensors="np")
    except ValueError:
        return True
    return False


def _told(config: Any, spectra: Sequence[Spectrum], queries: Sequence[Query]) -> dict[str, Tensor]:
    """What the records say beside their peaks, as far as the model was trained to be told: (B,) each."""
    adducts = tuple(config.adducts)
    masses = [_mass(query) for query in queries]
    records = [
        replace(spectrum, adduct=query.ions[0].adduct.name if len(query.ions) == 1 else None)
        for spectrum, query in zip(spectra, queries, strict=True)
    ]
    found = spectrum_conditions(records, adducts, masses)
    return {name: values for name, values in found.items() if name == "adduct_ids" or getattr(config, name)}


def _mass(query: Query) -> float | None:
    """Neutral mass in Da: of the formula, else of the precursor if it has one reading only."""
    if query.search == "formula" and query.formula:
        return formula_mass(query.formula)
    return (query.ions[0].low + query.ions[0].high) / 2 if len(query.ions) == 1 else None


def _fitting(found: MoleculeSet, query: Query) -> list[GeneratedMolecule]:
    """The molecules of the formula or mass asked for; all of them if none is."""
    if query.search == "formula" and query.formula:
        # a molecule's formula has its charge behind it
        formula = hill(parse_formula(query.formula))
        return [one for one in found.molecules if hill(parse_formula(one.formula)) == formula]
    if query.search == "mass":
        return [
            molecule
            for molecule in found.molecules
            if any(ion.low <= molecule.exact_mass <= ion.high for ion in query.ions)
        ]
    return found.molecules


def _nothing(answer: Generation, query: Query) -> str:
    """Why there is no molecule."""
    if not answer.n_generated:
        what = "the search (more beams, or sampling, may help) found no molecule"
    elif not answer.n_valid:
        return f"none of {answer.n_generated} sequences is a valid molecule"
    else:
        what = f"{answer.n_distinct} molecules were generated, none"
    if query.search == "formula":
        return f"{what} of formula {query.formula}"
    masses = ", ".join(f"{(ion.low + ion.high) / 2:.4f} Da ({ion.adduct.name})" for ion in query.ions)
    return f"{what} of {masses}" if query.search == "mass" else what
