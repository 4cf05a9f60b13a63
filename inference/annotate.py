"""The main job: spectra in, ranked molecules out, one answer for every record of the input."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from ..spectra.adducts import AdductTable
from ..spectra.masses import FormulaError, parse_formula
from ..spectra.spectrum import Problem, Spectrum
from .encode import embed_spectra, runtime
from .inputs import as_spectrum, why
from .retrieval.bank import MoleculeBank
from .retrieval.evidence import FragmentEvidence
from .retrieval.precursor import AdductPolicy, polarity, read_precursor
from .retrieval.query import Candidate, Query, Ranking, Search
from .retrieval.rerank import rerank

logger = logging.getLogger(__name__)

STATUSES = {
    "ok": "candidates were ranked",
    "assumed_adduct": "candidates were ranked under an adduct that the file does not state",
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


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How to search.

    Attributes:
        search: "mass" (precursor and adduct), "formula" (the spectrum's formula) or "open" (the whole bank).
        top_k: candidates per spectrum.
        ppm: tolerance around the precursor m/z.
        adducts: for spectra without adduct: "assume", "common", "require" or an adduct; see `read_precursor`.
        adduct_table: the known adducts, by default those of the package.
        min_peaks: spectra with fewer peaks are reported and not searched.
        evidence_depth: best candidates that are cut into fragments and ranked again, where the checkpoint knows how; 0 = none.
    """

    search: Search = "mass"
    top_k: int = 10
    ppm: float = 10.0
    adducts: AdductPolicy = "assume"
    adduct_table: AdductTable | None = None
    min_peaks: int = 1
    evidence_depth: int = 200

    def __post_init__(self) -> None:
        if self.search not in ("mass", "formula", "open"):
            raise ValueError(f"search {self.search!r} is none of mass, formula, open")
        if self.top_k < 1 or not self.ppm > 0.0:
            raise ValueError(f"top_k must be at least 1 and ppm above 0, got {self.top_k} and {self.ppm}")

    def depth(self, evidence: FragmentEvidence | None) -> int:
        """Candidates to rank by embedding."""
        return self.top_k if evidence is None else max(self.top_k, self.evidence_depth)


@dataclass(slots=True)
class Annotation:
    """The answer for one record of the input.

    Attributes:
        index, native_id, path, line: which record; as in `Spectrum`.
        status, reason: a key of `STATUSES`, and what happened in words ("" if nothing needs saying).
        precursor_mz, adduct, ion_mode: what the search used; adduct is None if unknown or if several were tried.
        n_candidates: molecules that were ranked.
        candidates: the best of them.
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
        }


def annotate(
    spectra: Iterable[Any],
    model: Any,
    processor: Any,
    bank: MoleculeBank,
    options: SearchOptions | None = None,
    *,
    evidence: FragmentEvidence | None = None,
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
        batch_size: spectra per forward pass.
        block: spectra read ahead, so that those of similar length share a batch.

    Yields:
        As many annotations as there are records; a record that cannot be searched has a status that says why.
    """
    options = options or SearchOptions()
    seconds, count, stream = 0.0, 0, iter(spectra)
    how = "embedding and fragment evidence" if options.depth(evidence) > options.top_k else "embedding"
    logger.info("annotating by %s, %d molecules, %s", how, len(bank), runtime(model))
    while records := list(islice(stream, block)):
        start = time.perf_counter()
        plans = [plan(record, bank, options, count + i) for i, record in enumerate(records)]
        wanted = [(annotation, query) for annotation, query in plans if query is not None]
        vectors, failed = embed_spectra([_of(a) for a, _ in wanted], model, processor, batch_size)
        for row, reason in failed.items():
            wanted[row][0].status, wanted[row][0].reason = "failed", reason
        good = [row for row in range(len(wanted)) if row not in failed]
        queries = [wanted[row][1] for row in good]
        rankings = bank.rank(vectors[good], queries, options.depth(evidence)) if good else []
        for row, ranking in zip(good, rankings, strict=True):
            finish(wanted[row][0], ranking, vectors[row], options, evidence)
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


def finish(
    annotation: Annotation,
    ranking: Ranking,
    embedding: Any,
    options: SearchOptions,
    evidence: FragmentEvidence | None,
) -> None:
    """Enter the outcome of a search, ranked again by fragment evidence if there is any."""
    if evidence is not None and options.evidence_depth > 0:
        length = float(np.linalg.norm(embedding))
        ranking = rerank(ranking, annotation.spectrum, length, evidence, options.top_k)
    annotation.candidates, annotation.n_candidates = ranking.candidates, ranking.n_candidates


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
