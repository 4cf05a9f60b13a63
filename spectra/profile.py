"""What instruments write that a peak list does not say by itself: profile data, normalised energies, ISO durations."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_THERMO_ENERGY = re.compile(r"@[a-z]+(\d+(?:\.\d+)?)")
_DURATION = re.compile(
    r"P(?:T(?:(?P<h>[\d.]+(?:E[-+]?\d+)?)H)?(?:(?P<m>[\d.]+(?:E[-+]?\d+)?)M)?(?:(?P<s>[\d.]+(?:E[-+]?\d+)?)S)?)",
    re.I,
)


def centroid(mz: Array, intensity: Array) -> tuple[Array, Array]:
    """Local maxima of a profile spectrum.

    A point is a peak if it is higher than the point before it and not lower than the one after it (of a plateau, the
    first point). Its m/z is the mean of the point and its two neighbours weighted by intensity; its intensity is that
    of the point. No noise is removed.

    Args:
        mz: m/z in Th of the profile points, shape (n,).
        intensity: their intensities, shape (n,).

    Returns:
        m/z (k,) and intensity (k,) of the k peaks, ascending in m/z.
    """
    order = np.argsort(mz, kind="stable")
    mz, intensity = mz[order], np.where(np.isfinite(intensity[order]), intensity[order], 0.0)
    before = np.concatenate([[0.0], intensity[:-1]])
    after = np.concatenate([intensity[1:], [0.0]])
    left = np.concatenate([mz[:1], mz[:-1]])
    right = np.concatenate([mz[1:], mz[-1:]])
    top = np.flatnonzero((intensity > np.maximum(before, 0.0)) & (intensity >= after))
    weights = np.stack([np.maximum(before[top], 0.0), intensity[top], np.maximum(after[top], 0.0)])
    places = np.stack([left[top] - mz[top], np.zeros(len(top)), right[top] - mz[top]])
    return mz[top] + (weights * places).sum(axis=0) / weights.sum(axis=0), intensity[top]


def is_normalised_energy(filter_line: str, energy: str) -> bool:
    """Whether a Thermo scan filter gives this very energy: converters call it eV, but it is a normalised energy.

    Args:
        filter_line: such as ``FTMS + p ESI d Full ms2 195.0877@hcd35.00 [50.0000-205.0000]``.
        energy: the energy as the file states it.
    """
    if not filter_line.startswith(("FTMS", "ITMS")):
        return False
    try:
        return float(energy) in {float(found) for found in _THERMO_ENERGY.findall(filter_line)}
    except ValueError:
        return False


def duration_seconds(text: str) -> str:
    """Seconds, as text, of an ISO 8601 duration such as ``PT1M12.3S``; any other text as it is."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        return text
    try:
        seconds = [
            float(match[unit] or 0) * factor for unit, factor in (("h", 3600.0), ("m", 60.0), ("s", 1.0))
        ]
    except ValueError:
        return text
    return repr(sum(seconds))
