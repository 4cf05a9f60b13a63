"""Work on streams in several processes: order, laziness, small inputs, bad settings."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice

import pytest

from msformers.tokenization.parallel import available_workers, map_chunks


def test_one_worker_keeps_order_and_reads_no_further_than_needed() -> None:
    read: list[int] = []

    def source() -> Iterator[int]:
        for number in count():
            read.append(number)
            yield number

    found = map_chunks(lambda part: [2 * item for item in part], source(), workers=1, chunk=10)
    assert read == []
    assert list(islice(found, 25)) == [2 * number for number in range(25)]
    assert len(read) == 30


def test_several_workers_keep_order_of_an_endless_stream() -> None:
    read: list[int] = []

    def source() -> Iterator[int]:
        for number in count():
            read.append(number)
            yield number

    found = map_chunks(list, source(), workers=2, chunk=10, pool_from=20)
    assert list(islice(found, 105)) == list(range(105))
    found.close()
    assert len(read) <= 105 + 10 * 4 * 2 + 20


def test_the_error_of_a_worker_arrives() -> None:
    with pytest.raises(TypeError, match="not supported between"):
        list(map_chunks(sorted, [1, "a"] * 50, workers=2, chunk=4, pool_from=1))


def test_few_items_start_no_process() -> None:
    """A function that cannot be sent to another process works."""
    assert list(map_chunks(lambda part: part, range(30), workers=2)) == list(range(30))


@pytest.mark.parametrize("settings", [{"workers": 0}, {"chunk": 0}])
def test_settings_are_checked_at_once(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        map_chunks(list, [1], **settings)


def test_there_is_a_worker() -> None:
    assert available_workers() >= 1
