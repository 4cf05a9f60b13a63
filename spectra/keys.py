"""Names of fields: the many spellings of file formats to the one of this project (table: keys.csv)."""

from __future__ import annotations

import csv
import re
from functools import cache
from importlib import resources

_OTHER = re.compile(r"[^a-z0-9]+")
_REMEMBER = 20_000
COMMENT_MARKS = ("#", ";", "!")


@cache
def load_keys() -> dict[str, str]:
    """The table of synonyms, spelling in lower case to canonical key; spellings without punctuation too."""
    with resources.files(__package__).joinpath("keys.csv").open(encoding="utf-8") as stream:
        rows = [(row["synonym"], row["key"]) for row in csv.DictReader(stream)]
    table = dict(rows)
    for synonym, key in rows:
        table.setdefault(_OTHER.sub("", synonym), key)
    return table


class _Canonical(dict[str, str]):
    """Raw key to canonical key, worked out once per spelling."""

    def __missing__(self, raw: str) -> str:
        lower = raw.strip().lower()
        table = load_keys()
        if lower.startswith(COMMENT_MARKS):
            key = ""
        else:
            key = table.get(lower) or table.get(_OTHER.sub("", lower)) or _OTHER.sub("_", lower).strip("_")
        if len(self) < _REMEMBER:
            self[raw] = key
        return key


CANONICAL = _Canonical()
"""``CANONICAL["PEPMASS"] == "precursor_mz"``; a spelling not in the table in lower case with underscores;
a comment line's key (``#``, ``;``, ``!``) is the empty string."""
