"""Texts of workers, made fit to be printed: they come from other machines and from what crashed there."""

from __future__ import annotations

LONGEST = 500
"""Characters of a message that are kept."""

LONGEST_QUOTE = 160
"""Characters of a line that are quoted in a message of ours."""


def printable(text: str) -> str:
    """Return the text on one line, shortened, without what would steer a terminal."""
    shown = "".join(character if character.isprintable() else " " for character in text[: 4 * LONGEST])
    return " ".join(shown.split())[:LONGEST]


def require_printable(text: str) -> str:
    """Return the text; raise ValueError where it has characters that would steer a terminal."""
    if not text.isprintable():
        raise ValueError(f"expected printable characters, found {ascii(text)[:80]}")
    return text


def quoted(line: bytes | bytearray) -> str:
    """Return the beginning of a line in quotes, and how long it was where that is not all."""
    start = printable(bytes(line[:LONGEST_QUOTE]).decode(errors="replace"))
    return f"'{start}'" + (f" and so on, {len(line):,} bytes" if len(line) > LONGEST_QUOTE else "")
