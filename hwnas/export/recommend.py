"""The model of a bundle to deploy: in fewer bits only where that is faster, and loses no more than was allowed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from hwnas.artifacts import DeployedModel, PairedChange, Recommendation
from hwnas.measured import Measured

FLOAT = "model.onnx"
INT8, MIXED = "model.int8.onnx", "model.mixed.onnx"
FEWER_BITS = {INT8: "int8", MIXED: "mixed precision", "model.fp16.onnx": "half precision"}
"""The models that compute the same as the float model in fewer bits, and what that is called."""

CONFIDENCE = 0.95


def paired_change(is_right: NDArray[np.bool_], other_is_right: NDArray[np.bool_]) -> PairedChange:
    """Return the change of accuracy between two models of the same images, with its 95 % confidence interval.

    Images that both are right or wrong about say nothing of the change. The interval is Wald's for paired shares with
    half an image added to each of the four cases (Agresti and Min 2005): without that it is empty where the two never
    differ, however few the images are.

    Args:
        is_right, other_is_right: [num_images] whether each model is right about each image.

    Raises:
        ValueError: they are not of the same images, or there is none.
    """
    if is_right.shape != other_is_right.shape or not len(is_right):
        raise ValueError(f"expected answers to the same images, got {len(is_right)} and {len(other_is_right)}")
    num, lost, won = len(is_right), int((is_right & ~other_is_right).sum()), int((~is_right & other_is_right).sum())
    added = num + 2.0
    std = np.sqrt(lost + won + 1.0 - (won - lost) ** 2 / added) / added
    return PairedChange(
        difference=(won - lost) / num,
        margin=float(ndtri(0.5 + CONFIDENCE / 2) * std),
        num_lost=lost,
        num_won=won,
        num_images=num,
    )


def recommend(
    models: Mapping[str, DeployedModel],
    latencies: Mapping[str, Measured],
    *,
    device: str,
    int8_is_kept: bool,
    changes: Mapping[str, PairedChange],
) -> Recommendation:
    """Return the model to deploy on a device: the fastest of those that lose no more accuracy than was allowed.

    Fewer bits must be faster by more than repeats of the measurement differ.

    Args:
        latencies: measured interleaved, by file; none where nothing is measured.
        int8_is_kept: whether int8 loses no more than was allowed; mixed precision is written only where it does not.
        changes: of accuracy from the float model's, by file, where they are known.
    """
    there = [name for name in FEWER_BITS if name in models]
    if not there:
        return Recommendation(file=FLOAT, reason="no model in fewer bits was written")
    reasons, best = [], FLOAT
    for name in there:
        change = changes.get(name)
        accuracies = f"it scores {models[name].score:.2%} against {models[FLOAT].score:.2%}"
        accuracies += "" if change is None else f" ({change})"
        is_accurate = name != INT8 or int8_is_kept
        is_faster, words = _speed(name, latencies, device)
        reasons.append(f"{words}; {accuracies}{'' if is_accurate else ', which is more than it may lose'}")
        if is_faster and is_accurate and (best == FLOAT or latencies[name].latency_ms < latencies[best].latency_ms):
            best = name
    return Recommendation(file=best, reason="; ".join(reasons))


def in_own_format(recommendation: Recommendation, written: Collection[str], *, runtime: str) -> Recommendation:
    """Return the recommendation of the same model in the own format of the device's runtime, where that was written.

    Args:
        written: names of the files in that format.
    """
    stem = Path(recommendation.file).stem
    own = next((name for name in written if Path(name).stem == stem), None)
    if own is None:
        return recommendation
    return Recommendation(
        file=own, reason=f"it is {recommendation.file} in {runtime}'s own format; {recommendation.reason}"
    )


def _speed(name: str, latencies: Mapping[str, Measured], device: str) -> tuple[bool, str]:
    """Return whether a model in fewer bits is faster than the float model for certain, and that in words."""
    bits = FEWER_BITS[name]
    if name not in latencies or FLOAT not in latencies:
        return False, f"nothing is measured on {device}, so nobody knows whether {bits} is faster"
    mine, float_ms = latencies[name], latencies[FLOAT].latency_ms
    times = f"{mine.latency_ms:.4g} against {float_ms:.4g} ms"
    if mine.latency_ms > float_ms:
        return False, f"{bits} is slower than float on {device}, {times}"
    if mine.at_worst_ms >= float_ms:
        return False, f"{bits} is no faster than float on {device} by more than repeats differ, {times}"
    return True, f"{bits} is faster than float on {device}, {times}"
