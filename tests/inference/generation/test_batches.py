"""A search among very many formulas is not started, and those among many do not run together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from msformers.inference.generation.decode import Decoder
from msformers.inference.generation.generate import TOGETHER, TOO_MANY, batches, plan
from msformers.inference.generation.options import GenerateOptions
from msformers.inference.loading import load_generator
from msformers.spectra.spectrum import Spectrum


def plans(*formulas: int | None) -> list[Any]:
    return [
        SimpleNamespace(target=None if count is None else SimpleNamespace(counts=np.zeros((count, 1))))
        for count in formulas
    ]


def sizes(found: Any) -> list[int]:
    return [len(part) for part in found]


def test_batches_are_full_where_formulas_are_few() -> None:
    records = plans(1, 2, None, 4, 5)
    parts = list(batches(records, 2))
    assert sizes(parts) == [2, 2, 1]
    assert [one for part in parts for one in part] == records
    assert list(batches([], 2)) == []


def test_many_formulas_part_a_batch_and_a_record_alone_always_runs() -> None:
    half = TOGETHER // 2
    assert sizes(batches(plans(half, half, 1, None), 8)) == [2, 2]
    assert sizes(batches(plans(TOGETHER + 5, 1, TOGETHER), 8)) == [1, 1, 1]


@pytest.mark.parametrize(("mz", "held"), [(301.1, True), (1101.4, False)])
def test_a_mass_of_too_many_formulas_does_not_restrict(tiny_denovo: Any, mz: float, held: bool) -> None:
    loaded = load_generator(str(tiny_denovo), "cpu")
    options = GenerateOptions(n=2, beams=2)
    decoder = Decoder(loaded.model, loaded.processor, loaded.tokenizer, options, None, None, None, None)
    spectrum = Spectrum(
        np.array([50.0, 91.05]), np.array([1.0, 0.5], np.float32), precursor_mz=mz, adduct="[M+H]+"
    )
    found = plan(spectrum, decoder)
    assert (found.target is not None) is held
    assert found.answer.mass_filter is held
    if held:
        assert found.answer.status == "ok" and len(found.target.counts) <= TOO_MANY
    else:
        assert found.answer.status == "no_mass_filter"
        assert "too many to hold a search to" in found.answer.reason and found.query is not None
