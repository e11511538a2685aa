"""Static int8 of a trained network, calibrated on real images."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError

from hwnas.export.session import OnnxNetwork
from lut.precision import without_unused_domains
from search_spaces import ExportError

METHODS = ("MinMax", "Entropy", "Percentile")
"""The methods by which ONNX Runtime takes ranges of activations from calibration images."""

QUANTIZED = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantization:
    """The outcome of quantizing a network: what was tried and kept.

    Attributes:
        method: of calibration.
        scores: by method, on images that neither calibrated nor test; of "float" too.
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
    """Write the float model in QDQ form, per-channel int8 weights and uint8 activations, by the best calibration.

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
        drafts = {method: work.quantized(method) for method in METHODS}
        scores |= {method: score(OnnxNetwork(draft)) for method, draft in drafts.items()}
        method = max(METHODS, key=lambda name: scores[name])
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


class _Reader:
    """Images one batch after the other, as onnxruntime's calibration asks for them."""

    def __init__(self, name: str, images: Sequence[torch.Tensor]) -> None:
        self._batches: Iterator[dict[str, np.ndarray]] = iter([{name: x.contiguous().numpy()} for x in images])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next input by name, None after the last."""
        return next(self._batches, None)


class _Work:
    """One model's quantizations in a folder of their own."""

    def __init__(self, path: Path, folder: Path, images: Sequence[torch.Tensor]) -> None:
        from onnxruntime.quantization.shape_inference import quant_pre_process

        self._folder, self._images = folder, images
        self._prepared = folder / "prepared.onnx"
        try:
            quant_pre_process(path, self._prepared, skip_symbolic_shape=True)
        except (ValueError, RuntimeError, DecodeError) as error:
            raise ExportError(f"cannot quantize {path.name}: {error}") from error
        graph = onnx.load(self._prepared).graph
        self._input = graph.input[0].name
        self._nodes = [node.name for node in graph.node if node.op_type in QUANTIZED]

    def quantized(self, method: str, *, excluded: Sequence[str] = (), only: str | None = None) -> Path:
        from onnxruntime.quantization import (
            CalibrationDataReader,
            CalibrationMethod,
            QuantFormat,
            QuantType,
            quantize_static,
        )

        CalibrationDataReader.register(_Reader)
        draft = self._folder / f"{method}-{len(excluded)}-{only or 'all'}.onnx".replace("/", "_")
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
                quantize_static(
                    self._prepared,
                    draft,
                    _Reader(self._input, self._images[:8] if only else self._images),
                    quant_format=QuantFormat.QDQ,
                    per_channel=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    calibrate_method=getattr(CalibrationMethod, method),
                    nodes_to_exclude=list(excluded),
                    nodes_to_quantize=[only] if only else None,
                )
        except (ValueError, RuntimeError, TypeError, KeyError) as error:
            raise ExportError(f"cannot quantize to int8 by {method}: {error}") from error
        onnx.save(without_unused_domains(onnx.load(draft)), draft)
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
