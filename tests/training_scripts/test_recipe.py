from __future__ import annotations

import pytest
import torch

STAGES = (
    "pretrain_dreams",
    "pretrain_smiles",
    "align_specbridge",
    "pretrain_lsm1",
    "train_properties",
    "train_similarity",
    "train_casanovo",
    "train_spectrum_classifier",
)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", ["tiny", "small", "paper"])
def test_every_stage_has_its_recipes(stage, name, tmp_path):
    import importlib

    from recipe import load_recipe, take, training_arguments

    recipe, script = load_recipe(stage, name), importlib.import_module(stage)
    take(recipe.model, script.MODEL_KEYS, "model")
    take(recipe.data, script.DATA_KEYS, "data")
    settings = training_arguments(
        recipe, tmp_path, **({} if torch.cuda.is_available() else {"use_cpu": True})
    )
    assert settings.remove_unused_columns is False and settings.seed == settings.data_seed == recipe.seed


def test_overrides_and_what_is_refused(tmp_path):
    from recipe import load_recipe, take

    recipe = load_recipe("align_specbridge", "tiny", ["model.bridge.n_blocks=7", "seed=3", "data.limit=null"])
    assert recipe.model["bridge"]["n_blocks"] == 7 and recipe.seed == 3 and recipe.data["limit"] is None
    numbers = load_recipe("align_specbridge", "tiny", ["training.learning_rate=3e-4", "model.name=e4"])
    assert numbers.training["learning_rate"] == 3e-4 and numbers.model["name"] == "e4"
    with pytest.raises(FileNotFoundError, match="paper, small, tiny"):
        load_recipe("align_specbridge", "huge")
    with pytest.raises(ValueError, match=r"section\.key=value"):
        load_recipe("align_specbridge", "tiny", ["steps=3"])
    path = tmp_path / "own.yaml"
    path.write_text("optimizer: {}\n")
    with pytest.raises(ValueError, match="optimizer"):
        load_recipe("align_specbridge", str(path))
    with pytest.raises(ValueError, match="peaks"):
        take({"peaks": 3}, ("limit",), "data")


def test_the_order_depends_on_seed_and_epoch_alone():
    from trainer import EpochSampler

    one, two = EpochSampler(20, 5), EpochSampler(20, 5)
    list(one), list(one)
    two.set_epoch(0)
    assert list(one) == list(two)
    two.set_epoch(1)
    second = list(two)
    assert {epoch for epoch, _ in second} == {1}
    assert sorted(index for _, index in second) == list(range(20))
    assert [index for _, index in second] != [index for _, index in one]


def test_batches_by_length_hold_similar_lengths_and_everything_once():
    from trainer import EpochSampler

    lengths = torch.randint(1, 100, (1003,), generator=torch.Generator().manual_seed(0))
    order = [index for _, index in EpochSampler(1003, 0, lengths.tolist(), batch_size=10)]
    assert sorted(order) == list(range(1003))
    spread = [
        int(lengths[order[i : i + 10]].max() - lengths[order[i : i + 10]].min()) for i in range(0, 1000, 10)
    ]
    assert sum(spread) / len(spread) < 15
    firsts = [int(lengths[order[i]]) for i in range(0, 1000, 10)]
    assert firsts != sorted(firsts)


def test_figures_are_written_as_csv_and_json(tmp_path):
    import csv
    import json

    from recipe import write_figures

    write_figures(tmp_path / "log", [{"loss": 1.5, "step": 1}, {"step": 2, "recall": 0.25}])
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"loss": "1.5", "step": "1", "recall": ""} and rows[1]["recall"] == "0.25"
    assert json.loads((tmp_path / "log.json").read_text())[1] == {"step": 2, "recall": 0.25}
