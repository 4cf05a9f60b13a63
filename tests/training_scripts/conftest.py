"""Synthetic data in the layout of the shared tables, and the scripts as importable modules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rdkit import Chem
from rdkit.Chem.Descriptors import ExactMolWt
from rdkit.Chem.rdMolDescriptors import CalcMolFormula
from stage_runs import SCRIPTS

RINGS = ("c1ccccc1", "c1ccncc1", "C1CCCCC1", "c1ccc2ccccc2c1")
TAILS = ("O", "N", "CO", "OC", "CN", "NC", "C(=O)O", "CCO", "OCC", "CCN", "C(C)O", "CS", "SC", "Cl")
LICENCES = ("CC0", "CC BY", "CC BY-NC-SA")


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """The folder of the scripts on the path, as when they are started."""
    monkeypatch.syspath_prepend(str(SCRIPTS))


def molecules() -> list[dict[str, object]]:
    rows = []
    for ring in RINGS:
        for tail in TAILS:
            mol = Chem.MolFromSmiles(tail + ring)
            rows.append(
                {
                    "smiles": Chem.MolToSmiles(mol),
                    "inchikey14": Chem.MolToInchiKey(mol)[:14],
                    "formula": CalcMolFormula(mol),
                    "exact_mass": ExactMolWt(mol),
                }
            )
    return list({row["inchikey14"]: row for row in rows}.values())


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """``massbank_msms.parquet`` with 3 spectra for each of ~50 molecules, and ``molecules.parquet``."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    rows = []
    for number, molecule in enumerate(molecules()):
        fold = ("train", "train", "train", "val", "test")[number % 5]
        for copy in range(3):
            n_peaks = int(rng.integers(2, 15))
            intensity = rng.random(n_peaks).astype(np.float32)
            rows.append(
                {
                    "smiles_2d": molecule["smiles"],
                    **{name: molecule[name] for name in ("inchikey14", "formula", "exact_mass")},
                    "precursor_mz": molecule["exact_mass"] + 1.00728,
                    "adduct": "[M+H]+",
                    "instrument_type": "LC-ESI-QTOF",
                    "collision_energy_ev": 20.0 if copy else None,
                    "ion_mode": "positive",
                    "charge": 1,
                    "contributor": "lab",
                    "instrument": f"instrument {number % 2}",
                    "retention_time_s": float(number) if copy else None,
                    "fold": fold,
                    "license": LICENCES[copy],
                    "mz": np.sort(rng.uniform(40, molecule["exact_mass"], n_peaks)).tolist(),
                    "intensity": (intensity / intensity.max()).tolist(),
                }
            )
    pq.write_table(pa.Table.from_pylist(rows), folder / "massbank_msms.parquet")
    pq.write_table(pa.Table.from_pylist(molecules()), folder / "molecules.parquet")
    return folder
