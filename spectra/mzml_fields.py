"""What mzML terms mean (mzml_terms.csv), and the fields of a spectrum made of them."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

from .profile import is_normalised_energy

Param = tuple[str, str, str, str]
"""Accession, value, unit accession, name of a cvParam."""
Terms = dict[str, str]
"""Values by field of mzml_terms.csv."""

_KEPT = (
    "precursor_intensity",
    "ion_mobility_drift_time",
    "inverse_reduced_ion_mobility",
    "faims_compensation_voltage",
)


@cache
def terms() -> dict[str, tuple[str, str]]:
    """Field and fixed value by accession, from mzml_terms.csv; without a fixed value the file gives it."""
    with Path(__file__).with_name("mzml_terms.csv").open(encoding="utf-8", newline="") as stream:
        return {row["accession"]: (row["field"], row["value"]) for row in csv.DictReader(stream)}


def seconds(value: str, unit: str) -> str:
    """A time in seconds; minutes unless the unit says seconds (UO:0000010) or milliseconds (UO:0000028)."""
    factor = {"UO:0000010": 1.0, "UO:0000028": 0.001, "UO:0000032": 3600.0}.get(unit, 60.0)
    try:
        return repr(float(value) * factor)
    except ValueError:
        return value


def record_fields(
    spectrum: Terms, precursors: list[tuple[Terms, list[Terms]]]
) -> tuple[dict[str, str], list[str]]:
    """The fields of a record under their canonical keys, and notes."""
    notes: list[str] = []
    fields = {key: spectrum[key] for key in ("ion_mode", "title", "filter_string", *_KEPT) if key in spectrum}
    fields["ms_level"] = spectrum.get("ms_level") or ("2" if precursors else "9")
    if "time" in spectrum:
        fields["retention_time_s"] = spectrum["time"]
    if not precursors:
        return fields, notes
    precursor, ions = precursors[0]
    ion = ions[0] if ions else {}
    fields |= {key: ion[key] for key in ("charge", *_KEPT) if key in ion}
    if ion.get("selected_mz", "").strip("0. "):
        fields["precursor_mz"] = ion["selected_mz"]
    elif "isolation_target" in precursor:
        fields["precursor_mz"] = precursor["isolation_target"]
        notes.append("no selected ion m/z, the isolation target is used")
    others = [one.get("selected_mz", "?") for _, more in precursors for one in more][1:]
    if others:
        notes.append(
            f"{len(others) + 1} selected ions, the first is used (others: {', '.join(others[:10])})"[:500]
        )
    if "activation" in precursor:
        fields["fragmentation_mode"] = precursor["activation"]
    if "isolation_target" in precursor:
        fields["isolation_window"] = " ".join(
            precursor[key]
            for key in ("isolation_target", "isolation_lower", "isolation_upper")
            if key in precursor
        )
    _energy(fields, precursor, spectrum.get("filter_string", ""), notes)
    return fields, notes


def _energy(fields: dict[str, str], precursor: Terms, filter_line: str, notes: list[str]) -> None:
    if "energy_nce" in precursor:
        fields["collision_energy_nce"] = precursor["energy_nce"]
    elif is_normalised_energy(filter_line, precursor.get("energy", "")):
        fields["collision_energy_nce"] = precursor["energy"]
        notes.append(f"collision energy {precursor['energy']} is a normalised one by the scan filter")
    elif "energy" in precursor:
        fields["collision_energy_ev"] = precursor["energy"]
