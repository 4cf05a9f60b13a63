from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from msformers.spectra.molecules import molecule_record
from msformers.spectra.spectrum import Spectrum

pytest.importorskip("matchms", reason='needs pip install "msformers[bench]"')
SIZES = {"train": 60, "val": 12, "test": 5}


@pytest.fixture(scope="module")
def data(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few spectra of each fold, and the molecules near them in mass."""
    folder = tmp_path_factory.mktemp("denovo")
    spectra = pq.read_table(shared / "data" / "massbank_msms.parquet")
    parts = [spectra.filter(pc.equal(spectra["fold"], fold)).slice(0, size) for fold, size in SIZES.items()]
    few = pa.concat_tables(parts)
    pq.write_table(few, folder / "massbank_msms.parquet")
    molecules = pq.read_table(shared / "data" / "molecules.parquet")
    mass = np.asarray(molecules["exact_mass"])
    wanted = np.unique(np.asarray(few["exact_mass"]))
    near = np.abs(mass[:, None] - wanted[None]).min(axis=1) < 0.003
    pq.write_table(molecules.filter(pa.array(near)), folder / "molecules.parquet")
    return folder


def options(data: Path, tmp_path: Path, *more: str) -> list[str]:
    folders = ["--work", str(tmp_path / "work"), "--plots", str(tmp_path / "plots")]
    return ["--data", str(data), *folders, "--output", str(tmp_path / "denovo"), *more]


def rows(tmp_path: Path) -> list[dict[str, str]]:
    with (tmp_path / "denovo.csv").open() as stream:
        return list(csv.DictReader(stream))


def spectrum(mass: float) -> Spectrum:
    return Spectrum(np.array([50.0]), np.ones(1, np.float32), mass + 1.007276, adduct="[M+H]+")


def test_molecules_of_a_mass_are_those_within_the_tolerance() -> None:
    from denovo_baselines import MassSorted, same_mass

    mass = np.array([99.0, 199.9985, 200.0, 200.0015, 200.01, 300.0])
    pool = MassSorted(list("abcdef"), mass)
    assert pool.within(spectrum(200.0)).tolist() == [1, 2, 3]
    assert pool.nearest(spectrum(200.0), 2).tolist() in ([2, 1], [2, 3])
    (found,) = same_mass(pool, [spectrum(200.0)], 100, seed=0)
    assert sorted(found.smiles) == ["b", "c", "d"]
    assert len(next(same_mass(pool, [spectrum(200.0)], 2, seed=0)).smiles) == 2
    resumed = list(same_mass(pool, [spectrum(200.0)] * 3, 100, seed=0))[2]
    assert next(same_mass(pool, [spectrum(200.0)], 100, seed=0, first=2)) == resumed
    assert next(same_mass(pool, [Spectrum(np.ones(1), np.ones(1, np.float32))], 100, seed=0)).smiles == []


def test_training_molecules_hold_none_of_the_held_back_folds(data: Path) -> None:
    from denovo_baselines import held_back, training_molecules

    spectra = pq.read_table(data / "massbank_msms.parquet").to_pylist()
    hidden = {row["inchikey14"] for row in spectra if row["fold"] != "train"}
    assert set(held_back(data).to_pylist()) == hidden
    key = {row["smiles"]: row["inchikey14"] for row in pq.read_table(data / "molecules.parquet").to_pylist()}
    assert hidden & set(key.values()), "the test would say nothing"
    pool = training_molecules(data)
    assert {key[smiles] for smiles in pool.smiles} == set(key.values()) - hidden
    assert (np.diff(pool.mass) >= 0).all()


def test_random_selfies_are_molecules_of_the_tokens_they_are_drawn_from() -> None:
    from denovo_baselines import RandomSelfies

    drawn = RandomSelfies.draw(["CCO", "CCN", "CCCO"], 400, seed=0)
    assert drawn.n_sequences == 400 and drawn.n_invalid == 0
    masses = [molecule_record(smiles).exact_mass for smiles in drawn.molecules.smiles]
    assert drawn.molecules.mass == pytest.approx(masses)
    assert set("".join(drawn.molecules.smiles)) <= set("CON()=1")
    ethanol = molecule_record("CCO").exact_mass
    (near,) = drawn.of_the_mass([spectrum(ethanol)], 3, seed=0)
    assert molecule_record(near.smiles[0]).exact_mass == pytest.approx(ethanol, abs=1e-3)
    away = [abs(molecule_record(smiles).exact_mass - ethanol) for smiles in near.smiles]
    assert len(near.smiles) == 3 and max(away) < 3
    first, second = drawn.any_mass([spectrum(ethanol)] * 2, 5)
    assert len(set(first.smiles)) == 5 and first.smiles != second.smiles


def test_nearest_spectra_give_distinct_molecules_best_first(data: Path) -> None:
    from denovo import queries
    from denovo_baselines import NearestSpectra

    nearest = NearestSpectra(data)
    train = queries(data, "train", None, 0)
    itself = list(nearest(train, 5, open_only=False))
    assert [found.smiles[0] for found in itself] == train.rows["smiles_2d"]
    assert all(len(set(found.smiles)) == len(found.smiles) <= 5 for found in itself)
    open_rows = {
        smiles
        for smiles, licence in zip(train.rows["smiles_2d"], train.rows["license"], strict=True)
        if licence in ("CC0", "CC BY", "CC BY-SA", "dl-de/by-2-0")
    }
    assert {smiles for found in nearest(train, 99, open_only=True) for smiles in found.smiles} == open_rows


def test_a_few_spectra_are_of_as_many_molecules_as_possible(data: Path) -> None:
    from denovo import queries, spectrum_of

    whole = queries(data, "val", None, 0)
    molecules = set(whole.rows["inchikey14"])
    assert len(whole) == SIZES["val"] > len(molecules)
    few = queries(data, "val", len(molecules), 0)
    assert set(few.rows["inchikey14"]) == molecules
    assert queries(data, "val", len(molecules), 0).rows == few.rows
    found = spectrum_of(few, 1)
    assert found.adduct == few.rows["adduct"][1] and found.precursor_mz == few.precursor_mz[1]


def test_an_interrupted_run_goes_on_and_the_figures_are_those_of_the_proposals(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import denovo

    monkeypatch.setattr(denovo, "CHUNK", 3)
    asked: list[tuple[str, int]] = []
    propose = denovo.Race.propose

    def watched(self: Any, method: str, places: range) -> Any:
        asked.append((method, places.start))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return propose(self, method, places)

    monkeypatch.setattr(denovo.Race, "propose", watched)
    run = options(data, tmp_path, "--methods", "same-mass", "frequent")
    with pytest.raises(KeyboardInterrupt):
        denovo.main(run)
    denovo.main(run)
    denovo.main(run)
    starts = [start for method, start in asked if method == "same-mass"]
    assert starts == [0, 3, 6, 6, 9]
    found = {row["method"]: row for row in rows(tmp_path) if row["instruments"] == "all"}
    assert set(found) == {"same-mass", "frequent"}
    assert float(found["same-mass"]["within_ppm"]) > 0.9 > float(found["frequent"]["within_ppm"])
    assert float(found["same-mass"]["exact_match_at_100"]) == 0
    assert int(found["frequent"]["spectra"]) == SIZES["val"]
    assert (tmp_path / "plots" / "denovo_val.png").stat().st_size > 5000


def test_the_truth_itself_gets_full_marks(data: Path, tmp_path: Path) -> None:
    import denovo
    from denovo_baselines import Proposals

    race = denovo.Race(denovo.parser().parse_args(options(data, tmp_path)))
    truth = race.table.rows["smiles_2d"]
    found = [Proposals(["CCCCCCCCCC", smiles], 8, 2, 3) for smiles in truth]
    row = denovo.figures("oracle", race, found)[0]
    assert (row["exact_match_at_1"], row["exact_match_at_10"], row["max_tanimoto_at_10"]) == (0, 1, 1)
    assert row["validity"] == 0.75
    assert row["uniqueness"] == 0.5


def test_methods_say_what_they_need(data: Path, tmp_path: Path) -> None:
    import denovo

    with pytest.raises(SystemExit, match="--model"):
        denovo.main(options(data, tmp_path, "--methods", "model"))
    with pytest.raises(SystemExit, match="--reranker"):
        denovo.main(options(data, tmp_path, "--methods", "ranked-same-mass"))


def test_a_model_is_judged_in_every_order_and_without_its_spectrum(
    data: Path, tmp_path: Path, tiny_denovo: Path
) -> None:
    import denovo

    model = ["--model", str(tiny_denovo), "--beams", "4", "--batch-size", "3", "--device", "cpu"]
    how = ["--no-mass-filter", "--n-spectra", "3", "--reranker", "nexamass-small"]
    run = options(data, tmp_path, *model, *how, "--methods", "no-spectrum", "model")
    denovo.main(run)
    found = {row["method"]: row for row in rows(tmp_path) if row["instruments"] == "all"}
    orders = {name.split(", ")[1].split()[0] for name in found}
    assert len(found) == 6 and orders == {"beam", "mass", "learned"}
    ours = {name: row for name, row in found.items() if name.startswith("model")}
    assert len({row["max_tanimoto_at_100"] for row in ours.values()}) == 1, "an order loses no molecule"
    assert {row["spectra"] for row in found.values()} == {"3"}
    with pytest.raises(SystemExit, match="fitted on val"):
        denovo.main([*run, "--fold", "test"])


def test_the_model_without_a_spectrum_is_told_the_mass_alone() -> None:
    from denovo_models import MassAlone

    class Model:
        def __init__(self, neutral_mass: bool) -> None:
            self.config = SimpleNamespace(neutral_mass=neutral_mass, context_size=5)

        def get_context(self, **inputs: Any) -> Any:
            return inputs

    told = {"peaks": torch.ones(2, 3, 2), "neutral_mass": torch.ones(2), "polarity": torch.ones(2)}
    assert set(MassAlone(Model(True)).get_context(**told)) == {"neutral_mass"}
    context, mask = MassAlone(Model(False)).get_context(**told)
    assert context.shape == (2, 1, 5) and not context.any() and mask.all()
