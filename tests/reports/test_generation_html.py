"""The report of generated molecules: one file, nothing loaded, everything escaped, every record accounted for."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from msformers.reports.generation_html import write_generation_report
from msformers.reports.html import Limits, ReportError, RunInfo
from msformers.spectra.spectrum import Problem

from .answers import spectrum
from .generation_answers import CAFFEINE, ISOMER, Answer, unreadable
from .test_html import EVIL, Page

RUN = RunInfo(
    ("run.mgf",), "denovo-small", "none", None, "msformers generate run.mgf", {"search": "beam, 100 wide"}
)


def report(folder: Path, *found: Answer, **options: object) -> tuple[str, Page]:
    write_generation_report(found, folder / "out.html", RUN, **options)  # type: ignore[arg-type]
    text = (folder / "out.html").read_text(encoding="utf-8")
    return text, Page(text)


def test_every_part_is_there(tmp_path: Path) -> None:
    text, page = report(tmp_path, Answer(), unreadable())
    assert page.open == []
    for words in ("2 spectra read", "1 with molecules", "1 without an answer", "denovo-small", "beam, 100 wide",
                  "msformers generate run.mgf", "place run.mgf:7", "precursor m/z 195.0877", "collision energy 35 eV",
                  "mass of the precursor", "LC-ESI-QTOF", "agreement 90 %", "amide 1.00; phenol 0.50",
                  "Ordered by a re-ranking model", "proposals"):  # fmt: skip
        assert words in page.text, words
    assert len(page.classed("peaks")) == 1 and len(page.classed("consensus")) == 1
    # two maps and the scale
    assert len(page.classed("agreement")) == 3 and text.count("<mask") == 2


def test_it_says_what_is_not_listed(tmp_path: Path) -> None:
    _, page = report(tmp_path, Answer())
    words = "Sequences generated: 100; molecules listed: 2; left out: 2 invalid, 58 repeated, 38 held back"
    assert words in page.text
    _, whole = report(tmp_path, Answer(n_generated=2, n_valid=2, n_distinct=2, n_held_back=0))
    assert "left out" not in whole.text


def test_status_reason_and_the_formula_asked_for_are_shown(tmp_path: Path) -> None:
    found = Answer(
        status="no_mass_filter", reason="precursor m/z is missing", mass_filter=False, precursor_mz=None
    )
    _, page = report(tmp_path, found, Answer(1, "scan=9", formula="C8H10N4O2"))
    assert "mass not restricted" in page.text and "mass of C8H10N4O2" in page.text
    assert "precursor m/z is missing" in page.text and len(page.classed("status")) == 1
    assert any("nofilter" in (row.get("data-kind") or "") for row in page.all("tr"))


def test_it_loads_nothing(tmp_path: Path) -> None:
    text, page = report(tmp_path, Answer())
    assert page.all("link") == page.all("img") == page.all("iframe") == []
    assert set(re.findall(r"https?://[^\"'\s<]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "@import" not in text and set(re.findall(r"url\((.)", text)) == {"#"}


def test_everything_from_outside_is_escaped(tmp_path: Path) -> None:
    nasty = replace(ISOMER, rank=1, formula=EVIL, inchikey14=EVIL, adduct=EVIL, source=EVIL)
    broken = replace(nasty, rank=2, smiles=EVIL)
    found = Answer(
        0, EVIL, EVIL, EVIL, 1.0, EVIL, EVIL, EVIL, True, [nasty], substructures={EVIL: 1.0}, path=EVIL
    )
    found.spectrum = spectrum(native_id=EVIL, instrument_type=EVIL, notes=(EVIL,))
    second = replace(found, index=1, molecules=[replace(broken, rank=1)])
    run = RunInfo((EVIL,), EVIL, EVIL, None, EVIL, {EVIL: EVIL})
    problem = Problem(2, 2, EVIL, EVIL, EVIL, EVIL, EVIL, EVIL)
    answers = [found, second, unreadable(2, EVIL)]
    write_generation_report(answers, tmp_path / "out.html", run, problems=[problem])
    write_generation_report(answers, tmp_path / "two.html", run, limits=Limits(candidates=0))
    for name in ("out.html", "two.html"):
        page = Page((tmp_path / name).read_text(encoding="utf-8"))
        assert page.open == [] and len(page.all("script")) == 1 and page.all("img") == []
        assert not any(key.startswith("on") for _, attrs in page.elements for key in attrs)


@pytest.mark.parametrize(
    ("smiles", "badge", "words"),
    [
        (CAFFEINE.smiles, "hit", "structure in the file: rank 1"),
        ("CCO", "missed", "structure in the file: not among the molecules"),
        (None, None, None),
    ],
)
def test_the_known_structure_is_marked(
    tmp_path: Path, smiles: str | None, badge: str | None, words: str | None
) -> None:
    known = {"amide": True, "phenol": False} if smiles else {}
    text, page = report(tmp_path, Answer(spectrum=spectrum(smiles=smiles), known_substructures=known))
    assert badge is None or len(page.classed(badge)) >= 1
    assert words is None or words in page.text
    assert len(page.classed("known")) == (badge == "hit") and ("in the stated structure" in text) == bool(
        smiles
    )


def test_calibrated_probabilities_are_marked(tmp_path: Path) -> None:
    text, _ = report(tmp_path, Answer(substructure_probabilities={"amide": 0.7}))
    plain, _ = report(tmp_path, Answer())
    assert "calibrated probability" in text and "calibrated probability" not in plain


def test_one_molecule_has_no_bars_and_no_shades(tmp_path: Path) -> None:
    _, page = report(tmp_path, Answer(molecules=[replace(CAFFEINE, consensus=None)]))
    assert page.classed("consensus") == [] and len(page.classed("agreement")) == 1
    assert len(page.classed("molecule")) == 1 and "agreement 90 %" not in page.text


def test_molecules_beyond_the_drawn_ones_are_listed_and_long_runs_are_capped(tmp_path: Path) -> None:
    many = [replace(ISOMER, rank=rank) for rank in range(1, 15)]
    _, page = report(tmp_path, Answer(molecules=many))
    assert len(page.classed("agreement")) == 10 and "Ranks 10 to 14" in page.text
    found = [Answer(i, f"scan={i}") for i in range(6)] + [unreadable(6 + i) for i in range(4)]
    _, capped = report(tmp_path, *found, limits=Limits(spectra=2, rows=3))
    assert len(capped.all("article")) == 2 and "Drawn are the first 2 of 10 spectra" in capped.text
    assert (
        "The first 3 of 10 spectra are listed" in capped.text and "The first 3 of 4 are listed" in capped.text
    )


def test_ids_are_unique(tmp_path: Path) -> None:
    _, page = report(tmp_path, *(Answer(i, "same") for i in range(3)))
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids)) > 10
    named = [attrs["aria-labelledby"] for _, attrs in page.elements if "aria-labelledby" in attrs]
    assert set(named) <= set(ids)


def test_counts_are_returned_and_an_empty_run_is_a_page(tmp_path: Path) -> None:
    known = Answer(spectrum=spectrum(smiles=CAFFEINE.smiles))
    tally = write_generation_report([known, Answer(1), unreadable(2)], tmp_path / "a.html", RUN)
    assert (tally.read, tally.answered, tally.molecules) == (3, 2, 4)
    assert (tally.known, tally.first, tally.listed) == (1, 1, 1)
    assert tally.by_status == {"ok": 2, "unreadable": 1}
    _, page = report(tmp_path)
    assert page.open == [] and "0 spectra read" in page.text
    with pytest.raises(ReportError, match="create it first"):
        write_generation_report([], tmp_path / "nowhere" / "a.html", RUN)
