from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from peptide_ladders import PEPTIDES, TOKENIZER, mgf, peptide_spectrum
from transformers import pipeline

from msformers.inference.peptides import STATUSES, SequenceOptions, Sequencing
from msformers.inference.sequence import sequence
from msformers.modeling.outputs import PeptideSearchOutput
from msformers.spectra.read import read
from msformers.spectra.spectrum import Problem, Spectrum
from msformers.tokenization.casanovo import CasanovoFeatureExtractor


class KnowingModel:
    """Knows some peptides by their mass and answers with the nearest one, then with what is further away."""

    def __init__(self, version: str = "5", score: float = 0.9) -> None:
        self.config = SimpleNamespace(max_charge=4, version=version, min_length=6, max_length=100)
        self.device, self.dtype, self.score = torch.device("cpu"), torch.float32, score
        self.batches: list[tuple[int, int]] = []

    def generate(
        self, peaks: Any, attention_mask: Any, precursors: Any, **options: Any
    ) -> PeptideSearchOutput:
        self.batches.append(tuple(peaks.shape[:2]))
        masses = np.array([TOKENIZER.mass(peptide) for peptide in PEPTIDES])
        found = []
        for row, mass in enumerate(precursors[:, 0].tolist()):
            for place in np.argsort(np.abs(masses - mass))[: options["num_return_sequences"]]:
                if abs(masses[place] - mass) < 300:
                    found.append((row, PEPTIDES[place]))
        ids = [TOKENIZER(peptide).input_ids[:-1] for _, peptide in found]
        width = max(map(len, ids), default=0)
        lengths = torch.tensor([len(one) for one in ids], dtype=torch.long)
        residues = torch.full((len(ids), width), torch.nan, dtype=torch.float64)
        for row, length in enumerate(lengths.tolist()):
            residues[row, :length] = torch.linspace(0.5, 1.0, length, dtype=torch.float64)
        return PeptideSearchOutput(
            sequences=torch.tensor([one + [0] * (width - len(one)) for one in ids], dtype=torch.long).view(
                len(ids), width
            ),
            spectrum_index=torch.tensor([row for row, _ in found], dtype=torch.long),
            rank=torch.zeros(len(ids), dtype=torch.long),
            scores=torch.full((len(ids),), self.score, dtype=torch.float64),
            residue_scores=residues,
            lengths=lengths,
        )


def answers(
    spectra: Any, model: Any = None, options: SequenceOptions | None = None, **more: Any
) -> list[Sequencing]:
    processor = CasanovoFeatureExtractor(getattr(model, "config", SimpleNamespace(version="5")).version)
    return list(sequence(spectra, model or KnowingModel(), processor, TOKENIZER, options, **more))


def test_every_spectrum_gets_its_peptide_in_input_order() -> None:
    spectra = [
        peptide_spectrum(peptide, charge, index=i)
        for i, peptide in enumerate(PEPTIDES * 3)
        for charge in (2, 3)
    ]
    model = KnowingModel()
    found = answers(spectra, model, batch_size=5, block=16)
    expected = [peptide.replace("I", "L") for peptide in PEPTIDES * 3 for _ in (2, 3)]
    assert [one.peptides[0].peptide for one in found] == expected
    assert all(one.status == "ok" and abs(one.peptides[0].mass_error_ppm) < 1 for one in found)
    assert [one.charge for one in found] == [2, 3] * 12
    assert {rows for rows, _ in model.batches} == {5, 1, 3} and len(model.batches) == 6
    # batches of similar length: within a block of 16 the widths rise
    widths = [width for _, width in model.batches]
    assert widths[:4] == sorted(widths[:4]) and widths[4:] == sorted(widths[4:])


BAD: dict[str, tuple[str, dict[str, Any]]] = {
    "no precursor": ("no_precursor", {"precursor_mz": None}),
    "no charge": ("no_charge", {"charge": None}),
    "charge too large": ("charge_too_high", {"charge": 5}),
    "negative charge": ("negative_mode", {"charge": -2, "ion_mode": None}),
    "negative mode": ("negative_mode", {"ion_mode": "negative"}),
    "sodium": ("other_adduct", {"adduct": "[M+H+Na]2+"}),
    "wrong count of protons": ("other_adduct", {"adduct": "[M+3H]3+"}),
    "no adduct at all": ("other_adduct", {"adduct": "[M+Foo]+"}),
    "survey scan": ("not_msms", {"ms_level": 1}),
    "one peak": ("too_few_peaks", {"mz": np.array([200.0]), "intensity": np.ones(1, np.float32)}),
    "no peaks": ("too_few_peaks", {"mz": np.zeros(0), "intensity": np.zeros(0, np.float32)}),
    "19 peaks": ("too_few_peaks", {"mz": np.linspace(100, 400, 19), "intensity": np.ones(19, np.float32)}),
    "peaks out of range": (
        "too_few_peaks",
        {"mz": np.linspace(1, 40, 50), "intensity": np.ones(50, np.float32)},
    ),
    "NaN": ("unreadable", {"mz": np.full(30, np.nan)}),
}


@pytest.mark.parametrize("version", ["4", "5"])
def test_a_bad_spectrum_has_a_status_and_costs_only_itself(version: str) -> None:
    good = peptide_spectrum(PEPTIDES[0], adduct="[M+2H]2+")
    spectra: list[Any] = [good]
    for name, (_, fields) in BAD.items():
        spectrum = peptide_spectrum(PEPTIDES[0], native_id=name)
        if name == "NaN":
            spectrum = {"mz": [float("nan")], "intensity": [1.0], "precursor_mz": 500.0, "charge": 2}
        else:
            for field, value in fields.items():
                setattr(spectrum, field, value)
        spectra += [spectrum, good]
    spectra += [Problem(9, 3, "broken", "PEPMASS", "abc", "is not a number"), {"no": "spectrum"}]
    found = answers(spectra, KnowingModel(version), batch_size=4)
    assert len(found) == len(spectra)
    expected = [status for status, _ in BAD.values()]
    if version == "4":  # has no least number of peaks, but must have one
        expected[list(BAD).index("one peak")] = expected[list(BAD).index("19 peaks")] = "ok"
    assert [one.status for one in found[1:-2:2]] == expected
    assert [one.status for one in found[:-2:2]] == ["ok"] * (len(BAD) + 1)
    assert [one.status for one in found[-2:]] == ["unreadable"] * 2 and "abc" in found[-2].reason
    assert set(expected) <= set(STATUSES)
    assert all(one.reason and not one.peptides for one in found if one.status != "ok")
    assert "5+" in found[5].reason and "up to 4+" in found[5].reason


def test_ten_thousand_peaks_are_fine() -> None:
    rng = np.random.default_rng(0)
    spectrum = peptide_spectrum(PEPTIDES[1])
    mz = np.sort(np.concatenate([spectrum.mz, rng.uniform(60, 1500, 10_000)]))
    model = KnowingModel()
    (found,) = answers([Spectrum(mz, np.ones(len(mz), np.float32), spectrum.precursor_mz, 2)], model)
    assert found.status == "ok" and model.batches == [(1, 150)]


def test_no_peptide_and_a_score_that_is_not_finite_are_said() -> None:
    heavy = peptide_spectrum("WWWWWWWWWWWWWWWW")
    assert [(one.status, "at least 6 residues" in one.reason) for one in answers([heavy])] == [
        ("no_peptide", True)
    ]
    (failed,) = answers([peptide_spectrum(PEPTIDES[0])], KnowingModel(score=float("nan")))
    assert failed.status == "failed" and "nan" in failed.reason


def test_a_modification_without_a_residue_is_no_peptide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(TOKENIZER), "batch_decode", lambda self, ids: ["[Acetyl]-"] * len(ids))
    assert answers([peptide_spectrum(PEPTIDES[0])])[0].status == "no_peptide"


def test_residue_scores_are_those_of_the_version() -> None:
    spectrum = peptide_spectrum(PEPTIDES[2])
    five, four = (answers([spectrum], KnowingModel(version))[0].peptides[0] for version in "54")
    assert len(five.residue_scores) == 9 and len(four.residue_scores) == 10
    assert five.residue_scores[0] == pytest.approx(four.residue_scores[0] * four.residue_scores[1])
    assert five.residue_scores[1:] == four.residue_scores[2:]


def test_several_peptides_and_rows() -> None:
    (found,) = answers([peptide_spectrum(PEPTIDES[0])], options=SequenceOptions(beams=3, top=2))
    assert [one.rank for one in found.peptides] == [1, 2]
    rows = found.rows()
    assert [row["rank"] for row in rows] == [1, 2] and rows[0]["peptide"] == PEPTIDES[0]
    assert list(rows[0]) == list(answers([{"bad": 1}])[0].rows()[0])


@pytest.mark.parametrize(
    "wrong", [{"top": 2}, {"beams": 0}, {"max_charge": 0}, {"max_charge": 9}, {"max_length": 5}]
)
def test_options_that_cannot_be_met_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"top|max_charge|max_length"):
        answers([peptide_spectrum(PEPTIDES[0])], options=SequenceOptions(**wrong))


def test_a_lower_limit_of_charge() -> None:
    (found,) = answers([peptide_spectrum(PEPTIDES[0], 3)], options=SequenceOptions(max_charge=2))
    assert found.status == "charge_too_high"


def test_scan_and_retention_time_are_kept(tmp_path: Any) -> None:
    path = tmp_path / "a.mgf"
    path.write_text(mgf(peptide_spectrum(PEPTIDES[0]), SCANS="17", RTINSECONDS="61.5"))
    (found,) = answers(read(path))
    assert found.scan == 17 and found.retention_time == 61.5 and found.path == str(path)
    native = peptide_spectrum(PEPTIDES[0], native_id="controllerType=0 controllerNumber=1 scan=5")
    assert answers([native])[0].scan == 5 and answers([peptide_spectrum(PEPTIDES[0])])[0].scan is None


def test_a_charge_that_the_reader_left_out_is_told(tmp_path: Any) -> None:
    path = tmp_path / "a.mgf"
    path.write_text(mgf(peptide_spectrum(PEPTIDES[0])).replace("CHARGE=2+", "CHARGE=2+ and 3+"))
    (found,) = answers(read(path))
    assert found.status == "no_charge" and "'2+ and 3+' gives several values" in found.reason


def test_a_big_file_streams(caplog: pytest.LogCaptureFixture) -> None:
    """No more than a block is read ahead."""
    read_so_far = 0

    def endless() -> Any:
        nonlocal read_so_far
        while True:
            read_so_far += 1
            yield peptide_spectrum(PEPTIDES[0])

    caplog.set_level(logging.INFO, logger="msformers")
    stream = sequence(endless(), KnowingModel(), CasanovoFeatureExtractor("5"), TOKENIZER, block=8)
    assert [next(stream).status for _ in range(9)] == ["ok"] * 9 and read_so_far == 16
    assert "device cpu, dtype float32" in caplog.text


@pytest.fixture
def sequencer(tiny_casanovo: Any) -> Any:
    return pipeline("peptide-sequencing", model=str(tiny_casanovo), device="cpu", beams=3, top=2)


def test_the_pipeline_answers_every_form_of_spectrum(sequencer: Any, tmp_path: Any) -> None:
    spectra = [peptide_spectrum(peptide, seed=i) for i, peptide in enumerate(PEPTIDES)]
    one = [sequencer(spectrum) for spectrum in spectra]
    assert all(rows[0]["status"] == "ok" and len(rows) == 2 for rows in one)
    for together in (sequencer(spectra), sequencer(spectra, batch_size=3)):
        assert [[row["peptide"] for row in rows] for rows in together] == [
            [row["peptide"] for row in rows] for rows in one
        ]
    path = tmp_path / "spectra.mgf"
    path.write_text(mgf(*spectra))
    assert [rows[0]["native_id"] for rows in sequencer(str(path))] == list(PEPTIDES)
    assert sequencer([]) == [] and len(sequencer(spectra[0], top=1)) == 1


def test_a_bad_spectrum_in_the_pipeline_answers_with_its_reason(sequencer: Any) -> None:
    good, bad = peptide_spectrum(PEPTIDES[0]), Problem(1, 12, "b", "PEPMASS", "x", "is not a number")
    found = sequencer(
        [
            good,
            bad,
            {"mz": [1.0]},
            peptide_spectrum(PEPTIDES[1], ion_mode="negative"),
            good,
        ],
        batch_size=2,
    )
    assert [rows[0]["status"] for rows in found] == ["ok", "unreadable", "unreadable", "negative_mode", "ok"]
    assert found[1][0]["rank"] is None and "is not a number" in found[1][0]["reason"]
    with pytest.raises(TypeError, match="no parameter speed"):
        sequencer(good, speed=3)
    with pytest.raises(ValueError, match="charges 1 to 4"):
        sequencer(good, max_charge=7)


def test_the_encoder_embeds_in_the_same_pipeline_as_others(tiny_casanovo: Any) -> None:
    embed = pipeline("spectrum-embedding", model=str(tiny_casanovo), device="cpu")
    found = embed([peptide_spectrum(PEPTIDES[0]), {"mz": []}, peptide_spectrum(PEPTIDES[1])], batch_size=3)
    assert found[1]["embedding"] is None and found[1]["status"] == "unreadable"
    assert len(found[0]["embedding"]) == len(found[2]["embedding"]) == 32


@pytest.mark.parametrize(("version", "name", "depth"), [("4", "v43_beam5", 5), ("5", "beam5", 1)])
def test_the_reference_model_reads_the_reference_spectra(
    version: str, name: str, depth: int, shared: Any, tmp_path: Any
) -> None:
    """Through batches and statuses; a spectrum keeps relative intensities in float32, whose last bit turns the fastest
    sinusoid of version 5 by 0.1 rad, so of that version only the best peptides are compared."""
    from msformers.inference.loading import load_sequencer
    from msformers.modeling.convert.casanovo import convert_casanovo

    folder = shared / "golden"
    golden = np.load(folder / f"casanovo_v{version}_golden.npz")
    loaded = load_sequencer(
        str(convert_casanovo(folder / f"casanovo_v{version}_tiny.ckpt", tmp_path / "m")), "cpu"
    )
    spectra = [
        {
            **{part: golden[f"raw_{i:03d}_{part}"] for part in ("mz", "intensity")},
            "precursor_mz": golden["precursor_mz"][i],
            "charge": int(golden["charge"][i]),
        }
        for i in range(6)
    ]
    parts = (loaded.model, loaded.processor, loaded.tokenizer)
    for i, one in enumerate(sequence(spectra, *parts, SequenceOptions(5, 5), batch_size=4)):
        rows = np.flatnonzero(golden[f"{name}_spectrum"] == i)[:depth]
        expected = loaded.tokenizer.batch_decode(
            loaded.tokenizer(golden[f"{name}_peptide"][rows].tolist()).input_ids
        )
        assert [match.peptide for match in one.peptides][:depth] == expected
        scores = [match.score for match in one.peptides][:depth]
        assert np.allclose(scores, golden[f"{name}_score"][rows], atol=1e-4 if version == "4" else 0.02)
