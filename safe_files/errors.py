"""What can go wrong with a file."""

from __future__ import annotations


class FileError(ValueError):
    """A file cannot be read, or does not hold what its kind of file holds; the message names the file and why."""


class WriteError(OSError):
    """A file cannot be written; the message names the file, why, and what to do."""
