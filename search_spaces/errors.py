"""Errors of describing or exporting networks."""


class SpaceError(ValueError):
    """A search space, block or architecture was asked for that does not exist or cannot be built."""


class ExportError(RuntimeError):
    """A module could not be written as ONNX, or what was written is not a valid model."""
