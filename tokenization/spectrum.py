"""Base of all feature extractors: any form of spectrum in, padded `peaks` and `attention_mask` out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from transformers import BatchFeature, FeatureExtractionMixin

from ..spectra.spectrum import Spectrum

# keys that transformers adds to a saved preprocessor_config.json
# the analysers of MassBank's instrument types that do not measure accurate mass, as their last part
_UNIT_RESOLUTION = re.compile(r"(?:^|[-\s])(?:Q{1,3}|Q?IT|TQ|QTRAP|ion trap)$", re.IGNORECASE)
_LIBRARY_KEYS = frozenset({"feature_extractor_type", "processor_class", "auto_map", "name_or_path"})


_CONTEXT = ("adduct", "ion_mode", "instrument_type")
# inputs that half precision would spoil: m/z and masses
_EXACT = ("peaks", "precursors")


@dataclass(frozen=True, slots=True)
class PeakList:
    """What an extractor needs of a spectrum.

    Attributes:
        mz: m/z in Th, float64 (n,).
        intensity: intensities in any unit, float64 (n,).
        precursor_mz: in Th, None when unknown.
        name: how to call the spectrum in an error.
        adduct: normalised, None when unknown.
        ion_mode: "positive", "negative" or None; taken from the adduct's sign when not given.
        instrument_type: as recorded, such as LC-ESI-QTOF.
        charge: of the precursor, signed, None when unknown (or given as 0).
    """

    mz: npt.NDArray[np.float64]
    intensity: npt.NDArray[np.float64]
    precursor_mz: float | None
    name: str
    adduct: str | None = None
    ion_mode: str | None = None
    instrument_type: str | None = None
    charge: int | None = None

    @property
    def unit_resolution(self) -> bool:
        """Whether m/z are nominal: by the instrument (quadrupole, ion trap), or none has a second decimal."""
        if self.instrument_type:
            return bool(_UNIT_RESOLUTION.search(self.instrument_type))
        tenths = self.mz * 10
        return len(self.mz) > 0 and bool(np.all(np.abs(tenths - np.rint(tenths)) < 1e-6))


class SpectrumBatch(BatchFeature):
    """A `BatchFeature` whose `peaks` and `precursors` keep their dtype under ``.to(torch.bfloat16)``, which loses m/z."""

    def to(self, *args: Any, **kwargs: Any) -> SpectrumBatch:
        """Move all tensors; cast all floating ones but `peaks` and `precursors`."""
        exact = {name: self.data[name] for name in _EXACT if hasattr(self.data.get(name), "to")}
        super().to(*args, **kwargs)
        for name, values in exact.items():
            if self.data[name].dtype != values.dtype:
                self.data[name] = values.to(device=self.data[name].device)
        return self


class SpectrumFeatureExtractor(FeatureExtractionMixin):
    """Spectra to `peaks` (batch, tokens, 2) float32 and `attention_mask` (batch, tokens) int64, 1 = real token.

    Column 0 is m/z in Th, column 1 intensity relative to the base peak. A subclass states its preparation in
    `tokens`. Settings are plain attributes and are saved as preprocessor_config.json.

    Args:
        n_highest_peaks: keep this many of the most intense peaks, None for all.
    """

    model_input_names: ClassVar[list[str]] = ["peaks", "attention_mask"]

    def __init__(self, n_highest_peaks: int | None = None, **kwargs: Any) -> None:
        unknown = sorted(set(kwargs) - _LIBRARY_KEYS)
        if unknown:
            raise TypeError(f"{type(self).__name__} has no setting {', '.join(map(repr, unknown))}")
        if n_highest_peaks is not None and n_highest_peaks < 1:
            raise ValueError(f"n_highest_peaks must be at least 1, got {n_highest_peaks}")
        super().__init__(**kwargs)
        self.n_highest_peaks = n_highest_peaks

    def __call__(self, spectra: Any, return_tensors: str | None = "pt") -> SpectrumBatch:
        """Prepare one spectrum or many.

        Args:
            spectra: a `Spectrum`, a row of `load_spectra`, a mapping with `mz`, `intensity` (and `precursor_mz`),
                a `matchms.Spectrum`; or an iterable of these; or a mapping of columns (a slice of a dataset).
            return_tensors: "pt", "np" or None (NumPy arrays).

        Raises:
            ValueError: a spectrum lacks what the model needs or holds values that are not finite; names it.
        """
        peak_lists = [as_peak_list(item, position) for position, item in enumerate(_rows(spectra))]
        return SpectrumBatch(self.batch(peak_lists), tensor_type=return_tensors)

    def batch(self, peak_lists: Sequence[PeakList]) -> dict[str, Any]:
        """Arrays with one row per spectrum, before they become tensors; where a subclass adds inputs of its own."""
        return self.collate([self.tokens(peaks) for peaks in peak_lists])

    def tokens(self, peaks: PeakList) -> npt.NDArray[np.float32]:
        """Tokens (n, 2) of one spectrum, without padding."""
        mz, intensity = trim(peaks.mz, peaks.intensity, self.n_highest_peaks)
        return np.stack([mz, relative(intensity)], axis=1).astype(np.float32)

    def collate(self, tokens: Sequence[npt.NDArray[np.float32]]) -> dict[str, Any]:
        """Pad to the longest spectrum; every key is an array with one row per spectrum."""
        peaks = pad_rows(tokens)
        attention_mask = np.zeros(peaks.shape[:2], dtype=np.int64)
        for row, one in zip(attention_mask, tokens, strict=True):
            row[: len(one)] = 1
        return {"peaks": peaks, "attention_mask": attention_mask}


def as_peak_list(spectrum: Any, position: int = 0) -> PeakList:
    """Read a spectrum in any of the accepted forms.

    Raises:
        TypeError: it is none of them.
        ValueError: lengths differ, or a value is not finite or negative.
    """
    if isinstance(spectrum, Spectrum):
        mz, intensity, precursor = spectrum.mz, spectrum.intensity, spectrum.precursor_mz
        name = spectrum.native_id or f"spectrum {spectrum.index}"
        context = {key: getattr(spectrum, key) for key in _CONTEXT}
        charge = spectrum.charge
    elif isinstance(spectrum, Mapping):
        if "mz" not in spectrum or not ({"intensity", "intensities"} & set(spectrum)):
            raise TypeError(f"spectrum {position} needs the keys mz and intensity, has {sorted(spectrum)}")
        mz, precursor = spectrum["mz"], spectrum.get("precursor_mz")
        intensity = spectrum["intensity"] if "intensity" in spectrum else spectrum["intensities"]
        name = str(spectrum.get("native_id") or f"spectrum {position}")
        context = {key: spectrum.get(key) for key in _CONTEXT}
        charge = spectrum.get("charge")
    elif hasattr(spectrum, "peaks") and hasattr(
        spectrum, "metadata"
    ):  # matchms.Spectrum, without importing it
        mz, intensity = spectrum.peaks.mz, spectrum.peaks.intensities
        precursor = spectrum.metadata.get("precursor_mz")
        name = str(spectrum.metadata.get("spectrum_id") or f"spectrum {position}")
        context = {
            "adduct": spectrum.metadata.get("adduct"),
            "ion_mode": spectrum.metadata.get("ionmode"),
            "instrument_type": spectrum.metadata.get("instrument_type"),
        }
        charge = spectrum.metadata.get("charge")
    else:
        raise TypeError(
            f"spectrum {position} is a {type(spectrum).__name__}; give a Spectrum, a mapping with mz and intensity, "
            "or a matchms.Spectrum (read files with msformers.load_spectra)"
        )
    sign = str(context["adduct"] or "").strip()[-1:]
    context["ion_mode"] = context["ion_mode"] or {"+": "positive", "-": "negative"}.get(sign)
    precursor_mz = None if precursor is None else float(precursor)
    signed = _charge(charge, name)
    return _checked(PeakList(_array(mz), _array(intensity), precursor_mz, name, charge=signed, **context))


def trim(
    mz: npt.NDArray[np.float64], intensity: npt.NDArray[np.float64], n_highest: int | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Keep the `n_highest` most intense peaks in their original order; of equal ones at the cut the later ones."""
    if n_highest is None or len(mz) <= n_highest:
        return mz, intensity
    kept = np.sort(np.argsort(intensity, kind="stable")[-n_highest:])
    return mz[kept], intensity[kept]


def relative(intensity: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Intensity divided by that of the base peak; unchanged if there is no positive one."""
    base = intensity.max(initial=0.0)
    return intensity / base if base > 0 else intensity


def pad_rows(rows: Sequence[npt.NDArray[np.float32]], length: int | None = None) -> npt.NDArray[np.float32]:
    """Stack arrays (n_i, 2) into (batch, length, 2), zeros behind; `length` is at least the longest and at least 1."""
    length = max([len(row) for row in rows] + [length or 1])
    padded = np.zeros((len(rows), length, 2), dtype=np.float32)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    return padded


def _charge(value: Any, name: str) -> int | None:
    """A signed charge; 0, NaN and nothing are unknown."""
    if value is None or value == "" or value != value:
        return None
    try:
        charge = int(value)
        if charge != float(value):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name}: charge {value!r} is not a whole number; correct or remove it") from None
    return charge or None


def _array(values: Any) -> npt.NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64).reshape(-1)


def _checked(peaks: PeakList) -> PeakList:
    if len(peaks.mz) != len(peaks.intensity):
        raise ValueError(f"{peaks.name}: {len(peaks.mz)} m/z values but {len(peaks.intensity)} intensities")
    for field, values in (("mz", peaks.mz), ("intensity", peaks.intensity)):
        bad = np.flatnonzero(~np.isfinite(values) | (values < 0))
        if len(bad):
            raise ValueError(f"{peaks.name}: {field}[{bad[0]}] is {values[bad[0]]}; remove the peak")
    if peaks.precursor_mz is not None and not (np.isfinite(peaks.precursor_mz) and peaks.precursor_mz > 0):
        raise ValueError(f"{peaks.name}: precursor_mz is {peaks.precursor_mz}; it must be a positive m/z")
    return peaks


def _rows(spectra: Any) -> Iterable[Any]:
    """One spectrum, many, or a mapping of columns, as an iterable of spectra."""
    if isinstance(spectra, Mapping):
        mz = spectra.get("mz")
        columns = isinstance(mz, Sequence) and len(mz) > 0 and np.ndim(mz[0]) == 1
        if not columns:
            return [spectra]
        return [dict(zip(spectra, values, strict=True)) for values in zip(*spectra.values(), strict=True)]
    if isinstance(spectra, Spectrum) or hasattr(spectra, "peaks"):
        return [spectra]
    if isinstance(spectra, Iterable) and not isinstance(spectra, str | bytes):
        return spectra
    return [spectra]
