from __future__ import annotations

import pytest

from msformers.spectra.ions import adduct_in_name, resolve_ion


@pytest.mark.parametrize(
    ("charge", "adduct", "mode", "expected"),
    [
        ("1+", "[M+H]+", "positive", (1, "[M+H]+", "positive")),
        (None, "[M-H]-", None, (-1, "[M-H]-", "negative")),
        ("1", None, "negative", (-1, None, "negative")),
        ("2-", None, None, (-2, None, "negative")),
        ("2", None, None, (2, None, None)),
        (None, None, "neg", (None, None, "negative")),
        ("0", "M+H", "N/A", (1, "[M+H]+", "positive")),
        (None, None, None, (None, None, None)),
    ],
)
def test_fields_complete_each_other(
    charge: str | None, adduct: str | None, mode: str | None, expected: tuple[object, ...]
) -> None:
    ion = resolve_ion(charge, adduct, mode)
    assert (ion.charge, ion.adduct, ion.ion_mode) == expected
    assert ion.notes == ()


def test_contradictions_are_noted_and_the_ion_mode_decides() -> None:
    assert resolve_ion("1+", None, "negative").charge == -1
    assert "contradicts ion mode" in resolve_ion("1+", None, "negative").notes[0]
    ion = resolve_ion(None, "[M+H]+", "negative")
    assert (ion.charge, ion.ion_mode) == (None, "negative") and "contradicts polarity" in ion.notes[0]
    assert "contradicts charge" in resolve_ion("1+", "[M+2H]2+", None).notes[0]


def test_original_text_is_kept_where_it_differs() -> None:
    assert resolve_ion(None, "M+H", None).adduct_text == "M+H"
    assert resolve_ion(None, "[M+H]+", None).adduct_text is None


def test_adduct_at_the_end_of_a_gnps_name() -> None:
    assert adduct_in_name("Malyngamide C M+H") == "M+H"
    assert adduct_in_name("Vitamin M-1") is None
    assert adduct_in_name("Caffeine") is None
