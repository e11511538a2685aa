"""Files of the same content in two splits of a data set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from safe_files import FileError, sha256_of

MOST_BYTES = 2**30
"""Files are compared as long as those of equal sizes hold no more: a remark is not worth a longer wait."""


def num_shared(one: Sequence[Path], other: Sequence[Path]) -> int:
    """Return how many files of the second split are in the first too; 0 where too much would have to be read."""
    ours, theirs = _by_size(one), _by_size(other)
    sizes = ours.keys() & theirs.keys()
    if sum(size * (len(ours[size]) + len(theirs[size])) for size in sizes) > MOST_BYTES:
        return 0
    return sum(_num_equal(ours[size], theirs[size]) for size in sizes)


def _num_equal(one: Sequence[Path], other: Sequence[Path]) -> int:
    known = set(_digests(one))
    return sum(digest in known for digest in _digests(other))


def _digests(paths: Iterable[Path]) -> Iterable[str]:
    for path in paths:
        with suppress(FileError, OSError):  # what has gone meanwhile is no copy
            yield sha256_of(path)


def _by_size(paths: Iterable[Path]) -> dict[int, list[Path]]:
    found: dict[int, list[Path]] = defaultdict(list)
    for path in paths:
        with suppress(OSError):
            found[path.stat().st_size].append(path)
    return found
