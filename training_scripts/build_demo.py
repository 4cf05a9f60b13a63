"""Write src/msformers/demo/demo.mgf from the authored table fragments.csv.

The m/z values are computed from the fragment ion formulas of the table, with the electron counted; the intensities are
approximate. Nothing is measured. Run again after a change of the table::

    python training_scripts/build_demo.py
"""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

from msformers.spectra.adducts import parse_adduct
from msformers.spectra.masses import ELECTRON_MASS, formula_mass

DEMO = Path(__file__).resolve().parents[1] / "src" / "msformers" / "demo"
WITH_STRUCTURE = ("Caffeine", "Cocaine", "Quercetin", "Testosterone")
"""Compounds whose spectra carry their SMILES, so that a report can mark the known answer; the others are unknowns."""

HEADER = """\
# Demo spectra of msformers: authored, not measured.
# Every m/z is computed from the formula of a fragment ion described in the literature (see fragments.csv);
# intensities are approximate. For trying the software only, not for scoring it. Licence: Apache-2.0.
# Written by training_scripts/build_demo.py.
"""


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file with a header."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def fragment_mz(ion_formula: str, charge: int) -> float:
    """m/z in Th of a singly charged fragment ion, whose formula counts all of its atoms."""
    return formula_mass(ion_formula) - charge * ELECTRON_MASS


def spectrum_block(number: int, peaks: list[dict[str, str]], molecule: dict[str, str]) -> str:
    """One BEGIN IONS … END IONS record.

    Args:
        number: position of the spectrum, from 1, for its title.
        peaks: the rows of fragments.csv of this spectrum.
        molecule: its row of starter_molecules.csv.
    """
    first = peaks[0]
    adduct = parse_adduct(first["adduct"])
    slug = re.sub(r"\W+", "_", first["compound"].lower())
    lines = [
        "BEGIN IONS",
        f"TITLE=demo_{number:02d}_{slug}",
        f"PEPMASS={adduct.mz(formula_mass(molecule['formula'])):.5f}",
        f"CHARGE={abs(adduct.charge)}{'+' if adduct.charge > 0 else '-'}",
        f"ADDUCT={first['adduct']}",
        f"IONMODE={adduct.ion_mode}",
        f"COLLISION_ENERGY={first['collision_energy']}",
    ]
    if first["compound"] in WITH_STRUCTURE:
        lines.append(f"SMILES={molecule['smiles']}")
    found = [(fragment_mz(row["fragment"], adduct.charge), row["intensity"]) for row in peaks]
    lines += [f"{mz:.5f} {intensity}" for mz, intensity in sorted(found)]
    return "\n".join([*lines, "END IONS", ""])


def build(folder: Path = DEMO) -> str:
    """The whole text of demo.mgf, in the order of fragments.csv."""
    molecules = {row["name"]: row for row in read_rows(folder / "starter_molecules.csv")}
    spectra: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    for row in read_rows(folder / "fragments.csv"):
        spectra.setdefault((row["compound"], row["adduct"], row["collision_energy"]), []).append(row)
    blocks = [
        spectrum_block(number, peaks, molecules[peaks[0]["compound"]])
        for number, peaks in enumerate(spectra.values(), start=1)
    ]
    return "\n".join([HEADER, *blocks])


def main() -> None:
    """Write demo.mgf beside its table and say where."""
    path = DEMO / "demo.mgf"
    path.write_text(build(), encoding="utf-8", newline="\n")
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
