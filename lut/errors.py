"""Errors of latency tables."""


class TableError(ValueError):
    """A table file cannot be read, was changed, or does not fit the request."""


class LaterTableError(TableError):
    """A later version wrote the table: it is never made again in its place, nor left out."""


class MissingLatencyError(TableError):
    """A block that an architecture needs was never measured, or failed to be."""
