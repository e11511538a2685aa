"""What can go wrong with a request or a run."""


class RequestError(ValueError):
    """What was asked for cannot be: a wrong setting, a missing file, a budget out of reach."""


class RunError(RuntimeError):
    """The request was fine, the work failed."""
