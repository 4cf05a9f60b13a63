"""Peptide sequencing: spectra in, peptides out, one answer for every record of the input."""

from __future__ import annotations

import contextlib
import logging
import math
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..spectra.adducts import AdductError, parse_adduct
from ..spectra.masses import PROTON_MASS
from ..spectra.peptides import PeptideError
from ..spectra.spectrum import Problem, Spectrum
from .encode import device_of, runtime
from .inputs import as_spectrum, why
from .peptides import PeptideMatch, SequenceOptions, Sequencing
from .retrieval.precursor import polarity

logger = logging.getLogger(__name__)
Inputs = dict[str, npt.NDArray[Any]]


_SCAN = re.compile(r"(?:^|\s)scan=(\d+)\b")


def sequence(
    spectra: Iterable[Any],
    model: Any,
    processor: Any,
    tokenizer: Any,
    options: SequenceOptions | None = None,
    *,
    batch_size: int = 32,
    block: int = 1024,
) -> Iterator[Sequencing]:
    """Read peptides off every spectrum, in input order, one `Sequencing` per record.

    Args:
        spectra: `Spectrum`, `Problem`, rows of `load_spectra`, mappings or matchms spectra.
        model: `AutoModelForPeptideSequencing` on its device.
        processor: its feature extractor.
        tokenizer: its peptide tokenizer.
        options: how to search.
        batch_size: spectra per search.
        block: spectra read ahead, so that those of similar length share a batch.

    Yields:
        As many answers as there are records; one that cannot be searched has a status that says why.

    Raises:
        ValueError: `options` ask for what the model cannot do.
    """
    options = check_options(options or SequenceOptions(), model)
    seconds, count, stream = 0.0, 0, iter(spectra)
    logger.info("sequencing with %s, %d beams, %s", type(model).__name__, options.beams, runtime(model))
    while records := list(islice(stream, block)):
        start = time.perf_counter()
        plans = [plan(record, model, processor, options, count + i) for i, record in enumerate(records)]
        wanted = [(answer, inputs) for answer, inputs in plans if inputs is not None]
        # similar numbers of peaks, and among these similar masses, whose peptides end at similar steps
        wanted.sort(key=lambda pair: (pair[1]["peaks"].shape[1], float(pair[1]["precursors"][0, 0])))
        for place in range(0, len(wanted), batch_size):
            search(wanted[place : place + batch_size], model, processor, tokenizer, options)
        # reading the file and writing the answers are not counted
        seconds += time.perf_counter() - start
        for answer, _ in plans:
            yield answer
        count += len(records)
    logger.info("%d spectra in %.1f s, %.1f spectra/s", count, seconds, count / max(seconds, 1e-9))


def check_options(options: SequenceOptions, model: Any) -> SequenceOptions:
    """The options, once the model can do what they ask.

    Raises:
        ValueError: a charge is allowed that the model has no embedding for, or no length is between the limits.
    """
    known = model.config.max_charge
    shortest, longest = limits(options, model)
    if shortest > longest:
        raise ValueError(f"min_length {shortest} is above max_length {longest}; change one of them")
    if options.max_charge is not None and options.max_charge > known:
        raise ValueError(
            f"max_charge {options.max_charge}: the model knows charges 1 to {known}; give at most {known}"
        )
    return options


def limits(options: SequenceOptions, model: Any) -> tuple[int, int]:
    """Residues of a peptide at least, and steps of the search at most."""
    shortest = options.min_length or model.config.min_length
    return shortest, options.max_length or model.config.max_length


def plan(
    record: Any, model: Any, processor: Any, options: SequenceOptions, position: int = 0
) -> tuple[Sequencing, Inputs | None]:
    """The answer to fill and the arrays of one spectrum; no arrays if it cannot be searched, the answer then says why."""
    spectrum = as_spectrum(record, position)
    if isinstance(spectrum, Problem):
        place = {"path": spectrum.path, "line": spectrum.line}
        return Sequencing(spectrum.index, spectrum.native_id, "unreadable", why(spectrum), **place), None  # type: ignore[arg-type]
    answer = Sequencing(
        index=spectrum.index,
        native_id=spectrum.native_id,
        status="ok",
        precursor_mz=spectrum.precursor_mz,
        charge=spectrum.charge,
        retention_time=spectrum.retention_time,
        scan=_scan(spectrum),
        path=spectrum.path,
        line=spectrum.line,
    )
    wrong = _obstacle(spectrum, options.max_charge or model.config.max_charge)
    if wrong is None:
        try:
            inputs = dict(processor([spectrum], return_tensors="np"))
        except ValueError as error:
            wrong = "too_few_peaks", str(error).removeprefix(f"{spectrum.native_id}: ")
        else:
            if inputs["peaks"][0, :, 0].any():
                return answer, inputs
            wrong = "too_few_peaks", f"of {len(spectrum)} peaks none is one that the model uses"
    answer.status, answer.reason = wrong
    return answer, None


def search(
    wanted: Sequence[tuple[Sequencing, Inputs]],
    model: Any,
    processor: Any,
    tokenizer: Any,
    options: SequenceOptions,
) -> None:
    """Search one batch and enter what is found into its answers."""
    arrays = processor.collate([inputs["peaks"][0] for _, inputs in wanted])
    arrays["precursors"] = np.concatenate([inputs["precursors"] for _, inputs in wanted])
    batch = {name: torch.as_tensor(values).to(device_of(model)) for name, values in arrays.items()}
    finish([answer for answer, _ in wanted], batch, model, tokenizer, options)


def finish(
    answers: Sequence[Sequencing],
    batch: dict[str, torch.Tensor],
    model: Any,
    tokenizer: Any,
    options: SequenceOptions,
) -> None:
    """Run `generate` on the tensors of some answers and enter the peptides into these."""
    with torch.inference_mode():
        found = model.generate(**batch, **options.generation())
    peptides = tokenizer.batch_decode(found.sequences)
    for place, row in enumerate(found.spectrum_index.tolist()):
        score, residues = float(found.scores[place]), found.residue_scores[place, : int(found.lengths[place])]
        if not math.isfinite(score):
            answers[row].status, answers[row].reason = "failed", f"the score of {peptides[place]} is {score}"
            continue
        if str(getattr(model.config, "version", "")) != "4" and peptides[place].startswith("["):
            residues = torch.cat([residues[:1] * residues[1:2], residues[2:]])
        # only reached with min_length 1 or 2: a modification without its residue is no peptide
        with contextlib.suppress(PeptideError):
            _add(answers[row], peptides[place], score, residues.tolist(), tokenizer)
    for answer in answers:
        if not answer.peptides and answer.status == "ok":
            shortest, longest = limits(options, model)
            reason = f"no peptide of at least {shortest} residues ended within {longest} steps"
            answer.status, answer.reason = "no_peptide", reason


def _add(answer: Sequencing, peptide: str, score: float, residues: Sequence[float], tokenizer: Any) -> None:
    """Enter a peptide as the next in rank."""
    calculated = tokenizer.mass(peptide) / (answer.charge or 1) + PROTON_MASS
    error = ((answer.precursor_mz or math.nan) - calculated) / calculated * 1e6
    rank = len(answer.peptides) + 1
    answer.peptides.append(PeptideMatch(rank, peptide, score, tuple(residues), calculated, error))


def _obstacle(spectrum: Spectrum, max_charge: int) -> tuple[str, str] | None:
    """(status, reason) if the spectrum cannot be searched for a reason that is not in its peaks."""
    if spectrum.ms_level is not None and spectrum.ms_level < 2:
        return "not_msms", f"MS level is {spectrum.ms_level}; give fragment spectra"
    if polarity(spectrum) == "negative":
        return "negative_mode", "the spectrum is of negative ions; the model knows protonated peptides only"
    if spectrum.precursor_mz is None or not spectrum.precursor_mz > 0.0:
        return "no_precursor", "precursor m/z is missing; give it in the file (MGF: PEPMASS)"
    if not spectrum.charge:
        said = next((f" ({note})" for note in spectrum.notes if note.startswith("charge ")), "")
        return "no_charge", f"precursor charge is missing{said}; give it in the file (MGF: CHARGE=2+)"
    if spectrum.charge > max_charge:
        return "charge_too_high", f"charge is {spectrum.charge}+, charges up to {max_charge}+ are searched"
    if not _protonated(spectrum.adduct, spectrum.charge):
        return "other_adduct", f"adduct {spectrum.adduct} is not [M+{spectrum.charge}H]{spectrum.charge}+"
    return None


def _protonated(adduct: str | None, charge: int) -> bool:
    """Whether an adduct is nothing but protons, as many as the charge; a missing one is taken for it."""
    if adduct is None:
        return True
    number = str(charge) if charge > 1 else ""
    try:
        return parse_adduct(adduct) == parse_adduct(f"[M+{number}H]{number}+")
    except AdductError:
        return False


def _scan(spectrum: Spectrum) -> int | None:
    """The scan number the file gives: in a field of its own, or inside the native id."""
    given = spectrum.metadata.get("scans", "").strip()
    if given.isdecimal():
        return int(given)
    inside = _SCAN.search(spectrum.native_id)
    return int(inside[1]) if inside else None
