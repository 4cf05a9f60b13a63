"""Whatever encoder, whatever is wrong with a spectrum: a row with a status, in its place."""

import importlib

import numpy as np
import pytest
import torch

import msformers
from msformers.inference.embed import NO_PRECURSOR, STATUSES, embed

ENCODERS = sorted(name for name, entry in msformers.MODELS.items() if entry.kind == "spectrum-encoder")
RNG = np.random.default_rng(0)
MANY = {"mz": np.sort(RNG.uniform(60, 900, 10_000)), "intensity": RNG.random(10_000), "precursor_mz": 901.3}
GOOD = {
    "mz": np.linspace(70.1, 480.2, 40),
    "intensity": np.linspace(1, 0.2, 40),
    "precursor_mz": 500.25,
    "charge": 2,
}
SPECTRA = {
    "good": GOOD,
    "no precursor": {**GOOD, "precursor_mz": None},
    "no charge": {**GOOD, "charge": None},
    "one peak": {**GOOD, "mz": [77.04], "intensity": [1.0]},
    "no peaks": {**GOOD, "mz": [], "intensity": []},
    "10,000 peaks": {**MANY, "charge": 2},
    "negative": {**GOOD, "charge": -1, "ion_mode": "negative", "adduct": "[M-H]-"},
    "broken": {**GOOD, "mz": [np.nan, 2.0], "intensity": [1.0, 1.0]},
    "heavy": {**GOOD, "precursor_mz": 4000.0},
    "again": GOOD,
}


@pytest.mark.parametrize("name", ENCODERS)
def test_every_spectrum_has_an_answer(name):
    entry = msformers.MODELS[name]
    module, _, extractor = entry.extractor.partition(":")
    size = getattr(entry.tiny_config(), "n_highest_peaks", None)
    processor = getattr(importlib.import_module(f"msformers.{module}"), extractor)(
        **({"n_highest_peaks": size} if size else {})
    )
    torch.manual_seed(0)
    model = entry.model_class(entry.tiny_config()).eval()
    rows = dict(zip(SPECTRA, embed(SPECTRA.values(), model, processor, batch_size=4, block=6), strict=True))
    assert [row.index for row in rows.values()] == list(range(len(SPECTRA)))
    assert all(row.status in STATUSES for row in rows.values())
    assert all((row.embedding is not None) == (row.status == "ok") for row in rows.values())
    assert all(row.reason for row in rows.values() if row.status != "ok")
    assert rows["good"].status == rows["10,000 peaks"].status == "ok"
    assert rows["no peaks"].status == "no_peaks"
    assert rows["broken"].status == "unreadable"
    np.testing.assert_allclose(rows["good"].embedding, rows["again"].embedding, atol=1e-5)
    missing = rows["no precursor"]
    assert missing.reason == NO_PRECURSOR if missing.status == "ok" else "precursor_mz" in missing.reason
    for case in ("no charge", "negative"):
        assert rows[case].status == "ok" or "charge" in rows[case].reason or "negative" in rows[case].reason


def test_the_encoders_of_this_issue_are_among_them():
    assert "casanovo" in ENCODERS
    assert {"lsm1", "ms2prop", "nexamass", "dreams"} <= set(ENCODERS)
