"""The Trainer of all stages: its order of examples depends on seed and epoch alone, so that resuming is exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers import Trainer


class EpochSampler(Sampler[tuple[int, int]]):
    """Shuffled (epoch, index) pairs that depend on seed and epoch alone.

    The epoch travels with the index, so a dataset can draw augmentation and masks from (seed, epoch, index) without
    any state: an interrupted run that is resumed sees exactly the batches it would have seen.

    Args:
        length: number of examples.
        seed: of the order.
        lengths: tokens per example; given, examples of similar length share a batch.
        batch_size: of one optimisation step, used with `lengths`.
        groups: number of each example's group (its molecule); with `per_group` each epoch draws at most so many of one.
    """

    def __init__(
        self,
        length: int,
        seed: int,
        lengths: Sequence[int] | None = None,
        batch_size: int = 1,
        groups: Sequence[int] | None = None,
        per_group: int | None = None,
    ) -> None:
        self.length, self.seed, self.epoch, self.batch_size = length, seed, 0, batch_size
        self.lengths = None if lengths is None else torch.as_tensor(lengths)
        self.groups = None if groups is None or per_group is None else torch.as_tensor(groups)
        if self.groups is not None and per_group is not None:
            self.per_group = per_group
            self.length = int(torch.bincount(self.groups).clamp(max=per_group).sum())

    def set_epoch(self, epoch: int) -> None:
        """Called by Trainer and Accelerate at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        n_examples = self.length if self.groups is None else len(self.groups)
        order = torch.randperm(n_examples, generator=generator)
        if self.groups is not None:
            order = self._first_of_group(order, self.groups)
        if self.lengths is not None:
            order = self._by_length(order, generator)
        epoch = self.epoch
        return ((epoch, index) for index in order.tolist())

    def _first_of_group(self, order: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        """The first `per_group` of each group, in their order."""
        by_group = groups[order].argsort(stable=True)
        sizes = torch.bincount(groups[order])
        starts = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
        kept = by_group[torch.arange(len(order)) - starts < self.per_group]
        return order[kept.sort().values]

    def _by_length(self, order: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Sort by length within chunks of 32 batches, then shuffle the full batches."""
        lengths = torch.as_tensor(self.lengths)
        chunks = order.split(32 * self.batch_size)
        order = torch.cat([chunk[lengths[chunk].argsort(stable=True)] for chunk in chunks])
        batches = list(order.split(self.batch_size))
        last = [batches.pop()] if len(batches[-1]) < self.batch_size else []
        shuffled = torch.randperm(len(batches), generator=generator).tolist()
        return torch.cat([batches[position] for position in shuffled] + last)


class EpochTrainer(Trainer):
    """`Trainer` whose order of examples is an `EpochSampler`.

    Args:
        lengths: tokens per training example, to batch by length; None shuffles freely.
        groups, per_group: as in `EpochSampler`.
        figures: what an evaluation is, from the model to named figures; None for Trainer's own, the mean loss.
    """

    def __init__(
        self,
        *args: Any,
        lengths: Sequence[int] | None = None,
        groups: Sequence[int] | None = None,
        per_group: int | None = None,
        figures: Callable[[Any], dict[str, float]] | None = None,
        **kwargs: Any,
    ) -> None:
        self.lengths, self.groups, self.per_group, self.figures = lengths, groups, per_group, figures
        super().__init__(*args, **kwargs)

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        step = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return EpochSampler(len(dataset), self.args.seed, self.lengths, step, self.groups, self.per_group)

    def evaluate(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> dict[str, float]:
        """The figures, logged like any evaluation."""
        if self.figures is None:
            return super().evaluate(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        found = self.figures(self.accelerator.unwrap_model(self.model))
        named = {f"{metric_key_prefix}_{key}": value for key, value in found.items()}
        self.log(named)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, named)
        return named
