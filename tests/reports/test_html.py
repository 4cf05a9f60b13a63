"""The report: one file, nothing loaded, everything escaped, every record accounted for, small."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from msformers.reports.html import Limits, ReportError, RunInfo, write_report
from msformers.spectra.spectrum import Problem

from . import answers

RUN = RunInfo(
    ("run.mgf",), "specbridge-small", "bank.smi", 534, "msformers annotate run.mgf", {"search": "mass"}
)
VOID = {"meta", "link", "br", "input", "img", "hr", "path"}
EVIL = "</title><script>alert('x')</script>\"'><img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """Collects what a page is made of, and checks that its elements are nested."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        (self.scripts if self.open[-1:] == ["script"] else self.words).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]

    def classed(self, name: str) -> list[dict[str, str | None]]:
        return [attrs for _, attrs in self.elements if name in (attrs.get("class") or "").split()]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def report(folder: Path, *found: answers.Answer, **options: object) -> tuple[str, Page]:
    write_report(found, folder / "out.html", RUN, **options)  # type: ignore[arg-type]
    text = (folder / "out.html").read_text(encoding="utf-8")
    return text, Page(text)


def test_every_part_is_there(tmp_path: Path) -> None:
    _, page = report(tmp_path, answers.answer(0), answers.unreadable(1))
    assert page.open == []
    for words in (
        "2 spectra read",
        "1 annotated",
        "1 without an answer",
        "specbridge-small",
        "bank.smi (534 molecules)",
    ):
        assert words in page.text, words
    for words in (
        "msformers annotate run.mgf",
        "rdkit",
        "collision energy 35 eV",
        "LC-ESI-QTOF",
        "RYYVLZVUVIJVGH",
    ):
        assert words in page.text, words
    assert len(page.classed("peaks")) == 1 and len(page.classed("molecule")) == 2
    assert [attrs["id"] for attrs in page.all("article")] == ["s0"]


def test_it_loads_nothing(tmp_path: Path) -> None:
    text, page = report(tmp_path, answers.answer())
    assert page.all("link") == page.all("img") == page.all("iframe") == []
    outside = [
        value
        for _, attrs in page.elements
        for name, value in attrs.items()
        if name in ("src", "href", "action")
    ]
    assert all(value.startswith("#") for value in outside if value is not None)
    addresses = set(re.findall(r"https?://[^\"'\s<]+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}
    assert "@import" not in text and "url(" not in text


def test_only_our_script_may_run(tmp_path: Path) -> None:
    text, page = report(tmp_path, answers.answer(native_id=EVIL))
    (script,) = page.scripts
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [
        meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    assert (
        policy is not None and f"script-src 'sha256-{allowed}'" in policy and "default-src 'none'" in policy
    )
    assert text.count("<script") == 1


def test_everything_from_outside_is_escaped(tmp_path: Path) -> None:
    nasty = answers.Candidate(1, EVIL, EVIL, EVIL, 0.5, None, 1.0, EVIL, EVIL)
    made = answers.answer(
        0, EVIL, candidates=[nasty], status=EVIL, reason=EVIL, adduct=EVIL, ion_mode=EVIL, path=EVIL
    )
    made.spectrum = answers.spectrum(native_id=EVIL, instrument_type=EVIL, notes=(EVIL,))
    bad = answers.unreadable(1, EVIL)
    problem = Problem(1, 2, EVIL, EVIL, EVIL, EVIL, EVIL, EVIL)
    run = RunInfo((EVIL,), EVIL, EVIL, None, EVIL, {EVIL: EVIL})
    write_report([made, bad], tmp_path / "out.html", run, problems=[problem], limits=Limits(candidates=0))
    write_report([made, bad], tmp_path / "two.html", run, problems=[problem])
    for name in ("out.html", "two.html"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        page = Page(text)
        assert page.open == []
        assert len(page.all("script")) == 1 and page.all("img") == []
        assert not any(key.startswith("on") for _, attrs in page.elements for key in attrs)
        assert "alert('x')" in page.text


def test_problems_name_place_field_value_reason_and_remedy(tmp_path: Path) -> None:
    problem = Problem(1, 12, "scan=2", "PEPMASS", "abc", "is not a number", "run.mgf", "give a number")
    _, page = report(tmp_path, answers.answer(0), answers.unreadable(1), problems=[problem])
    assert "scan=2 run.mgf:12 unreadable PEPMASS abc is not a number give a number" in page.text
    _, bare = report(tmp_path, answers.answer(0), answers.unreadable(1))
    assert "PEPMASS 'abc' is not a number" in bare.text


@pytest.mark.parametrize(
    ("smiles", "badge", "words"),
    [
        (answers.CAFFEINE.smiles, "hit", "structure in the file: rank 1"),
        ("CCO", "missed", "structure in the file: not among the candidates"),
        (None, None, None),
    ],
)
def test_the_known_structure_is_marked(
    tmp_path: Path, smiles: str | None, badge: str | None, words: str | None
) -> None:
    _, page = report(tmp_path, answers.answer(spectrum=answers.spectrum(smiles=smiles)))
    assert len(page.classed("badge")) == (badge is not None)
    assert badge is None or len(page.classed(badge)) >= 1
    assert words is None or words in page.text
    assert len(page.classed("known")) == (badge == "hit")


def test_candidates_beyond_the_drawn_ones_are_listed(tmp_path: Path) -> None:
    many = [
        answers.Candidate(rank, "CCO", "C2H6O", "LFQSCWFLJHTTHZ-UHFFFAOYSA-N", 1 - rank / 20)
        for rank in range(1, 11)
    ]
    _, page = report(tmp_path, answers.answer(candidates=many, n_candidates=57))
    assert len(page.classed("molecule")) == 6
    assert "Ranks 7 to 10" in page.text and "candidates 57" in page.text
    assert "only one" not in page.text.lower()


def test_a_single_candidate_is_said_to_be_chosen_by_the_window(tmp_path: Path) -> None:
    _, page = report(tmp_path, answers.answer(candidates=[answers.CAFFEINE], n_candidates=1))
    assert "the search window chose it, not the score" in page.text


def test_a_hundred_spectra_stay_below_five_megabytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def crowd() -> Iterator[answers.Answer]:
        for index in range(100):
            peaks = np.sort(rng.uniform(50, 800, 500))
            heights = rng.uniform(0, 1, 500).astype(np.float32)
            chain = "C" * (index % 7 + 1)
            smiles = (
                f"CC(C){chain}OC1C(=O)C2(C)C(O)CC3OCC3(OC(C)=O)C2C(OC(=O)c2ccccc2)C2(O)CC(O)C(C)=C1C2(C)C"
            )
            found = [answers.Candidate(k, smiles + "N" * 0, "C31H40O10", "K" * 14, 0.5) for k in range(1, 11)]
            shown = answers.spectrum(mz=peaks, intensity=heights, precursor_mz=801.0)
            yield answers.answer(index, f"scan={index}", candidates=found, spectrum=shown, n_candidates=10)

    write_report(crowd(), tmp_path / "out.html", RUN)
    assert (tmp_path / "out.html").stat().st_size < 5_000_000


def test_thousands_of_spectra_are_capped_and_it_says_so(tmp_path: Path) -> None:
    limits = Limits(spectra=3, rows=8)
    found = [answers.answer(i, f"scan={i}") for i in range(20)] + [
        answers.unreadable(20 + i) for i in range(10)
    ]
    _, page = report(tmp_path, *found, limits=limits)
    assert len(page.all("article")) == 3
    assert "Drawn are the first 3 of 30 spectra" in page.text
    assert "The first 8 of 30 spectra are listed" in page.text
    assert "The first 8 of 10 are listed" in page.text
    links = [attrs["href"] for attrs in page.all("a")]
    assert links == ["#s0", "#s1", "#s2"]


def test_ids_are_unique(tmp_path: Path) -> None:
    _, page = report(tmp_path, *(answers.answer(i, "same") for i in range(4)))
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids)) > 10
    named = [attrs["aria-labelledby"] for _, attrs in page.elements if "aria-labelledby" in attrs]
    assert set(named) <= set(ids)


def test_counts_are_returned(tmp_path: Path) -> None:
    known = answers.answer(0, spectrum=answers.spectrum(smiles=answers.CAFFEINE.smiles))
    tally = write_report([known, answers.answer(1), answers.unreadable(2)], tmp_path / "a.html", RUN)
    assert (tally.read, tally.annotated, tally.known, tally.first, tally.listed) == (3, 2, 1, 1, 1)
    assert tally.by_status == {"ok": 2, "unreadable": 1}


def test_an_empty_run_and_odd_characters_make_a_valid_page(tmp_path: Path) -> None:
    _, page = report(tmp_path)
    assert page.open == [] and "0 spectra read" in page.text
    _, odd = report(tmp_path, answers.answer(0, "\x00\x1b[31m\ud800 γ"))
    assert odd.open == [] and "γ" in odd.text and "\x1b" not in odd.text


def test_long_paths_stay_out_of_the_title(tmp_path: Path) -> None:
    write_report([], tmp_path / "a.html", RunInfo(("/data/run one/a.mgf", "b.msp"), "m", "b"))
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "<h1>a.mgf, b.msp</h1>" in text and "/data/run one/a.mgf, b.msp" in text


def test_date_is_shown_and_a_missing_folder_named(tmp_path: Path) -> None:
    run = RunInfo(("a",), "m", "b", started=datetime(2026, 3, 4, 5, 6))
    write_report([], tmp_path / "a.html", run)
    assert "2026-03-04 05:06" in (tmp_path / "a.html").read_text(encoding="utf-8")
    with pytest.raises(ReportError, match="create it first"):
        write_report([], tmp_path / "nowhere" / "a.html", run)
