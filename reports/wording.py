"""Numbers, formulas and foreign text as they stand on a page."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

MAX_TEXT = 160
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_COUNTS = re.compile(r"(\d+)")


def text(value: object, limit: int = MAX_TEXT) -> str:
    """Text that may stand on a page: no control characters, not endless; escaping is left to the template."""
    clean = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(value))
    return clean if len(clean) <= limit else f"{clean[: limit - 1]}…"


def formula_html(formula: str | None) -> Markup:
    """A sum formula with subscripts, escaped."""
    return Markup(_COUNTS.sub(r"<sub>\1</sub>", str(escape(text(formula or "")))))


def number(value: float | None, decimals: int, sign: bool = False) -> str:
    """A number with a true minus sign, an em dash if there is none."""
    if value is None:
        return "–"
    shown = f"{round(value, decimals) + 0.0:{'+' if sign else ''}.{decimals}f}"
    return shown.replace("-", "\N{MINUS SIGN}")
