"""The precision of each block of a network: what is measured, scored and chosen."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import run_cli
from digits_run import finish_digits_run
from torch import nn

from hwnas.artifacts import Deployment, MixedPrecision
from hwnas.errors import RequestError
from hwnas.export.mixed import Trial, choose_precisions
from hwnas.export.request import BundleOptions
from hwnas.measured import Measured
from hwnas.records import read_record
from hwnas.stages.setup import Setup
from onnx_models.export import export_module
from onnx_models.mixed_int8 import MixedNetwork
from onnx_models.session import OnnxNetwork
from profilers.device import find_device
from profilers.runtime import RUNTIMES

NUM_BLOCKS = 5
GAINS = (-1.0, 0.5, -2.0, -0.5, -1.0)
"""The milliseconds that blocks take more in int8 on the machine of these tests; the network takes 10 in float."""

IMAGES = [torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(number)) for number in range(8)]


def taken_ms(letters: str, *, gains: tuple[float, ...] = GAINS, conversion_ms: float = 0.25) -> float:
    ways_in = sum(one == "f" and other == "i" for one, other in zip("f" + letters, letters, strict=False))
    return 10.0 + sum(np.resize(gains, len(letters))[np.array([*letters]) == "i"]) + conversion_ms * ways_in


def simulated(*, repeatability: float = 0.005, **changes: Any) -> Callable[..., dict[str, Measured]]:
    def measured(paths: Mapping[str, Path], *, is_median: bool) -> dict[str, Measured]:
        del is_median
        assert all(path.is_file() for path in paths.values())
        ms = {n: taken_ms("i" * NUM_BLOCKS if n.startswith("int8") else n, **changes) for n in paths}
        return {name: Measured(latency_ms=value, repeatability=repeatability) for name, value in ms.items()}

    return measured


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> MixedNetwork:
    """Five convolutions, of which the third has weights that int8 loses."""
    folder = tmp_path_factory.mktemp("mixed")
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 4, 3, padding=1), *(nn.Conv2d(4, 4, 3, padding=1) for _ in range(4))]
    with torch.no_grad():
        layers[2].weight[:, 3] *= 200
        layers[1].weight[3], layers[1].bias[3] = 0.0, 0.0  # type: ignore[index]
    export_module(nn.Sequential(*layers).eval(), folder / "m.onnx", input_shapes=[(1, 2, 8, 8)])
    return MixedNetwork(folder / "m.onnx", folder, IMAGES, method="MinMax", most=16)


def scored(network: MixedNetwork) -> Callable[[Any], float]:
    """Return a score that falls with the error of the outputs."""
    plain = OnnxNetwork(network.model((False,) * NUM_BLOCKS))
    expected = torch.cat([plain(x) for x in IMAGES])

    def score(candidate: Any) -> float:
        outputs = torch.cat([candidate(x) for x in IMAGES])
        return 1.0 - float((outputs - expected).square().mean() / expected.square().mean())

    return score


def chosen(network: MixedNetwork, max_drop: float, **changes: Any) -> MixedPrecision:
    trial = Trial(images=IMAGES, score=scored(network), measured=simulated(**changes))
    found, path = choose_precisions(network, trial, max_drop=max_drop, rng=np.random.default_rng(0))
    assert path == network.model(tuple(letter == "i" for letter in found.chosen))
    return found


def test_the_fastest_that_keeps_the_score_is_chosen(network: MixedNetwork) -> None:
    lenient = chosen(network, 1.0)
    assert lenient.chosen == "ifiii" and lenient.is_mixed  # the second is slower in int8
    assert "4 of 5 blocks in int8: 6 against 10 ms in float" in lenient.reason
    assert max(range(NUM_BLOCKS), key=lambda n: lenient.losses[n]) == 2
    score = scored(network)
    drop_of_third = 1.0 - score(OnnxNetwork(network.model((False, False, True, False, False))))
    strict = chosen(network, 0.5 * drop_of_third)
    assert strict.chosen[2] == "f" and "i" in strict.chosen
    found = OnnxNetwork(network.model(tuple(letter == "i" for letter in strict.chosen)))
    assert 1.0 - score(found) <= 0.5 * drop_of_third
    assert taken_ms(strict.chosen) == min(
        taken_ms(p.precisions) for p in strict.front if p.score is not None and 1 - p.score <= 0.5 * drop_of_third
    )


def test_predictions_are_told_with_their_errors(network: MixedNetwork) -> None:
    found = chosen(network, 1.0)
    assert found.errors is not None and found.errors.mape < 5e-3 and found.within_3pct == 1.0
    assert len(found.held_out) == found.errors.num_networks == 8  # half of the 16 that have several stretches in float
    assert found.errors.repeatability_mape == 0.005
    assert all(p.measured_ms == pytest.approx(taken_ms(p.precisions)) for p in found.held_out)
    assert found.certificate.startswith("8 random assignments predicted with 0.")
    assert "too few" in replace(found, errors=None).certificate
    known = {(first, after): ms for first, after, ms in found.float_stretches_ms}
    in_int8 = taken_ms("iiiii")
    assert (known[1, 2], known[0, 5]) == pytest.approx((0.25 - GAINS[1], 10.0 - in_int8), abs=0.05)
    assert (found.in_float.predicted_ms, found.in_int8.predicted_ms) == pytest.approx((10.0, in_int8), rel=5e-3)
    assert found.blocks == tuple(f"{number}/Conv" for number in range(NUM_BLOCKS))
    ms, losses = ([getattr(p, name) for p in found.front] for name in ("predicted_ms", "expected_drop"))
    assert ms == sorted(ms) and losses == sorted(losses, reverse=True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gains": (0.5,) * 5}, "no assignment of int8 is faster than float"),
        (
            {"gains": (-0.01,) * 5, "conversion_ms": 0.0, "repeatability": 0.02},
            "no assignment of int8 is faster than float",
        ),
        ({"conversion_ms": 9.0}, "no assignment of int8 is faster than float"),
    ],
)
def test_float_stays_where_int8_is_not_faster(network: MixedNetwork, changes: dict[str, Any], words: str) -> None:
    found = chosen(network, 1.0, **changes)
    assert found.chosen == "fffff" and words in found.reason and not found.is_mixed


def test_float_stays_where_int8_loses_too_much_anywhere(network: MixedNetwork) -> None:
    found = chosen(network, 0.0)
    assert found.chosen == "fffff" and "loses more than is allowed" in found.reason
    slower = chosen(network, 0.0, gains=(0.5,) * 5)
    assert slower.chosen == "fffff" and "takes longer" in slower.reason


def test_every_block_in_int8_may_be_the_best(network: MixedNetwork) -> None:
    found = chosen(network, 1.0, gains=(-1.0,) * 5)
    assert found.chosen == "iiiii" and not found.is_mixed and found.reason.startswith("every block in int8")


def test_devices_that_cannot_tell_are_refused() -> None:
    options, device = BundleOptions(mixed=True), find_device("cpu")
    options.require_possible(device)
    for name, words in (("cpu-ncnn", "takes fp32; leave it out"), ("rpi4-qemu-ort", "rpi4-qemu-ort gives none")):
        with pytest.raises(RequestError, match=words):
            options.require_possible(find_device(name))
        BundleOptions().require_possible(find_device(name))
    with pytest.raises(RequestError, match="leave int8 in"):
        BundleOptions(mixed=True, int8=False)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory, instant_measurements: None) -> Path:
    """A finished run on digits."""
    return finish_digits_run(tmp_path_factory.mktemp("runs"), epochs=1, evaluations=4, retrain_epochs=4)


@pytest.fixture
def _little_to_quantize(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges are taken from few images, and assignments of few blocks compared on few."""
    monkeypatch.setattr("hwnas.export.quantizing.MOST_BLOCKS", NUM_BLOCKS)
    monkeypatch.setattr("hwnas.export.quantizing.NUM_CALIBRATION", 16)
    monkeypatch.setattr("hwnas.export.quantizing.NUM_SELECTION", 100)


def _letters(name: str, networks: Mapping[str, Path]) -> str:
    """Return the assignment that a name of these networks is of."""
    num_blocks = next(len(letters) for letters in networks if set(letters) <= {"f", "i"})
    return "i" * num_blocks if name.startswith("int8") else name


def _bundled(setup: Setup, networks: Mapping[str, Path], journal: Path, **_: object) -> dict[str, Measured]:
    """Return latencies of assignments as the machine of these tests takes, of a bundle's models by their names."""
    del setup, journal
    known = {"model.onnx": 10.0, "model.mixed.onnx": 6.0}
    ms = {name: known.get(name, 9.0) if "." in name else taken_ms(_letters(name, networks)) for name in networks}
    return {name: Measured(latency_ms=value, repeatability=0.005) for name, value in ms.items()}


@pytest.mark.usefixtures("_little_to_quantize", "no_tvm")
def test_a_bundle_has_the_model_of_mixed_precision(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Setup, "measured", _bundled)
    outcome = run_cli("export", run_folder, "-o", tmp_path / "b", "--mixed", "--max-drop", 100, "--quiet")
    assert outcome.code == 0, outcome.err
    deployment = read_record(Deployment, tmp_path / "b" / "deployment.json")
    mixed = deployment.mixed
    assert mixed is not None and mixed.is_mixed and "f" in mixed.chosen
    model = deployment.models["model.mixed.onnx"]
    assert model.operations["QLinearConv"] and model.operations["Conv"]
    assert model.score == pytest.approx(deployment.models["model.onnx"].score, abs=0.05)
    assert deployment.mixed_change is not None and deployment.mixed_change.num_images == 360
    assert deployment.recommended is not None and deployment.recommended.file == "model.mixed.onnx"
    assert "mixed precision is faster than float" in deployment.recommended.reason
    for words in (f"mixed precision of {len(mixed.chosen)} blocks", mixed.chosen, mixed.reason, "model.mixed.onnx"):
        assert words in outcome.out
    assert "mixed precision: 8 random assignments predicted with 0.0% mean error" in outcome.out


@pytest.mark.usefixtures("_little_to_quantize", "no_tvm")
def test_a_bundle_without_a_better_assignment_says_so(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slower(setup: Setup, networks: Mapping[str, Path], journal: Path, **_: object) -> dict[str, Measured]:
        del setup, journal
        ms = {name: 10.0 + name.count("i") * ("." not in name) for name in networks}
        return {name: Measured(latency_ms=value, repeatability=0.005) for name, value in ms.items()}

    monkeypatch.setattr(Setup, "measured", slower)
    outcome = run_cli("export", run_folder, "-o", tmp_path / "b", "--mixed", "--json", "--quiet")
    assert outcome.code == 0, outcome.err
    deployment = json.loads(outcome.out)
    assert set(deployment["mixed"]["chosen"]) == {"f"} and "stay in float" in deployment["mixed"]["reason"]
    assert "model.mixed.onnx" not in deployment["models"] and deployment["recommended"]["file"] == "model.onnx"
    assert not (tmp_path / "b" / "model.mixed.onnx").exists() and "mixed_change" not in deployment


def test_a_run_for_a_device_that_cannot_tell_is_refused(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "hwnas.export.request.runtime_of", lambda _: replace(RUNTIMES["onnxruntime"], precisions=("fp32",))
    )
    outcome = run_cli("export", run_folder, "-o", tmp_path / "b", "--mixed", "--quiet")
    assert outcome.code == 2 and "needs a runtime that computes in int8" in outcome.err
    assert list(tmp_path.iterdir()) == []
