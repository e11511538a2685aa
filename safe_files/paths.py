"""Paths as people write them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from safe_files.errors import FileError

_PathOrText = TypeVar("_PathOrText", Path, str)


def expanded(path: _PathOrText) -> _PathOrText:
    """Return a path, or a text that may be one, with the home folder in place of a leading `~`.

    Shells do that only where a word begins: not in a file, and not behind the sign of `--out=~/runs`.

    Raises:
        FileError: it stands for the home of a user that is not known.
    """
    text = str(path)
    if not text.startswith("~"):
        return path
    found = os.path.expanduser(text)  # noqa: PTH111 - a text stays one
    if found.startswith("~"):
        raise FileError(f"no home folder is known for {text.partition('/')[0]!r} in {text!r}; write the path in full")
    return type(path)(found)
