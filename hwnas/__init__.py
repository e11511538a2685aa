"""Hardware-aware neural architecture search: from a latency budget on your device to a verified ONNX model."""

from importlib.metadata import version

__version__ = version("hwnas")
