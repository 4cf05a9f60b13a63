"""Text of a field to its value: precursor m/z, charge, polarity, collision energy, retention time, level."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from .spectrum import IonMode

MISSING = frozenset(
    {"", "n/a", "na", "n.a.", "n/a min", "none", "null", "nan", "unknown", "?", "-", "--", "n.d."}
    | {"not available", "not applicable", "undefined", "no data", "[]"}
)
"""Texts, in lower case, that say a value is not known."""

_LONGEST_MISSING = max(map(len, MISSING))
MAX_MZ = 1e6
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
_MZ_TEXT = re.compile(rf"(?:m/z\s*)?({_NUMBER})\s*(?:da|th|m/z)?", re.IGNORECASE)
_ENERGY_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*(%|ev\b|v\b)?", re.IGNORECASE)
_NCE_CHARGE_FACTOR = {1: 1.0, 2: 0.9, 3: 0.85, 4: 0.8}
_TIME = re.compile(
    rf"(?:PT)?\s*({_NUMBER})\s*(ms|s|sec|secs|second|seconds|min|mins|minute|minutes|h)?\b", re.I
)
_TIME_FACTOR = {"m": 60.0, "s": 1.0, "h": 3600.0}


class FieldError(ValueError):
    """A field whose text cannot be read: what is wrong, and what to do about it."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Precursor:
    """What a precursor field says: m/z in Th or None, and what may stand beside it."""

    mz: float | None
    note: str | None = None
    intensity: str | None = None
    charge: str | None = None
    last_stage: str | None = None


def is_missing(text: str | None) -> bool:
    """Whether a text says that the value is not known."""
    return text is None or text.strip().lower() in MISSING


def text_or_none(text: str | None) -> str | None:
    """The text stripped, or None if it says that the value is not known."""
    if text is None:
        return None
    bare = text.strip()
    return None if len(bare) <= _LONGEST_MISSING and bare.lower() in MISSING else bare


def parse_precursor(text: str) -> Precursor:
    """Read ``441.5``, ``441.5 12000 2+`` (Mascot), ``245/227/166`` (stages of MSn), ``441,5``, ``N/A``, ``0``.

    Raises:
        FieldError: the text holds no single positive m/z.
    """
    if is_missing(text):
        return Precursor(None, f"precursor m/z is given as {text.strip()!r}")
    tokens = text.split()
    stages = text.strip().split("/")
    if len(stages) > 1 and "m/z" not in text.lower():
        first = parse_precursor(stages[0])
        for stage in stages[1:]:
            parse_precursor(stage)
        used = f"precursor m/z of {len(stages)} stages {text.strip()!r}, the first is used"
        return Precursor(first.mz, used, last_stage=stages[-1].strip())
    if len(tokens) in (2, 3) and _MZ_TEXT.fullmatch(text.strip()) is None:
        first = parse_precursor(tokens[0])
        _number(tokens[1], "precursor intensity")
        charge = tokens[2] if len(tokens) == 3 else None
        return Precursor(first.mz, first.note, tokens[1], charge)
    if len(tokens) > 3:
        raise FieldError(f"holds {len(tokens)} words, not one m/z", "keep the precursor m/z only")
    note = None
    if _DECIMAL_COMMA.fullmatch(text.strip()):
        text = text.replace(",", ".")
        note = "decimal comma in precursor m/z"
    value = _number(text, "m/z")
    if value == 0:
        return Precursor(None, "precursor m/z is given as 0")
    if not 0 < value <= MAX_MZ:
        raise FieldError(f"is not a positive m/z below {MAX_MZ:g}", "correct it or leave it out")
    return Precursor(value, note)


def _number(text: str, what: str) -> float:
    match = _MZ_TEXT.fullmatch(text.strip())
    if match is None:
        if text.strip().lstrip("+-").lower() in ("inf", "infinity"):
            raise FieldError("is not finite", "correct it or leave it out")
        raise FieldError("is not a number", f"give the {what} as a plain number, or leave it out")
    return float(match[1])


@lru_cache(maxsize=4096)
def parse_charge(text: str) -> tuple[int | None, bool, str | None]:
    """Read ``2+``, ``+2``, ``-1``, ``2``, ``++``, ``2.0``: (charge or None, whether a sign was given, note)."""
    bare = text.strip().strip("()[]").strip()
    if bare.lower() in MISSING:
        return None, False, None
    if re.fullmatch(r"\++|-+", bare):
        return (len(bare) if bare[0] == "+" else -len(bare)), True, None
    match = re.fullmatch(r"([-+]?)\s*(\d{1,3})(?:\.0*)?\s*([-+]?)", bare)
    if match is None:
        several = re.fullmatch(r"[-+]?\d+[-+]?(?:(?:\s*,\s*|\s+and\s+|\s+or\s+)[-+]?\d+[-+]?)+", bare)
        said = "gives several values" if several else "is not a charge"
        return None, False, f"charge {text.strip()!r} {said} and is left out"
    sign = match[1] or match[3]
    size = int(match[2])
    if size == 0:
        return None, False, None
    return (-size if sign == "-" else size), bool(sign), None


@lru_cache(maxsize=1024)
def parse_ion_mode(text: str) -> tuple[IonMode | None, str | None]:
    """Read ``positive``, ``Pos``, ``P``, ``+``, ``ESI-`` and the like: (polarity or None, note)."""
    bare = text.strip().lower()
    if bare in MISSING and bare not in ("-", "--"):
        return None, None
    if bare in ("p", "1", "+1", "1+") or bare.startswith("pos") or bare.endswith(("+", "positive")):
        return cast(IonMode, "positive"), None
    if bare in ("n", "-1", "1-") or bare.startswith("neg") or bare.endswith(("-", "negative")):
        return cast(IonMode, "negative"), None
    return None, f"ion mode {text.strip()!r} is neither positive nor negative and is left out"


@lru_cache(maxsize=1024)
def parse_ms_level(text: str) -> int | None:
    """Read ``2``, ``MS2``, ``MS^2``, ``MS``, ``MSn`` (9: not numbered), ``2.0``; None if it is none of these."""
    bare = text.strip().lower().replace("^", "").replace("full ", "")
    match = re.fullmatch(r"(?:ms)?\s*(\d)(?:\.0*)?", bare)
    if match:
        return int(match[1]) or None
    return {"ms": 1, "ms/ms": 2, "msms": 2, "msn": 9}.get(bare)


@lru_cache(maxsize=8192)
def parse_energy(text: str, nce_instrument: bool) -> tuple[float | None, bool]:
    """Read a collision energy: (mean of the numbers or None, whether it is a normalised energy).

    ``30 % (nominal)``, ``35 NCE``, ``10(NCE)`` are normalised, ``20 eV``, ``45V`` are eV (``NCE=35% 42eV`` too);
    ramps and steps give their mean, ``0.7/0.6`` (stages of MSn) the last stage; a bare number is normalised on
    instruments that work so (FT and ion traps, `nce_instrument`).
    Alternatives (``15, 30 or 45``), energies scaled by m/z and kV give None.
    """
    lower = text.lower()
    if any(word in lower for word in (" or ", "mz", "m/z", "scaled", "kv")):
        return None, False
    body = re.sub(r"(?<=\d),(?=\d)", ", ", lower.split("/")[-1])
    found = _ENERGY_NUMBER.findall(body)
    in_ev = [number for number, unit in found if unit in ("ev", "v")]
    normalised = "%" in lower or "nce" in lower or "nominal" in lower
    if normalised and in_ev:
        found = [(number, "ev") for number in in_ev]
    if not found:
        return None, False
    mean = sum(float(number) for number, _ in found) / len(found)
    return mean, not in_ev and (normalised or nce_instrument)


@lru_cache(maxsize=1024)
def uses_nce(instrument_type: str | None) -> bool:
    """Whether a bare collision energy of this instrument (MassBank code) is a normalised one: FT and ion trap."""
    analyser = (instrument_type or "").strip().upper().split("-")[-1]
    return analyser.endswith("FT") or analyser == "IT"


def nce_to_ev(nce: float, precursor_mz: float | None, charge: int | None) -> float | None:
    """Normalised collision energy to eV: NCE * m/z / 500 * f, f = 1, 0.9, 0.85, 0.8, 0.75 for charge 1 to 5+."""
    if precursor_mz is None:
        return None
    return nce * precursor_mz / 500.0 * _NCE_CHARGE_FACTOR.get(abs(charge or 1), 0.75)


def parse_time(text: str, factor: float) -> tuple[float | None, str | None]:
    """Read a retention time: (seconds or None, note); `factor` turns a number without unit into seconds."""
    try:
        value = float(text)
        if math.isfinite(value):
            return value * factor, None
    except ValueError:
        pass
    bare = text.strip()
    if bare.lower() in MISSING:
        return None, None
    match = _TIME.match(bare.replace(",", ".") if _DECIMAL_COMMA.match(bare) else bare)
    if match is None or not math.isfinite(float(match[1])):
        return None, f"retention time {bare!r} is not a time and is left out"
    unit = (match[2] or "").lower()
    if unit == "ms":
        return float(match[1]) / 1000.0, None
    return float(match[1]) * (_TIME_FACTOR[unit[0]] if unit else factor), None
