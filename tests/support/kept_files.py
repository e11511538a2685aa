"""What may have become of a file in a cache since it was written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from safe_files import sha256_of
from safe_files.cached import note_of


def _changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "emptied": lambda path: path.write_bytes(b""),
    "noise": lambda path: path.write_bytes(bytes(range(256)) * 8),
    "one bit changed": _changed,
    "taken away": lambda path: path.unlink(),
    "note taken away": lambda path: note_of(path).unlink(),
    "note emptied": lambda path: note_of(path).write_text(""),
    "note that says nothing": lambda path: note_of(path).write_text("[" * 5000),
    "note of something else": lambda path: note_of(path).write_text(
        json.dumps({"made_of": "something else", "sha256": sha256_of(path)})
    ),
}
"""Ways to damage a kept file, or what is noted of it."""


def forge(path: Path, content: bytes) -> None:
    """Put other content into a kept file so that nobody can tell."""
    path.write_bytes(content)
    note = json.loads(note_of(path).read_text())
    note_of(path).write_text(json.dumps({**note, "sha256": sha256_of(path)}))


def exchange(path: Path, other: Path) -> None:
    """Put another kept file into the place of one, with what is noted of it."""
    path.write_bytes(other.read_bytes())
    note_of(path).write_bytes(note_of(other).read_bytes())
