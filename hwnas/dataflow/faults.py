"""What is wrong with annotations: refused by place, or left out and counted."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from hwnas.errors import RequestError

MOST_NAME_BYTES = 255
"""What file systems allow in the name of a file or folder."""


class Faults:
    """Refuses the first fault; or, where broken images and annotations are to be skipped, counts all of them."""

    def __init__(self, *, are_skipped: bool) -> None:
        """Begin with none."""
        self.are_skipped = are_skipped
        self._num: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, reason: str, where: str, message: str) -> None:
        """Take note of a fault, whose image or annotation the caller then leaves out.

        Args:
            reason: what is counted, in a few words.
            where: the file and the place in it.
            message: what was expected and what was found there.

        Raises:
            RequestError: faults are not skipped.
        """
        if not self.are_skipped:
            remedy = "mend or remove it, or leave what is broken out with --skip-broken-images"
            raise RequestError(f"{where}: {message}; {remedy}")
        self._num[reason] += 1
        self._first.setdefault(reason, where)

    def remarks(self, root: Path) -> tuple[str, ...]:
        """Return a line that counts what was left out, by reason, with the place of the first of each."""
        if not self._num:
            return ()
        counts = [f"{num} {reason} (the first: {self._first[reason]})" for reason, num in self._num.most_common()]
        return (f"{root}: left out: {'; '.join(counts)}",)


def within(folder: Path, name: str) -> Path | None:
    """Return the path of a file that annotations name; None where it leads out of the folder or can be no file's."""
    if "\0" in name or any(len(part.encode(errors="replace")) > MOST_NAME_BYTES for part in name.split("/")):
        return None
    base = Path(os.path.abspath(folder))  # noqa: PTH100 - links stay what they are
    path = Path(os.path.abspath(base / name))  # noqa: PTH100
    return folder / path.relative_to(base) if path.is_relative_to(base) else None
