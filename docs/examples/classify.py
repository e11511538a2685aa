"""Quickstart with a bundle: classify images and draw them with what the model sees in them.

python docs/examples/classify.py bundle picture.png photo.jpg another.png
"""

import json
import runpy
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime

if __name__ == "__main__":
    bundle, target, *images = (Path(argument) for argument in sys.argv[1:])
    deployment = json.loads((bundle / "deployment.json").read_text())
    # The bundle's own program knows how images are read and how models are run.
    predict = runpy.run_path(str(bundle / "predict.py"))
    session = onnxruntime.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])
    figure, axes = plt.subplots(2, len(images), figsize=(2.6 * len(images), 4.5), squeeze=False)
    for path, (above, below) in zip(images, axes.T, strict=True):
        pixels = predict["load"](path, deployment["input"])
        probabilities = predict["run"](session, deployment["models"]["model.onnx"], pixels)
        best = np.argsort(-probabilities)[:5]
        above.imshow(pixels.transpose(1, 2, 0).squeeze(), cmap="gray")
        above.set_title(deployment["classes"][best[0]])
        above.axis("off")
        below.barh([deployment["classes"][i] for i in best[::-1]], 100 * probabilities[best[::-1]])
        below.set_xlabel("%")
    figure.tight_layout()
    figure.savefig(target, dpi=100)
