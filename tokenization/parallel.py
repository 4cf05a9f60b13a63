"""Work on a long stream of items in several processes: in order, by chunks, without holding the stream in memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice
from multiprocessing import get_context
from typing import Any, TypeVar

CHUNK = 512
Item = TypeVar("Item")
Result = TypeVar("Result")


def available_workers() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_chunks(
    function: Callable[[list[Item]], list[Result]],
    items: Iterable[Item],
    *,
    workers: int | None = None,
    chunk: int = CHUNK,
    pool_from: int = 4096,
) -> Iterator[Result]:
    """Results of `function` for chunks of `items`, one by one and in the order of the items.

    At most 4 chunks per worker are read ahead, so `items` may be endless. New processes are spawned, never forked (a
    fork of a process with threads can hang), so a script that calls this needs ``if __name__ == "__main__":``.

    Args:
        function: takes a list of items and gives one result for each; importable by name.
        items: read only as fast as results are taken.
        workers: processes; None for all processors this process may use, 1 to work in this one.
        chunk: items per call.
        pool_from: with fewer items no process is started.

    Raises:
        ValueError: `workers` or `chunk` is below 1.
        concurrent.futures.process.BrokenProcessPool: a worker was killed, as happens when memory runs out.
    """
    workers = available_workers() if workers is None else workers
    if workers < 1 or chunk < 1:
        raise ValueError(f"workers and chunk must be at least 1, got {workers} and {chunk}")
    return _mapped(function, iter(items), workers, chunk, pool_from)


def _mapped(
    function: Callable[[list[Any]], list[Any]], items: Iterator[Any], workers: int, chunk: int, pool_from: int
) -> Iterator[Any]:
    first = list(islice(items, pool_from)) if workers > 1 else []
    alone = workers == 1 or len(first) < pool_from
    items = chain(first, items)
    chunks = iter(lambda: list(islice(items, chunk)), [])
    if alone:
        for part in chunks:
            yield from function(part)
        return
    running: deque[Future[list[Any]]] = deque()
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        for part in chunks:
            running.append(pool.submit(function, part))
            if len(running) >= 4 * workers:
                yield from running.popleft().result()
        while running:
            yield from running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
