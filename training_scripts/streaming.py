"""Training spectra read while training: Parquet shards on disk, behind a URL or on the Hub, never all in memory.

A run that is resumed goes on at the very example where it stopped, without reading what lies before: the place in the
stream travels with each example and is saved with the random states of a checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import torch
from data import SPECTRA_FILE, Augmentation, SpectrumDataset, to_spectra, usable
from datasets import load_dataset
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from trainer import EpochTrainer

STREAM_KEYS = ("streaming", "source", "block", "mixed_shards")
NEEDED = ("mz", "intensity", "precursor_mz")
OPTIONAL = ("adduct", "instrument_type", "inchikey14")
PLACE_FILE = "stream-{rank}.json"


@dataclass(frozen=True)
class Choice:
    """Which rows of a source are used.

    Attributes:
        among: for each column the values to keep, "all" for any; a column that the source lacks must be "all".
        min_peaks: spectra with fewer peaks are left out.
        max_precursor_mz: in Th.
    """

    among: dict[str, Sequence[str] | str]
    min_peaks: int = 1
    max_precursor_mz: float = np.inf

    def __call__(self, table: pa.Table) -> pa.Table:
        """The chosen rows of a block."""
        return usable(table, self.among, self.min_peaks, self.max_precursor_mz)


def open_source(source: str | Path, choice: Choice, further: Sequence[str] = ()) -> datasets.IterableDataset:
    """Open Parquet shards for streaming.

    Args:
        source: a Parquet file; a folder of shards (or one with the table of spectra); a pattern such as
            ``s3://bucket/train-*.parquet``; or the id of a dataset on the Hub, all splits of which are read.
        choice: says which columns are needed.
        further: columns that are needed too.

    Raises:
        ValueError: the source lacks a needed column.
    """
    options = location(str(source))
    splits = load_dataset(**options, streaming=True)
    features = next(iter(splits.values())).features
    filters = [name for name, values in choice.among.items() if values != "all"]
    missing = [name for name in (*NEEDED, *filters, *further) if name not in features]
    if missing:
        raise ValueError(
            f"{source} has no column {', '.join(missing)}; it has {', '.join(features)}. "
            'Without folds or licences set data.train_folds or data.licences to "all"'
        )
    columns = [*NEEDED, *filters, *further, *(name for name in OPTIONAL if name in features)]
    splits = load_dataset(**options, streaming=True, columns=columns)
    return (
        datasets.concatenate_datasets(list(splits.values()))
        if len(splits) > 1
        else next(iter(splits.values()))
    )


def location(source: str) -> dict[str, Any]:
    """Arguments of `load_dataset` for a source."""
    path = Path(source)
    if path.is_dir():
        table = path / SPECTRA_FILE
        files = [table] if table.is_file() else sorted(path.glob("*.parquet"))
        return {"path": "parquet", "data_files": [str(file) for file in files]}
    if path.is_file() or "://" in source or "*" in source:
        return {"path": "parquet", "data_files": source}
    return {"path": source}


class SpectrumStream(IterableDataset):
    """Spectra without end, as mappings like those of `SpectrumDataset`, and the `place` behind each.

    An epoch visits the shards in a random order, `mixed_shards` at a time; rows of these fill a block, which is shuffled.
    Order and augmentation depend on seed, epoch and number of readers alone.

    Args:
        source: of `open_source`.
        choice: which rows to use.
        augmentation: None for none.
        seed: of order and augmentation.
        block: rows to shuffle; memory holds one block per reader.
        mixed_shards: shards read at once.

    Attributes:
        rank, world: this process and how many share the stream; each reader (a worker of a process) has its own shards.
        places: place of each worker to start from; empty for the beginning.
        turn: worker whose batch comes next.

    Raises:
        ValueError: fewer shards than readers, a whole epoch without a spectrum, or spectra of the same molecule are to
            be merged and the source names no molecules.
    """

    def __init__(
        self,
        source: datasets.IterableDataset,
        choice: Choice,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        block: int = 16384,
        mixed_shards: int = 8,
    ) -> None:
        self.source, self.choice, self.augmentation, self.seed = source, choice, augmentation, seed
        self.block, self.mixed_shards = block, mixed_shards
        if augmentation is not None and augmentation.merge and "inchikey14" not in source.features:
            raise ValueError("augmentation.merge needs a column inchikey14; the source has none, set it to 0")
        self.rank, self.world, self.turn = 0, 1, 0
        self.places: dict[str, dict[str, Any]] = {}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        info = get_worker_info()
        place_of_worker, workers = (info.id, info.num_workers) if info else (0, 1)
        worker = (place_of_worker + self.turn) % workers
        reader, readers = self.rank * workers + worker, self.world * workers
        if self.source.num_shards < readers:
            raise ValueError(
                f"{self.source.num_shards} shards cannot feed {readers} readers; write the source in more files, or "
                "lower training.dataloader_num_workers"
            )
        place = self.places.get(str(worker), {"epoch": 0})
        while True:
            seen = False
            for example in self._epoch(place, reader, readers):
                seen = True
                example["place"]["worker"] = worker
                yield example
            if not seen and len(place) == 1:
                raise ValueError(f"no spectrum of the source has {self.choice}")
            place = {"epoch": place["epoch"] + 1}

    def examples(self, table: pa.Table, seed: int, first: int) -> Any:
        """The chosen rows of a block as a data set of (epoch, index), the first of which has index `first`."""
        return SpectrumDataset(to_spectra(table), self.augmentation, seed, first)

    def _epoch(self, start: dict[str, Any], reader: int, readers: int) -> Iterator[dict[str, Any]]:
        """Examples of one epoch, from place `start` on."""
        epoch, seed = start["epoch"], self.seed + 1_000_003 * reader
        order = np.random.default_rng([self.seed, 4, epoch]).permutation(self.source.num_shards)
        shards = order[reader::readers].tolist()
        seen, skip, sources = start.get("seen", 0), start.get("skip", 0), start.get("sources")
        for group in range(start.get("group", 0), -(-len(shards) // self.mixed_shards)):
            chosen = shards[group * self.mixed_shards : (group + 1) * self.mixed_shards]
            for states, table in self._blocks(chosen, sources):
                spectra = self.examples(self.choice(table), seed, seen)
                mixed = np.random.default_rng([seed, 5, epoch, seen]).permutation(len(spectra))
                place = {"epoch": epoch, "group": group, "seen": seen, "sources": states}
                for offset in range(skip, len(mixed)):
                    example = spectra[epoch, int(mixed[offset])]
                    yield {**example, "place": {**place, "skip": offset + 1}}
                seen, skip = seen + len(spectra), 0
            sources = None

    def _blocks(
        self, shards: Sequence[int], states: list[Any] | None
    ) -> Iterator[tuple[list[Any], pa.Table]]:
        """Blocks of rows from several shards, each with the states of the shards before it."""
        n_shards = self.source.num_shards
        opened = [self.source.shard(n_shards, shard).with_format("arrow") for shard in shards]
        for shard, state in zip(opened, states or [], strict=False):
            shard.load_state_dict(state)
        readers = [shard.iter(batch_size=max(1, self.block // len(shards))) for shard in opened]
        while True:
            states = [shard.state_dict() for shard in opened]
            parts = [part for part in (next(reader, None) for reader in readers) if part is not None]
            if not parts:
                return
            yield states, pa.concat_tables(parts)


class PlaceCollator:
    """Adds the place behind the last example to a batch."""

    def __init__(self, collator: Any) -> None:
        self.collator = collator

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The batch of the collator and `place`."""
        return {**self.collator(features), "place": features[-1]["place"]}


class StreamTrainer(EpochTrainer):
    """`EpochTrainer` on a `SpectrumStream`; needs ``training.max_steps``, for a stream has no end."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.args.ignore_data_skip = True  # the stream itself starts at its place

    def get_train_dataloader(self) -> DataLoader:
        """A plain loader: the stream itself knows which part is this process's."""
        stream, settings = self.train_dataset, self.args
        stream.rank, stream.world = settings.process_index, settings.world_size
        return DataLoader(
            stream,
            settings.train_batch_size,
            collate_fn=PlaceCollator(self.data_collator),
            num_workers=settings.dataloader_num_workers,
            pin_memory=settings.dataloader_pin_memory,
            prefetch_factor=settings.dataloader_prefetch_factor,
            # of its own, for what it draws when it starts must not move the random state of dropout
            generator=torch.Generator(),
        )

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """One step; remembers how far each worker's examples are used."""
        place = inputs.pop("place")
        self.train_dataset.places[str(place["worker"])] = place
        self.train_dataset.turn = place["worker"] + 1
        return super().training_step(model, inputs, *args, **kwargs)

    def log(self, *args: Any, **kwargs: Any) -> None:
        """Log with the passes over the source that are complete as `epoch`; Trainer knows of no end and no resumption."""
        places = self.train_dataset.places.values()
        self.state.epoch = float(min((place["epoch"] for place in places), default=0))
        super().log(*args, **kwargs)

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        stream = self.train_dataset
        content = {"readers": self._readers(), "turn": stream.turn, "places": stream.places}
        self._place_file(output_dir).write_text(json.dumps(content), encoding="utf-8")

    def _load_rng_state(self, checkpoint: str) -> None:
        super()._load_rng_state(checkpoint)
        content = json.loads(self._place_file(checkpoint).read_text(encoding="utf-8"))
        if content["readers"] != self._readers():
            raise ValueError(
                f"{checkpoint} was written with {content['readers']} readers (processes times workers), now there are "
                f"{self._readers()}; resume with as many"
            )
        self.train_dataset.turn, self.train_dataset.places = content["turn"], content["places"]

    def _readers(self) -> int:
        return self.args.world_size * max(1, self.args.dataloader_num_workers)

    def _place_file(self, folder: str) -> Path:
        return Path(folder) / PLACE_FILE.format(rank=self.args.process_index)
