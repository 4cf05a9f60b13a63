"""Adducts: read them as people write them, and convert between m/z and neutral mass with the electron counted.

The known adducts are in adducts.csv. Anything else that is well formed, such as ``[M-C9H10O5+H]+`` or
``[3M+Ca-H]+``, is read by its grammar (adduct_grammar.py).
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path

from .adduct_grammar import (
    MAX_LENGTH,
    MAX_MULTIPLICITY,
    REMEDY,
    TERM,
    Adduct,
    AdductError,
    normal_text,
    parse_by_grammar,
    parse_change,
)
from .spectrum import IonMode

__all__ = ["Adduct", "AdductError", "AdductTable", "candidates_for", "load_adducts", "parse_adduct"]


class AdductTable:
    """Known adducts; `parse` also reads unknown ones by the grammar.

    Attributes:
        adducts: the known adducts in table order.
    """

    def __init__(self) -> None:
        self.adducts: list[Adduct] = []
        self._common: dict[str, float] = {}
        self._by_ion: dict[Adduct, Adduct] = {}
        self._by_text: dict[tuple[str, bool], Adduct] = {}

    def add(self, adduct: Adduct, aliases: tuple[str, ...] = (), common: float | None = None) -> None:
        """Adds an adduct, or replaces the one that makes the same ion.

        Args:
            adduct: the adduct.
            aliases: other ways to write it, which need not follow the grammar.
            common: its place (1 first) among the adducts to assume when a spectrum names none.
        """
        replaced = self._by_ion.get(adduct)
        if replaced is not None:
            self.adducts.remove(replaced)
            self._by_text = {key: adduct if old == adduct else old for key, old in self._by_text.items()}
            common = self._common.pop(replaced.name, None) if common is None else common
        self.adducts.append(adduct)
        self._by_ion[adduct] = adduct
        if common is not None:
            self._common[adduct.name] = common
        for name in (adduct.name, *aliases):
            text, radical = normal_text(name)
            self._by_text[text.lower(), radical] = adduct
        size, sign = str(abs(adduct.charge)), "+" if adduct.charge > 0 else "-"
        body = normal_text(adduct.name)[0].rpartition("]")[0].removeprefix("[")
        for charge in {size + sign, sign + size, sign * abs(adduct.charge)} if body else set():
            self._by_text.setdefault(((body + charge).lower(), adduct.radical), adduct)

    def parse(self, text: str, ion_mode: IonMode | None = None) -> Adduct:
        """The adduct that a text names; see `parse_adduct`."""
        if len(text) > MAX_LENGTH:
            raise AdductError(f"adduct of {len(text)} characters {text[:20]!r}… is too long; {REMEDY}")
        if re.search(r"[/;,|]|\bor\b", text):
            raise AdductError(
                f"adduct {text!r} names more than one ion; keep the one that fits the precursor"
            )
        normal, radical = normal_text(text)
        known = self._by_text.get((normal.lower(), radical))
        found = known or parse_by_grammar(normal, radical, ion_mode, text)
        if ion_mode is not None and found.ion_mode != ion_mode:
            raise AdductError(
                f"adduct {text!r} is {found.ion_mode}, but the spectrum is {ion_mode}; correct one of the two"
            )
        return self._by_ion.get(found, found)

    def candidates_for(self, ion_mode: IonMode, charge: int | None = None) -> tuple[Adduct, ...]:
        """The common adducts of a polarity, the most usual first; see the function `candidates_for`."""
        wanted = abs(charge) if charge else 1
        fitting = [
            adduct
            for adduct in self.adducts
            if adduct.name in self._common and adduct.ion_mode == ion_mode and abs(adduct.charge) == wanted
        ]
        return tuple(sorted(fitting, key=lambda adduct: self._common[adduct.name]))


def _read_table(table: AdductTable, path: str | os.PathLike[str]) -> None:
    with open(path, encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        missing = {"name", "multiplicity", "charge", "change"} - set(reader.fieldnames or ())
        if missing:
            raise AdductError(f"{path}:1: no column {', '.join(sorted(missing))}; columns as in adducts.csv")
        for row in reader:
            try:
                _add_row(
                    table, {key: (value or "").strip() for key, value in row.items() if isinstance(key, str)}
                )
            except ValueError as error:
                raise AdductError(f"{path}:{reader.line_num}: adduct {row['name']!r}: {error}") from error


def _add_row(table: AdductTable, row: Mapping[str, str]) -> None:
    change = row["change"].replace(" ", "")
    if change and not re.fullmatch(f"(?:{TERM.pattern})+", change):
        raise AdductError(f"change {change!r} is not a list of signed formulas; write +C2H3N+H")
    charge, multiplicity = int(row["charge"]), int(row["multiplicity"])
    if not row["name"] or charge == 0 or not 0 < multiplicity <= MAX_MULTIPLICITY:
        raise AdductError("needs a name, a charge other than 0 and a multiplicity of 1 or more")
    atoms, _, _ = parse_change(change, row["name"])
    composition = tuple(sorted((symbol, count) for symbol, count in atoms.items() if count))
    adduct = Adduct(row["name"], multiplicity, charge, composition, normal_text(row["name"])[1])
    aliases = tuple(filter(None, row.get("aliases", "").split(";")))
    table.add(adduct, aliases, float(row["common"]) if row.get("common") else None)


@cache
def _bundled() -> AdductTable:
    table = AdductTable()
    _read_table(table, Path(__file__).with_name("adducts.csv"))
    return table


def load_adducts(user_csv: str | os.PathLike[str] | None = None) -> AdductTable:
    """The known adducts, with those of a CSV file added.

    Args:
        user_csv: a file with columns ``name,multiplicity,charge,change`` and optionally ``aliases`` (separated by
            ``;``) and ``common`` (place among the adducts to assume), as in the bundled adducts.csv. A row that
            makes a known ion renames it.

    Raises:
        AdductError: a row is wrong; names path, line, adduct and reason.
        OSError: the file cannot be opened.
    """
    table = AdductTable()
    _read_table(table, Path(__file__).with_name("adducts.csv"))
    if user_csv is not None:
        _read_table(table, user_csv)
    return table


@lru_cache(maxsize=4096)
def parse_adduct(text: str, ion_mode: IonMode | None = None) -> Adduct:
    """The adduct that a text names, under its normalised name.

    Understands ``[M+H]+``, ``M+H``, ``(M+H)+``, ``[M+2H]++``, ``[M+FA-H]-``, ``M+.``, ``[M+[37Cl]]-`` and so on. If
    the text states no charge, it follows from the ions in it (H, Na, Cl, HCOO, …) and else from `ion_mode`.

    Args:
        text: the adduct as written; case, blanks and dashes of any kind are tolerated.
        ion_mode: polarity of the spectrum, if known; it must agree with the adduct.

    Raises:
        AdductError: unknown, more than one ion, no charge, or of the other polarity. The message has the remedy.
    """
    return _bundled().parse(text, ion_mode)


def candidates_for(ion_mode: IonMode, charge: int | None = None) -> tuple[Adduct, ...]:
    """The common adducts of a polarity, the most usual first, for a spectrum that names no adduct.

    Args:
        ion_mode: "positive" or "negative".
        charge: charge of the precursor, if known (its sign is ignored); without it, singly charged.
    """
    return _bundled().candidates_for(ion_mode, charge)
