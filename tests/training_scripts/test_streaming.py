from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest
from stage_runs import start
from torch.utils.data import DataLoader

ALL = {"fold": ["train"], "license": "all"}


@pytest.fixture
def shards(data, tmp_path):
    """The spectra of `data` as five files of unequal size."""
    table = pq.read_table(data / "massbank_msms.parquet")
    bounds = [0, 7, 40, 95, 96, len(table)]
    for number, (first, last) in enumerate(pairwise(bounds)):
        pq.write_table(table[first:last], tmp_path / f"part-{number}.parquet", row_group_size=10)
    return tmp_path


def stream(source, *, among=ALL, min_peaks=1, **options):
    from streaming import Choice, SpectrumStream, open_source

    choice = Choice(among, min_peaks)
    return SpectrumStream(open_source(source, choice), choice, **{"block": 20, "mixed_shards": 2} | options)


def plain(example):
    return example["precursor_mz"], tuple(example["mz"]), tuple(example["intensity"])


def take(dataset, count):
    return [example for example, _ in zip(dataset, range(count), strict=False)]


def test_an_epoch_holds_what_the_table_holds_in_an_order_of_its_own(data, shards):
    from data import SpectrumDataset, load_spectra_table

    table = SpectrumDataset(load_spectra_table(data, ["train"], "all", min_peaks=4))
    expected = [plain(table[index]) for index in range(len(table))]
    found = take(stream(shards, min_peaks=4), 2 * len(table))
    epochs = found[: len(table)], found[len(table) :]
    assert [sorted(map(plain, part)) for part in epochs] == [sorted(expected)] * 2
    orders = [list(map(plain, part)) for part in epochs]
    assert orders[0] != orders[1] != expected and {example["epoch"] for example in epochs[1]} == {1}
    assert len({example["index"] for example in epochs[0]}) == len(table)
    assert {"adduct", "instrument_type"} <= set(found[0])


def test_a_stream_goes_on_from_any_place(shards):
    from data import Augmentation

    change = Augmentation(peak_dropout=0.2, peak_ppm=3)
    examples = take(stream(shards, augmentation=change), 260)
    for place in (0, 1, 19, 20, 57, 98, 100, 199):
        again = stream(shards, augmentation=change)
        again.places = json.loads(json.dumps({"0": examples[place]["place"]}))
        rest = take(again, 60)
        assert [plain(e) for e in rest] == [plain(e) for e in examples[place + 1 : place + 61]]
    assert plain(take(stream(shards, augmentation=change, seed=1), 1)[0]) != plain(examples[0])


def test_processes_share_the_shards(data, shards):
    parts = [stream(shards), stream(shards)]
    for rank, part in enumerate(parts):
        part.rank, part.world = rank, 2
    found = []
    for part in parts:
        first = [example for example in take(part, 150) if example["epoch"] == 0]
        found.append({plain(example) for example in first})
    everything = {plain(example) for example in take(stream(shards), 96)}
    assert not found[0] & found[1] and found[0] | found[1] == everything and len(everything) == 96
    parts[0].world = 6
    with pytest.raises(ValueError, match="6 readers"):
        next(iter(parts[0]))


def test_workers_go_on_in_their_turn(shards):
    def batches(dataset, count):
        loader = DataLoader(dataset, 7, collate_fn=list, num_workers=2)
        return [batch for batch, _ in zip(loader, range(count), strict=False)]

    whole = batches(stream(shards), 9)
    resumed = stream(shards)
    for batch in whole[:5]:
        place = batch[-1]["place"]
        resumed.places[str(place["worker"])], resumed.turn = place, place["worker"] + 1
    assert [list(map(plain, b)) for b in batches(resumed, 4)] == [list(map(plain, b)) for b in whole[5:]]


def test_unlabelled_shards_need_no_folds_and_what_is_missing_is_said(data, tmp_path):
    from data import Augmentation

    bare = pq.read_table(data / "massbank_msms.parquet", columns=["mz", "intensity", "precursor_mz"])
    pq.write_table(bare, tmp_path / "bare.parquet")
    free = {"fold": "all", "license": "all"}
    assert set(take(stream(tmp_path / "bare.parquet", among=free), 1)[0]) >= {
        "mz",
        "intensity",
        "precursor_mz",
    }
    with pytest.raises(ValueError, match=r"no column fold.*data\.train_folds"):
        stream(tmp_path)
    with pytest.raises(ValueError, match=r"augmentation\.merge"):
        stream(tmp_path, among=free, augmentation=Augmentation(merge=0.5))
    with pytest.raises(ValueError, match="no spectrum"):
        next(iter(stream(data, among={"fold": ["hidden"], "license": "all"})))


def test_a_source_is_a_pattern_or_a_name_on_the_hub(shards):
    from streaming import location

    assert len({plain(example) for example in take(stream(f"{shards}/part-*.parquet"), 96)}) == 96
    assert location("msformers/spectra") == {"path": "msformers/spectra"}
    assert location("s3://bucket/train-*.parquet")["path"] == "parquet"


def test_pretraining_on_shards_alone(shards, tmp_path):
    """Validation spectra then come from the stream too; a resumed run must have as many readers."""
    settings = ["data.streaming=true", "data.block=30", "data.eval_limit=9"]
    figures = start("pretrain_lsm1", shards, tmp_path / "run", settings)
    assert np.isfinite(figures["eval_loss"])
    log = json.loads((tmp_path / "run" / "log.json").read_text())
    assert [row["epoch"] for row in log if "loss" in row] == sorted(
        row["epoch"] for row in log if "loss" in row
    )
    with pytest.raises(ValueError, match="1 readers"):
        start(
            *("pretrain_lsm1", shards, tmp_path / "run"),
            [*settings, "training.dataloader_num_workers=2", "training.max_steps=8"],
            resume=True,
        )


def test_dreams_streams_spectra_but_not_pairs(data, tmp_path):
    settings = [
        "data.streaming=true",
        "training.max_steps=1",
        "training.eval_steps=1",
        "training.save_steps=1",
    ]
    assert np.isfinite(start("pretrain_dreams", data, tmp_path / "run", settings)["eval_loss"])
    with pytest.raises(ValueError, match="retention_order"):
        start("pretrain_dreams", data, tmp_path / "no", [*settings, "data.retention_order=true"])
