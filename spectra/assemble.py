"""From the fields of a record to those of a `Spectrum`."""

from __future__ import annotations

from .fields import (
    FieldError,
    nce_to_ev,
    parse_energy,
    parse_ms_level,
    parse_precursor,
    parse_time,
    text_or_none,
    uses_nce,
)
from .ions import Ion, adduct_in_name, resolve_ion
from .peaks import Intensity, Mz
from .record import Dialect, Record
from .spectrum import Spectrum

ID_KEYS = ("native_id", "title", "spectrum_id", "accession", "feature_id", "scans", "db_number")
"""Fields that name a record, the first one present wins; after them its name, then ``index=N``."""
NO_PRECURSOR = ("no precursor m/z",)
Notes = tuple[str, ...]


class FieldProblemError(ValueError):
    """A field of the record that cannot be read."""

    def __init__(self, key: str, value: str, error: FieldError) -> None:
        super().__init__(key)
        self.key = key
        self.value = value
        self.error = error


def assemble(
    record: Record,
    mz: Mz,
    intensity: Intensity,
    notes: Notes,
    path: str | None,
    index: int,
    dialect: Dialect,
) -> Spectrum:
    """The spectrum of a record whose peaks are clean; takes the known fields out of `record.fields`."""
    pop = record.fields.pop
    precursor, notes = _precursor(record, notes)
    name = text_or_none(pop("name", None))
    ion, notes = _ion(record, name, notes)
    instrument = text_or_none(pop("instrument_type", None))
    energy, notes = _energy(record, instrument, precursor, ion, notes)
    time, notes = _time(record, dialect.time_factor, notes)
    level = pop("ms_level", None)
    smiles, inchikey, formula = pop("smiles", None), pop("inchikey", None), pop("formula", None)
    native_id = pop_id(record.fields, name, index)
    pop("num_peaks", None)
    pop("", None)
    if record.extra:
        record.fields |= record.extra
    molecule = text_or_none(smiles), text_or_none(inchikey), text_or_none(formula)
    ion_fields = ion.charge, ion.adduct, ion.ion_mode, energy, time
    about = None if level is None else parse_ms_level(level), instrument, name
    place = index, native_id, path, record.line
    # mypy loses the positions behind the first starred tuple
    return Spectrum(mz, intensity, precursor, *ion_fields, *about, *molecule, *place, record.fields, notes)  # type: ignore[arg-type]


def _precursor(record: Record, notes: Notes) -> tuple[float | None, Notes]:
    text = record.fields.pop("precursor_mz", None)
    if text is None:
        return None, notes + NO_PRECURSOR
    try:
        value = float(text)
        if 0 < value < 1e5 and "_" not in text:
            return value, notes
    except ValueError:
        pass
    try:
        parsed = parse_precursor(text)
    except FieldError as error:
        raise FieldProblemError("precursor_mz", text, error) from None
    if parsed.intensity is not None:
        record.extra["precursor_intensity"] = parsed.intensity
    if parsed.charge is not None:
        record.fields.setdefault("charge", parsed.charge)
    if parsed.last_stage is not None:
        record.extra["precursor_mz_msn"] = parsed.last_stage
    return parsed.mz, notes if parsed.note is None else (*notes, parsed.note)


def _ion(record: Record, name: str | None, notes: Notes) -> tuple[Ion, Notes]:
    pop = record.fields.pop
    adduct = pop("adduct", None)
    if adduct is None and name is not None:
        adduct = adduct_in_name(name)
        if adduct is not None:
            notes += ("adduct taken from the name",)
    ion = resolve_ion(pop("charge", None), adduct, pop("ion_mode", None))
    if ion.adduct_text is not None:
        record.extra.setdefault("adduct_text", ion.adduct_text)
    return ion, notes + ion.notes if ion.notes else notes


def _energy(
    record: Record, instrument: str | None, precursor: float | None, ion: Ion, notes: Notes
) -> tuple[float | None, Notes]:
    """Collision energy in eV and the notes; the text stays in the metadata unless it is a plain number."""
    fields = record.fields
    text = text_or_none(fields.pop("collision_energy_ev", None))
    if text is not None:
        if "collision_energy" in fields:
            record.extra["collision_energy_text"] = fields.pop("collision_energy")
        return parse_energy(text, False)[0], notes
    text = text_or_none(fields.pop("collision_energy", None))
    normalised = text_or_none(fields.pop("collision_energy_nce", None))
    if text is None:
        if normalised is None:
            return None, notes
        text = normalised if "%" in normalised or "NCE" in normalised.upper() else f"{normalised} NCE"
    value, is_nce = parse_energy(text, uses_nce(instrument))
    plain = text.replace(".", "", 1).isdigit()
    if not plain and text.removesuffix(" eV").replace(".", "", 1).isdigit():
        return value, notes
    if not plain or is_nce:
        record.extra.setdefault("collision_energy_text", text)
    if value is None or not is_nce:
        return value, notes
    if plain:
        notes += (f"collision energy {text} is read as a normalised one ({instrument})",)
    stage = record.extra.get("precursor_mz_msn") or fields.get("precursor_mz_msn")
    return nce_to_ev(value, float(stage) if stage else precursor, ion.charge), notes


def _time(record: Record, factor: float, notes: Notes) -> tuple[float | None, Notes]:
    fields = record.fields
    text = fields.pop("retention_time_s", None)
    if text is not None:
        factor = 1.0
    else:
        text = fields.pop("retention_time_min", None)
        if text is not None:
            factor = 60.0
        else:
            text = fields.pop("retention_time", None)
            if text is None:
                return None, notes
    value, note = parse_time(text, factor)
    return value, notes if note is None else (*notes, note)


def pop_id(fields: dict[str, str], name: str | None, index: int) -> str:
    """Take the record's own id out of its fields; without one its name, else ``index=N``."""
    for key in ID_KEYS:
        if key in fields:
            text = fields.pop(key).strip()
            if text:
                return text
    return name or f"index={index}"
