"""Peptides as mzTab 1.0.0 (mode Summary, type Identification), written as the answers come.

The PSM section has the columns of Casanovo 5.2 and `opt_ms_run[1]_aa_scores`, the column of Casanovo 4 with the same
scores, so that programs made for either find theirs. A spectrum without a peptide cannot be a PSM, which needs a sequence:
it is a comment line ``COM  unidentified {...}`` behind the table, a JSON object with spectra_ref, native_id, status and
reason. PSM spectra and comments together are all records of the input.

Source: Griss et al., Mol. Cell. Proteomics 2014, 13, 2765, and the specification document of version 1.0.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from ..spectra.peptides import Modification, parse_peptide, unimod_numbers
from ..spectra.read import UnknownFormatError, sniff
from ..spectra.source import Source
from .peptide_records import PeptideLike, SequencingLike, residue_scores_text

COLUMNS = (
    *("sequence", "PSM_ID", "accession", "unique", "database", "database_version", "search_engine"),
    *("search_engine_score[1]", "modifications", "retention_time", "charge", "exp_mass_to_charge"),
    *("calc_mass_to_charge", "spectra_ref", "pre", "post", "start", "end"),
    *("opt_global_aa_scores", "opt_global_cv_MS:1003169_proforma_peptidoform_sequence"),
    *("opt_global_cv_MS:1003057_scan_number", "opt_ms_run[1]_aa_scores"),
)
UNIDENTIFIED = "unidentified "
"""Start of the comment of a spectrum without a peptide; JSON follows."""

SCORE = "[MS, MS:1001143, PSM-level search engine specific statistic, ]"
_FORMATS = {
    "mgf": "[MS, MS:1001062, Mascot MGF format, ]",
    "mzml": "[MS, MS:1000584, mzML format, ]",
    "mzxml": "[MS, MS:1000566, ISB mzXML format, ]",
}
_BY_NATIVE_ID = ("mzml", "mzxml")
_BY_PLACE = "[MS, MS:1000774, multiple peak list nativeID format, ]"
_ID_FORMATS = (
    (re.compile(r"controllerType=\d"), "[MS, MS:1000768, Thermo nativeID format, ]"),
    (re.compile(r"function=\d+ process="), "[MS, MS:1000769, Waters nativeID format, ]"),
    (re.compile(r"sample=\d+ period="), "[MS, MS:1000770, WIFF nativeID format, ]"),
    (re.compile(r"scan=\d+$"), "[MS, MS:1000776, scan number only nativeID format, ]"),
    (re.compile(r"spectrum=\d+$"), "[MS, MS:1000777, spectrum identifier nativeID format, ]"),
    (re.compile(r"index=\d+$"), _BY_PLACE),
)
_NONE_SEARCHED = {
    "fixed_mod": "[MS, MS:1002453, No fixed modifications searched, ]",
    "variable_mod": "[MS, MS:1002454, No variable modifications searched, ]",
}


@dataclass(frozen=True, slots=True)
class MzTabHead:
    """What the head of the file says of the run.

    Attributes:
        software: name and version of the program that ran.
        search_engine: CV parameter of the method, such as ``[MS, MS:1003281, Casanovo, ]``.
        settings: name to value, in order.
        fixed, variable: modifications (site, name) the model knows; site is a residue's letter or "N-term".
    """

    software: tuple[str, str]
    search_engine: str
    settings: Mapping[str, str] = field(default_factory=dict)
    fixed: Sequence[tuple[str, str]] = ()
    variable: Sequence[tuple[str, str]] = ()


def write_mztab(answers: Iterable[SequencingLike], path: str | Path, head: MzTabHead) -> int:
    """Write an mzTab file; it appears under its name when it is complete.

    Args:
        answers: one per record of the input, in order.
        path: of the file; its folder holds the unfinished parts meanwhile, so that memory stays small.
        head: what the metadata section says.

    Returns:
        The number of PSMs.
    """
    path, runs, counts = Path(path), _Runs(), Counter[str]()
    partial = path.with_name(f"{path.name}.part")
    with _scratch(path.parent) as rows, _scratch(path.parent) as comments:
        total = 0
        for answer in answers:
            counts[answer.status] += 1
            reference = runs.reference(answer)
            for found in answer.peptides:
                total += 1
                cells = _cells(answer, found, total, reference, head.search_engine)
                rows.write(_line("PSM", *(cells[name] for name in COLUMNS)))
            if not answer.peptides:
                comments.write(_line("COM", UNIDENTIFIED + _account(answer, reference)))
        with partial.open("w", encoding="utf-8", newline="\n") as out:
            out.writelines(_line("MTD", *pair) for pair in _metadata(head, runs, path.stem))
            out.write("\n" + _line("PSH", *COLUMNS))
            _append(rows, out)
            out.write("\n" + _line("COM", _summary(counts)))
            _append(comments, out)
    os.replace(partial, path)
    return total


def modifications_text(modifications: Sequence[Modification]) -> str:
    """The `modifications` cell of a PSM, such as ``0-UNIMOD:1,4-UNIMOD:35``; "null" if there is none."""
    parts = [f"{modification.position}-{_accession(modification.name)}" for modification in modifications]
    return ",".join(parts) or "null"


@dataclass(slots=True)
class _Run:
    """One input file: its number, its format, the index of its first record, and a native id of one of its spectra."""

    number: int
    kind: str
    first: int
    native_id: str = ""


class _Runs:
    """The input files in order of appearance, and how each record is referred to."""

    def __init__(self) -> None:
        self.known: dict[str | None, _Run] = {}

    def reference(self, answer: SequencingLike) -> str:
        """The `spectra_ref` of a record: by its native id in mzML and mzXML, else by its place in the file."""
        run = self.known.get(answer.path)
        if run is None:
            run = _Run(len(self.known) + 1, _kind(answer.path), answer.index)
            self.known[answer.path] = run
        name = f"index={answer.index - run.first}"
        if run.kind in _BY_NATIVE_ID and answer.native_id:
            name = answer.native_id
            run.native_id = run.native_id or name
        return f"ms_run[{run.number}]:{name}"

    def metadata(self) -> Iterator[tuple[str, str]]:
        """Location, format and kind of id of every run."""
        for path, run in self.known.items():
            if run.kind in _FORMATS:
                yield f"ms_run[{run.number}]-format", _FORMATS[run.kind]
            yield (
                f"ms_run[{run.number}]-location",
                "null" if path is None else Path(path).absolute().as_uri(),
            )
            by_place = run.kind not in _BY_NATIVE_ID
            known = (term for sign, term in _ID_FORMATS if sign.match(run.native_id))
            term = _BY_PLACE if by_place else next(known, None)
            if term:
                yield f"ms_run[{run.number}]-id_format", term
        if not self.known:
            yield "ms_run[1]-location", "null"


def _kind(path: str | None) -> str:
    """The format of an input file; "" where it cannot be told."""
    try:
        return sniff(Source(path)) if path else ""
    except (UnknownFormatError, OSError):
        return ""


def _metadata(head: MzTabHead, runs: _Runs, title: str) -> Iterator[tuple[str, str]]:
    name, version = head.software
    yield "mzTab-version", "1.0.0"
    yield "mzTab-mode", "Summary"
    yield "mzTab-type", "Identification"
    yield "description", f"{name} peptide sequencing, {title}"
    yield "software[1]", f"[MS, MS:1001456, analysis software, {_parameter(f'{name} {version}')}]"
    for number, (key, value) in enumerate(head.settings.items(), start=1):
        yield f"software[1]-setting[{number}]", f"{key} = {value}"
    yield "psm_search_engine_score[1]", SCORE
    yield from runs.metadata()
    for kind, modifications in (("fixed_mod", head.fixed), ("variable_mod", head.variable)):
        if not modifications:
            yield f"{kind}[1]", _NONE_SEARCHED[kind]
        for number, (site, modification) in enumerate(modifications, start=1):
            yield f"{kind}[{number}]", _term(modification)
            yield f"{kind}[{number}]-site", site
            yield f"{kind}[{number}]-position", "Any N-term" if site == "N-term" else "Anywhere"


def _accession(name: str) -> str:
    """``UNIMOD:35``, or ``CHEMMOD:+25.980265`` for a mass and for a name that is not in our table."""
    number = unimod_numbers().get(name)
    return f"CHEMMOD:{name}" if number is None else f"UNIMOD:{number}"


def _term(name: str) -> str:
    accession = _accession(name)
    ontology = accession.partition(":")[0]
    return f"[{ontology}, {_parameter(accession)}, {_parameter(name) if ontology == 'UNIMOD' else ''}, ]"


def _parameter(text: str) -> str:
    """Text inside a CV parameter: one with a comma is quoted."""
    return f'"{text}"' if "," in text else text


def _cells(
    answer: SequencingLike, found: PeptideLike, number: int, reference: str, search_engine: str
) -> dict[str, str]:
    """The cells of a PSM by column."""
    peptide = parse_peptide(found.peptide)
    scores = residue_scores_text(found)
    scan = None if answer.scan is None else f"{reference.partition(':')[0]}:scan={answer.scan}"
    given = {
        "sequence": peptide.sequence,
        "PSM_ID": number,
        "search_engine": search_engine,
        "search_engine_score[1]": found.score,
        "modifications": modifications_text(peptide.modifications),
        "retention_time": answer.retention_time,
        "charge": answer.charge,
        "exp_mass_to_charge": answer.precursor_mz,
        "calc_mass_to_charge": found.calc_mz,
        "spectra_ref": reference,
        "opt_global_aa_scores": scores,
        "opt_global_cv_MS:1003169_proforma_peptidoform_sequence": found.peptide,
        "opt_global_cv_MS:1003057_scan_number": scan,
        "opt_ms_run[1]_aa_scores": scores,
    }
    return {name: _cell(given.get(name)) for name in COLUMNS}


def _cell(value: object) -> str:
    if value is None or value == "":
        return "null"
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else "null"
    return str(value)


def _account(answer: SequencingLike, reference: str) -> str:
    """Which spectrum has no peptide, and why, as JSON."""
    parts = {"spectra_ref": reference, "native_id": answer.native_id}
    return json.dumps(parts | {"status": answer.status, "reason": answer.reason}, ensure_ascii=False)


def _summary(counts: Counter[str]) -> str:
    found = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    return f"{counts.total()} spectra: {found or 'none'}"


def _line(*cells: str) -> str:
    """One line; a tab or line break inside a cell becomes a space."""
    return "\t".join(" ".join(re.split(r"[\t\r\n\v\f\x85\u2028\u2029]+", cell)) for cell in cells) + "\n"


def _scratch(folder: Path) -> tempfile._TemporaryFileWrapper[str]:
    return tempfile.NamedTemporaryFile("w+", encoding="utf-8", newline="\n", dir=folder)


def _append(part: tempfile._TemporaryFileWrapper[str], out: TextIO) -> None:
    part.seek(0)
    shutil.copyfileobj(part, out)
