"""Runs that begin with a network of one's own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from command_line import Outcome, run_cli
from image_folders import fill_classes
from own_networks import CODE, accuracy, write_code, write_trained
from paced_machine import PacedMachine
from PIL import Image
from safetensors.torch import load_file, save_file
from samples import synthetic_table
from torch import nn

from hwnas.config import SpaceConfig
from hwnas.config_file import load_config
from hwnas.dataflow import Batches, load_dataset
from hwnas.pipeline.own_network import OwnNetwork, read_space
from hwnas.pipeline.run import Run
from hwnas.progress import Reporter
from hwnas.report.along import part_latencies, sliced_layers
from lut import LatencyTable, load_table, save_table
from onnx_models.export import export_module
from profilers import MeasurementError
from search_spaces.resolutions import Resized
from search_spaces.traced.source import load_network

pytestmark = pytest.mark.usefixtures("very_short_runs", "instant_measurements", "_small_tables")

QUICK = ("--set", "space.step=4", "--evaluations", 8, "--set", "search.finalists=2", "--quiet", "--json")
AS_IT_IS = ("--epochs", 0, "--retrain-epochs", 0)


@dataclass(frozen=True)
class Own:
    """Somebody's network, the device it is for, and a run of it on that.

    Attributes:
        flags: that begin a run with it.
        file: the network as a search space.
        table: of that.
    """

    model: str
    weights: Path
    flags: tuple[object, ...]
    run: Path
    summary: dict[str, object]

    @property
    def file(self) -> Path:
        return self.run / "network.safetensors"

    @property
    def table(self) -> Path:
        return self.run / "lut.json"


@pytest.fixture(scope="module")
def _small_tables() -> Iterator[None]:
    """Tables that runs make for themselves are of few networks."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("hwnas.stages.table.NUM_NETWORKS", 20)
        yield


@pytest.fixture(scope="module")
def own(
    tmp_path_factory: pytest.TempPathFactory, very_short_runs: None, instant_measurements: None, _small_tables: None
) -> Own:
    """A network that tells digits apart, searched for 60 % of what it takes."""
    folder = tmp_path_factory.mktemp("own")
    model, weights = write_trained(folder)
    devices = PacedMachine(folder).devices
    flags = ("--model", model, "--weights", weights, "--device", "paced", "--devices", devices, "--trust-code", *QUICK)
    out = folder / "run"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        budget = ("--max-latency", "60%", "--budgets", "40%,80%")
        outcome = run_cli("search", *flags, *budget, "--epochs", 1, "--retrain-epochs", 2, "--out", out)
    assert outcome.code == 0, outcome.err
    return Own(model=model, weights=weights, flags=flags, run=out, summary=json.loads(outcome.out))


def _searched(own: Own, *flags: object) -> dict[str, object]:
    outcome = run_cli("search", *own.flags, "--lut", own.table, *flags)
    assert outcome.code == 0, outcome.err
    summary: dict[str, object] = json.loads(outcome.out)
    return summary


def _predictions(model: Path) -> np.ndarray:
    """What a model of one image predicts on all test images."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    digits = load_dataset("digits", Path("data"))
    batches = Batches.of(digits, digits.test, 1).in_order()
    return np.array([session.run(None, {session.get_inputs()[0].name: x.numpy()})[0].argmax() for x, _ in batches])


def _predictions_of_torch(own: Own) -> np.ndarray:
    digits = load_dataset("digits", Path("data"))
    module = load_network(own.model, weights=own.weights).module
    with torch.no_grad():
        return np.concatenate([module(x).argmax(1) for x, _ in Batches.of(digits, digits.test, 100).in_order()])


def _refused(outcome: Outcome, *words: str) -> None:
    assert outcome.code == 2, (outcome.code, outcome.out, outcome.err)
    assert outcome.err.startswith("error: ") and "Traceback" not in outcome.err, outcome.err
    for word in words:
        assert word in outcome.err, outcome.err


def test_a_run_keeps_every_budget_and_compares_with_the_original(own: Own) -> None:
    summary = own.summary
    references, winners = summary["references"], summary["winners"]
    assert list(references) == ["original", "scaled", "random"] and set(winners) == {"winner-40pct", "winner-80pct"}
    rows = [summary, *winners.values(), references["scaled"], references["random"]]
    assert all(row["budget_kept"] and row["measured_ms"] <= row["max_latency_ms"] for row in rows)
    original = references["original"]
    assert set(original["architecture"]) == {0} and original["epoch"] is None
    expected = accuracy(load_network(own.model, weights=own.weights).module)
    assert expected > 0.9 and original["test_accuracy"] == pytest.approx(expected, abs=1e-9)
    assert summary["max_latency_ms"] == pytest.approx(0.6 * original["predicted_ms"], rel=0.01)


def test_the_summary_is_told_with_the_original_beside_the_winner(own: Own) -> None:
    shown = run_cli("export", own.run)
    assert shown.code == 0, shown.err
    lines = {line.split("│")[1].strip(): line.split("│")[2:-1] for line in shown.out.splitlines() if "│" in line}
    header = next(line for line in shown.out.splitlines() if "winner" in line).split("┃")
    names = [cell.strip() for cell in header][2:-1]
    assert names[0] == "winner" and names[1] == "original"
    assert lines["kept"][1].strip() == "" == lines["budget ms"][1].strip() and lines["kept"][0].strip() == "yes"


@pytest.mark.usefixtures("no_tvm")
def test_all_of_its_time_and_no_training_leave_it_as_it_is(own: Own, tmp_path: Path) -> None:
    summary = _searched(own, *AS_IT_IS, "--max-latency", "100%", "--out", tmp_path / "run")
    assert set(summary["architecture"]) == {0} and summary["budget_kept"] and summary["max_latency_ms"] is None
    assert summary["test_accuracy"] == own.summary["references"]["original"]["test_accuracy"]
    assert np.array_equal(_predictions(tmp_path / "run" / "export" / "model.onnx"), _predictions_of_torch(own))
    shown = run_cli("export", tmp_path / "run")
    assert "none" in shown.out and "original = winner" not in shown.out and "scaled = winner" in shown.out
    bundle = run_cli("export", tmp_path / "run", "-o", tmp_path / "bundle", "--no-int8", "--trust-code", "--quiet")
    assert bundle.code == 0 and "none" in (tmp_path / "bundle" / "README.md").read_text(), bundle.err


def test_exported_programs_begin_runs(own: Own, tmp_path: Path) -> None:
    module, x_NCHW = load_network(own.model, weights=own.weights).module, torch.zeros(2, 1, 8, 8)
    path, free = tmp_path / "mine.pt2", {"x": {0: torch.export.Dim("batch")}}
    torch.export.save(torch.export.export(module, (x_NCHW,), dynamic_shapes=free), path)
    assert run_cli("convert", path, "--step", 4, "-o", tmp_path / "n.safetensors").code == 0
    save_table(synthetic_table(read_space(tmp_path / "n.safetensors"), scale_ns=1e8), tmp_path / "t.json")
    flags = ("--lut", tmp_path / "t.json", *QUICK, *AS_IT_IS, "--max-latency", "80%", "--out", tmp_path / "run")
    outcome = run_cli("search", "--model", path, *flags)
    assert outcome.code == 0, outcome.err
    original = json.loads(outcome.out)["references"]["original"]
    assert original["test_accuracy"] == own.summary["references"]["original"]["test_accuracy"]


def test_a_converted_network_is_a_space_of_every_command(own: Own, tmp_path: Path) -> None:
    file, table = tmp_path / "n.safetensors", tmp_path / "n.lut.json"
    told = run_cli(
        "convert", own.model, "--weights", own.weights, "--input-size", 8, "--channels", 1, "--step", 4, "-o", file
    )
    assert told.code == 0 and "can be chosen" in told.out and "hwnas profile --space" in told.out, told.err
    device = ("--device", "paced", "--devices", own.flags[7], "--trust-code", "--quiet")
    made = run_cli("profile", "--space", file, *device, "--rounds", 6, "--networks", 12, "-o", table)
    assert made.code == 0, made.err
    quick = ("--evaluations", 4, "--set", "search.finalists=2", *AS_IT_IS, "--json")
    command = ("search", "--space", file, *device, *quick, "--lut", table, "--max-latency", "70%", "--out")
    outcome = run_cli(*command, tmp_path / "run")
    assert outcome.code == 0, outcome.err
    summary = json.loads(outcome.out)
    assert summary["references"]["original"]["test_accuracy"] > 0.9 and summary["budget_kept"]
    file.unlink()
    assert json.loads(run_cli("search", "--out", tmp_path / "run", "--resume", "--json", "--trust-code").out) == summary


def test_spaces_of_few_networks_have_no_certificate_and_are_searched(own: Own, tmp_path: Path) -> None:
    flags = (
        "--weights",
        own.weights,
        "--input-size",
        8,
        "--channels",
        1,
        "--freeze",
        "stem,layer1",
        "--shares",
        "1,0.5",
    )
    assert run_cli("convert", own.model, *flags, "-o", tmp_path / "n.safetensors").code == 0
    device = ("--device", "paced", "--devices", own.flags[7], "--trust-code", "--quiet")
    space = ("--space", tmp_path / "n.safetensors")
    made = run_cli("profile", *space, *device, "--rounds", 4, "-o", tmp_path / "t.json")
    assert made.code == 1 and "its space has only" in made.out and "search without --lut" in made.out, made
    told = run_cli("tune", *space, "--device", "cpu-tvm", "--dry-run")
    assert told.code in (0, 2) and "Traceback" not in told.err, told.err
    quick = ("--evaluations", 4, "--set", "search.finalists=2", *AS_IT_IS, "--json")
    outcome = run_cli("search", *space, *device, *quick, "--max-latency", "80%", "--out", tmp_path / "run")
    assert outcome.code == 0 and json.loads(outcome.out)["budget_kept"], outcome.err


def test_what_is_frozen_is_no_decision(own: Own, tmp_path: Path) -> None:
    flags = ("--freeze", "layer1.*,head", *AS_IT_IS, "--max-latency", "90%", "--out", tmp_path / "run")
    outcome = run_cli("search", *own.flags, *flags)
    assert outcome.code == 0, outcome.err
    space = read_space(tmp_path / "run" / "network.safetensors")
    assert space.pins.freeze == ("layer1.*", "head")
    names = [d.name for d in space.decisions]
    assert names and not any(name.startswith("layer1") for name in names), names


def test_a_run_goes_on_when_what_it_began_with_is_gone(own: Own, tmp_path: Path) -> None:
    folder, out = tmp_path / "mine", tmp_path / "run"
    folder.mkdir()
    model, weights = write_code(folder), folder / "net.safetensors"
    shutil.copy(own.weights, weights)
    flags = ("--model", model, "--weights", weights, *own.flags[4:], "--lut", own.table, *AS_IT_IS)
    begun = run_cli("train", *flags, "--max-latency", "60%", "--out", out)
    assert begun.code == 0, begun.err
    shutil.rmtree(folder)
    ended = run_cli("search", "--out", out, "--resume", "--json", "--quiet", "--trust-code")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["references"]["original"]["test_accuracy"] > 0.9


def test_a_run_is_resumed_whose_table_was_being_made(own: Own, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, out = tmp_path / "mine", tmp_path / "run"
    folder.mkdir()
    model, weights = write_code(folder), folder / "net.safetensors"
    shutil.copy(own.weights, weights)
    flags = ("--model", model, "--weights", weights, *own.flags[4:], *AS_IT_IS, "--max-latency", "60%", "--out", out)
    resume = ("search", "--out", out, "--resume", "--json", "--quiet", "--trust-code")
    with monkeypatch.context() as patched:
        patched.setattr("hwnas.pipeline.latency.own_table", _lost)
        stopped = run_cli("search", *flags)
    assert stopped.code == 1 and "was unplugged" in stopped.err
    _refused(run_cli("front", out), "no run in", f"hwnas search --resume --out {out}")
    _refused(run_cli(*resume, "--seed", 7), "other settings (seed)")
    shutil.rmtree(folder)
    ended = run_cli(*resume)
    assert ended.code == 0, ended.err
    summary = json.loads(ended.out)
    assert summary["budget_kept"] and summary["references"]["original"]["test_accuracy"] > 0.9
    assert not (out / "request.yaml").exists() and (out / "config.yaml").exists()


def _lost(*_: object, **__: object) -> LatencyTable:
    raise MeasurementError("the device was unplugged")


def test_another_search_begins_with_a_run(own: Own, tmp_path: Path) -> None:
    flags = ("--from", own.run, "--max-latency", "50%", "--retrain-epochs", 1, "--trust-code", "--quiet", "--json")
    outcome = run_cli("search", *flags, "--out", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    summary = json.loads(outcome.out)
    original = own.summary["references"]["original"]
    assert summary["references"]["original"]["test_accuracy"] == original["test_accuracy"] and summary["budget_kept"]


@pytest.mark.usefixtures("no_tvm")
def test_a_winner_is_bundled_in_int8(own: Own, tmp_path: Path) -> None:
    flags = ("--trust-code", "--quiet", "--json", "--max-drop", 50)
    outcome = run_cli("export", own.run, "-o", tmp_path / "bundle", *flags)
    assert outcome.code == 0, outcome.err
    deployment = json.loads(outcome.out)
    assert {"model.onnx", "model.int8.onnx"} <= set(deployment["models"])
    assert deployment["models"]["model.onnx"]["test_metrics"]["accuracy"] == own.summary["test_accuracy"]


def test_the_report_shows_what_became_of_it(own: Own) -> None:
    page = (own.run / "report.html").read_text()
    for words in (
        "What became of the network",
        "Latency of its parts",
        '<th scope="row" class="text">layer2.shortcut</th>',
        '<th scope="row" class="text">original</th>',
    ):
        assert words in page
    space, table = read_space(own.file), load_table(own.table)
    winner = tuple(own.summary["architecture"])
    layers = sliced_layers(space, winner)
    assert [row.name for row in layers] == [
        *("stem", "layer1.conv1", "layer1.conv2", "layer2.conv1", "layer2.conv2", "layer2.shortcut", "head")
    ]
    assert [row.before for row in layers] == [8, 8, 8, 16, 16, 16, 10] and layers[-1].after == 10
    original = own.summary["references"]["original"]
    assert sum(row.macs_before for row in layers) <= original["macs"]
    assert sum(row.macs_after for row in layers) <= own.summary["macs"] < original["macs"]
    parts = part_latencies(space, table, winner)
    assert [part.name for part in parts] == ["stem", "layer1", "layer2", "head"]
    assert sum(part.after_ms for part in parts) < sum(part.before_ms for part in parts)
    assert (
        part_latencies(space, replace(table, entries=table.entries[1:], calibration=None, certificate=None), winner)
        == []
    )


def test_layers_of_branches_that_are_left_out_are_marked(own: Own) -> None:
    space = read_space(own.file)
    names = [decision.name for decision in space.decisions]
    architecture = [0] * len(names)
    architecture[names.index("layer1.branch")] = 1
    layers = {row.name: row for row in sliced_layers(space, tuple(architecture))}
    assert [name for name, row in layers.items() if row.is_left_out] == ["layer1.conv1", "layer1.conv2"]
    assert layers["layer1.conv1"].macs_after == 0 and layers["stem"].macs_after == layers["stem"].macs_before


# Networks that run at several resolutions.

SIX = "1-0-0-0-0-0"
"""The network as it was brought, at the second of its resolutions."""


@pytest.fixture(scope="module")
def sized(own: Own, tmp_path_factory: pytest.TempPathFactory) -> Own:
    """A run of the same network that chooses its resolution too."""
    folder = tmp_path_factory.mktemp("sized")
    model = ("--weights", own.weights, "--resolutions", "8,6")
    told = run_cli("convert", own.model, *model, "--channels", 1, "--step", 4, "-o", folder / "n.safetensors")
    assert told.code == 0 and "resolution" in told.out, told.err
    save_table(synthetic_table(read_space(folder / "n.safetensors"), scale_ns=1e8), folder / "t.json")
    flags = ("--model", own.model, *model, "--lut", folder / "t.json", *QUICK)
    training = ("--epochs", 1, "--retrain-epochs", 1, "--max-latency", "80%", "--out", folder / "run")
    outcome = run_cli("search", *flags, *training)
    assert outcome.code == 0, outcome.err
    further = run_cli("retrain", folder / "run", "--architecture", SIX, "--quiet")
    assert further.code == 0, further.err
    return Own(model=own.model, weights=own.weights, flags=flags, run=folder / "run", summary=json.loads(outcome.out))


def test_the_resolution_is_chosen_with_the_rest(sized: Own) -> None:
    space = read_space(sized.file)
    assert space.decisions[0].name == "resolution" and space.decisions[0].choices == ("8", "6")
    rows = {"winner": sized.summary, **sized.summary["references"]}
    for name, row in rows.items():
        assert row.get("input_size") == (None, 6)[row["architecture"][0]], name
        model = onnx.load(sized.run / "export" / f"{'model' if name == 'winner' else name}.onnx")
        side = 6 if row["architecture"][0] else 8
        assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [1, 1, side, side], name
    assert sized.summary["references"]["original"]["test_accuracy"] > 0.9
    assert not any(sized.summary["references"][name]["architecture"][0] for name in ("original", "scaled"))
    again = run_cli("search", "--out", sized.run, "--resume", "--json", "--trust-code")
    assert json.loads(again.out) == sized.summary


@pytest.mark.usefixtures("no_tvm")
def test_a_network_of_another_resolution_ships_as_it_was_tested(sized: Own, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    flags = ("--network", f"network-{SIX}", "-o", bundle, "--trust-code", "--quiet", "--json", "--max-drop", 50)
    outcome = run_cli("export", sized.run, *flags)
    assert outcome.code == 0, outcome.err
    deployment = json.loads(outcome.out)
    assert deployment["input"] == {"channels": 1, "size": 6} and "1 x 6 x 6" in (bundle / "README.md").read_text()
    shapes = {name: model["input_shape"][1:] for name, model in deployment["models"].items()}
    assert {"model.onnx", "model.int8.onnx", "model.pixels.onnx"} <= shapes.keys()
    assert all(shape == [1, 6, 6] for name, shape in shapes.items() if name != "model.image.onnx")
    told = deployment["models"]["model.onnx"]["test_metrics"]["accuracy"]
    digits = load_dataset("digits", Path("data"), input_size=6)
    usual = replace(digits, normalisation=(tuple(sized.summary["mean"]), tuple(sized.summary["std"])))
    session = onnxruntime.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])
    name, batches = session.get_inputs()[0].name, Batches.of(usual, usual.test, 1).in_order()
    predicted = np.array([session.run(None, {name: x.numpy()})[0].argmax() for x, _ in batches])
    assert (predicted == usual.test.targets_N.numpy()).mean() == pytest.approx(told, abs=1e-9)
    image = digits.test.images(slice(0, 1))[0, 0].numpy()
    Image.fromarray(image).save(tmp_path / "digit.png")
    shown = subprocess.run(
        [sys.executable, bundle / "predict.py", tmp_path / "digit.png"], capture_output=True, text=True, check=True
    )
    assert shown.stdout.startswith(f"{tmp_path / 'digit.png'}: {digits.classes[predicted[0]]} ")


def test_models_of_several_resolutions_are_compared_each_at_its_own(sized: Own) -> None:
    names = (f"network-{SIX}", "original")
    quick = ("--data", "digits", "--rounds", 3, "--json", "--quiet")
    outcome = run_cli("compare", *(f"{sized.run}:{name}" for name in names), *quick)
    assert outcome.code == 0, outcome.err
    six, original = json.loads(outcome.out)
    assert original["accuracy"] == pytest.approx(sized.summary["references"]["original"]["test_accuracy"])
    metrics = json.loads((sized.run / "retrain" / f"network-{SIX}.json").read_text())
    assert six["accuracy"] == pytest.approx(metrics["accuracy"]) and "1x6x6" in six["input"]


def test_a_file_of_several_resolutions_is_searched_and_begun_from(sized: Own, tmp_path: Path) -> None:
    quick = (*QUICK[2:], *AS_IT_IS, "--lut", sized.table, "--max-latency", "70%", "--out", tmp_path / "run")
    outcome = run_cli("search", "--space", sized.file, *quick)
    assert outcome.code == 0, outcome.err
    begun = ("search", "--from", sized.run, "--max-latency", "60%", "--retrain-epochs", 0, "--trust-code", "--quiet")
    outcome = run_cli(*begun, "--out", tmp_path / "other")
    assert outcome.code == 0, outcome.err
    _refused(run_cli(*begun, "--resolutions", "8,5", "--out", tmp_path / "third"), "space.resolutions")


def test_onnx_files_run_at_several_resolutions_where_they_leave_them_free(own: Own, tmp_path: Path) -> None:
    module, path = load_network(own.model, weights=own.weights).module, tmp_path / "mine.onnx"
    export_module(module, path, input_shapes=[(2, 1, 8, 8)], dynamic_batch=True)
    _refused(run_cli("convert", path, "--resolutions", "8,6"), "1x8x8", "1x6x6", "a free one")
    model = onnx.load(path)
    for axis, name in ((2, "height"), (3, "width")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    del model.graph.value_info[:]
    onnx.save(model, path)
    told = run_cli("convert", path, "--channels", 1, "--step", 4, "--resolutions", "8,6", "--json")
    assert told.code == 0 and json.loads(told.out)["decisions"]["resolution"] == ["8", "6"], told.err


def test_images_are_resized_for_training_as_they_are_read_at_that_size() -> None:
    digits = load_dataset("digits", Path("data"))
    expected = load_dataset("digits", Path("data"), input_size=6).test.images(slice(0, 50)).float()
    found = Resized(6)(digits.test.images(slice(0, 50)).float())
    assert float((found - expected).abs().max()) <= 0.5


def test_the_report_works_in_a_browser(own: Own, chromium: Any) -> None:
    page = chromium.new_page(viewport={"width": 1280, "height": 900}, color_scheme="dark")
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto((own.run / "report.html").as_uri())
    page.wait_for_selector("#layers .barlayer .point path")
    bars = {name: page.locator(f"#{name} .barlayer .point").count() for name in ("layers", "parts")}
    assert bars == {"layers": 14, "parts": 8}
    for width in (1280, 375):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function(f"document.documentElement.scrollWidth <= {width}")
    assert not problems


# What cannot be: each refused with a sentence.

BRANCHING = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        x = self.first(x)
        if x.sum() > 0:
            x = -x
        return self.head(x.mean((2, 3)))

def build():
    return Net()
"""

TWO_INPUTS = BRANCHING.replace("def forward(self, x):", "def forward(self, x, mask):").replace("x.sum() > 0", "False")

RAISING = BRANCHING.replace("x.sum() > 0", "x.shape[1] == 1")

NO_CLASSES = BRANCHING.replace("x.sum() > 0", "False").replace("self.head(x.mean((2, 3)))", "x")

RANDOM = BRANCHING.replace("x.sum() > 0", "False").replace("x = self.first(x)", "x = self.first(x) + torch.rand(1)")

SEVEN = """
from torch import nn

def build():
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 7))
"""

FEW_CHANNELS = SEVEN.replace("8, 7", "8, 10")

OVER_THE_BATCH = SEVEN.replace("nn.Linear(8, 7)", "nn.Linear(8, 10), nn.Softmax(0)")

CLAMPED = SEVEN.replace("nn.Linear(8, 7)", "nn.Linear(8, 10), nn.Softmax(1), nn.Hardtanh(1e-7, 1.0)")

WIDE = SEVEN.replace("nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 7)", "nn.Flatten(), nn.Linear(800, 10)")

FLAT = SEVEN.replace("nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 7)", "nn.Flatten(), nn.Linear(288, 10)")

COUNTING = BRANCHING.replace("x.sum() > 0", "x.shape[3] < 5")
"""Negates what small images give."""


@pytest.mark.parametrize(
    ("code", "words"),
    [
        pytest.param(BRANCHING, ("depends on no values", "torch.export says"), id="data-dependent control flow"),
        pytest.param(TWO_INPUTS, ("forward takes x, mask", "one tensor of images"), id="two inputs"),
        pytest.param(NO_CLASSES, ("expected a number for each class",), id="no classes"),
        pytest.param(RANDOM, ("random",), id="random numbers"),
        pytest.param(OVER_THE_BATCH, ("alone than among", "softmax over dimension 0"), id="a softmax over the batch"),
        pytest.param(CLAMPED, ("probabilities, but not by a softmax",), id="probabilities that are clamped"),
        pytest.param(SEVEN, ("tells 7 classes apart", "digits has 10"), id="another number of classes"),
        pytest.param(WIDE, ("8x8",), id="images of another size"),
        pytest.param(SEVEN.replace("(1, 8, 3)", "(3, 8, 3)"), ("1x8x8",), id="images of other channels"),
        pytest.param("def build():\n    return 7\n", ("int",), id="no module"),
        pytest.param("def build(:\n", ("net.py",), id="no Python"),
        pytest.param("import nowhere_at_all\n", ("nowhere_at_all",), id="a missing package"),
    ],
)
def test_networks_that_cannot_begin_a_run(code: str, words: tuple[str, ...], tmp_path: Path) -> None:
    flags = ("--max-latency", "60%", "--out", tmp_path / "run", "--quiet")
    _refused(run_cli("search", "--model", write_code(tmp_path, code), *flags), *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (FLAT, ("images of 1x6x6", "mat1 and mat2", "take one size", "--resolutions")),
        (COUNTING, ("at 6 the network is another", "operators")),
    ],
)
def test_networks_that_take_one_size_are_refused_for_others(code: str, words: tuple[str, ...], tmp_path: Path) -> None:
    flags = ("--max-latency", "60%", "--out", tmp_path / "run", "--quiet", "--resolutions", "8,6")
    _refused(run_cli("search", "--model", write_code(tmp_path, code), *flags), *words)


def test_nothing_to_choose(tmp_path: Path) -> None:
    flags = ("--max-latency", "60%", "--out", tmp_path / "run", "--quiet")
    model = write_code(tmp_path, FEW_CHANNELS)
    _refused(run_cli("search", "--model", model, *flags), "nothing of", "can be chosen", "hwnas convert")
    model = write_code(tmp_path)
    _refused(run_cli("search", "--model", model, "--freeze", "*", *flags), "nothing of", "--freeze")
    told = run_cli("convert", model, "--freeze", "*", "--input-size", 8, "--channels", 1)
    assert told.code == 0 and "0%" in told.out, told.err


def test_files_that_are_no_networks(own: Own, tmp_path: Path) -> None:
    out = ("--max-latency", "60%", "--out", tmp_path / "run", "--quiet")
    other = tmp_path / "other.safetensors"
    save_file({"stem.weight": torch.zeros(8, 1, 5, 5)}, other)
    model = ("--model", own.model)
    _refused(run_cli("search", *model, "--weights", other, *out), "weights of another network", "stem.weight")
    _refused(run_cli("search", "--space", own.weights, *out), "weights alone", "--model", "--weights")
    _refused(run_cli("profile", "--space", own.weights, "-o", tmp_path / "t.json"), "weights alone")
    damaged = tmp_path / "damaged.safetensors"
    content = own.file.read_bytes()
    damaged.write_bytes(content[: len(content) // 2])
    _refused(run_cli("search", "--space", damaged, *out), str(damaged), "hwnas convert")
    damaged.write_bytes(content.replace(b"conv2d", b"conv9d"))
    _refused(run_cli("search", "--space", damaged, *out), str(damaged), "hwnas convert")
    _refused(run_cli("search", "--space", tmp_path / "no.safetensors", *out), "no file")
    for model_name, words in (("net.py", "net.py:function"), ("resnet18", "names no network"), ("no.onnx", "no.onnx")):
        _refused(run_cli("search", "--model", model_name, *out), words)
    (tmp_path / "no.pt2").write_bytes(b"PK")
    _refused(run_cli("search", "--model", tmp_path / "no.pt2", *out), "no.pt2")
    _refused(run_cli("convert", own.model), "--input-size")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--model", "MODEL", "--space", "nasbench-macro"), ("space.name", "no --model")),
        (("--weights", "WEIGHTS"), ("space.weights", "--model")),
        (("--freeze", "stem"), ("space.freeze", "--model")),
        (("--set", "space.step=4"), ("space.step", "--model")),
        (("--space", "FILE", "--freeze", "stem"), ("space.freeze", "--model")),
        (("--model", "MODEL", "--width", 0.5), ("space.width", "of your own")),
        (("--space", "FILE", "--width", 0.5), ("space.width", "of your own")),
        (("--model", "MODEL", "--set", "space.outputs=20"), ("space.outputs", "of your own")),
        (("--space", "FILE", "--input-size", 16), ("space.input_size", "images it is for")),
        (("--space", "FILE", "--resolutions", "8,6"), ("space.resolutions", "images it is for")),
        (("--model", "MODEL", "--resolutions", "8,9"), ("each smaller", "got 8, 9")),
        (("--model", "MODEL", "--input-size", 16, "--resolutions", "8,6"), ("images' own size, 16",)),
        (("--model", "MODEL", "--resolutions", "8,large"), ("resolutions", "large")),
        (("--model", "MODEL", "--task", "verification"), ("--task classification",)),
        (("--model", "MODEL", "--set", "data.mean=[0.5,0.5]", "--set", "data.std=[1.0,1.0]"), ("data.mean", "channel")),
        (("--model", "MODEL", "--max-latency", "0.00001us"), ("no architecture under",)),
    ],
)
def test_flags_that_do_not_go_with_it(
    own: Own, flags: tuple[object, ...], words: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    places = {"MODEL": own.model, "WEIGHTS": own.weights, "FILE": own.file}
    given = [places.get(flag, flag) if isinstance(flag, str) else flag for flag in flags]
    budget = () if "--max-latency" in flags else ("--max-latency", "60%")
    _refused(run_cli("search", *given, *budget, "--out", out, "--quiet"), *words)
    assert not out.exists()


@pytest.mark.parametrize(
    "flag",
    [
        ("--width", 0.5),
        ("--input-size", 16),
        ("--resolutions", "8,6"),
        ("--channels", 2),
        ("--classes", 7),
        ("--head", "detection"),
    ],
)
def test_a_converted_network_says_itself_what_it_is_for(own: Own, flag: tuple[object, ...], tmp_path: Path) -> None:
    _refused(run_cli("profile", "--space", own.file, *flag, "--dry-run", "-o", tmp_path / "t.json"), str(flag[0]))


# Tables of a network of one's own.


@pytest.fixture
def lonely(own: Own, tmp_path: Path) -> Path:
    """A table without the network that it is of."""
    return Path(shutil.copy(own.table, tmp_path / "lonely.json"))


def test_commands_on_tables_find_the_network(own: Own, lonely: Path, tmp_path: Path) -> None:
    devices = ("--devices", own.flags[7], "--trust-code", "--quiet")
    few = ("--networks", 3, "--rounds", 6)
    for table, space in ((own.table, ()), (lonely, ("--space", own.file))):
        shown = run_cli("lut", "show", table, *space)
        assert shown.code == 0 and "(the fastest)" in shown.out, shown.err
        verified = run_cli("lut", "verify", table, *few, *devices, *space)
        assert verified.code == 0, verified.err
        refitted = run_cli("lut", "refit", table, "-o", tmp_path / "refitted.json", *space)
        assert refitted.code == 0, refitted.err
        drawn = run_cli("lut", "plot", table, "-o", tmp_path / "drawn.svg", *space)
        assert drawn.code == 0, drawn.err
        adapted = run_cli(
            *("lut", "adapt", table, "--device", "paced", "--batch", 2, *devices, "--networks", 12, "--rounds", 6),
            *("-o", tmp_path / f"{table.stem}.adapted.json", *space),
        )
        assert adapted.code == 0, (adapted.out, adapted.err)
        merged = run_cli("lut", "merge", *_halves(table, tmp_path), "-o", tmp_path / "merged.json", *_with(own, space))
        assert merged.code == 0, merged.err
    assert run_cli("lut", "diff", own.table, lonely).code == 0


def _halves(table: Path, folder: Path) -> list[Path]:
    """Two tables that are one together."""
    whole, paths = load_table(table), [folder / "half0.json", folder / "half1.json"]
    for number, path in enumerate(paths):
        save_table(_part(whole, number), path)
    return paths


def _part(table: LatencyTable, number: int) -> LatencyTable:
    entries = table.entries[number::2]
    networks = table.networks if number == 0 else ()
    return replace(table, entries=entries, networks=networks, calibration=None, certificate=None)


def _with(own: Own, space: tuple[object, ...]) -> tuple[object, ...]:
    return space or ("--space", own.file)


def test_a_table_without_its_network_says_what_it_needs(own: Own, lonely: Path, tmp_path: Path) -> None:
    shown = run_cli("lut", "show", lonely)
    assert shown.code == 0 and "(the fastest)" not in shown.out
    for command in (
        ("verify", lonely, "--quiet"),
        ("refit", lonely),
        ("plot", lonely, "-o", tmp_path / "drawn.svg"),
        ("adapt", lonely, "-o", tmp_path / "adapted.json"),
        ("merge", lonely, lonely, "-o", tmp_path / "merged.json"),
    ):
        _refused(run_cli("lut", *command), str(lonely), "network.safetensors", "--space")
    assert run_cli("convert", own.model, "--input-size", 8, "--channels", 1, "-o", tmp_path / "n.safetensors").code == 0
    _refused(run_cli("lut", "refit", lonely, "--space", tmp_path / "n.safetensors"), "is of", "--space")
    _refused(run_cli("lut", "show", lonely, "--space", tmp_path / "no.safetensors"), "no file")


def test_images_are_normalised_as_the_network_was_trained(own: Own, tmp_path: Path) -> None:
    """A network trained on images of another scale is as good as it was when that is said."""
    digits = load_dataset("digits", Path("data"))
    mean, std = digits.channel_statistics()
    # The first layer takes (x - m) / s; it becomes that of a network that was trained on images in 0 to 1.
    state = load_file(own.weights)
    weight = state["stem.weight"] / float(std[0])
    state["stem.weight"] = weight
    save_file(state, tmp_path / "raw.safetensors")
    flags = ("--model", own.model, "--weights", tmp_path / "raw.safetensors", *own.flags[4:], *AS_IT_IS)
    settings = ("--set", f"data.mean=[{float(mean[0])!r}]", "--set", "data.std=[1.0]")
    outcome = run_cli("search", *flags, *settings, "--max-latency", "90%", "--out", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    summary = json.loads(outcome.out)
    assert summary["references"]["original"]["test_accuracy"] == own.summary["references"]["original"]["test_accuracy"]
    assert summary["std"] == [1.0] and summary["mean"] == [pytest.approx(float(mean[0]))]


def test_files_of_free_sizes_are_taken_at_the_size_that_is_asked_for(own: Own, tmp_path: Path) -> None:
    module, path = load_network(own.model, weights=own.weights).module, tmp_path / "free.onnx"
    free = {"x": {0: "batch", 1: "channels", 2: "height", 3: "width"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.zeros(2, 1, 8, 8),), path, input_names=["x"], dynamic_axes=free, dynamo=False)
    _refused(run_cli("convert", path), "does not fix the size", "--input-size", "--channels")
    size, file = ("--input-size", 8), tmp_path / "n.safetensors"
    told = run_cli("convert", path, *size, "--channels", 1, "--step", 4, "-o", file)
    assert told.code == 0 and read_space(file).spec.input_size == 8, told.err
    save_table(synthetic_table(read_space(file), scale_ns=1e8), tmp_path / "t.json")
    flags = ("--lut", tmp_path / "t.json", *QUICK, *AS_IT_IS, "--max-latency", "80%", "--out", tmp_path / "run")
    outcome = run_cli("search", "--model", path, *size, *flags)
    assert outcome.code == 0, outcome.err
    original = json.loads(outcome.out)["references"]["original"]
    assert original["test_accuracy"] == own.summary["references"]["original"]["test_accuracy"]


@pytest.mark.parametrize(
    ("kind", "has_tvm"), [("Sigmoid", False), pytest.param("Sigmoid", True, marks=pytest.mark.slow), ("Softmax", False)]
)
def test_a_model_that_was_exported_stands_in_for_the_one_that_was_brought(
    own: Own, kind: str, has_tvm: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Parity with the original's own outputs, whatever they end in, and in the bundle too."""
    if not has_tvm:
        request.getfixturevalue("no_tvm")
    elif find_spec("tvm") is None:
        pytest.skip("needs TVM: pip install 'hwnas[tvm]'")
    module = load_network(own.model, weights=own.weights).module
    whole = nn.Sequential(module, nn.Sigmoid() if kind == "Sigmoid" else getattr(nn, kind)(dim=1)).eval()
    brought, exported = tmp_path / "mine.onnx", tmp_path / "run" / "export" / "model.onnx"
    export_module(whole, brought, input_shapes=[(1, 1, 8, 8)])
    assert run_cli("convert", brought, "--step", 4, "-o", tmp_path / "n.safetensors").code == 0
    save_table(synthetic_table(read_space(tmp_path / "n.safetensors"), scale_ns=1e8), tmp_path / "t.json")
    flags = ("--lut", tmp_path / "t.json", *QUICK, *AS_IT_IS, "--max-latency", "100%", "--out", tmp_path / "run")
    outcome = run_cli("search", "--model", brought, *flags)
    assert outcome.code == 0, outcome.err
    summary = json.loads(outcome.out)
    assert set(summary["architecture"]) == {0}
    assert summary["parity"]["equal_predictions"] == 1
    assert summary["test_accuracy"] == own.summary["references"]["original"]["test_accuracy"]
    expected, found = _outputs(brought), _outputs(exported)
    assert np.abs(found - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max())
    assert onnx.load(exported).graph.node[-1].op_type == kind
    bundle = tmp_path / "bundle"
    int8 = ("--max-drop", 50) if kind == "Softmax" else ("--no-int8",)
    made = run_cli("export", tmp_path / "run", "-o", bundle, "--quiet", "--json", *int8)
    assert made.code == 0, made.err
    deployment = json.loads(made.out)
    assert (deployment["parity_with_tvm"] is not None) == has_tvm
    models = deployment["models"]
    assert {model["ending"] for model in models.values()} == {kind.lower()}
    for name in ("model.onnx", "model.dynamic.onnx", "model.pixels.onnx", "model.image.onnx"):
        assert models[name]["test_metrics"]["likelihood"] == pytest.approx(
            summary["test_metrics"]["likelihood"], abs=1e-3
        )
    _require_probabilities(bundle, sums_to_one=kind != "Sigmoid", folder=tmp_path)


def _outputs(model: Path) -> np.ndarray:
    """What a model of one image gives for all test images."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    digits = load_dataset("digits", Path("data"))
    batches = Batches.of(digits, digits.test, 1).in_order()
    return np.concatenate([session.run(None, {session.get_inputs()[0].name: x.numpy()})[0] for x, _ in batches])


def _require_probabilities(bundle: Path, *, sums_to_one: bool, folder: Path) -> None:
    """A bundle's program prints the same probabilities by the models of floats and of pixels."""
    Image.fromarray(load_dataset("digits", Path()).test.images()[0, 0].numpy()).save(folder / "image.png")
    printed = []
    for model in ("model.onnx", "model.pixels.onnx"):
        command = [sys.executable, "-I", str(bundle / "predict.py"), str(folder / "image.png"), "--model", model]
        done = subprocess.run([*command, "--top", "10"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        words = done.stdout.partition(": ")[2].split(", ")
        printed.append({word.split()[0]: float(word.split()[1].rstrip("%\n")) for word in words})
    assert printed[0] == pytest.approx(printed[1], abs=0.2)
    assert all(0 <= share <= 100 for share in printed[0].values())
    assert not sums_to_one or sum(printed[0].values()) == pytest.approx(100, abs=1)


def test_grey_networks_are_given_grey_images(own: Own, tmp_path: Path) -> None:
    digits, photos = load_dataset("digits", Path()), tmp_path / "photos"
    for part, split, num in (("train", digits.train, 60), ("test", digits.test, 100)):
        for i in range(num):
            folder = photos / part / f"class{int(split.targets_N[i])}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(split.images()[i, 0].numpy()).convert("RGB").save(folder / f"{i}.png")
    mean, std = (float(values[0]) for values in digits.channel_statistics())
    images = ("--data", "folder", "--data-root", photos, "--input-size", 8)
    normalised = ("--set", f"data.mean=[{mean!r}]", "--set", f"data.std=[{std!r}]")
    summary = _searched(own, *images, *normalised, *AS_IT_IS, "--max-latency", "90%", "--out", tmp_path / "run")
    assert summary["space"]["in_channels"] == 1 and summary["references"]["original"]["test_accuracy"] > 0.9
    resumed = run_cli("search", "--out", tmp_path / "run", "--resume", "--json", "--quiet", "--trust-code")
    assert resumed.code == 0 and json.loads(resumed.out) == summary, resumed.err


def test_grey_images_are_grey_at_every_resolution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWNAS_TRUST_CODE", "1")
    fill_classes(tmp_path / "images", num=12)
    settings = {
        "max_latency": "60%",
        "space.model": write_code(tmp_path),
        "space.resolutions": [8, 6],
        "data.name": "folder",
        "data.root": str(tmp_path / "images"),
        "out": str(tmp_path / "run"),
    }
    learning = Run(load_config(None, settings), Reporter(is_quiet=True)).learning
    assert learning.dataset.input_shape == (1, 8, 8) and learning.at(6).dataset.input_shape == (1, 6, 6)


def test_networks_tell_whether_they_are_grey(own: Own, tmp_path: Path) -> None:
    def takes_grey(**settings: object) -> bool:
        return OwnNetwork(config=SpaceConfig(**settings), copy=None).takes_grey

    module = load_network(own.model, weights=own.weights).module
    export_module(module, tmp_path / "grey.onnx", input_shapes=[(1, 1, 8, 8)])
    export_module(nn.Conv2d(3, 4, 1), tmp_path / "colours.onnx", input_shapes=[(1, 3, 8, 8)])
    for size in ({}, {"input_size": "8"}):
        assert takes_grey(model=own.model, **size) and takes_grey(model=str(tmp_path / "grey.onnx"), **size)
        assert not takes_grey(model=str(tmp_path / "colours.onnx"), **size)
        colours = write_code(tmp_path, CODE.replace("nn.Conv2d(1, 8, 3, 1, 1)", "nn.Conv2d(3, 8, 3, 1, 1)"))
        assert not takes_grey(model=colours, **size)
    assert takes_grey(name=str(own.file))
