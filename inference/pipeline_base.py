"""What the pipelines on spectra share: any form of spectra in, one answer per record out, batches of similar length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from transformers import Pipeline
from transformers.pipelines.base import pad_collate_fn

from ..spectra.spectrum import Problem, Spectrum
from .embed import NO_PRECURSOR
from .inputs import as_spectra, as_spectrum, why

NOT_FINITE = "the model gave a value that is not finite"
# batches of records read before the first is run, so that spectra of similar length share one
READ_AHEAD = 8


@dataclass(slots=True)
class Answer:
    """What a model says of one record.

    Attributes:
        record: the spectrum, or why there is none.
        status, reason: a key of `embed.STATUSES`, and what happened in words ("" if nothing needs saying).
        values: float32 (D,) on the CPU; None with another status than "ok".
    """

    record: Spectrum | Problem
    status: str = "ok"
    reason: str = ""
    values: Tensor | None = None

    def row(self, **found: Any) -> dict[str, Any]:
        """A plain mapping: index, native_id, status, reason, and what was found."""
        about = {"index": self.record.index, "native_id": self.record.native_id}
        return about | {"status": self.status, "reason": self.reason} | found


class SpectrumPipeline(Pipeline):
    """Shared by the pipelines on spectra: any form of spectra in, as many answers out; a bad record costs only itself.

    The `preprocess` of a subclass gives ``answer``, an object with `status` and `reason`, and ``inputs``, the tensors of
    one spectrum or None; its `fill` runs the model on a batch of these.
    """

    _load_processor = False
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = True
    _load_tokenizer: bool | None = False

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """Run on spectra.

        Args:
            inputs: one spectrum (`Spectrum`, row of `load_spectra`, mapping, `matchms.Spectrum`); or several: a list, a
                `datasets.Dataset` or a slice of one, the path of a file or folder of spectra; or a stream of them: a
                streaming dataset or a generator.
            kwargs: `batch_size` (by default 1) and the parameters of the pipeline.

        Returns:
            the answer to one spectrum; a list with one answer per record, in order; or an iterator of these, for a stream.

        Raises:
            FileNotFoundError: there is nothing at the path.
            TypeError: there is no such parameter.
        """
        records = as_spectra(inputs)
        if records is None:
            return super().__call__(inputs, **kwargs)
        if isinstance(records, list):
            return super().__call__(records, **kwargs) if records else []
        return iter(super().__call__(records, **kwargs))

    def get_iterator(
        self, inputs: Iterable[Any], num_workers: int, batch_size: int, *parameters: Any
    ) -> Iterable[Any]:
        """Answers to several records, in their order; what shares a batch is of similar length."""
        if batch_size == 1:
            return super().get_iterator(inputs, num_workers, batch_size, *parameters)
        return self._by_length(inputs, num_workers, batch_size, *parameters)

    def _by_length(
        self, inputs: Iterable[Any], num_workers: int, batch_size: int, *parameters: Any
    ) -> Iterator[Any]:
        stream = iter(inputs)
        while block := list(islice(stream, READ_AHEAD * batch_size)):
            lengths = [len(record) if isinstance(record, Spectrum) else 0 for record in block]
            order = sorted(range(len(block)), key=lengths.__getitem__)
            arranged = [block[place] for place in order]
            found = super().get_iterator(arranged, num_workers, batch_size, *parameters)
            answers = dict(zip(order, found, strict=True))
            yield from (answers[place] for place in range(len(block)))

    def _forward(self, input_tensors: dict[str, Any], **parameters: Any) -> dict[str, Any]:
        answer, inputs = input_tensors["answer"], input_tensors["inputs"]
        answers, prepared = (answer, inputs) if isinstance(answer, list) else ([answer], [inputs])
        rows = [row for row, tensors in enumerate(prepared) if tensors is not None]
        collate = pad_collate_fn(None, self.feature_extractor)

        def run(rows: Sequence[int]) -> None:
            self.fill([answers[row] for row in rows], collate([prepared[row] for row in rows]), **parameters)

        def fail(row: int, reason: str) -> None:
            answers[row].status, answers[row].reason = "failed", reason

        isolate(run, rows, fail)
        return {"answer": answer}

    def fill(self, answers: Sequence[Any], batch: dict[str, Tensor], **parameters: Any) -> None:
        """Run the model on the tensors of some spectra and enter what it says into their answers."""
        raise NotImplementedError


class VectorPipeline(SpectrumPipeline):
    """Shared by the pipelines whose model gives one vector per spectrum; a subclass says which, in `vectors`."""

    def preprocess(self, input_: Any, **parameters: Any) -> dict[str, Any]:
        """The answer to fill, and the tensors of one spectrum with a batch dimension of 1; None if it has none."""
        record = as_spectrum(input_)
        if isinstance(record, Problem):
            return {"answer": Answer(record, "unreadable", why(record)), "inputs": None}
        if not len(record):
            return {"answer": Answer(record, "no_peaks", "the spectrum has no peak"), "inputs": None}
        try:
            inputs = dict(self.feature_extractor([record], return_tensors="pt"))
        except (TypeError, ValueError) as error:
            return {"answer": Answer(record, "failed", str(error)), "inputs": None}
        note = "" if record.precursor_mz is not None else NO_PRECURSOR
        return {"answer": Answer(record, "ok", note), "inputs": inputs}

    def fill(self, answers: Sequence[Answer], batch: dict[str, Tensor], **parameters: Any) -> None:
        """Enter the vectors; one that is not finite is none."""
        vectors = self.vectors(batch, **parameters).float().cpu()
        for answer, values in zip(answers, vectors, strict=True):
            if torch.isfinite(values).all():
                answer.values = values
            else:
                answer.status, answer.reason = "failed", NOT_FINITE

    def vectors(self, batch: dict[str, Tensor], **parameters: Any) -> Tensor:
        """What the model says of a batch, (B, D)."""
        raise NotImplementedError


def isolate(
    run: Callable[[Sequence[int]], None], rows: Sequence[int], fail: Callable[[int, str], None]
) -> None:
    """Run on all rows together; where that fails, on each alone, so that a row that fails costs only itself.

    Args:
        run: works on some rows, and changes nothing if it raises.
        rows: to work on; nothing is run without any.
        fail: told of a row that failed alone, and of the reason.
    """
    if not rows:
        return
    try:
        run(rows)
    # whatever a model raises on one spectrum (a size it has no memory for, a value it does not know) costs only that one
    except Exception as error:
        if len(rows) == 1:
            fail(rows[0], f"{type(error).__name__}: {error}".splitlines()[0])
            return
        for row in rows:
            isolate(run, [row], fail)
