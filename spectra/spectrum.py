"""The two things a reader can yield: a `Spectrum`, or a `Problem` that says why there is none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

IonMode = Literal["positive", "negative"]


@dataclass(slots=True)
class Spectrum:
    """One MS/MS spectrum with what its file says of it; a field the file does not give is `None`.

    Attributes:
        mz: fragment m/z in Th, float64, shape (n_peaks,), sorted ascending.
        intensity: relative intensity, float32, shape (n_peaks,), base peak 1.0.
        precursor_mz: m/z of the isolated ion in Th.
        charge: signed charge of the precursor.
        adduct: normalised adduct such as ``[M+H]+``.
        ion_mode: polarity, "positive" or "negative".
        collision_energy: in eV (normalised energies converted where precursor and charge are known).
        retention_time: in seconds.
        index: position in the file, counted from 0, problems included.
        native_id: the spectrum's own id in its file (TITLE, scan, accession).
        path, line: where the record starts.
        metadata: every other field of the record, as text, under its normalised key.
        notes: what the reader repaired or guessed in this record, in words.
    """

    mz: npt.NDArray[np.float64]
    intensity: npt.NDArray[np.float32]
    precursor_mz: float | None = None
    charge: int | None = None
    adduct: str | None = None
    ion_mode: IonMode | None = None
    collision_energy: float | None = None
    retention_time: float | None = None
    ms_level: int | None = None
    instrument_type: str | None = None
    name: str | None = None
    smiles: str | None = None
    inchikey: str | None = None
    formula: str | None = None
    index: int = 0
    native_id: str = ""
    path: str | None = None
    line: int | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of peaks."""
        return len(self.mz)


@dataclass(frozen=True, slots=True)
class Problem:
    """A record that could not become a spectrum, and where, and why, and what to do about it."""

    index: int
    line: int | None
    native_id: str
    field: str
    value: str
    reason: str
    path: str | None = None
    remedy: str = ""

    def __str__(self) -> str:
        """One line in the file's own terms, such as ``run.mgf:1042 (TITLE=x): PEPMASS 'abc' is not a number``."""
        place = (
            f"{self.path or '<memory>'}:{self.line}"
            if self.line is not None
            else f"{self.path or '<memory>'}"
        )
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{place} (#{self.index} {self.native_id}): {self.field} {self.value!r} {self.reason}{remedy}"
