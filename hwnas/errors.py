"""Errors of a request or a run."""


class RequestError(ValueError):
    """A request that cannot be met: a wrong setting, a missing file, a budget out of reach."""


class RunError(RuntimeError):
    """The request was fine, the work failed."""
