"""Types of settings, with what is checked of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from hwnas.quantities import parse_image_size
from onnx_models.image_size import size_text
from safe_files import expanded

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
FilePath = Annotated[Path, AfterValidator(expanded)]

Objective = Literal["score", "front"]
"""What a search seeks: the best score, or networks that no other beats in score and in every latency."""

Name = Annotated[str, AfterValidator(expanded)]
"""The name of a component, or of a file that says what it is."""


def checked(parse: Callable[[str | float], object]) -> BeforeValidator:
    """Return a validator that takes the texts that the parser takes, and keeps them as they were written."""

    def check(text: str | float) -> str:
        parse(text)
        return str(text)

    return BeforeValidator(check)


def _size_as_written(size: object) -> str | int:
    parsed = parse_image_size(size)
    return parsed if isinstance(parsed, int) else size_text(parsed)


AS_WRITTEN = BeforeValidator(_size_as_written)
"""Gives an image's size as files have it: an integer where it is square, else a text such as 128x256."""
