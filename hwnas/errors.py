"""Errors of a request or a run."""


class RequestError(ValueError):
    """A request that cannot be met: a wrong setting, a missing file, a budget out of reach."""


class RunError(RuntimeError):
    """The request was fine, the work failed."""


class LaterVersionError(RuntimeError):
    """A later version of hwnas wrote a record; no RunError, since what makes damaged records again must not take it."""
