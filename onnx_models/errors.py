"""Errors of ONNX models."""


class ExportError(RuntimeError):
    """A model cannot be expressed in ONNX, or not in the precision that was asked for."""


class ModelError(ValueError):
    """A file that was given is no ONNX model that can be used."""
