from __future__ import annotations

import pytest
import torch

from msformers.tokenization.ms2prop import MS2PropFeatureExtractor

ROW = {"mz": [250.1639, 91.0542, 1000.5], "intensity": [30.0, 60.0, 100.0], "precursor_mz": 285.0786}


def test_mz_in_tenths_and_intensity_as_a_number() -> None:
    batch = MS2PropFeatureExtractor()([ROW, {**ROW, "mz": [99.96], "intensity": [1.0]}])
    assert batch["token_ids"].tolist() == [[2851, 911, 2502], [2851, 1000, 0]]
    torch.testing.assert_close(batch["peaks"][0, :, 1], torch.tensor([2.0, 1.0, 0.5]))
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]


def test_the_last_bin_is_1000() -> None:
    batch = MS2PropFeatureExtractor()({"mz": [999.99, 0.04], "intensity": [1.0, 1.0], "precursor_mz": 1000.0})
    assert batch["token_ids"].tolist() == [[10000, 0, 10000]]


def test_errors_name_the_spectrum() -> None:
    with pytest.raises(ValueError, match="x9: precursor_mz is missing; MS2Prop"):
        MS2PropFeatureExtractor()({**ROW, "precursor_mz": None, "native_id": "x9"})
    with pytest.raises(ValueError, match=r"spectrum 0: precursor_mz is 1200\.0, MS2Prop reads up to 1000 Th"):
        MS2PropFeatureExtractor()({**ROW, "precursor_mz": 1200.0})
    with pytest.raises(ValueError, match="at most 1000 Th, got 0"):
        MS2PropFeatureExtractor(max_mz=0.0)
