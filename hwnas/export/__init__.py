"""Proof that an exported model computes what the trained network computes."""

from hwnas.export.parity import Parity, compare_with_onnx

__all__ = ["Parity", "compare_with_onnx"]
