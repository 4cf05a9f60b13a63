from __future__ import annotations

import numpy as np
import pytest

from msformers.spectra.spectrum import Spectrum
from msformers.tokenization.conditions import neutral_mass, polarity_id, spectrum_conditions


def test_conditions_of_records():
    records = [
        {"precursor_mz": 285.0786, "adduct": "[M+H]+", "collision_energy": 20.0},
        {"precursor_mz": None, "adduct": "[M-H]-", "ion_mode": "negative"},
        {"precursor_mz": 100.0, "adduct": "nonsense", "charge": 1, "collision_energy": "fast"},
    ]
    found = spectrum_conditions(records, ["[M-H]-", "[M+H]+"])
    assert found["neutral_mass"][0].item() == pytest.approx(284.0713, abs=1e-4)
    assert found["neutral_mass"].isnan().tolist() == [False, True, True]
    assert found["adduct_ids"].tolist() == [2, 1, 0]
    assert found["polarity"].tolist() == [1, 2, 1]
    assert found["collision_energy"].isnan().tolist() == [False, True, True]
    assert "adduct_ids" not in spectrum_conditions(records)
    assert spectrum_conditions(records, masses=[1.0, None, 3.0])["neutral_mass"][2] == 3.0
    assert neutral_mass(181.0495, "[M+2H]2+") == pytest.approx(360.0845, abs=1e-4)
    assert polarity_id({"adduct": "[M]+."}) == 1 and polarity_id({}) == 0


def test_records_and_mappings_say_the_same():
    fields = {"precursor_mz": 285.0786, "adduct": "[M+H]+", "collision_energy": 20.0, "ion_mode": "positive"}
    record = Spectrum(mz=np.array([91.05]), intensity=np.array([1.0], np.float32), **fields)
    by_record, by_mapping = (
        spectrum_conditions([record], ["[M+H]+"]),
        spectrum_conditions([fields], ["[M+H]+"]),
    )
    assert all(by_record[name].equal(values) for name, values in by_mapping.items())
