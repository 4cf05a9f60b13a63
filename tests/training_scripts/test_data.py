from __future__ import annotations

import numpy as np
import pytest


def load(data, folds=("train",), **options):
    from data import load_spectra_table

    return load_spectra_table(data, folds, **options)


def test_only_the_fold_and_the_licences_asked_for(data):
    table = load(data)
    assert set(table.rows["fold"]) == {"train"}
    assert set(table.rows["license"]) == {"CC0", "CC BY"}
    assert len(load(data, licences="all")) == len(table) * 3 // 2
    assert not set(table.rows["inchikey14"]) & set(load(data, ("val",)).rows["inchikey14"])
    with pytest.raises(ValueError, match="no spectrum"):
        load(data, ("hidden",))


def test_peaks_belong_to_their_rows(data):
    import pyarrow.parquet as pq

    table = load(data, ("val",), min_peaks=5)
    known = {
        (row["inchikey14"], row["license"]): row
        for row in pq.read_table(data / "massbank_msms.parquet").to_pylist()
    }
    assert min(table.n_peaks) >= 5
    for (mz, intensity), key, licence in zip(
        table.peaks, table.rows["inchikey14"], table.rows["license"], strict=True
    ):
        assert mz.tolist() == known[key, licence]["mz"]
        assert np.allclose(intensity, known[key, licence]["intensity"])


def test_a_sample_is_the_same_each_time(data):
    first, second = (load(data, limit=10, seed=3) for _ in range(2))
    assert len(first) == 10 and first.rows == second.rows
    assert load(data, limit=10, seed=4).rows != first.rows


def test_augmentation_depends_on_seed_epoch_and_index_alone(data):
    from data import Augmentation, SpectrumDataset

    change = Augmentation(peak_dropout=0.3, peak_ppm=5, precursor_ppm=5, intensity_sd=0.1, merge=0.5)
    one, two = (SpectrumDataset(load(data), change, seed=1) for _ in range(2))
    two[0, 5], two[7, 2]
    for key in ((0, 3), (1, 3), (0, 4)):
        assert np.array_equal(one[key]["mz"], two[key]["mz"])
        assert one[key]["precursor_mz"] == two[key]["precursor_mz"]
    assert one[0, 3]["precursor_mz"] != one[1, 3]["precursor_mz"]
    assert SpectrumDataset(load(data), change, seed=2)[0, 3]["precursor_mz"] != one[0, 3]["precursor_mz"]


def test_augmentation_keeps_what_it_must():
    from data import Augmentation

    mz, intensity = np.linspace(50, 500, 200), np.linspace(0.1, 1, 200)
    rng = np.random.default_rng(0)
    new, weights, precursor = Augmentation(peak_dropout=0.5, peak_ppm=4, precursor_ppm=8)(
        mz, intensity, 600.0, rng
    )
    assert 60 < len(new) < 140
    assert new[-1] == pytest.approx(500, rel=3e-5) and weights.max() == 1.0
    nearest = np.abs(new[:, None] - mz).min(axis=1) / new * 1e6
    assert 2 < np.sqrt((nearest**2).mean()) < 6
    assert precursor != 600.0 and precursor == pytest.approx(600, rel=5e-5)
    assert (np.diff(new) > 0).all()
    same = Augmentation()(mz, intensity, 600.0, rng)
    assert np.array_equal(same[0], mz) and same[2] == 600.0
    with pytest.raises(ValueError, match="peak_drop"):
        Augmentation.from_recipe({"peak_drop": 0.1})


def test_merging_takes_peaks_of_the_same_molecule_only(data):
    from data import Augmentation, SpectrumDataset

    dataset = SpectrumDataset(load(data, licences="all"), Augmentation(merge=1.0), seed=0)
    rows = dataset.table.rows["inchikey14"]
    merged = 0
    for index in range(len(dataset)):
        own = {
            value
            for other, key in enumerate(rows)
            if key == rows[index]
            for value in dataset.table.peaks[other][0]
        }
        found = dataset[0, index]["mz"]
        assert set(found) <= own
        merged += len(found) > len(dataset.table.peaks[index][0])
    assert merged > len(dataset) / 3


def test_candidates(data):
    from data import MoleculePool, wrong_candidates

    pool = MoleculePool.load(data)
    place = pool.smiles.index("COc1ccccc1")
    truth = (pool.formula[place], float(pool.exact_mass[place]), pool.inchikey14[place])
    isomers = wrong_candidates(pool, *truth, "formula", 50)
    assert {pool.smiles[i] for i in isomers} == {"OCc1ccccc1"}
    near = wrong_candidates(pool, *truth, "mass", 6)
    assert near[: len(isomers)] == isomers and len(near) == 6 and place not in near
    differences = [abs(pool.exact_mass[i] - truth[1]) for i in near[len(isomers) :]]
    left = [i for i in range(len(pool.smiles)) if i not in (*near, place)]
    assert max(differences) <= min(abs(pool.exact_mass[i] - truth[1]) for i in left)
    with pytest.raises(ValueError, match="'weight'"):
        wrong_candidates(pool, *truth, "weight", 6)


def test_a_missing_table_is_named(tmp_path):
    from data import load_spectra_table

    with pytest.raises(FileNotFoundError, match=r"massbank_msms\.parquet"):
        load_spectra_table(tmp_path, ("train",))
