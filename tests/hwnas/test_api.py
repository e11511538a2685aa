"""What a program has of hwnas: as the command line, and with objects of its own."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints
from unittest import mock

import numpy as np
import pytest
import torch
import typer
from command_line import run_cli
from samples import synthetic_table
from torch import nn
from torch.utils.data import Dataset as MapStyle
from traced_checks import space_of

import hwnas
from hwnas.api.settings import RunArguments, overrides
from hwnas.cli.app import app
from hwnas.flags import argument_of, settings_by_flag
from lut import save_table
from search_spaces import SpaceSpec, make_space

pytestmark = pytest.mark.usefixtures("very_short_runs")

ROOT = Path(__file__).resolve().parents[2]
DIGITS = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25)
SMALL: dict[str, Any] = {"width": 0.25, "epochs": 1, "evaluations": 6, "retrain_epochs": 1, "train_images": 128}
ELSEWHERE = {"space", "data", "lut"}
"""Flags that are arguments of their own."""

OF_THE_DEVICE = {"devices", "threads", "runtime"}
FLAGS_OF_OTHERS = {
    "compare": {*OF_THE_DEVICE, "data_root", "skip_broken_images"},
    "convert": {"input_size", "channels"},
    "explain": {*OF_THE_DEVICE, "most"},
}
"""Flags in whose place functions take an object (a Device, a Dataset, a shape), or that say what is printed."""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("given") / "table.json"
    save_table(synthetic_table(make_space(DIGITS), scale_ns=1e8), place)
    return place


@pytest.fixture
def table(path: Path) -> hwnas.LatencyTable:
    return hwnas.load_table(path)


def test_importing_is_light_and_every_name_is_there() -> None:
    code = (
        "import hwnas, sys; heavy = {'torch', 'numpy', 'pandas', 'onnx', 'pydantic'} & set(sys.modules); "
        "assert not heavy, heavy; assert set(hwnas.__all__) == set(dir(hwnas)); "
        "assert all(getattr(hwnas, name) is not None for name in hwnas.__all__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'serch'"):
        _ = hwnas.serch  # type: ignore[attr-defined]


def test_search_is_a_function_and_the_package_that_it_always_was() -> None:
    from hwnas.search import AGENTS

    assert callable(hwnas.search) and hwnas.search.AGENTS is AGENTS  # type: ignore[attr-defined]


def test_names_have_documentation_and_types() -> None:
    for name in hwnas.__all__:
        found = getattr(hwnas, name)
        if not isinstance(found, str):
            assert inspect.getdoc(found), name
    for function in (hwnas.profile, hwnas.train, hwnas.optimize, hwnas.compare, hwnas.explain, hwnas.convert):
        assert "return" in function.__annotations__, function


def test_arguments_are_the_flags_of_the_command() -> None:
    flags = {argument_of(flag): settings[0] for flag, settings in settings_by_flag().items()}
    assert set(RunArguments.__annotations__) == set(flags) - ELSEWHERE
    hints = get_type_hints(RunArguments)
    for name, hint in hints.items():
        kind = flags[name].kind
        expected = "Sequence" if flags[name].is_list else "PathLike" if kind is Path else kind.__name__
        assert expected in str(hint), f"{name}: {hint} for {kind}"
    with pytest.raises(TypeError, match="unknown argument 'epoch'"):
        overrides({"epoch": 3}, None)
    with pytest.raises(hwnas.RequestError, match=r"supernet\.epochs was given twice"):
        overrides({"epochs": 3}, {"supernet.epochs": 4})


@pytest.mark.parametrize(("name", "others"), FLAGS_OF_OTHERS.items())
def test_functions_on_models_take_what_the_flags_of_their_commands_say(name: str, others: set[str]) -> None:
    program: Any = typer.main.get_command(app)
    options = [p for p in program.commands[name].params if p.param_type_name == "option"]
    flags = {argument_of(next(text for text in option.opts if text.startswith("--"))) for option in options}
    assert flags - set(inspect.signature(getattr(hwnas, name)).parameters) == {*others, "json", "trust_code"}


def _commands(command: Any, name: str) -> Iterator[str]:
    inner = getattr(command, "commands", None)
    if inner is None or getattr(command, "invoke_without_command", False):
        yield name
    for word, one in (inner or {}).items():
        yield from _commands(one, f"{name} {word}")


def test_every_command_has_a_function() -> None:
    rows = dict(re.findall(r"^\| `(hwnas [\w ]+)` \| `([\w.]+)` \|$", (ROOT / "docs/api.md").read_text(), re.MULTILINE))
    assert set(rows) == set(_commands(typer.main.get_command(app), "hwnas"))
    for command, name in rows.items():
        assert callable(_named(name)) or isinstance(_named(name), property), f"{command}: {name}"


def _named(name: str) -> Any:
    """Return what a dotted name names: an attribute of hwnas, or of the module that most of the name is of."""
    parts = name.split(".")
    for num in range(len(parts) - 1, 0, -1):
        try:
            found = import_module(".".join(parts[:num]))
        except ModuleNotFoundError:
            continue
        for part in parts[num:]:
            found = getattr(found, part)
        return found
    raise AssertionError(name)


def test_call_and_command_write_the_same_history(path: Path, tmp_path: Path) -> None:
    flags = [text for name, value in SMALL.items() for text in (f"--{name.replace('_', '-')}", value)]
    common = ("--lut", path, "--max-latency", "80%", "--seed", 3, "--quiet", "--set", "retrain.references=false")
    done = run_cli("search", "--space", "nasbench-macro", "--data", "digits", *flags, *common, "--out", tmp_path / "a")
    assert done.code == 0, done.err
    alone: dict[str, Any] = {"settings": {"retrain.references": False}, **SMALL}
    result = hwnas.search(
        "nasbench-macro", "digits", table=path, max_latency="80%", seed=3, quiet=True, out=tmp_path / "b", **alone
    )
    one, other = (tmp_path / name for name in "ab")
    for file in ("search/history.jsonl", "export/model.onnx"):
        assert (one / file).read_bytes() == (other / file).read_bytes(), file
    assert result.winner.onnx == other / "export" / "model.onnx"
    assert len(result.history) == 6 and set(result.networks) == {"winner"}
    module = result.module()
    assert not module.training and module(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    again = hwnas.open_run(one)
    assert again.winner.architecture == result.winner.architecture
    assert [e.as_dict() for e in again.history] == [e.as_dict() for e in result.history]
    assert result.report() == other / "report.html"
    (emitted,) = again.emit(["70%"])
    assert again.table.predict(emitted.architecture)[0] == emitted.predicted_ms <= emitted.max_ms


def test_a_score_of_ones_own_needs_no_data_and_no_training(table: hwnas.LatencyTable, tmp_path: Path) -> None:
    asked = []

    def score(architecture: tuple[int, ...]) -> float:
        asked.append(architecture)
        return -abs(sum(architecture) - 9)

    settings: dict[str, Any] = {"max_latency": "80%", "evaluations": 12, "out": tmp_path / "run", "quiet": True}
    with mock.patch("hwnas.training.trainer.Trainer.fit", side_effect=AssertionError("trains")):
        result = hwnas.search(data=None, table=table, score=score, **settings)
    assert max(e.score for e in result.history) == result.winner.score and result.winner.measured_ms is not None
    assert result.winner.predicted_ms <= 0.8 * table.slowest()[1] and result.winner.onnx is None
    num = len(asked)
    hwnas.search(data=None, table=table, score=score, **settings)
    assert len(asked) == num, "what is there is only read"
    with pytest.raises(hwnas.RequestError, match="searched without data"):
        result.export(tmp_path / "bundle")
    with pytest.raises(hwnas.RequestError, match="needs a score"):
        hwnas.search(data=None, table=table, **settings)
    with pytest.raises(hwnas.RunError, match="expected a finite number, got 'good'"):
        other = {**settings, "out": tmp_path / "other"}
        hwnas.search(data=None, table=table, score=lambda _: "good", **other)  # type: ignore[arg-type,return-value]


def test_what_only_the_program_has_is_said_to_be_missing(table: hwnas.LatencyTable, tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    class Stop(hwnas.Callback):
        def on_candidate(self, architecture: tuple[int, ...], score: float, latency_ms: float) -> None:
            raise StoppedError

    settings: dict[str, Any] = {"max_latency": "80%", "evaluations": 12, "out": tmp_path / "run", "quiet": True}
    with pytest.raises(StoppedError):
        hwnas.search(data=None, table=table, score=sum, callbacks=[Stop()], **settings)
    refused = run_cli("search", "--resume", "--out", tmp_path / "run", "--quiet")
    assert refused.code == 2 and "an object of the program that began it" in refused.err, refused.err
    result = hwnas.search(data=None, table=table, score=sum, **settings)
    assert len(result.history) == 12


class Blobs(MapStyle[Any]):
    """Images that are bright in a corner of their class's."""

    classes = ("left", "right")

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        image = np.random.default_rng(index).integers(0, 60, (8, 8, 3), dtype=np.uint8)
        image[:, :4] += np.uint8(150 * (index % 2 == 0))
        return image, index % 2


def test_data_may_be_objects(tmp_path: Path) -> None:
    spec = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=3, num_classes=2, width=0.25)
    save_table(synthetic_table(make_space(spec), scale_ns=1e8), tmp_path / "t.json")
    table = hwnas.load_table(tmp_path / "t.json")
    settings: dict[str, Any] = {"max_latency": "80%", "epochs": 1, "out": tmp_path / "run", "quiet": True}
    result = hwnas.train(None, (Blobs(), Blobs()), table=table, **settings)
    assert (result.folder / "supernet" / "checkpoint.safetensors").is_file()
    with pytest.raises(hwnas.RequestError, match="has not searched yet"):
        _ = result.winner


def test_ask_and_tell(table: hwnas.LatencyTable) -> None:
    study = hwnas.Study(table=table, max_latency="70%", agent="evolution", seed=5)
    best = study.optimize(sum, 20)
    architectures = [e.architecture for e in study.history]
    assert len(architectures) == len(set(architectures)) == 20 and best.score == max(map(sum, architectures))
    assert table.predict(architectures).max() <= 0.7 * table.slowest()[1]
    again = hwnas.Study(table=table, max_latency="70%", agent="evolution", seed=5)
    while len(again.history) < 20:
        for architecture in again.ask(5):
            again.tell(architecture, sum(architecture))
    assert [e.as_dict() for e in again.history] == [e.as_dict() for e in study.history]
    with pytest.raises(hwnas.RequestError, match="not asked for"):
        study.tell(architectures[0], 1.0)
    with pytest.raises(hwnas.RequestError, match="no architecture under"):
        hwnas.Study(table=table, max_latency="1ms")
    free = hwnas.Study(make_space(DIGITS), agent="random")
    assert free.optimize(sum, 5).costs == {}


def test_a_share_is_of_what_the_network_that_was_brought_takes(tmp_path: Path) -> None:
    convolutions = (nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU())
    brought = space_of(nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5)), (1, 8, 8))
    assert brought.original is not None
    table = hwnas.LatencyTable(synthetic_table(brought), brought, tmp_path / "table.json")
    most_ms = 0.8 * table.predict(brought.original)[0]
    assert most_ms < 0.75 * table.slowest()[1], "of made-up blocks, narrower ones take longer"
    asked = hwnas.Study(table=table, max_latency="80%", agent="random", seed=2).ask(20)
    latency_ms = table.predict(asked)
    assert 0.75 * most_ms < latency_ms.max() <= most_ms


def test_tables_predict_and_become_frames(table: hwnas.LatencyTable) -> None:
    fastest, ms = table.fastest()
    assert table.predict(fastest)[0] == ms < table.slowest()[1]
    assert table.predict([fastest, fastest]).shape == (2,)
    blocks = table.to_pandas()
    assert set(blocks["block"]) == set(table.record.latency_ms) and blocks["ms"].notna().all()
    networks = table.networks_to_pandas()
    assert table.certificate is not None
    held_out = networks[networks["role"] == "held_out"]
    assert held_out["error"].abs().mean() == pytest.approx(table.certificate.mape)
    with (
        mock.patch.dict(sys.modules, {"pandas": None}),
        pytest.raises(hwnas.RequestError, match=r"pip install 'hwnas\[notebooks\]'"),
    ):
        table.to_pandas()


def test_a_table_is_profiled_once(tmp_path: Path) -> None:
    space = make_space(DIGITS)
    output = tmp_path / "t.json"
    table = hwnas.profile(space, output=output, networks=0, rounds=2, quiet=True)
    before = output.read_bytes()
    assert table.certificate is None and len(table.to_pandas()) == 17
    assert hwnas.profile(space, output=output, networks=0, rounds=2, quiet=True).device == "cpu"
    assert output.read_bytes() == before
    with pytest.raises(hwnas.RequestError, match="unknown precision"):
        hwnas.profile(space, output=output, precision="fp8", quiet=True)
    with pytest.raises(hwnas.RequestError, match="which images it takes"):
        hwnas.profile(torch.nn.Conv2d(1, 1, 1), output=output, quiet=True)
