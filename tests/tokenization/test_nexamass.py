import numpy as np
import pytest

from msformers.tokenization.formulas import N_BINS
from msformers.tokenization.nexamass import N_FEATURES, NexaMassFeatureExtractor

FRAGMENTS = [("C6", 0, 12, 100), ("C7O", 0, 8, 50), ("O", 0, 2, 100)]
BENZOYL = {
    "mz": [105.0335, 77.0386, 51.0229],
    "intensity": [100.0, 25.0, 4.0],
    "precursor_mz": 123.0441,
    "adduct": "[M+H]+",
}


def test_the_eight_features() -> None:
    batch = NexaMassFeatureExtractor()(BENZOYL, return_tensors="np")
    assert batch["features"].shape == (1, 3, N_FEATURES)
    mz = np.array([51.0229, 77.0386, 105.0335])  # sorted
    share = np.array([0.04, 0.25, 1.0])
    expected = np.stack(
        [
            *(mz / 1000, mz - np.floor(mz), share, np.sqrt(share), np.log1p(1000 * share) / np.log(1001)),
            *((123.0441 - mz) / 1000, np.array([2, 1, 0]) / 256, np.full(3, 0.1230441)),
        ],
        axis=1,
    )
    np.testing.assert_allclose(batch["features"][0], expected, atol=1e-6)


def test_a_missing_precursor_gives_zeros() -> None:
    features = NexaMassFeatureExtractor()({**BENZOYL, "precursor_mz": None}, return_tensors="np")["features"]
    assert not features[..., [5, 7]].any()
    assert features[..., 0].all()


def test_the_most_intense_peaks_are_kept_and_sorted() -> None:
    rng = np.random.default_rng(0)
    many = {"mz": rng.uniform(50, 900, 10_000), "intensity": rng.random(10_000), "precursor_mz": 901.0}
    batch = NexaMassFeatureExtractor()(many, return_tensors="np")
    assert batch["features"].shape == (1, 256, 8)
    assert np.all(np.diff(batch["peaks"][0, :, 0]) >= 0)
    assert batch["peaks"][0, :, 1].min() >= np.sort(many["intensity"])[-256] / many["intensity"].max() - 1e-6


@pytest.mark.parametrize("peaks", [[], [77.0386]])
def test_few_peaks(peaks: list[float]) -> None:
    batch = NexaMassFeatureExtractor(fragments=FRAGMENTS)(
        {"mz": peaks, "intensity": [1.0] * len(peaks), "precursor_mz": 123.0}, return_tensors="np"
    )
    assert batch["attention_mask"].sum() == len(peaks)
    assert batch["annotation_ids"].shape[-1] == 8
    assert np.isfinite(batch["features"]).all()


def test_annotations_name_bins_and_formulas() -> None:
    extractor = NexaMassFeatureExtractor(fragments=FRAGMENTS)
    batch = extractor(BENZOYL, return_tensors="np")
    ids, weights = batch["annotation_ids"][0], batch["annotation_weights"][0]
    first = 1 + 2 * N_BINS
    assert ids[2, :2].tolist() == [1 + 105, 1 + N_BINS + 18]
    assert first + 1 in ids[2]  # C7H5O+ has the heavy atoms C7O
    assert first + 3 + 2 in ids[2]  # its loss, water, those of O
    assert first in ids[1]  # C6H5+
    assert weights[ids == 0].sum() == 0
    assert ids.max() < extractor.annotation_size
    assert batch["context_ids"].shape == (1, 3)


def test_no_vocabulary_no_annotations() -> None:
    extractor = NexaMassFeatureExtractor()
    assert extractor.annotation_size == extractor.context_size == 0
    assert "annotation_ids" not in extractor(BENZOYL)


def test_the_annotations_survive_saving(tmp_path: object) -> None:
    extractor = NexaMassFeatureExtractor(fragments=FRAGMENTS, ppm=7.0)
    extractor(BENZOYL)
    extractor.save_pretrained(tmp_path)
    again = NexaMassFeatureExtractor.from_pretrained(tmp_path)
    np.testing.assert_array_equal(
        again(BENZOYL, return_tensors="np")["annotation_ids"],
        extractor(BENZOYL, return_tensors="np")["annotation_ids"],
    )
