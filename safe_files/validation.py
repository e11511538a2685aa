"""Words for the first fault in the content of a file."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError


def first_fault(error: ValidationError, *, whole: str = "the file") -> tuple[str, Any]:
    """Return where and why content does not fit, of the first place where it does not, and what was found there.

    Args:
        whole: what to call the place where all of it does not fit.
    """
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or whole
    return f"{where}: {first['msg']}", first["input"]
