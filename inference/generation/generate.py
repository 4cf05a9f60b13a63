"""From spectra without candidates to ranked, checked molecules: one answer for every record of the input."""

from __future__ import annotations

import gc
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
from ..retrieval.precursor import Reading, polarity, read_precursor
from ..retrieval.query import Query, Search
from .consensus_calibration import ConsensusCalibration
from .decode import Decoder, Plan
from .formulas import FormulaLimitError
from .mass_target import MassTarget
from .options import RECORD, GenerateOptions, Generation
from .rerank import Reranker
from .substructures import Substructure

logger = logging.getLogger(__name__)
TOO_MANY = 20_000
"""Formulas of one mass beyond which it does not restrict the search; at 10 ppm that is about 670 Da."""
TOGETHER = 20_000
"""Formulas of all masses of one search: each costs up to 200 kB while it runs."""


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
    calibration: ConsensusCalibration | None = None,
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
        calibration: turns the consensus of substructures into probabilities; `ConsensusCalibration.load` finds it.
        batch_size: spectra per search.
        block: spectra read ahead, so that those of similar length share a batch; by default four batches.

    Returns:
        An iterator over as many answers as there are records; one without molecules has a status that says why. Options are
        checked at once, spectra are read as answers are taken.

    Raises:
        ValueError: the options ask for a re-ranker that is not given, or for more than the model can write.
    """
    options = options or GenerateOptions()
    decoder = Decoder(
        model, processor, tokenizer, options, reranker, library, properties, substructures, calibration
    )
    return _answers(iter(spectra), decoder, batch_size, block or 4 * batch_size)


def _answers(stream: Iterator[Any], decoder: Decoder, batch_size: int, block: int) -> Iterator[Generation]:
    options, seconds, count = decoder.options, 0.0, 0
    logger.info(
        "generating by %s, %d wide, at most %d molecules each, ordered by %s, %s",
        *(options.strategy, options.beams, options.n, decoder.order.name, runtime(decoder.model)),
    )
    while records := list(islice(stream, block)):
        start = time.perf_counter()
        plans = [plan(record, decoder, count + i) for i, record in enumerate(records)]
        wanted = [one for one in plans if one.query is not None]
        # molecules of similar mass end at similar steps
        wanted.sort(key=lambda one: (one.answer.mass_filter, one.answer.precursor_mz or 0.0))
        for batch in batches(wanted, batch_size):
            answer_batch(batch, decoder)
        # reading the file and writing the answers are not counted
        seconds += time.perf_counter() - start
        for one in plans:
            yield one.answer
        count += len(records)
    logger.info("%d spectra in %.1f s, %.2f spectra/s", count, seconds, count / max(seconds, 1e-9))


def batches(plans: Sequence[Plan], batch_size: int) -> Iterator[list[Plan]]:
    """Parts of at most `batch_size` records whose formulas together are no more than `TOGETHER`, or single records."""
    part: list[Plan] = []
    for one in plans:
        formulas = sum(len(each.target.counts) for each in (*part, one) if each.target is not None)
        if part and (len(part) == batch_size or formulas > TOGETHER):
            yield part
            part = []
        part.append(one)
    if part:
        yield part


def answer_batch(plans: Sequence[Plan], decoder: Decoder) -> None:
    """Enter molecules into some answers; where the model fails on all together, each is tried alone."""
    try:
        decoder(plans)
        gc.collect()  # the formulas that partial molecules can reach refer to each other, by the gigabyte
    # whatever a model raises on one spectrum (a size it has no memory for, a value it does not know) costs only that one
    except Exception as error:
        if len(plans) > 1:
            for one in plans:
                answer_batch([one], decoder)
            return
        answer = plans[0].answer
        answer.status, answer.reason = "failed", f"{type(error).__name__}: {error}".splitlines()[0]
        answer.molecules.clear()
        logger.warning("spectrum %d %s failed: %s", answer.index, answer.native_id, answer.reason)


def plan(record: Any, decoder: Decoder, position: int = 0) -> Plan:
    """What is to be generated for one record; no query if there is nothing, the answer then says why."""
    options = decoder.options
    spectrum = as_spectrum(record, position)
    if isinstance(spectrum, Problem):
        place = {"path": spectrum.path, "line": spectrum.line}
        return Plan(Generation(spectrum.index, spectrum.native_id, "unreadable", why(spectrum), **place))  # type: ignore[arg-type]
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
    try:
        _check(spectrum, reading, options)
        target = _restrict(answer, spectrum, reading, decoder)
    except NothingToGenerateError as obstacle:
        answer.status, answer.reason = obstacle.status, str(obstacle)
        return Plan(answer)
    search: Search = "formula" if answer.formula else "mass" if target else "open"
    return Plan(answer, Query(search, reading.ions, answer.formula, spectrum.precursor_mz), target)


class NothingToGenerateError(ValueError):
    """Why nothing can be generated for a spectrum; `status` is a key of `STATUSES`."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def _check(spectrum: Spectrum, reading: Reading, options: GenerateOptions) -> None:
    """Raise `NothingToGenerateError` if there is nothing to generate from."""
    if spectrum.ms_level is not None and spectrum.ms_level < 2:
        raise NothingToGenerateError("not_msms", f"MS level is {spectrum.ms_level}; give fragment spectra")
    if len(spectrum) < options.min_peaks:
        found = f"{len(spectrum)} peaks, at least {options.min_peaks} are asked for"
        raise NothingToGenerateError("too_few_peaks", found)
    if reading.status in ("polarity_mismatch", "no_adduct"):
        raise NothingToGenerateError(reading.status, reading.reason)


def _restrict(
    answer: Generation, spectrum: Spectrum, reading: Reading, decoder: Decoder
) -> MassTarget | None:
    """What the molecules are held to, entered into status and reason; None if their mass is not restricted.

    Raises:
        NothingToGenerateError: no molecule can be like that.
    """
    options, notes = decoder.options, [reading.reason] if reading.ions else []
    formula, target = spectrum.formula if options.formula == RECORD else options.formula, None
    unusable = reading.status in ("no_precursor", "unknown_adduct")
    if options.formula == RECORD and not formula:
        by_mass = ", the precursor's mass decides" if options.mass_filter and not unusable else ""
        notes.append(f"no formula is given{by_mass}")
    answer.status = "assumed_adduct" if reading.status == "assumed_adduct" else "ok"
    if formula:
        target, answer.formula = _formula_target(formula, reading, decoder), formula
    elif options.mass_filter and unusable:
        answer.status = "no_mass_filter"
        notes.append(f"{reading.reason.partition(';')[0]}, so that masses are not restricted")
    elif options.mass_filter:
        target = _mass_target(spectrum, reading, decoder)
    if target is not None and len(target.counts) > TOO_MANY:
        answer.status = "no_mass_filter"
        notes.append(
            f"{len(target.counts)} formulas have this mass, too many to hold a search to; give one, or a smaller ppm"
        )
        target = None
    answer.mass_filter = target is not None
    if reading.status == "no_precursor" and decoder.needs_precursor:
        highest = decoder.shown(spectrum).precursor_mz
        notes.append(f"the model is shown the highest peak, m/z {highest:.4f}, in its place")
    answer.reason = "; ".join(note for note in notes if note)
    return target


def _formula_target(formula: str, reading: Reading, decoder: Decoder) -> MassTarget:
    try:
        elements, mass = parse_formula(formula), formula_mass(formula)
    except FormulaError as error:
        raise NothingToGenerateError("no_formula", str(error)) from error
    unknown = sorted(set(elements) - decoder.elements)
    if unknown:
        known = ", ".join(sorted(decoder.elements))
        wrong = f"formula {formula} has {', '.join(unknown)}; the model writes {known} only"
        raise NothingToGenerateError("unknown_element", wrong)
    if reading.ions and not any(ion.low <= mass <= ion.high for ion in reading.ions):
        names = ", ".join(ion.adduct.name for ion in reading.ions)
        weighs = f"formula {formula} weighs {mass:.4f} Da, which as {names} is not the precursor; correct one of them"
        raise NothingToGenerateError("impossible_mass", weighs)
    try:
        return MassTarget.from_formula(formula)
    except FormulaLimitError as error:
        raise NothingToGenerateError("unknown_element", str(error)) from error


def _mass_target(spectrum: Spectrum, reading: Reading, decoder: Decoder) -> MassTarget:
    precursor = spectrum.precursor_mz or math.nan
    target = MassTarget.from_reading(reading) if math.isfinite(precursor) else None
    if target is None:
        raise NothingToGenerateError(
            "impossible_mass", f"precursor m/z {precursor} leaves no mass for a molecule"
        )
    target = target.limited(sorted(decoder.elements))
    if target.reason:
        raise NothingToGenerateError("impossible_mass", target.reason)
    return target
