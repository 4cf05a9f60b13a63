import numpy as np
import pytest

from msformers.spectra.masses import ELECTRON_MASS, formula_mass
from msformers.tokenization.formula_bag import FormulaBagFeatureExtractor
from msformers.tokenization.formulas import N_BINS, FormulaTable

ROWS = [["C7O", 2, 8, 50], ["C6", 2, 12, 100], ["O", 0, 2, 100], ["CN", 0, 5, 10]]
EXTRACTOR = FormulaBagFeatureExtractor(fragments=ROWS)
FIRST = 1 + 2 * N_BINS
BENZOYL = formula_mass("C7H5O") - ELECTRON_MASS


def tokens(**spectrum: object) -> dict[int, float]:
    batch = EXTRACTOR(
        {"mz": [BENZOYL], "intensity": [5.0], "precursor_mz": 123.0441, "adduct": "[M+H]+"} | spectrum
    )
    pairs = zip(batch["token_ids"][0].tolist(), batch["token_weights"][0].tolist(), strict=True)
    return {token: weight for token, weight in pairs if token}


def test_benzoyl_is_c7o_and_its_loss_is_water() -> None:
    found = tokens()
    assert found[1 + 105] == 1.0  # unit bin
    assert found[1 + N_BINS + 18] == 1.0  # unit bin of the loss
    assert found[FIRST + 0] == pytest.approx(1.0)  # C7O
    assert found[FIRST + len(ROWS) + 2] == pytest.approx(1.0)  # loss of O (with its hydrogens)


def test_polarity_moves_the_electron() -> None:
    anion = {"mz": [BENZOYL + 2 * ELECTRON_MASS], "adduct": "[M-H]-"}
    assert FIRST + 0 in tokens(**anion)
    far = FormulaBagFeatureExtractor(fragments=ROWS, ppm=2, least_tolerance=0.0)
    cation = far(
        {"mz": [BENZOYL + 2 * ELECTRON_MASS], "intensity": [1.0], "precursor_mz": 123.0, "adduct": "[M+H]+"}
    )
    assert FIRST not in cation["token_ids"][0].tolist()


def test_unit_resolution_is_known_by_the_instrument_or_the_digits() -> None:
    assert FIRST + 0 in tokens(mz=[105.2], instrument_type="LC-ESI-QQQ")
    assert FIRST + 0 in tokens(mz=[105.1])
    assert FIRST + 0 not in tokens(mz=[105.1], instrument_type="LC-ESI-QTOF")
    assert FIRST + 0 not in tokens(mz=[105.1234])


def test_weights_are_roots_of_relative_intensity() -> None:
    found = tokens(mz=[50.5, BENZOYL], intensity=[1.0, 4.0])
    assert found[1 + 50] == pytest.approx(0.5)


def test_without_precursor_and_without_peaks() -> None:
    found = tokens(mz=[], intensity=[], precursor_mz=None, adduct=None)
    assert len(found) == 3  # polarity, adduct, mass: all "unknown"
    assert max(found) < EXTRACTOR.vocab_size


def test_every_token_is_in_the_vocabulary() -> None:
    found = tokens(mz=[1004.99, 3000.0, BENZOYL], intensity=[1, 1, 1], precursor_mz=4000.0)
    assert max(found) < EXTRACTOR.vocab_size


def test_saved_settings_give_the_same_tokens(tmp_path) -> None:
    EXTRACTOR.save_pretrained(tmp_path)
    again = FormulaBagFeatureExtractor.from_pretrained(tmp_path)
    row = {"mz": [BENZOYL, 77.0386], "intensity": [1, 2], "precursor_mz": 123.0441}
    assert again(row)["token_ids"].tolist() == EXTRACTOR(row)["token_ids"].tolist()


def test_shares_of_one_mass_sum_to_one() -> None:
    table = FormulaTable.build([["C6", 2, 12, 100], ["C5N", 2, 12, 5], ["C4O", 0, 12, 5]])
    mass = np.array([77.0, 78.0, 500.0])
    place, entry, weight = table.look_up(mass, np.full(3, 0.5), np.full(3, 0.3))
    assert np.bincount(place, weight, minlength=3) == pytest.approx([1.0, 1.0, 0.0])
    assert np.abs(table.mass[entry] - mass[place]).max() <= 0.5
