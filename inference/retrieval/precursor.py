"""From a spectrum's precursor to the neutral masses its molecule may have; polarity is never mixed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

from ...spectra.adducts import Adduct, AdductError, AdductTable, load_adducts
from ...spectra.spectrum import IonMode, Spectrum

AdductPolicy = Literal["assume", "common", "require"] | str


@dataclass(frozen=True, slots=True)
class Ion:
    """One reading of a precursor: the adduct, and the neutral exact masses (Da) within the tolerance."""

    adduct: Adduct
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Reading:
    """All readings of a precursor with `status` ("ok", "assumed_adduct", or what is wrong) and `reason` in words."""

    ions: tuple[Ion, ...]
    status: str
    reason: str


@cache
def _bundled() -> AdductTable:
    return load_adducts()


def polarity(spectrum: Spectrum) -> IonMode | None:
    """The ion mode, else the sign of the charge, as positive or negative; None if neither is known."""
    if spectrum.ion_mode is not None:
        return spectrum.ion_mode
    if spectrum.charge:
        return "positive" if spectrum.charge > 0 else "negative"
    return None


def ion_window(adduct: Adduct, precursor_mz: float, ppm: float) -> Ion:
    """The neutral masses whose `adduct` ion lies within `ppm` of `precursor_mz` (ppm counts in m/z)."""
    low, high = (adduct.neutral_mass(precursor_mz * (1.0 + sign * ppm * 1e-6)) for sign in (-1, 1))
    return Ion(adduct, low, high)


def read_precursor(
    spectrum: Spectrum, ppm: float = 10.0, adducts: AdductPolicy = "assume", table: AdductTable | None = None
) -> Reading:
    """Which neutral masses can this spectrum's precursor stand for?

    Args:
        spectrum: its adduct counts if it states one; otherwise `adducts` decides.
        ppm: tolerance around the precursor m/z, in parts per million.
        adducts: for a spectrum without adduct: "assume" takes [M+H]+ or [M-H]- ([M+2H]2+ for charge 2 …) and says so,
            "common" tries the common ones of the polarity, "require" gives up, and an adduct such as "[M+Na]+" is used.
        table: the known adducts, by default those of the package.

    Returns:
        ions (empty if the precursor cannot be used), status and reason. Statuses: ok, assumed_adduct, no_precursor,
        no_adduct, unknown_adduct, polarity_mismatch.
    """
    table = table or _bundled()
    mode, precursor = polarity(spectrum), spectrum.precursor_mz
    if not spectrum.adduct and adducts == "require":
        reason = "no adduct is given; add it to the file, or use --adduct assume, common or an adduct"
        return Reading((), "no_adduct", reason)
    try:
        chosen, why = _choose(spectrum, mode, adducts, table)
    except AdductError as error:
        return Reading((), "unknown_adduct", str(error))
    wrong = next((adduct for adduct in chosen if mode is not None and adduct.ion_mode != mode), None)
    if wrong is not None:
        reason = f"adduct {wrong.name} is {wrong.ion_mode} but the spectrum is {mode}; correct one of the two"
        return Reading((), "polarity_mismatch", reason)
    if precursor is None or not precursor > 0.0:
        remedy = "give it in the file (MGF: PEPMASS), or search with --search formula or --search open"
        return Reading(
            (), "no_precursor", f"precursor m/z is {'missing' if precursor is None else precursor}; {remedy}"
        )
    ions = tuple(ion for adduct in chosen if (ion := ion_window(adduct, precursor, ppm)).high > 0.0)
    return Reading(ions, "assumed_adduct" if why else "ok", why)


def _choose(
    spectrum: Spectrum, mode: IonMode | None, adducts: AdductPolicy, table: AdductTable
) -> tuple[tuple[Adduct, ...], str]:
    """The adducts to try, and why if the spectrum does not state one."""
    if spectrum.adduct:
        return (_parse(spectrum.adduct, mode, table),), ""
    side: IonMode = mode or "positive"
    said = f"{side} ion mode" if mode else "ion mode not given, positive assumed"
    if adducts == "common":
        common = table.candidates_for(side, spectrum.charge)
        return common, f"adduct not given; tried {', '.join(adduct.name for adduct in common)} ({said})"
    if adducts != "assume":
        return (_parse(adducts, mode, table),), f"adduct not given; {adducts} as asked"
    count = abs(spectrum.charge or 1)
    number, sign = (str(count) if count > 1 else ""), ("+" if side == "positive" else "-")
    name = f"[M{sign}{number}H]{number}{sign}"
    return (table.parse(name),), f"adduct not given; assumed {name} ({said})"


def _parse(text: str, mode: IonMode | None, table: AdductTable) -> Adduct:
    """Read an adduct; the polarity helps where the text does not say, but is not yet held against it."""
    try:
        return table.parse(text)
    except AdductError:
        if mode is None:
            raise
        return table.parse(text, mode)
