"""From spectra without candidates to ranked, checked molecules: one answer for every record of the input."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from ...spectra.masses import FormulaError, formula_mass, parse_formula
from ...spectra.spectrum import Problem, Spectrum
from ..encode import runtime
from ..inputs import as_spectrum, why
from ..retrieval.precursor import Ion, Reading, polarity, read_precursor
from ..retrieval.query import Query
from .decode import Decoder
from .options import RECORD, GenerateOptions, Generation
from .rerank import Reranker
from .substructures import Substructure

logger = logging.getLogger(__name__)
LIGHTEST = formula_mass("CH4")
Wanted = tuple[Generation, Query]


def generate(
    spectra: Iterable[Any],
    model: Any,
    processor: Any,
    tokenizer: Any,
    options: GenerateOptions | None = None,
    *,
    reranker: Reranker | None = None,
    library: Any = None,
    properties: Any = None,
    substructures: Sequence[Substructure] | None = None,
    batch_size: int = 8,
    block: int | None = None,
) -> Iterator[Generation]:
    """Generate molecules for every spectrum, in input order, one `Generation` per record.

    Args:
        spectra: `Spectrum`, `Problem`, rows of `load_spectra`, mappings or matchms spectra.
        model: `AutoModelForMoleculeGeneration` on its device.
        processor: its feature extractor.
        tokenizer: its SELFIES tokenizer.
        options: how to generate.
        reranker: orders the molecules, where the options do not ask for another order.
        library: nearest library matches as a condition, for a model that was trained with them.
        properties: predicted properties as a condition, for a model that was trained with them.
        substructures: of the consensus; by default the bundled ones.
        batch_size: spectra per search.
        block: spectra read ahead, so that those of similar length share a batch; by default four batches.

    Yields:
        As many answers as there are records; one without molecules has a status that says why.

    Raises:
        ValueError: the options ask for a re-ranker that is not given, or for more than the model can write.
    """
    options = options or GenerateOptions()
    decoder = Decoder(model, processor, tokenizer, options, reranker, library, properties, substructures)
    seconds, count, stream = 0.0, 0, iter(spectra)
    logger.info(
        "generating by %s, %d wide, at most %d molecules each, ordered by %s, %s",
        *(options.strategy, options.beams, options.n, decoder.order.name, runtime(model)),
    )
    while records := list(islice(stream, block or 4 * batch_size)):
        start = time.perf_counter()
        plans = [plan(record, decoder, count + i) for i, record in enumerate(records)]
        wanted = [(answer, query) for answer, query in plans if query is not None]
        # molecules of similar mass end at similar steps
        wanted.sort(key=lambda pair: (pair[0].mass_filter, pair[0].precursor_mz or 0.0))
        for place in range(0, len(wanted), batch_size):
            answer_batch(wanted[place : place + batch_size], decoder)
        # reading the file and writing the answers are not counted
        seconds += time.perf_counter() - start
        for answer, _ in plans:
            yield answer
        count += len(records)
    logger.info("%d spectra in %.1f s, %.2f spectra/s", count, seconds, count / max(seconds, 1e-9))


def answer_batch(wanted: Sequence[Wanted], decoder: Decoder) -> None:
    """Enter molecules into some answers; where the model fails on all together, each is tried alone."""
    try:
        decoder(wanted)
    # whatever a model raises on one spectrum (a size it has no memory for, a value it does not know) costs only that one
    except Exception as error:
        if len(wanted) > 1:
            for one in wanted:
                answer_batch([one], decoder)
            return
        answer = wanted[0][0]
        answer.status, answer.reason = "failed", f"{type(error).__name__}: {error}".splitlines()[0]
        answer.molecules.clear()
        logger.warning("spectrum %d %s failed: %s", answer.index, answer.native_id, answer.reason)


def plan(record: Any, decoder: Decoder, position: int = 0) -> tuple[Generation, Query | None]:
    """The answer to fill and what may be generated for it; no query if there is nothing to generate, the answer then says why."""
    options = decoder.options
    spectrum = as_spectrum(record, position)
    if isinstance(spectrum, Problem):
        place = {"path": spectrum.path, "line": spectrum.line}
        return Generation(spectrum.index, spectrum.native_id, "unreadable", why(spectrum), **place), None  # type: ignore[arg-type]
    reading = read_precursor(spectrum, options.ppm, options.adducts, options.adduct_table)
    answer = Generation(
        index=spectrum.index,
        native_id=spectrum.native_id,
        status=reading.status,
        reason=reading.reason,
        precursor_mz=spectrum.precursor_mz,
        adduct=reading.ions[0].adduct.name if len(reading.ions) == 1 else spectrum.adduct,
        ion_mode=polarity(spectrum),
        path=spectrum.path,
        line=spectrum.line,
        spectrum=spectrum,
    )
    wrong = _obstacle(spectrum, reading, options) or _restrict(answer, spectrum, reading, decoder)
    if wrong is not None:
        answer.status, answer.reason = wrong
        return answer, None
    search = "formula" if answer.formula else "mass" if answer.mass_filter else "open"
    return answer, Query(search, reading.ions, answer.formula, spectrum.precursor_mz)  # type: ignore[arg-type]


def _obstacle(spectrum: Spectrum, reading: Reading, options: GenerateOptions) -> tuple[str, str] | None:
    """(status, reason) if there is nothing to generate from."""
    if spectrum.ms_level is not None and spectrum.ms_level < 2:
        return "not_msms", f"MS level is {spectrum.ms_level}; give fragment spectra"
    if len(spectrum) < options.min_peaks:
        return "too_few_peaks", f"{len(spectrum)} peaks, at least {options.min_peaks} are asked for"
    if reading.status in ("polarity_mismatch", "no_adduct"):
        return reading.status, reading.reason
    return None


def _restrict(
    answer: Generation, spectrum: Spectrum, reading: Reading, decoder: Decoder
) -> tuple[str, str] | None:
    """Decide what restricts the molecules; (status, reason) if no molecule can be like that."""
    options, notes = decoder.options, [reading.reason] if reading.ions else []
    formula = spectrum.formula if options.formula == RECORD else options.formula
    if options.formula == RECORD and not formula:
        notes.append("no formula is given, the precursor's mass decides")
    if formula:
        wrong = _formula_obstacle(formula, reading, decoder)
        if wrong is not None:
            return wrong
        answer.formula, answer.mass_filter, answer.status = formula, True, "ok"
        if reading.status == "assumed_adduct":
            answer.status = reading.status
    elif not options.mass_filter:
        answer.status = "assumed_adduct" if reading.status == "assumed_adduct" else "ok"
    elif reading.status in ("no_precursor", "unknown_adduct"):
        answer.status = "no_mass_filter"
        notes.append(f"{reading.reason.partition(';')[0]}, so that masses are not restricted")
    else:
        wrong = _mass_obstacle(spectrum, reading.ions, decoder)
        if wrong is not None:
            return wrong
        answer.mass_filter = True
    answer.reason = "; ".join(note for note in notes if note)
    return None


def _formula_obstacle(formula: str, reading: Reading, decoder: Decoder) -> tuple[str, str] | None:
    try:
        elements, mass = parse_formula(formula), formula_mass(formula)
    except FormulaError as error:
        return "no_formula", str(error)
    unknown = sorted(set(elements) - decoder.elements)
    if unknown:
        known = ", ".join(sorted(decoder.elements))
        return "unknown_element", f"formula {formula} has {', '.join(unknown)}; the model writes {known} only"
    if reading.ions and not any(ion.low <= mass <= ion.high for ion in reading.ions):
        names = ", ".join(ion.adduct.name for ion in reading.ions)
        return (
            "impossible_mass",
            f"formula {formula} weighs {mass:.4f} Da, which as {names} is not the precursor; correct one of them",
        )
    return None


def _mass_obstacle(spectrum: Spectrum, ions: Sequence[Ion], decoder: Decoder) -> tuple[str, str] | None:
    if not ions or not math.isfinite(spectrum.precursor_mz or math.nan):
        return "impossible_mass", f"precursor m/z {spectrum.precursor_mz} leaves no mass for a molecule"
    if max(ion.high for ion in ions) < LIGHTEST:
        masses = ", ".join(f"{(ion.low + ion.high) / 2:.4f} Da ({ion.adduct.name})" for ion in ions)
        return (
            "impossible_mass",
            f"no molecule weighs {masses}; the lightest, methane, weighs {LIGHTEST:.4f} Da",
        )
    return None
