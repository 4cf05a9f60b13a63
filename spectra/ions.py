"""Charge, adduct and ion mode of one precursor, read together and held against each other."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from .adducts import Adduct, AdductError, parse_adduct
from .fields import parse_charge, parse_ion_mode, text_or_none
from .spectrum import IonMode

_SEVERAL = re.compile(r"\s*(/|,|;|\bor\b)\s*(?=\[|M)")
_AT_END_OF_NAME = re.compile(r"\s(\[?\d?M(?:[+-]\d?[A-Z][A-Za-z0-9]*)+\]?\d?[+-]*)$")


@dataclass(frozen=True, slots=True)
class Ion:
    """What a record says of its precursor ion; None where it does not say."""

    charge: int | None
    adduct: str | None
    adduct_text: str | None
    ion_mode: IonMode | None
    notes: tuple[str, ...]


@lru_cache(maxsize=8192)
def resolve_ion(charge_text: str | None, adduct_text: str | None, mode_text: str | None) -> Ion:
    """Read the three fields; what is absent follows from the others, what disagrees becomes a note.

    The ion mode decides the sign of the charge: many files write ``CHARGE=1`` in negative mode.
    `Ion.adduct_text` is the adduct as written where its normalised name differs.
    """
    notes: list[str] = []
    mode: IonMode | None = None
    if mode_text is not None:
        mode, note = parse_ion_mode(mode_text)
        _keep(notes, note)
    charge, signed = None, False
    if charge_text is not None:
        charge, signed, note = parse_charge(charge_text)
        _keep(notes, note)
    parsed, name = _read_adduct(adduct_text, mode, notes)
    stated = mode
    if mode is None and signed and charge is not None:
        mode = "positive" if charge > 0 else "negative"
    if mode is None and parsed is not None:
        mode = parsed.ion_mode
    if charge is not None and mode is not None and (charge > 0) != (mode == "positive"):
        if signed and stated is not None:
            _keep(
                notes, f"charge {charge:+d} contradicts ion mode {mode}; its sign is taken from the ion mode"
            )
        charge = -charge
    if parsed is not None and mode is not None and parsed.ion_mode != mode:
        _keep(notes, f"adduct {parsed.name} contradicts polarity {mode}")
    elif parsed is not None and charge is None:
        charge = parsed.charge
    elif parsed is not None and charge != parsed.charge:
        _keep(notes, f"adduct {parsed.name} contradicts charge {charge:+d}")
    written = text_or_none(adduct_text)
    return Ion(charge, name, written if written != name else None, mode, tuple(notes))


def adduct_in_name(name: str) -> str | None:
    """The adduct that GNPS libraries append to a compound name (``Malyngamide C M+H``), or None."""
    match = _AT_END_OF_NAME.search(name)
    if match is None:
        return None
    try:
        parse_adduct(match[1])
    except AdductError:
        return None
    return match[1]


def _read_adduct(
    text: str | None, mode: IonMode | None, notes: list[str]
) -> tuple[Adduct | None, str | None]:
    """(parsed adduct or None, its name); a text that is no adduct stays as it is, with a note."""
    bare = text_or_none(text)
    if bare is None:
        return None, None
    several = _SEVERAL.search(bare)
    if several is not None and several.start() > 0:
        if several[1] != "/":
            notes.append(f"adduct {bare!r} names several and is left out")
            return None, None
        notes.append(f"adduct {bare!r} names several, the first is used")
        bare = bare[: several.start()]
    try:
        parsed = _parse(bare, mode)
    except AdductError:
        notes.append(f"adduct {bare!r} is not understood")
        return None, bare
    return parsed, parsed.name


def _parse(text: str, mode: IonMode | None) -> Adduct:
    """The adduct by its own sign; the ion mode only completes one without (``[M]`` in negative mode)."""
    try:
        return parse_adduct(text)
    except AdductError:
        return parse_adduct(text, mode)


def _keep(notes: list[str], note: str | None) -> None:
    if note is not None:
        notes.append(note)
