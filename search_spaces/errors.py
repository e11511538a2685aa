"""Errors of describing networks."""


class SpaceError(ValueError):
    """A search space, block or architecture was asked for that does not exist or cannot be built."""
