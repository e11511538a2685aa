"""Making batches while others are being used."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")

AHEAD = 2


def made_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the same items in the same order, so many of them made by another thread before they are asked for.

    What making an item raises is raised where it is asked for.
    """
    end = object()
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        waiting: deque[Future[Item | object]] = deque(pool.submit(next, items, end) for _ in range(AHEAD))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, items, end))
            yield item  # type: ignore[misc]
