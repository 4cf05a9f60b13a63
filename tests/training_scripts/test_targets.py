from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem
from rdkit.DataStructs import TanimotoSimilarity

SMILES = ["CCO", "Oc1ccccc1", "Nc1ccccc1", "CCN", "not a molecule", "OCc1ccccc1", "OCCc1ccccc1", "CCCO"]


def test_molecules_are_distinct_and_found_again():
    from targets import Molecules

    molecules = Molecules(["CCO", "CCN", "CCO", "C"])
    assert molecules.smiles == ["C", "CCN", "CCO"]
    assert [molecules.smiles[row] for row in molecules.rows] == ["CCO", "CCN", "CCO", "C"]


def test_descriptors_are_computed_once_and_kept(tmp_path, monkeypatch):
    import targets

    from msformers.spectra.descriptors import DESCRIPTOR_NAMES, descriptors

    found = targets.descriptor_matrix(SMILES, tmp_path)
    assert found.shape == (8, 209) and found.dtype == np.float64
    assert found[0, DESCRIPTOR_NAMES.index("MolWt")] == pytest.approx(46.069, abs=1e-3)
    assert np.isnan(found[SMILES.index("not a molecule")]).all() and not np.isnan(found[1]).any()
    monkeypatch.setattr(targets, "descriptors", lambda smiles: pytest.fail("computed again"))
    np.testing.assert_array_equal(targets.descriptor_matrix(SMILES, tmp_path), found)
    monkeypatch.setattr(targets, "descriptors", descriptors)
    assert len(targets.descriptor_matrix(SMILES[:2], tmp_path)) == 2
    assert len(list(tmp_path.iterdir())) == 2


def test_many_processes_give_the_same(tmp_path, monkeypatch):
    import targets

    alone = targets.morgan_fingerprints(SMILES, tmp_path / "alone")
    monkeypatch.setattr(targets, "POOL_FROM", 1)
    monkeypatch.setattr(targets.os, "sched_getaffinity", lambda process: {0, 1})
    np.testing.assert_array_equal(targets.morgan_fingerprints(SMILES, tmp_path / "two"), alone)


def test_fingerprints_and_their_similarity_are_those_of_rdkit(tmp_path):
    from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator
    from targets import morgan_fingerprints, tanimoto_rows

    packed = morgan_fingerprints(SMILES, tmp_path)
    generator = GetMorganGenerator(2, fpSize=2048)
    direct = [
        generator.GetFingerprint(Chem.MolFromSmiles(s if s != "not a molecule" else "")) for s in SMILES
    ]
    bits = np.unpackbits(packed, axis=1, bitorder="little")
    assert [set(np.flatnonzero(row)) for row in bits] == [set(vector.GetOnBits()) for vector in direct]
    for row, similarity in enumerate(tanimoto_rows(packed)):
        expected = [TanimotoSimilarity(direct[row], other) for other in direct]
        np.testing.assert_allclose(similarity, expected, atol=1e-6)


def pairs(data, tmp_path, length=400):
    from data import SpectrumDataset, load_spectra_table
    from pairs import PairDataset, tanimoto_deciles
    from targets import Molecules, morgan_fingerprints

    table = load_spectra_table(data, ["train"])
    molecules = Molecules(table.rows["smiles_2d"])
    deciles = tanimoto_deciles(morgan_fingerprints(molecules.smiles, tmp_path), seed=3)
    return PairDataset(SpectrumDataset(table), molecules.rows, deciles, length, seed=3), deciles, molecules


def test_deciles_hold_the_pairs_of_their_similarity(data, tmp_path):
    from targets import morgan_fingerprints, tanimoto_rows

    _, deciles, molecules = pairs(data, tmp_path)
    matrix = np.stack(list(tanimoto_rows(morgan_fingerprints(molecules.smiles, tmp_path))))
    assert sum(len(decile.partners) for decile in deciles) == matrix.size
    for number, decile in enumerate(deciles):
        first = np.repeat(decile.molecules, np.diff(decile.starts))
        np.testing.assert_array_equal(matrix[first, decile.partners], decile.similarity)
        assert ((decile.similarity >= number / 10 - 1e-6) & (decile.similarity <= (number + 1) / 10)).all()
    assert set(deciles[9].molecules) == set(range(len(molecules.smiles)))


def test_every_decile_is_drawn_evenly_and_again_the_same(data, tmp_path):
    dataset, deciles, molecules = pairs(data, tmp_path)
    drawn = [dataset.pair(0, index) for index in range(len(dataset))]
    counts = np.bincount([min(int(s * 10), 9) for _, _, s in drawn], minlength=10)
    used = [number for number, decile in enumerate(deciles) if len(decile.molecules)]
    assert len(used) > 4 and max(counts[used]) - min(counts[used]) <= 1
    assert (
        drawn
        == [dataset.pair(0, index) for index in range(len(dataset))]
        != [dataset.pair(1, index) for index in range(len(dataset))]
    )
    item = dataset[0, 5]
    assert item["first"]["precursor_mz"] == dataset.spectra.table.precursor_mz[drawn[5][0]]
    assert item["similarity"] == drawn[5][2]
    same = [pair for pair in drawn if molecules.rows[pair[0]] == molecules.rows[pair[1]]]
    assert same and all(pair[2] == 1.0 for pair in same)


@pytest.mark.parametrize("of", ["molecules", "spectra"])
def test_a_smaller_share_of_the_data_is_part_of_a_larger_one(of, data):
    from data import load_spectra_table
    from train_properties import draw

    table = load_spectra_table(data, ["train"])
    shares = {fraction: set(draw(table, fraction, of, seed=5)) for fraction in (0.01, 0.1, 0.5, 1.0)}
    assert shares[0.01] < shares[0.1] < shares[0.5] < shares[1.0] == set(range(len(table)))
    assert shares[0.5] != set(draw(table, 0.5, of, seed=6))
    if of == "molecules":
        keys = np.array(table.rows["inchikey14"])
        inside, outside = (set(keys[list(part)]) for part in (shares[0.5], shares[1.0] - shares[0.5]))
        assert not inside & outside and len(inside) == round(0.5 * len(set(keys)))
    with pytest.raises(ValueError, match="fraction 0"):
        draw(table, 0.0, of, seed=5)


def test_an_epoch_takes_so_many_of_a_molecule_and_other_ones_next_time():
    import torch
    from trainer import EpochSampler

    groups = torch.tensor([0] * 30 + [1] * 3 + [2] * 10 + [3]).tolist()
    sampler = EpochSampler(len(groups), 0, groups=groups, per_group=4)
    first = [index for _, index in sampler]
    sampler.set_epoch(1)
    second = [index for _, index in sampler]
    for epoch in (first, second):
        assert len(sampler) == len(epoch) == len(set(epoch)) == 4 + 3 + 4 + 1
        assert np.bincount([groups[index] for index in epoch]).tolist() == [4, 3, 4, 1]
    assert set(first) != set(second)
    batched = EpochSampler(len(groups), 0, list(range(44)), 4, groups, 4)
    assert sorted(index for _, index in batched) == sorted(first)
