"""What a spectrum's record tells a decoder beside its peaks: neutral mass, adduct, collision energy, polarity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..spectra.adducts import AdductError, parse_adduct

POLARITIES = {"positive": 1, "negative": 2}
"""0 is unknown."""


def neutral_mass(precursor_mz: float | None, adduct: str | None) -> float:
    """Neutral exact mass in Da of a precursor (Th) under an adduct; NaN if one of them is unknown or unreadable."""
    if precursor_mz is None or not adduct or not math.isfinite(precursor_mz):
        return math.nan
    try:
        return parse_adduct(adduct).neutral_mass(precursor_mz)
    except AdductError:
        return math.nan


def polarity_id(spectrum: Any) -> int:
    """The ion mode, else the sign of the charge, else that of the adduct, as in `POLARITIES`; 0 if none is known."""
    if _get(spectrum, "ion_mode") in POLARITIES:
        return POLARITIES[_get(spectrum, "ion_mode")]
    adduct = str(_get(spectrum, "adduct") or "").rstrip(".")
    sign = _get(spectrum, "charge") or {"+": 1, "-": -1}.get(adduct[-1:], 0)
    return 1 if sign > 0 else 2 if sign < 0 else 0


def spectrum_conditions(
    spectra: Sequence[Any], adducts: Sequence[str] = (), masses: Sequence[float | None] | None = None
) -> dict[str, Tensor]:
    """Conditions of `SpectrumToMoleculeModel` that need no model.

    Args:
        spectra: `Spectrum` records, or mappings with precursor_mz (Th), adduct, collision_energy (eV), ion_mode, charge.
        adducts: those the model knows, its ``config.adducts``.
        masses: neutral masses in Da where they are known otherwise; None takes precursor and adduct.

    Returns:
        `neutral_mass` float64 (B,) Da and `collision_energy` float32 (B,) eV, NaN = unknown; `adduct_ids` int64 (B,),
        1 + the place in `adducts`; `polarity` int64 (B,), both 0 = unknown. `adduct_ids` is missing without `adducts`.
    """
    places = {name: 1 + place for place, name in enumerate(adducts)}
    if masses is None:
        masses = [neutral_mass(_get(item, "precursor_mz"), _get(item, "adduct")) for item in spectra]
    energies = [_number(_get(item, "collision_energy")) for item in spectra]
    found = {
        "neutral_mass": torch.tensor([_number(mass) for mass in masses], dtype=torch.float64),
        "collision_energy": torch.tensor(energies, dtype=torch.float32),
        "polarity": torch.tensor([polarity_id(item) for item in spectra], dtype=torch.int64),
    }
    if places:
        ids = [places.get(str(_get(item, "adduct")), 0) for item in spectra]
        found["adduct_ids"] = torch.tensor(ids, dtype=torch.int64)
    return found


def _get(spectrum: Any, name: str) -> Any:
    return spectrum.get(name) if isinstance(spectrum, dict) else getattr(spectrum, name, None)


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return math.nan
    return number if math.isfinite(number) and number > 0 else math.nan
