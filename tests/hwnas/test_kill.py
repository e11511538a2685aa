"""Commands that are killed at any instant, then given again: the result is that of an undisturbed one."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from command_line import kill_when, num_lines, run_cli, start_cli, wait_until
from own_networks import write_trained
from samples import history_of, synthetic_table
from simulated_machine import ZEN1
from simulated_worker import write_devices
from square_runs import search_of_squares
from warm_hwnas import WarmHwnas

from hwnas.pipeline.own_network import read_space
from hwnas.run_folder import RunFolder
from hwnas.training.checkpoint import load_checkpoint
from lut import LatencyModel, load_table, save_table
from search_spaces import SpaceSpec, make_space

pytestmark = pytest.mark.usefixtures("short_runs")

SPEC = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25)
SETTINGS = ("--width", 0.25, "--train-images", 256, "--set", "search.finalists=2", "--quiet", "--json")
QUICK = ("--epochs", 2, "--evaluations", 6, "--retrain-epochs", 2)
ALONE = ("--set", "retrain.references=false")

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
SEED = 16
KILLED = ("ema, validation and adamw", "inherit and distillation", "own network", "detection", "ray")
KILLED += ("train", "export", "profile")
"""What is killed at random instants."""


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """A table by which every network keeps the budget, and the budget."""
    table = tmp_path_factory.mktemp("given") / "table.json"
    save_table(synthetic_table(make_space(SPEC), scale_ns=1e8), table)
    model = LatencyModel(make_space(SPEC), load_table(table))
    budget_ms = 0.5 * (model.extreme()[1] + model.extreme(slowest=True)[1])
    return ("--lut", table, "--max-latency", f"{budget_ms}ms")


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmHwnas]:
    """What starts commands that import nothing."""
    started = WarmHwnas(tmp_path_factory.mktemp("warm"))
    yield started
    started.close()


@pytest.mark.slow
def test_a_search_killed_while_it_searches_and_retrains_ends_as_undisturbed(
    given: tuple[object, ...], warm: WarmHwnas, tmp_path: Path
) -> None:
    teaching = ("--inherit", "--set", "retrain.distillation=0.5", "--set", "retrain.ema_decay=0.9")
    command = ("search", *SETTINGS, *QUICK, *teaching, *given, "--out")
    whole, run = tmp_path / "whole", tmp_path / "killed"
    assert run_cli(*command, whole).code == 0
    for number, moment in (
        (signal.SIGKILL, lambda: num_lines(run / "search" / "history.jsonl") >= 3),
        (signal.SIGTERM, (run / "retrain" / "winner.safetensors").exists),
        (signal.SIGKILL, (run / "retrain" / "winner.json").exists),
        (signal.SIGINT, (run / "retrain" / "largest.json").exists),
    ):
        with warm.started(*command, run) as running:
            running.kill_when(moment, number)
            assert running.returncode == (-number if number == signal.SIGKILL else 128 + number)
        times = RunFolder(run).read_times()
        assert times is not None and times.began is not None and times.ended is None
    assert run_cli(*command, run).code == 0
    assert {*json.loads((whole / "summary.json").read_text())["references"]} == {"largest", "random"}
    _assert_same_search(whole, run)


def test_ctrl_c_says_so_and_loses_nothing_and_no_other_process_makes_the_table_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    space = ("--space", SPEC.name, "--input-size", 8, "--width", 0.25, "--networks", 0, "--quiet")
    command = ("profile", *space, "-o", path, "--rounds")
    journal = tmp_path / "t.json.journal"
    process = start_cli(*command, 2000)
    wait_until(process, lambda: num_lines(journal) >= 4)
    second = run_cli(*command, 4)
    assert second.code == 2 and "another process makes the table" in second.err, second
    kill_when(process, lambda: True, number=signal.SIGINT)
    assert process.returncode == 130
    rounds_before = num_lines(journal)
    assert rounds_before >= 4 and not path.exists()
    run_cli(*command, rounds_before + 4)
    assert all(m.num_samples == rounds_before + 4 for m in load_table(path).entries)
    assert [p.name for p in tmp_path.iterdir()] == ["t.json"]


def _summary(run: Path) -> dict[str, object]:
    """Without what was measured and where it was saved."""
    summary = json.loads((run / "summary.json").read_text())
    rows = {"winner": summary, **summary["references"]}
    names = ("architecture", "params", "macs", "supernet_score", "test_metrics", "epoch", "predicted_ms")
    return {row: {name: fields[name] for name in names} for row, fields in rows.items()} | {"parity": summary["parity"]}


def _names(folder: Path) -> set[str]:
    """Of all files; those of TensorBoard have the time in their names."""
    return {str(path.relative_to(folder)).partition(".tfevents.")[0] for path in folder.rglob("*")}


def _assert_same_search(whole: Path, run: Path) -> None:
    assert _summary(run) == _summary(whole)
    history, expected = (history_of(r / "search" / "history.jsonl") for r in (run, whole))
    assert history == expected
    for name in ("model", *json.loads((whole / "summary.json").read_text())["references"]):
        assert (run / "export" / f"{name}.onnx").read_bytes() == (whole / "export" / f"{name}.onnx").read_bytes()
    assert _names(run) == _names(whole)


def _assert_same_supernet(whole: Path, run: Path) -> None:
    paths = (folder / "supernet" / "checkpoint.safetensors" for folder in (run, whole))
    (tensors, record), (expected, about) = map(load_checkpoint, paths)
    assert [row[:3] for row in record["epochs"]] == [row[:3] for row in about["epochs"]]
    assert tensors.keys() == expected.keys() and all(torch.equal(tensors[n], expected[n]) for n in tensors)
    assert _names(run) == _names(whole)


def _assert_same_bundle(whole: Path, bundle: Path) -> None:
    assert _names(bundle) == _names(whole)
    for path in whole.glob("*.onnx"):
        assert (bundle / path.name).read_bytes() == path.read_bytes(), path.name


def _assert_valid_table(whole: Path, path: Path) -> None:
    """What is promised of a profile: samples and rounds differ, and so does what is worked out from them."""
    expected, table = load_table(whole), load_table(path)
    assert sorted(table.latency_ms) == sorted(expected.latency_ms) and not table.failures
    assert [n.architecture for n in table.networks] == [n.architecture for n in expected.networks]
    certificates = (expected.certificate, table.certificate)
    assert all(c is not None and c.within_10pct >= 0.8 for c in certificates)
    LatencyModel(make_space(SPEC), table)


@dataclass(frozen=True)
class Scenario:
    """A command whose last argument is where its result goes, and what the result must be like.

    Attributes:
        appears_whole: the result is there once it is finished, and is refused to be made again.
    """

    command: tuple[object, ...]
    assert_same: Callable[[Path, Path], None]
    appears_whole: bool = False

    def is_finished(self, place: Path) -> bool:
        """Whether a command that was killed had done all of its work."""
        return self.appears_whole and place.exists()


def _scenario(name: str, given: tuple[object, ...], folder: Path) -> Scenario:
    search = ("search", *SETTINGS, *QUICK, *ALONE, *given)
    searches = {
        "ema, validation and adamw": (*_averaged_and_validated(), *_by_adamw()),
        "inherit and distillation": ("--inherit", "--set", "retrain.distillation=1.0"),
        "ray": ("--executor", "ray", "--actors", 1),
    }
    if name == "own network":
        return Scenario((*_search_of_own_network(folder), "--out"), _assert_same_search)
    if name == "detection":
        command = search_of_squares(folder, "detection", "boxes")
        return Scenario((*command, *SETTINGS[4:], *ALONE, "--retrain-epochs", 2, "--out"), _assert_same_search)
    if name in searches:
        return Scenario((*search, *searches[name], "--out"), _assert_same_search)
    if name == "train":
        flags = (*SETTINGS, "--epochs", 20, *given)
        return Scenario(("train", *flags, "--out"), _assert_same_supernet)
    if name == "export":
        assert run_cli(*search, "--out", folder / "run").code == 0
        return Scenario(("export", folder / "run", "--quiet", "-o"), _assert_same_bundle, appears_whole=True)
    assert name == "profile"
    write_devices(folder / "devices.yaml", sim=ZEN1)
    space = ("--space", SPEC.name, "--input-size", 8, "--channels", 1, "--width", 0.25)
    where = ("--device", "sim", "--devices", folder / "devices.yaml", "--networks", 20, "--rounds", 20, "--quiet")
    return Scenario(("profile", *space, *where, "-o"), _assert_valid_table)


def _search_of_own_network(folder: Path) -> tuple[object, ...]:
    """A search that begins with somebody's network, by a table by which every slice of it keeps the budget."""
    model, weights = write_trained(folder, num_epochs=1)
    file, table = folder / "network.safetensors", folder / "own.lut.json"
    images = ("--input-size", 8, "--channels", 1, "--step", 4)
    assert run_cli("convert", model, "--weights", weights, *images, "-o", file).code == 0
    save_table(synthetic_table(read_space(file), scale_ns=1e8), table)
    flags = ("--model", model, "--weights", weights, "--set", "space.step=4", "--lut", table, "--max-latency", "60%")
    return ("search", *flags, *SETTINGS[2:], *QUICK, *ALONE)


def _by_adamw() -> tuple[str, ...]:
    """Both trainings by AdamW."""
    settings = [
        f"{stage}.{text}" for stage in ("supernet", "retrain") for text in ("optimizer=adamw", "learning_rate=0.002")
    ]
    return tuple(part for text in settings for part in ("--set", text))


def _averaged_and_validated() -> tuple[str, ...]:
    """Weights of both trainings are averaged, and a tenth of the training images scores every epoch."""
    settings = ("supernet.ema_decay=0.9", "retrain.ema_decay=0.9", "retrain.validation_portion=0.1")
    return tuple(part for text in settings for part in ("--set", text))


@dataclass
class Killer:
    """Kills commands at random instants, and looks at what they leave.

    Attributes:
        longest_s: what the undisturbed command takes.
        begins_again: whether a command that was killed has nothing to go on from.
        num_killed: by each of the signals in turn.
    """

    warm: WarmHwnas
    rng: random.Random
    longest_s: float
    begins_again: bool
    num_killed: int = 0

    def instants_s(self) -> list[float]:
        """Return how long each command goes on, up to as many as there are signals left."""
        ends = sorted(self.rng.uniform(0.0, self.longest_s) for _ in SIGNALS[self.num_killed :])
        return ends if self.begins_again else [end - before for before, end in pairwise([0.0, *ends])]

    def kill_one(self, instant_s: float, *command: object) -> bool:
        """Whether the command was killed before it was done."""
        number = SIGNALS[self.num_killed]
        with self.warm.started(*command) as running:
            if not running.wait(instant_s):
                running.kill(number)
            err = running.ended()
            assert running.orphans() == [], (number, err)
        assert "Traceback" not in err, err
        is_killed = running.returncode in (-number, 128 + number)
        assert is_killed or running.returncode == 0, (running.returncode, err)
        self.num_killed += is_killed
        return is_killed


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", KILLED)
def test_killed_at_random_instants(
    name: str, given: tuple[object, ...], warm: WarmHwnas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By each of the three signals once."""
    if name == "ray":
        pytest.importorskip("ray")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    scenario = _scenario(name, given, tmp_path)
    started = time.monotonic()
    with warm.started(*scenario.command, tmp_path / "whole") as running:
        err = running.ended(900.0)
        assert running.returncode == 0 and running.orphans() == [], err
    killer = Killer(warm, random.Random(f"{SEED} {name}"), time.monotonic() - started, scenario.appears_whole)
    for place in _places(tmp_path):
        is_done = False
        for instant_s in killer.instants_s():
            is_done = not killer.kill_one(instant_s, *scenario.command, place) or scenario.is_finished(place)
            if is_done:
                break
        if not is_done:
            assert run_cli(*scenario.command, place).code == 0
        scenario.assert_same(tmp_path / "whole", place)
        if killer.num_killed == len(SIGNALS):
            break
    assert not list(tmp_path.rglob("*.tmp"))
    assert not list(tmp_path.glob(".*"))


def _places(folder: Path) -> Iterator[Path]:
    """Where results go, one after the other: once one is done there is nothing left to be killed."""
    return (folder / f"killed{number}" for number in range(100))
