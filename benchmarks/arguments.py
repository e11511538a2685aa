"""Arguments of benchmarks, checked before any work; what is wrong is said in a line, with exit code 2."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hwnas.cli.exit_codes import verdict


def whole(least: int = 1, most: int = 1_000_000) -> Callable[[str], int]:
    """Return what reads a whole number from `least` to `most`."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least} to {most}, got {text!r}")
        return number

    return read


def number(least: float, most: float) -> Callable[[str], float]:
    """Return what reads a number from `least` to `most`."""

    def read(text: str) -> float:
        try:
            found = float(text)
        except ValueError:
            found = math.nan
        if not least <= found <= most:
            raise argparse.ArgumentTypeError(f"expected a number from {least:g} to {most:g}, got {text!r}")
        return found

    return read


def names(known: Iterable[str]) -> Callable[[str], list[str]]:
    """Return what reads some of these names, with commas between."""
    expected = list(known)

    def read(text: str) -> list[str]:
        found = [part.strip() for part in text.split(",")]
        if unknown := [name for name in found if name not in expected]:
            raise argparse.ArgumentTypeError(f"expected some of {', '.join(expected)}, got {unknown[0]!r}")
        return list(dict.fromkeys(found))

    return read


def folder(text: str) -> Path:
    """Return a folder that is there."""
    if not text or not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"expected a folder that is there, got {text!r}")
    return Path(text)


def folder_to_write(text: str) -> Path:
    """Return a folder that is there, or the place of one that can be made."""
    path = Path(text)
    there = next(place for place in (path, *path.parents) if place.exists())
    if not text or not there.is_dir():
        raise argparse.ArgumentTypeError(f"expected a folder, or a place where one can be made, got {text!r}")
    return path


def file_to_write(text: str) -> Path:
    """Return a file in a folder that is there, so that figures are not lost after hours of work."""
    if not text or Path(text).is_dir() or not Path(text).parent.is_dir():
        raise argparse.ArgumentTypeError(f"expected a file in a folder that is there, got {text!r}")
    return Path(text)


@contextmanager
def errors_in_a_line() -> Iterator[None]:
    """End the program with a line for an error of a request or of work, as the commands do."""
    try:
        yield
    except Exception as error:
        if (said := verdict(error)) is None:
            raise
        print(f"error: {said[1]}", file=sys.stderr)
        raise SystemExit(said[0]) from error
