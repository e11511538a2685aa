"""Errors of files that cannot be read or written."""

from __future__ import annotations


class FileError(ValueError):
    """A file cannot be read, or does not hold what its kind of file holds; the message names the file and why."""


class WriteError(OSError):
    """A file cannot be written; the message names the file, why, and what to do.

    Attributes:
        errno: the system's number of the reason.
        strerror: the reason in words.
    """

    def __init__(self, message: str, *, errno: int | None = None, reason: str | None = None) -> None:
        super().__init__(message)
        self.errno, self.strerror = errno, reason

    def __str__(self) -> str:
        return str(self.args[0])
