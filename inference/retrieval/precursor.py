"""From a spectrum's precursor to the neutral masses its molecule may have; polarity is never mixed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...spectra.adducts import Adduct, AdductError, parse_adduct
from ...spectra.spectrum import Spectrum

COMMON_ADDUCTS = {
    "positive": ("[M+H]+", "[M+Na]+", "[M+NH4]+", "[M+K]+", "[M-H2O+H]+", "[M]+"),
    "negative": ("[M-H]-", "[M+Cl]-", "[M+HCOO]-", "[M+CH3COO]-", "[M-H2O-H]-"),
}
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


def polarity(spectrum: Spectrum) -> str | None:
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
    spectrum: Spectrum,
    ppm: float = 10.0,
    adducts: AdductPolicy = "assume",
    table: dict[str, Adduct] | None = None,
) -> Reading:
    """Which neutral masses can this spectrum's precursor stand for?

    Args:
        spectrum: its adduct counts if it states one; otherwise `adducts` decides.
        ppm: tolerance around the precursor m/z, in parts per million.
        adducts: for a spectrum without adduct: "assume" takes [M+H]+ or [M-H]- ([M+2H]2+ for charge 2 …) and says so,
            "common" tries `COMMON_ADDUCTS` of the polarity, "require" gives up, and an adduct such as "[M+Na]+" is used.
        table: further adducts by name, as `load_adducts` returns them.

    Returns:
        ions (empty if the precursor cannot be used), status and reason. Statuses: ok, assumed_adduct, no_precursor,
        no_adduct, unknown_adduct, polarity_mismatch.
    """
    mode, precursor = polarity(spectrum), spectrum.precursor_mz
    names, assumed, why = _adduct_names(spectrum, mode, adducts)
    if not names:
        return Reading((), "no_adduct", why)
    chosen: list[Adduct] = []
    for name in names:
        try:
            chosen.append(_lookup(name, table))
        except AdductError as error:
            return Reading((), "unknown_adduct", f"adduct {name!r}: {error}")
    wrong = next((a for a in chosen if mode is not None and a.ion_mode != mode), None)
    if wrong is not None:
        reason = f"adduct {wrong.name} is {wrong.ion_mode} but the spectrum is {mode}; correct one of the two"
        return Reading((), "polarity_mismatch", reason)
    if precursor is None or not precursor > 0.0:
        remedy = "give it in the file (MGF: PEPMASS), or search with --search formula or --search open"
        return Reading((), "no_precursor", f"precursor m/z is {precursor}; {remedy}")
    ions = tuple(ion for adduct in chosen if (ion := ion_window(adduct, precursor, ppm)).high > 0.0)
    return Reading(ions, "assumed_adduct" if assumed else "ok", why)


def _adduct_names(
    spectrum: Spectrum, mode: str | None, adducts: AdductPolicy
) -> tuple[tuple[str, ...], bool, str]:
    """(names, assumed?, why): what the spectrum states, or what the policy puts in its place."""
    if spectrum.adduct:
        return (spectrum.adduct,), False, ""
    if adducts == "require":
        return (
            (),
            False,
            "no adduct is given; add it to the file, or use --adduct assume, common or an adduct",
        )
    side = mode or "positive"
    said = f"{side} ion mode" if mode else "ion mode not given, positive assumed"
    if adducts == "common":
        return (
            COMMON_ADDUCTS[side],
            True,
            f"adduct not given; tried {', '.join(COMMON_ADDUCTS[side])} ({said})",
        )
    if adducts != "assume":
        return (adducts,), True, f"adduct not given; {adducts} as asked"
    count = abs(spectrum.charge or 1)
    number, sign = (str(count) if count > 1 else ""), ("+" if side == "positive" else "-")
    name = f"[M{sign}{number}H]{number}{sign}"
    return (name,), True, f"adduct not given; assumed {name} ({said})"


def _lookup(name: str, table: dict[str, Adduct] | None) -> Adduct:
    return table[name] if table is not None and name in table else parse_adduct(name)
