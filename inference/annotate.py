"""The main job: spectra in, ranked molecules out, one answer for every record of the input."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

from ..spectra.masses import FormulaError, parse_formula
from ..spectra.spectrum import Problem, Spectrum
from .encode import embed_spectra, runtime
from .inputs import as_spectrum, why
from .options import SearchOptions
from .retrieval.bank import MoleculeBank
from .retrieval.confidence import UNCALIBRATED, Calibration
from .retrieval.evidence import FragmentEvidence
from .retrieval.precursor import polarity, read_precursor
from .retrieval.query import Candidate, Query
from .retrieval.verdict import Judge, Verdict

logger = logging.getLogger(__name__)

STATUSES = {
    "ok": "candidates were ranked",
    "assumed_adduct": "candidates were ranked under an adduct that the file does not state",
    "abstained": "candidates were ranked, and none is sure enough to be the answer",
    "no_candidates": "no molecule of the bank is allowed by mass or formula",
    "unreadable": "the record is no spectrum",
    "too_few_peaks": "fewer peaks than asked for",
    "not_msms": "a survey scan, not a fragment spectrum",
    "no_precursor": "the precursor m/z is missing",
    "no_adduct": "the adduct is missing and none was to be assumed",
    "unknown_adduct": "the adduct cannot be understood",
    "polarity_mismatch": "adduct and ion mode contradict each other",
    "no_formula": "a search by formula needs one",
    "failed": "the model gave no embedding",
}

RANKED = ("rank", "smiles", "formula", "inchikey", "score", "gap", "mass_error_ppm")


@dataclass(slots=True)
class Annotation:
    """The answer for one record of the input.

    Attributes:
        index, native_id, path, line: which record; as in `Spectrum`.
        status, reason: a key of `STATUSES`, and what happened in words ("" if nothing needs saying).
        precursor_mz, adduct, ion_mode: what the search used; adduct is None if unknown or if several were tried.
        n_candidates: molecules that were ranked.
        candidates: the best of them.
        confidence_band: "high", "medium" or "low" by the probability of the first; "uncalibrated"; None without candidates.
        confidence_note: why it is uncalibrated, "" if it is not.
        ambiguity: "unique", "few" or "many" candidates as good as the first (within 0.03 of its score).
        set_size: candidates in the set that holds the truth with the chance asked for; None if uncalibrated.
        spectrum: the record itself, None if unreadable.
    """

    index: int
    native_id: str
    status: str
    reason: str = ""
    precursor_mz: float | None = None
    adduct: str | None = None
    ion_mode: str | None = None
    n_candidates: int = 0
    candidates: list[Candidate] = field(default_factory=list)
    confidence_band: str | None = None
    confidence_note: str = ""
    ambiguity: str | None = None
    set_size: int | None = None
    path: str | None = None
    line: int | None = None
    spectrum: Spectrum | None = None

    def rows(self) -> list[dict[str, Any]]:
        """One plain mapping per candidate, or a single one with rank None; the columns of a results table."""
        answers: list[Candidate | None] = [*self.candidates] or [None]
        return [self._row(candidate) for candidate in answers]

    def _row(self, candidate: Candidate | None) -> dict[str, Any]:
        found = asdict(candidate) if candidate else dict.fromkeys(Candidate.__dataclass_fields__)
        return {
            "index": self.index,
            "native_id": self.native_id,
            "precursor_mz": self.precursor_mz,
            "adduct": found.pop("adduct") or self.adduct,
            **{name: found.pop(name) for name in RANKED},
            "status": self.status,
            "reason": self.reason,
            **found,
            "confidence_band": self.confidence_band,
            "confidence_note": self.confidence_note,
            "ambiguity": self.ambiguity,
            "set_size": self.set_size,
        }


def annotate(
    spectra: Iterable[Any],
    model: Any,
    processor: Any,
    bank: MoleculeBank,
    options: SearchOptions | None = None,
    *,
    evidence: FragmentEvidence | None = None,
    calibration: Calibration | None = None,
    batch_size: int = 64,
    block: int = 1024,
) -> Iterator[Annotation]:
    """Rank the molecules of a bank for every spectrum, in input order, one `Annotation` per record.

    Args:
        spectra: `Spectrum`, `Problem`, rows of `load_spectra`, mappings or matchms spectra.
        model: retrieval model on its device.
        processor: its feature extractor.
        bank: candidates; `MoleculeBank.check_model` should have passed.
        options: how to search.
        evidence: orders the best candidates again by what their fragments explain.
        calibration: turns scores into probabilities and candidate sets, for the kinds of search it covers.
        batch_size: spectra per forward pass.
        block: spectra read ahead, so that those of similar length share a batch.

    Raises:
        DecodeError: the model does not have the path that the options ask for.
        CalibrationError: the options may hold answers back, and no calibration covers this kind of search.

    Yields:
        As many annotations as there are records; a record that cannot be searched has a status that says why.
    """
    options = options or SearchOptions()
    judge = Judge(model, bank, options, evidence, calibration)
    seconds, count, stream = 0.0, 0, iter(spectra)
    how = "embedding" if judge.evidence is None else "embedding and fragment evidence"
    logger.info("annotating by %s, %d molecules, %s", how, len(bank), runtime(model))
    while records := list(islice(stream, block)):
        start = time.perf_counter()
        plans = [plan(record, bank, options, count + i) for i, record in enumerate(records)]
        wanted = [(annotation, query) for annotation, query in plans if query is not None]
        asked = [_of(annotation) for annotation, _ in wanted]
        vectors, failed = embed_spectra(asked, model, processor, batch_size, options.decode)
        for row, reason in failed.items():
            wanted[row][0].status, wanted[row][0].reason = "failed", reason
        good = [row for row in range(len(wanted)) if row not in failed]
        queries = [wanted[row][1] for row in good]
        rankings = judge.rank(vectors[good], queries) if good else []
        for row, query, ranking in zip(good, queries, rankings, strict=True):
            finish(wanted[row][0], judge(ranking, query, asked[row], vectors[row]))
        # reading the file and writing the answers are not counted
        seconds += time.perf_counter() - start
        for annotation, _ in plans:
            yield annotation
        count += len(records)
    logger.info("%d spectra in %.1f s, %.1f spectra/s", count, seconds, count / max(seconds, 1e-9))


def plan(
    record: Any, bank: MoleculeBank, options: SearchOptions, position: int = 0
) -> tuple[Annotation, Query | None]:
    """What to search for one record; no query if there is nothing to search, the annotation then says why."""
    spectrum = as_spectrum(record, position)
    if isinstance(spectrum, Problem):
        reason = why(spectrum)
        place = {"path": spectrum.path, "line": spectrum.line}
        return Annotation(spectrum.index, spectrum.native_id, "unreadable", reason, **place), None  # type: ignore[arg-type]
    reading = read_precursor(spectrum, options.ppm, options.adducts, options.adduct_table)
    annotation = Annotation(
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
    query = Query(options.search, reading.ions, spectrum.formula, spectrum.precursor_mz)
    if options.search != "mass" and reading.status != "polarity_mismatch":
        annotation.status, annotation.reason = "ok", ""
        if reading.status != "ok":
            annotation.adduct = spectrum.adduct
            query = Query(options.search, (), spectrum.formula, spectrum.precursor_mz)
    wrong = _obstacle(spectrum, annotation, query, options)
    if wrong is not None:
        annotation.status, annotation.reason = wrong
        return annotation, None
    annotation.n_candidates = bank.count(query)
    if annotation.n_candidates == 0:
        annotation.status, annotation.reason = "no_candidates", _nothing(query, options, annotation.reason)
        return annotation, None
    return annotation, query


def finish(annotation: Annotation, verdict: Verdict) -> None:
    """Enter the outcome of a search."""
    known = verdict.confidence
    annotation.candidates, annotation.n_candidates = verdict.ranking.candidates, verdict.ranking.n_candidates
    annotation.confidence_band, annotation.confidence_note = known.band, known.reason
    annotation.ambiguity, annotation.set_size = known.ambiguity, known.set_size
    if known.band != UNCALIBRATED and annotation.status == "assumed_adduct":
        annotation.confidence_note = "if the assumed adduct is right"
    if verdict.abstained:
        parts = (verdict.abstained, annotation.reason)
        annotation.status, annotation.reason = "abstained", "; ".join(part for part in parts if part)


def _obstacle(
    spectrum: Spectrum, annotation: Annotation, query: Query, options: SearchOptions
) -> tuple[str, str] | None:
    """(status, reason) if the spectrum cannot be searched."""
    if spectrum.ms_level is not None and spectrum.ms_level < 2:
        return "not_msms", f"MS level is {spectrum.ms_level}; give fragment spectra"
    if len(spectrum) < options.min_peaks:
        return "too_few_peaks", f"{len(spectrum)} peaks, at least {options.min_peaks} are asked for"
    if annotation.status not in ("ok", "assumed_adduct"):
        return annotation.status, annotation.reason
    if query.search == "formula":
        if not query.formula:
            return (
                "no_formula",
                "no formula is given; add it to the file (MGF: FORMULA), or use --search mass",
            )
        try:
            parse_formula(query.formula)
        except FormulaError as error:
            return "no_formula", str(error)
    return None


def _nothing(query: Query, options: SearchOptions, note: str) -> str:
    if query.search == "formula":
        reason = f"no molecule of formula {query.formula} in the bank"
    elif query.search == "open":
        reason = "the bank is empty"
    else:
        masses = ", ".join(f"{(ion.low + ion.high) / 2:.4f} Da ({ion.adduct.name})" for ion in query.ions)
        reason = f"no molecule within {options.ppm:g} ppm of {masses or 'any positive mass'}"
    return f"{reason}; {note}" if note else reason


def _of(annotation: Annotation) -> Spectrum:
    if annotation.spectrum is None:
        raise ValueError(f"record {annotation.index} has a query but no spectrum")
    return annotation.spectrum
