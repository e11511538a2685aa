"""Objects of a program that a run is given as its components: data, a score, a task.

A configuration names components. What a program hands over is named `hwnas.api.given:NAME` in it, and is there as long
as the program works on the run. Only such a program can continue the run; what has finished is read by any.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

from search_spaces.importing import ImportReferenceError

_NOTHING: Mapping[str, object] = MappingProxyType({})
_OBJECTS: ContextVar[Mapping[str, object]] = ContextVar("given", default=_NOTHING)


def reference(name: str) -> str:
    """Return how a configuration names an object that is given under that name."""
    return f"{__name__}:{name}"


@contextmanager
def giving(objects: Mapping[str, object]) -> Iterator[None]:
    """Let configurations find these objects meanwhile."""
    token = _OBJECTS.set(objects)
    try:
        yield
    finally:
        _OBJECTS.reset(token)


def __getattr__(name: str) -> object:
    """Return the object that is given under that name.

    Raises:
        ImportReferenceError: none is.
    """
    if name.startswith("_"):
        raise AttributeError(name)
    objects = _OBJECTS.get()
    if name not in objects:
        raise ImportReferenceError(
            f"the {name} of this run is an object of the program that began it: expected that program to continue it "
            "with the same call"
        )
    return objects[name]
