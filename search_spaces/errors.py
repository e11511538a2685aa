"""Errors of describing networks."""


class SpaceError(ValueError):
    """A search space, block or architecture was asked for that does not exist or cannot be built."""


class SourceError(SpaceError):
    """A network or weights that somebody named cannot be taken as the start of a search."""
