"""The static int8 form of a trained network that loses least, calibrated on real images."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch

from onnx_models.errors import ExportError
from onnx_models.int8 import prepare, quantize, quantizing
from onnx_models.session import OnnxNetwork

METHODS = ("MinMax", "Entropy", "Percentile")
"""The methods by which ONNX Runtime takes ranges of activations from calibration images."""

QUANTIZED = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantization:
    """The outcome of quantizing a network: what was tried and kept.

    Attributes:
        method: of calibration.
        scores: by method that ranges could be taken by, on images that neither calibrated nor test; of "float" too.
        float_nodes: convolutions and products left in float, since quantizing them cost too much.
        kept: whether the drop is within what was allowed.
    """

    method: str
    scores: dict[str, float]
    float_nodes: tuple[str, ...]
    kept: bool


def quantize_network(
    path: Path,
    target: Path,
    images: Sequence[torch.Tensor],
    score: Callable[[Callable[[torch.Tensor], torch.Tensor]], float],
    *,
    max_drop: float,
) -> Quantization:
    """Write the float model in int8, by the best calibration.

    Where even the best loses more than `max_drop`, the layers that change the output most stay in float, one after the
    other in doubling numbers, until it does not, or all of them do.

    Args:
        path: the float model, of a fixed batch.
        images: x_NCHW, as the network sees them, in the model's batch size.
        score: of a network, higher is better.
        max_drop: of the score, in its unit.

    Raises:
        ExportError: the model cannot be quantized.
    """
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".int8-") as folder:
        work = _Work(path, Path(folder), images)
        scores = {"float": score(OnnxNetwork(path))}
        drafts = work.drafts()
        scores |= {method: score(OnnxNetwork(draft)) for method, draft in drafts.items()}
        method = max(drafts, key=lambda name: scores[name])
        best, reached = drafts[method], scores[method]
        float_nodes: list[str] = []
        ranked = work.most_sensitive() if scores["float"] - reached > max_drop else []
        num = 1
        while scores["float"] - reached > max_drop and len(float_nodes) < len(ranked):
            float_nodes = ranked[:num]
            best = work.quantized(method, excluded=float_nodes)
            reached = scores[f"{method}, {len(float_nodes)} layers in float"] = score(OnnxNetwork(best))
            num *= 2
        best.replace(target)
    return Quantization(
        method=method,
        scores=scores,
        float_nodes=tuple(float_nodes),
        kept=scores["float"] - reached <= max_drop,
    )


class _Work:
    """One model's quantizations in a folder of their own."""

    def __init__(self, path: Path, folder: Path, images: Sequence[torch.Tensor]) -> None:
        self._folder, self._images = folder, images
        self._prepared = folder / "prepared.onnx"
        with quantizing(path.name, folder):
            prepare(path, self._prepared)
        graph = onnx.load(self._prepared).graph
        self._input = graph.input[0].name
        self._nodes = [node.name for node in graph.node if node.op_type in QUANTIZED]

    def drafts(self) -> dict[str, Path]:
        """Return the model quantized by each method, but for those that find no range.

        Those of histograms find none for activations that are the same everywhere but for rounding, as the logits of a
        detector are that has learnt little.

        Raises:
            ExportError: no method finds any.
        """
        drafts: dict[str, Path] = {}
        failures: list[ExportError] = []
        for method in METHODS:
            try:
                drafts[method] = self.quantized(method)
            except ExportError as error:
                failures.append(error)
        if not drafts:
            raise failures[0]
        return drafts

    def quantized(self, method: str, *, excluded: Sequence[str] = (), only: str | None = None) -> Path:
        draft = self._folder / f"{method}-{len(excluded)}-{only or 'all'}.onnx".replace("/", "_")
        images = self._images[:8] if only else self._images
        with quantizing(f"to int8 by {method}", self._folder):
            batches = [{self._input: x.contiguous().numpy()} for x in images]
            quantize(self._prepared, draft, batches, method=method, excluded=excluded, only=only)
        return draft

    def most_sensitive(self) -> list[str]:
        """Return the layers by how much quantizing each alone changes the output, most first."""
        plain = OnnxNetwork(self._prepared)
        expected = [plain(x) for x in self._images[:16]]
        changes = {}
        for name in self._nodes:
            alone = OnnxNetwork(self.quantized("MinMax", only=name))
            pairs = zip(self._images, expected, strict=False)
            changes[name] = float(np.mean([float((alone(x) - e).abs().mean()) for x, e in pairs]))
        return sorted(changes, key=lambda name: -changes[name])
