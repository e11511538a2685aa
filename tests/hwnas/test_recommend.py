"""Which model to deploy: int8 only where it is faster, with what it does to accuracy and how well that is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hwnas.artifacts import DeployedModel, Recommendation, Summary
from hwnas.export.recommend import FLOAT, INT8, MIXED, in_own_format, paired_change, recommend
from hwnas.measured import Measured
from hwnas.stages import export
from onnx_models.parity import Parity

SUMMARY = Summary(
    **{"architecture": (0, 1), "choices": ("a", "b"), "test_metrics": {"accuracy": 0.5}, "test_accuracy": 0.5},
    **{"params": 3, "macs": 4, "supernet_score": 0.5, "predicted_ms": 1.0, "measured_ms": 1.0, "budget_kept": True},
    **{"max_latency_ms": 2.0, "device": "cpu", "winners": {}, "references": {}},
    parity=Parity(max_abs_difference=0.0, max_abs_output=1.0, equal_predictions=1.0, num_images=9),
)


def answers(*, both: int, lost: int, won: int, neither: int = 0) -> tuple[Any, Any]:
    parts = ((1, 1, both), (1, 0, lost), (0, 1, won), (0, 0, neither))
    one, other = (np.repeat([p[side] for p in parts], [p[2] for p in parts]).astype(bool) for side in (0, 1))
    return one, other


def test_a_drop_has_an_uncertainty() -> None:
    change = paired_change(*answers(both=79, lost=2, won=0))
    assert (change.num_lost, change.num_won, change.num_images) == (2, 0, 81)
    assert str(change) == "-2.5 points +- 4.1 on 81 images"
    # The same share of many images is known better, and images that both are wrong about say as little as all others.
    many = paired_change(*answers(both=7000, lost=200, won=0, neither=900))
    assert many.difference == pytest.approx(change.difference) and many.margin < 0.2 * change.margin


def test_no_difference_on_few_images_is_no_certainty() -> None:
    assert str(paired_change(*answers(both=81, lost=0, won=0))) == "+0.0 points +- 2.4 on 81 images"
    with pytest.raises(ValueError, match="expected answers to the same images, got 3 and 2"):
        paired_change(np.ones(3, bool), np.ones(2, bool))


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng, covered = np.random.default_rng(0), 0
    for _ in range(2000):
        cells = rng.choice(4, 81, p=(0.9, 0.05, 0.02, 0.03))
        change = paired_change(np.isin(cells, (0, 1)), np.isin(cells, (0, 2)))
        covered += abs(change.difference + 0.03) <= change.margin
    assert 0.93 < covered / 2000 < 0.99


def model(score: float) -> DeployedModel:
    return DeployedModel(
        purpose="", sha256="", size_bytes=1, test_metrics={"accuracy": score}, measured_ms=None, measured_table_ms=None
    )


def recommended(int8_ms: float | None, *, is_kept: bool = True, repeatability: float = 0.01) -> Recommendation:
    latencies = {}
    if int8_ms is not None:
        latencies = {
            name: Measured(latency_ms=ms, repeatability=repeatability) for name, ms in ((FLOAT, 1.95), (INT8, int8_ms))
        }
    return recommend(
        {FLOAT: model(0.988), INT8: model(0.975)},
        latencies,
        device="cpu",
        int8_is_kept=is_kept,
        changes={INT8: paired_change(*answers(both=79, lost=1, won=0, neither=1))},
    )


@pytest.mark.parametrize(
    ("int8_ms", "changes", "file", "words"),
    [
        (2.47, {}, FLOAT, "int8 is slower than float on cpu, 2.47 against 1.95 ms"),
        (1.94, {}, FLOAT, "int8 is no faster than float on cpu by more than repeats differ"),
        (1.0, {}, INT8, "int8 is faster than float on cpu, 1 against 1.95 ms"),
        (1.0, {"is_kept": False}, FLOAT, "which is more than it may lose"),
        (None, {}, FLOAT, "nothing is measured on cpu"),
    ],
)
def test_int8_is_deployed_where_it_is_faster(
    int8_ms: float | None, changes: dict[str, Any], file: str, words: str
) -> None:
    found = recommended(int8_ms, **changes)
    assert found.file == file and words in found.reason
    assert "it scores 97.50% against 98.80% (-1.2 points +- 3.3 on 81 images)" in found.reason


def test_without_models_in_fewer_bits_the_float_model_is_deployed() -> None:
    found = recommend({FLOAT: model(0.9)}, {}, device="cpu", int8_is_kept=False, changes={})
    assert found == Recommendation(file=FLOAT, reason="no model in fewer bits was written")


def test_the_faster_of_int8_and_mixed_precision_is_deployed() -> None:
    models = {FLOAT: model(0.98), INT8: model(0.97), MIXED: model(0.975)}
    times = {
        name: Measured(latency_ms=ms, repeatability=0.01) for name, ms in zip(models, (2.0, 1.5, 1.2), strict=True)
    }
    found = recommend(models, times, device="cpu", int8_is_kept=True, changes={})
    assert found.file == MIXED and "mixed precision is faster than float on cpu, 1.2 against 2 ms" in found.reason
    slower = {**times, MIXED: Measured(latency_ms=1.99, repeatability=0.01)}
    assert recommend(models, slower, device="cpu", int8_is_kept=True, changes={}).file == INT8
    assert recommend(models, slower, device="cpu", int8_is_kept=False, changes={}).file == FLOAT


def test_a_winner_that_is_slower_in_int8_is_said_to_be() -> None:
    slower = replace(SUMMARY, measured_ms=2.47, float_ms=1.95, winners={"winner-5ms": SUMMARY})
    (line,) = slower.slower_in_int8
    assert line.startswith("winner is slower in int8 than in float on cpu, 2.47 against 1.95 ms: deploy it in float")
    assert not SUMMARY.slower_in_int8 and not replace(slower, measured_ms=1.2).slower_in_int8


def test_winners_in_int8_are_timed_beside_their_float_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Path] = {}

    def measured(paths: dict[str, Path], *_: object, **__: object) -> dict[str, Measured]:
        asked.update(paths)
        return {name: Measured(latency_ms=1.0 + number, repeatability=0.0) for number, name in enumerate(paths)}

    monkeypatch.setattr(export, "in_precision", lambda path, precision, **_: path.with_suffix(f".{precision}"))
    monkeypatch.setattr(export, "references_of", lambda *_: None)
    setup = SimpleNamespace(precision="int8", measured=measured)
    latency = SimpleNamespace(model=SimpleNamespace(table=None), near_ms=1.0, speed=None, fleet=())
    files = SimpleNamespace(model=lambda name: tmp_path / f"{name}.onnx", journal=tmp_path / "j")
    exporter: Any = SimpleNamespace(setup=setup, latency=latency, files=files)
    found = export._measured(exporter, {"winner": (0,), "random": (1,)}, {})
    assert {name: path.suffix for name, path in asked.items()} == {
        **{"winner": ".int8", "random": ".int8"},
        "winner in float": ".onnx",
    }
    assert found[(0,)].float_ms == 3.0 and found[(1,)].float_ms is None
    setup.precision = "fp32"
    assert export._measured(exporter, {"winner": (0,)}, {})[(0,)].float_ms is None


def test_a_runtime_with_a_format_of_its_own_is_given_that() -> None:
    found = Recommendation(file="model.int8.onnx", reason="int8 is faster")
    own = in_own_format(found, ["model.xml", "model.int8.xml"], runtime="openvino")
    assert own.file == "model.int8.xml" and "model.int8.onnx in openvino's own format" in own.reason
    assert own.reason.endswith("int8 is faster")
    assert in_own_format(found, ["model.xml"], runtime="openvino") == in_own_format(found, [], runtime="x") == found
