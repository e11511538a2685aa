"""Writes an ONNX model in OpenVINO's own format, for those who ship it: `model.xml` and its weights, `model.bin`.

    python converter_openvino.py MODEL FOLDER ARITHMETIC

Weights stay as they are: what a model is computed in is set where it is run.
"""

from __future__ import annotations

import sys
from pathlib import Path

import openvino


def main() -> None:
    """Convert what the command line names."""
    model, folder, _ = sys.argv[1:]
    openvino.save_model(openvino.Core().read_model(model), Path(folder) / "model.xml", compress_to_fp16=False)


if __name__ == "__main__":
    main()
