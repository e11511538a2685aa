"""Errors of latency tables."""


class TableError(ValueError):
    """A table file cannot be read, was changed, or does not fit the request."""


class MissingLatencyError(TableError):
    """A block that an architecture needs was never measured, or failed to be."""
