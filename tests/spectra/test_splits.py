from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from msformers.spectra.splits import (
    Leak,
    fold_of,
    formula_leaks,
    formula_split,
    hash_fraction,
    known_split,
    molecule_leaks,
    spectrum_fingerprint,
    spectrum_leaks,
    strangers,
    unknown_split,
)

KEYS = [
    f"{number:014d}-{stereo}-N"
    for number in range(2000)
    for stereo in ("AAAAAAAAAA", "BBBBBBBBBB", "CCCCCCCCCC")
]


def test_the_hash_is_fixed_for_ever() -> None:
    assert hash_fraction("RYYVLZVUVIJVGH") == pytest.approx(0.4847267560015076, abs=1e-15)
    assert 0 <= hash_fraction("") < 1
    assert hash_fraction("a") != hash_fraction("a", "salt")


def test_unknown_split_keeps_a_molecule_on_one_side_whatever_the_order() -> None:
    folds = unknown_split(KEYS)
    assert molecule_leaks(KEYS, folds) == []
    share = {fold: count / len(KEYS) for fold, count in Counter(folds.tolist()).items()}
    assert share["train"] == pytest.approx(0.9, abs=0.03)
    assert share["test"] == pytest.approx(0.05, abs=0.02)
    order = np.random.default_rng(0).permutation(len(KEYS))
    assert (unknown_split([KEYS[i] for i in order]) == folds[order]).all()
    assert (unknown_split(KEYS[:10]) == folds[:10]).all()
    assert (unknown_split(KEYS, salt="other") != folds).any()


def test_formula_split_ignores_charge_and_order_of_atoms() -> None:
    formulas = [f"C{n}H{2 * n}O" for n in range(1, 400)] + [f"OH{2 * n}C{n}+" for n in range(1, 400)]
    folds = formula_split(formulas, {"train": 0.5, "test": 0.5})
    assert (folds[:399] == folds[399:]).all()
    assert set(folds) == {"train", "test"}
    assert formula_leaks(formulas, folds) == []
    folds[0] = "test" if folds[0] == "train" else "train"
    assert [leak.key for leak in formula_leaks(formulas, folds)] == ["CH2O"]


def test_known_split_gives_spectra_of_trained_molecules_that_are_no_copies() -> None:
    prints = [str(row) for row in range(len(KEYS))]
    prints[0] = prints[1] = prints[2] = "copy"
    folds = known_split(KEYS, 500, fingerprints=prints)
    tested = np.flatnonzero(folds == "known_test")
    assert len(tested) == 500
    assert len({KEYS[row][:14] for row in tested}) == 500
    assert not set(tested) & {0, 1, 2}
    assert strangers(KEYS, folds) == []
    assert spectrum_leaks(prints, folds) == []
    assert len(molecule_leaks(KEYS, folds)) == 500
    with pytest.raises(ValueError, match="only 1999 molecules"):
        known_split(KEYS, 2000, fingerprints=prints)


def test_checks_name_key_folds_and_rows() -> None:
    keys, folds = ["A" * 14, "B" * 14, "A" * 14 + "-STEREO-N", ""], ["train", "train", "test", "test"]
    leak = Leak("A" * 14, ("test", "train"), ((2,), (0,)))
    assert molecule_leaks(keys, folds) == [leak]
    assert str(leak) == "AAAAAAAAAAAAAA is in test rows [2], train rows [0]"
    assert strangers(["A" * 14, "B" * 14], ["train", "known_test"]) == [1]


@pytest.mark.parametrize("fractions", [{"train": 0.5}, {"train": 1.5, "test": -0.5}, {}])
def test_fractions_must_be_shares(fractions: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        fold_of("key", fractions)


def test_a_row_without_key_is_refused() -> None:
    with pytest.raises(ValueError, match="no key"):
        unknown_split(["A" * 14, ""])


def test_fingerprints_see_through_scaling_and_noise_digits() -> None:
    mz, intensity = np.array([80.1, 90.2]), np.array([0.5, 1.0], dtype=np.float32)
    same = spectrum_fingerprint(mz + 1e-6, intensity * 7, 100.0)
    assert spectrum_fingerprint(mz, intensity, 100.0) == same
    assert spectrum_fingerprint(mz, intensity, 100.1) != same
    assert spectrum_fingerprint(mz + 1e-3, intensity, 100.0) != same
    assert spectrum_fingerprint(mz[:0], intensity[:0]) != same


def test_the_folds_of_massbank_are_what_they_say(shared: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = ["inchikey14", "formula", "fold", "formula_fold"]
    table = parquet.read_table(shared / "data" / "massbank_msms.parquet", columns=columns).to_pydict()
    folds = ["train" if fold == "known_test" else fold for fold in table["fold"]]
    assert molecule_leaks(table["inchikey14"], folds) == []
    assert strangers(table["inchikey14"], table["fold"]) == []
    assert len(molecule_leaks(table["inchikey14"], table["fold"])) == 1500
    assert formula_leaks(table["formula"], folds) != []


def test_formula_folds_of_massbank(shared: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = ["formula", "formula_fold"]
    table = parquet.read_table(shared / "data" / "massbank_msms.parquet", columns=columns).to_pydict()
    assert formula_leaks(table["formula"], table["formula_fold"]) == []


def test_the_known_test_fold_has_one_copy_in_train_and_the_check_finds_it(shared: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = ["fold", "mz", "intensity", "precursor_mz"]
    file = parquet.ParquetFile(shared / "data" / "massbank_msms.parquet")
    prints, folds = [], []
    for batch in file.iter_batches(20_000, columns=columns):
        wanted = np.isin(np.array(batch["fold"].to_pylist()), ["train", "known_test"])
        mz, intensity = batch["mz"], batch["intensity"]
        for row in np.flatnonzero(wanted).tolist():
            precursor = batch["precursor_mz"][row].as_py()
            prints.append(
                spectrum_fingerprint(mz[row].values.to_numpy(), intensity[row].values.to_numpy(), precursor)
            )
            folds.append(batch["fold"][row].as_py())
    assert folds.count("known_test") == 1500
    leaks = spectrum_leaks(
        prints, folds
    )  # a contributor deposited one spectrum twice, with rounded intensities
    assert [leak.folds for leak in leaks] == [("known_test", "train")]
