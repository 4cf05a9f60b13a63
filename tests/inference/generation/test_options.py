"""Options of generation that make no sense."""

from __future__ import annotations

from typing import Any

import pytest

from msformers.inference.generation.options import GenerateOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n must be at least 1"),
        ({"n": 20, "beams": 10}, "n 20 is above the beams"),
        ({"strategy": "magic"}, "none of beam, sample, diverse"),
        ({"rerank": "luck"}, "none of auto, mass, learned, none"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"top_p": 1.5}, "top_p in"),
        ({"ppm": -1.0}, "ppm must be above 0"),
        ({"groups": 3, "n": 10, "beams": 10}, "groups 3 does not divide"),
        ({"formula": "C6("}, "bracket"),
        ({"max_length": 0}, "max_length must be at least 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GenerateOptions(**options)
