"""Every flag of every command acts or is refused: none is ignored.

The flags are found at run time. What each does is seen in what the command prints and writes, and in what it hands to
the function that would do the work, which is replaced by one that tells.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer.main
import yaml
from command_line import run_cli
from kernels import convolution, sampled_table, some_models
from own_networks import write_code
from samples import synthetic_table

import hwnas.pipeline.order
import lut
import profilers
from hwnas.artifacts import Summary
from hwnas.cli.app import app
from hwnas.cli.commands import RunCommand
from hwnas.config_file import config_as_yaml
from hwnas.errors import RunError
from hwnas.export.compare import ComparedModel
from hwnas.pipeline.inputs import Fingerprint, Inputs, Origin
from hwnas.pipeline.run import Run
from lut import LatencyTable, save_table
from lut.certificate import certify
from lut.explain import Explanation, Operator
from lut.kernel_file import save_kernels
from lut.networks import draw_networks
from lut.overhead import Overhead
from lut.verify import Verification
from onnx_models.kernels import Kernel
from onnx_models.parity import Parity
from profilers import Model
from profilers.check import Finding
from search_spaces import SPACES, SpaceSpec, make_space

SPEC = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25)
SPACE = ("--space", "nasbench-macro", "--input-size", 8, "--width", 0.25, "--channels", 1)
NETWORK = {
    **{"architecture": (0, 1), "choices": ("a", "b"), "test_metrics": {"accuracy": 0.5}},
    **{"params": 3, "macs": 4, "supernet_score": 0.5, "test_accuracy": 0.5, "predicted_ms": 1.0, "measured_ms": 1.0},
    **{"max_latency_ms": 2.0, "budget_kept": True, "advice": None},
}
SUMMARY = Summary(
    **NETWORK,
    **{"winners": {}, "references": {}, "space": SPEC.as_dict(), "device": "cpu"},
    parity=Parity(max_abs_difference=0.0, max_abs_output=1.0, equal_predictions=1.0, num_images=9),
)
ROW = ComparedModel(
    **{"model": "m.onnx", "input": "1x3", "latency_ms": 1.0, "size_bytes": 9, "peak_memory_bytes": None},
    **{"p95_ms": 1.1, "p99_ms": None},
    **{"bound": {}, "missing": {}, "accuracy": None},
)


@dataclass(frozen=True)
class Case:
    """What shows that a flag acts.

    Attributes:
        value: to give the flag; None where it takes none.
        seen: what the command then prints, and does not without it.
        gone: what it prints without the flag, and no longer with it.
        beside: other flags, given both times.
        written: how the flag is written, where not by its first name.
    """

    value: object = None
    seen: str = ""
    gone: str = ""
    beside: tuple[object, ...] = ()
    written: str = ""


NUM_OF_30 = len(draw_networks(make_space(SPEC), 30, seed=0))
"""Networks that are measured where 30 are asked for: some twice."""

COMMANDS: dict[str, tuple[object, ...]] = {
    "search": ("--max-latency", "5ms", "--out", "new"),
    "train": ("--max-latency", "5ms", "--out", "new"),
    "convert": ("net.py:build", "--input-size", 8, "--channels", 1),
    "retrain": ("run",),
    "export": ("run",),
    "compare": ("m.onnx",),
    "explain": ("m.onnx",),
    "predict": ("m.onnx", "--lut", "k.json"),
    "profile": (*SPACE, "--networks", 0, "-o", "new.json"),
    "tune": (*SPACE, "--device", "cpu-tvm", "--blocks", 1),
    "front": ("run",),
    "emit": ("run", "45%"),
    "report": ("run",),
    "watch": ("run",),
    "ui": ("run",),
    "settings": (),
    "spaces": (),
    "list": ("criterion",),
    "new": ("criterion", "mine"),
    "docs": (),
    "devices": (),
    "devices check": ("cpu",),
    "device serve": (),
    "device track": (),
    "device emulate": ("rpi4",),
    "lut show": ("t.json",),
    "lut verify": ("t.json",),
    "lut diff": ("t.json", "t.json"),
    "lut refit": ("t.json",),
    "lut merge": ("t.json", "t.json", "-o", "new.json"),
    "lut plot": ("t.json", "-o", "new.png"),
    "lut import": ("once-for-all", "part.yaml", "-o", "new.json"),
    "lut adapt": ("t.json", "--networks", 10, "-o", "new.json"),
}
"""The rest of the command line; a flag that is tried is taken out of it."""

SETTINGS = {
    "--space": Case("fbnet-s", "name: fbnet-s"),
    "--input-size": Case(16, "input_size: 16"),
    "--model": Case("net.py:build", "/home/net.py:build"),
    "--weights": Case("w.safetensors", "/home/w.safetensors", beside=("--model", "net.py:build")),
    "--resolutions": Case("8,6", "- 6\n"),
    "--freeze": Case("layer1.*,stem", "- layer1.*\n", beside=("--model", "net.py:build")),
    "--width": Case(0.5, "width: 0.5"),
    "--data": Case("cifar10", "name: cifar10"),
    "--data-root": Case("there", "/home/there", beside=("--data", "cifar10")),
    "--train-images": Case(96, "train_images: 96"),
    "--validation-images": Case(32, "validation_images: 32"),
    "--skip-broken-images": Case(None, "skip_broken_images: true"),
    "--tracker": Case("tensorboard", "tracker: tensorboard"),
    "--lut": Case("t.json", "/home/t.json"),
    "--accept-table": Case(None, "accept_any: true"),
    "--precision": Case("int8", "precision: int8"),
    "--device": Case("rpi4", "device: rpi4"),
    "--devices": Case("d.yaml", "/home/d.yaml"),
    "--max-latency": Case("60%", "max_latency: 60%"),
    "--budgets": Case("3ms,4ms", "- 3ms\n- 4ms"),
    "--confidence": Case(0.9, "confidence: 0.9"),
    "--allow-unmeasured": Case(None, "allow_unmeasured: true", beside=("--lut", "t.json", "--lut", "other.json=60%")),
    "--percentile": Case(95, "percentile: 95"),
    "--max-params": Case("3M", "max_params: 3M"),
    "--max-macs": Case("3M", "max_macs: 3M"),
    "--max-memory": Case("3MB", "max_memory: 3MB"),
    "--max-energy": Case("3mJ", "max_energy: 3mJ"),
    "--epochs": Case(7, "epochs: 7"),
    "--task": Case("verification", "task: verification"),
    "--strategy": Case("fairness", "strategy: fairness"),
    "--criterion": Case("focal", "criterion: focal"),
    "--agent": Case("evolution", "agent: evolution"),
    "--objective": Case("front", "objective: front"),
    "--evaluator": Case("zen", "evaluator: zen"),
    "--executor": Case("ray", "executor: ray"),
    "--actors": Case(7, "actors: 7", beside=("--executor", "ray")),
    "--evaluations": Case(7, "evaluations: 7"),
    "--retrain-epochs": Case(7, "epochs: 7"),
    "--inherit": Case(None, "inherit: true"),
    "--accelerator": Case("cuda", "accelerator: cuda"),
    "--set": Case("supernet.clip_norm=null", "clip_norm: null"),
    "--seed": Case(7, "seed: 7"),
}
"""Of the commands that begin a run: seen in the run's settings."""

OUTPUT = {
    "--json": Case(None, '"done": "train"'),
    "--quiet": Case(None, gone="news of the run"),
}

TABLE_SPACE = Case("absent.yaml", "absent.yaml")

MOVED = {
    "--data-root": Case("run", "/home/run\n"),
    "--lut": Case("part.yaml", "/home/part.yaml"),
    "--devices": Case("d.yaml", "/home/d.yaml"),
    "--space": Case("spos", "name: spos"),
}
"""Of the commands that go on with a run: where what it was begun with is now."""

CASES: dict[str, dict[str, Case]] = {
    "search": {
        **SETTINGS,
        **OUTPUT,
        "--json": Case(None, '"test_accuracy": 0.5'),
        "--out": Case("other", "out: other"),
        "--from": Case("run", "seed: 99"),
        "--resume": Case(None, "seed: 99", beside=("--out", "run", "--max-latency", "50%")),
    },
    "train": {
        **SETTINGS,
        **OUTPUT,
        "--out": Case("other", "out: other"),
        "--resume": Case(None, "seed: 99", beside=("--out", "run", "--max-latency", "50%")),
    },
    "convert": {
        "--weights": Case("absent.safetensors", "absent.safetensors"),
        "--input-size": Case(16, "at 1x16x16"),
        "--channels": Case(1, "at 1x8x8"),
        "--resolutions": Case("8,6", "8 6"),
        "--freeze": Case("layer1.*", "frozen"),
        "--shares": Case("1,0.5", gone="16 12 8 4", beside=("--step", 4)),
        "--step": Case(4, "16 12 8 4"),
        "--output": Case("n.safetensors", "wrote n.safetensors"),
        "--json": Case(None, '"elastic_share"'),
    },
    "retrain": {
        **MOVED,
        "--quiet": OUTPUT["--quiet"],
        "--architecture": Case("0-1-2", "architectures=('0-1-2',)"),
        "--budget": Case("45%", "budgets=('45%',)"),
        "--front": Case(None, "front=True"),
    },
    "export": {
        **MOVED,
        "--quiet": OUTPUT["--quiet"],
        "--json": Case(None, '"test_accuracy": 0.5'),
        "--output": Case("bundle", "bundle"),
        "--network": Case("largest", "'network': 'largest'", beside=("-o", "b")),
        "--int8": Case(None, "int8=False", beside=("-o", "b"), written="--no-int8"),
        "--mixed": Case(None, "mixed=True", beside=("-o", "b")),
        "--fp16": Case(None, "fp16=True", beside=("-o", "b")),
        "--max-drop": Case(3, "max_drop=0.03", beside=("-o", "b")),
        "--min-score": Case(0.5, "--min-score: expected a detector", beside=("-o", "b")),
        "--max-iou": Case(0.5, "--max-iou: expected a detector", beside=("-o", "b")),
        "--max-boxes": Case(5, "--max-boxes: expected a detector", beside=("-o", "b")),
    },
    "compare": {
        "--device": Case("cpu-tvm", "name='cpu-tvm'"),
        "--devices": Case("absent.yaml", "absent.yaml"),
        "--threads": Case(1, "threads=1", beside=("--device", "two", "--devices", "d.yaml")),
        "--runtime": Case("openvino", "runtime='openvino'"),
        "--data": Case("digits", "dataset=Dataset"),
        "--data-root": Case("there", "no cifar10 in there", beside=("--data", "cifar10")),
        "--input-size": Case(16, "input_size=16"),
        "--output": Case("scores", "output='scores'", beside=("--data", "digits")),
        "--skip-broken-images": Case(None, "is for data in a file per image", beside=("--data", "digits")),
        "--rounds": Case(7, "rounds=7"),
        "--seed": Case(7, "seed=7"),
        "--json": Case(None, '"latency_ms": 1.0'),
        "--quiet": Case(None, gone="news of the run"),
    },
    "explain": {
        "--device": Case("cpu-tvm", "name='cpu-tvm'"),
        "--devices": Case("absent.yaml", "absent.yaml"),
        "--threads": Case(1, "threads=1", beside=("--device", "two", "--devices", "d.yaml")),
        "--runtime": Case("openvino", "runtime='openvino'"),
        "--input-size": Case(16, "size: 16"),
        "--rounds": Case(7, "rounds=7"),
        "--most": Case(1, "the 1 most expensive"),
        "--seed": Case(7, "seed=7"),
        "--json": Case(None, '"whole_ms"'),
        "--quiet": Case(None, gone="explain: done"),
    },
    "predict": {
        "--lut": Case("absent.json", "absent.json"),
        "--devices": Case("absent.yaml", "absent.yaml"),
        "--input-size": Case(16, "size: 16"),
        "--most": Case(1, "the 1 slowest"),
        "--json": Case(None, '"latency_ms"'),
    },
    "profile": {
        "--kernels": Case(None, "expected files of ONNX models"),
        "--output": Case("other.json", "other.json"),
        "--space": Case("spos", "spos at"),
        "--device": Case("cpu-tvm", "name='cpu-tvm'"),
        "--devices": Case("absent.yaml", "absent.yaml"),
        "--input-size": Case(16, "at 1x16x16"),
        "--resolutions": Case("8,6", "at 1x8x8 or 6"),
        "--channels": Case(5, "at 5x8x8"),
        "--classes": Case(7, "7 classes"),
        "--width": Case(0.5, "width 0.5"),
        "--head": Case("detection", "width 0.25, detection head"),
        "--threads": Case(3, "threads=3"),
        "--batch": Case(2, "batch=2"),
        "--precision": Case("int8", "precision='int8'"),
        "--tuning": Case("meta_schedule", "tuning='meta_schedule'", beside=("--device", "cpu-tvm")),
        "--networks": Case(30, f"{NUM_OF_30} networks"),
        "--rounds": Case(7, "rounds=7"),
        "--max-minutes": Case(7, "max_minutes=7"),
        "--percentile": Case(99, "least_rounds=100"),
        "--memory-mb": Case(77, "memory_mb=77"),
        "--seed": Case(7, "seed=7"),
        "--dry-run": Case(None, "whole networks, up to 80 rounds"),
        "--resume": Case(None, "is there: False", beside=("-o", "t.json"), written="--fresh"),
        "--quiet": Case(None, gone="news of the run"),
    },
    "tune": {
        "--space": Case("spos", "spos at"),
        "--device": Case("cpu", "only devices of runtime tvm are tuned"),
        "--devices": Case("absent.yaml", "absent.yaml"),
        "--trials": Case(7, "'trials': 7"),
        "--blocks": Case(2, "tuning 2 blocks"),
        "--input-size": Case(16, "at 1x16x16"),
        "--resolutions": Case("8,6", "at 1x8x8 or 6"),
        "--channels": Case(5, "at 5x8x8"),
        "--classes": Case(7, "7 classes"),
        "--width": Case(0.5, "width 0.5"),
        "--head": Case("segmentation", "width 0.25, segmentation head"),
        "--seed": Case(7, "'seed': 7"),
        "--dry-run": Case(None, gone="'seed'"),
        "--quiet": Case(None, gone="about"),
    },
    "front": {"--plot": Case("front.png", "front.png"), "--json": Case(None, '"architecture"')},
    "emit": {"--lut": Case("u.json", "u.json"), "--space": Case("spos", "spos"), "--json": Case(None, '"budget_ms"')},
    "report": {"--space": Case("spos", "spos")},
    "watch": {"--space": Case("spos", "spos"), "--port": Case(7777, "port 7777")},
    "ui": {"--port": Case(7777, ":7777/"), "--open": Case(None, "opened http://127.0.0.1:8764/")},
    "settings": {"--json": Case(None, '"meaning"')},
    "spaces": {
        "--input-size": Case(16, "at 3x16x16"),
        "--classes": Case(7, "7 classes"),
        "--channels": Case(1, "at 1x224x224"),
        "--width": Case(0.5, "width 0.5"),
        "--head": Case("detection", "width 1, detection head"),
        "--json": Case(None, '"num_decisions"'),
    },
    "list": {"--json": Case(None, '"description"')},
    "new": {"--folder": Case("there", "there/mine.py")},
    "devices": {"--devices": Case("d.yaml", "threads of mine"), "--show": Case(None, "visit_timeout_s")}
    | {"--json": Case(None, '"runtime"')},
    "devices check": {"--devices": Case("absent.yaml", "absent.yaml"), "--json": Case(None, '"is_good"')},
    "device serve": {
        "--host": Case("127.0.0.2", "127.0.0.2"),
        "--port": Case(7777, "7777"),
        "--key": Case("mine", "mine"),
        "--tracker": Case("there:9", "there:9"),
    },
    "device track": {"--host": Case("127.0.0.2", "127.0.0.2"), "--port": Case(7777, "7777")},
    "device emulate": {
        "--port": Case(7777, "7777"),
        "--key": Case("mine", "mine"),
        "--tracker": Case("there:9", "there:9"),
        "--set-up-only": Case(None, gone="rpc_supervisor"),
    },
    "lut show": {
        "--slowest": Case(3, "slowest 3 blocks"),
        "--space": TABLE_SPACE,
        "--json": Case(None, '"num_entries"'),
    },
    "lut verify": {
        "--networks": Case(7, "'num_networks': 7"),
        "--seed": Case(7, "'seed': 7"),
        "--rounds": Case(7, "rounds=7"),
        "--devices": Case("absent.devices.yaml", "absent.devices.yaml"),
        "--space": TABLE_SPACE,
        "--json": Case(None, '"drift"'),
        "--quiet": Case(None, gone="verify: done"),
    },
    "lut diff": {"--most": Case(0, gone="mbconv"), "--json": Case(None, '"ratios"')},
    "lut refit": {"--output": Case("other.json", "other.json"), "--space": TABLE_SPACE},
    "lut merge": {"--output": Case("other.json", "other.json"), "--space": TABLE_SPACE},
    "lut plot": {"--output": Case("other.png", "other.png"), "--space": TABLE_SPACE},
    "lut import": {
        "--output": Case("other.json", "other.json", beside=("--accept-table",)),
        "--accept-table": Case(None, "saved new.json"),
    },
    "lut adapt": {
        "--output": Case("other.json", "other.json"),
        "--device": Case("cpu-tvm", "name='cpu-tvm'"),
        "--devices": Case("absent.yaml", "absent.yaml"),
        "--threads": Case(3, "threads=3"),
        "--batch": Case(2, "batch=2"),
        "--precision": Case("int8", "precision='int8'"),
        "--networks": Case(30, f"{NUM_OF_30} networks"),
        "--from": Case("../home/t.json", "FewShotPlan(num_networks=10, num_held_out=10"),
        "--held-out": Case(7, "num_held_out=7", beside=("--from", "../home/t.json")),
        "--rounds": Case(7, "rounds=7"),
        "--seed": Case(7, "seed=7"),
        "--space": TABLE_SPACE,
        "--quiet": Case(None, gone="adapt: done"),
    },
}

RUN_STAGES = hwnas.pipeline.order.run_stages
TRUST = Case(None, gone="code is limited")


def _options() -> Iterator[tuple[str, Any]]:
    """Every option of every command, those of groups with commands of their own included."""

    def walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
        if isinstance(command, RunCommand):
            command = command.whole()
        for inner_name, inner in getattr(command, "commands", {}).items():
            yield from walk(inner, f"{name} {inner_name}".strip())
        if name:  # of the program itself there are only those that set up completion in a shell
            yield from ((name, p) for p in command.params if p.param_type_name == "option" and p.name != "help")

    yield from walk(typer.main.get_command(app), "")


def _spelling(option: Any) -> str:
    return next(text for text in option.opts if text.startswith("--"))


OPTIONS = {(command, _spelling(option)): option for command, option in _options()}
"""By command and first long spelling."""


def _case(command: str, flag: str) -> Case:
    return TRUST if flag == "--trust-code" else CASES[command][flag]


def test_every_flag_has_a_case_and_every_case_a_flag() -> None:
    assert len(OPTIONS) > 180
    known = {(command, flag) for command, cases in CASES.items() for flag in cases}
    assert known == {(command, flag) for command, flag in OPTIONS if flag != "--trust-code"}
    assert {command for command, _ in OPTIONS} <= {*COMMANDS}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table, part of a published one, devices, and a run that has searched."""
    folder = tmp_path_factory.mktemp("files")
    save_table(synthetic_table(make_space(SPEC), scale_ns=1e8), folder / "t.json")
    (folder / "part.yaml").write_text(
        "Conv-input:224x224x3-output:112x112x16: {mean: 1.0, std: 0.1, count: 9}\n"
        "Logits-input:1x1x1280-output:1000: {mean: 1.0, std: 0.1, count: 9}\n"
    )
    save_kernels(sampled_table(some_models(1)), folder / "k.json")
    write_code(folder)
    (folder / "d.yaml").write_text("two: {runtime: onnxruntime, threads: 2, description: threads of mine}\n")
    (folder / "m.onnx").touch()
    (folder / "run" / "search").mkdir(parents=True)
    settings = {"max_latency": "50%", "seed": 99, "lut": "t.json", "space": {"width": 0.25}}
    (folder / "run" / "config.yaml").write_text(yaml.safe_dump(settings))
    lines = [{"architecture": [c] * 8, "score": 0.5 + 0.1 * c, "costs": {"latency_ms": 2.0 + c}} for c in range(3)]
    (folder / "run" / "search" / "history.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (folder / "run" / "search" / "result.json").write_text("{}")
    return folder


@pytest.fixture(autouse=True)
def _here(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files in the current folder, which is the home folder too."""
    shutil.copytree(files, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def _tell(*found: object) -> None:
    print(*found, file=sys.stderr)


def _staged(run: Run, *, last: str = "export") -> Summary | None:
    run.reporter.line("news of the run")
    _tell(config_as_yaml(run.config), f"out: {run.config.out}")
    return SUMMARY if last == "export" else None


def _stopped(*found: object, **named: object) -> None:
    raise RunError(f"{found} {named}")


def _begun_from(*_: object, **__: object) -> Inputs:
    data = Fingerprint(num_images={}, labels_sha256="", brightness={})
    origin = Origin(run="run", supernet_sha256="", images_seed=99)
    return Inputs(space=SPEC.as_dict(), device="cpu", files={}, data=data, origin=origin)


def _served(render: Any, port: int, *, warn: object) -> None:
    (run,) = render.args
    raise RunError(f"port {port}, {run.config.space.name}")


def _looked_at(_folder: Path, port: int, *, warn: object) -> SimpleNamespace:
    def serve() -> None:
        for thread in threading.enumerate():
            if thread.name == "browser":
                thread.join()

    return SimpleNamespace(
        server_name="127.0.0.1", server_port=port, serve_forever=serve, server_close=lambda: _tell("closed")
    )


def _profiled(space: Any, path: Path, plan: Any, *, profiler: Any, reporter: Any, is_fresh: bool) -> None:
    reporter.line("news of the run")
    raise RunError(f"{space.spec}: {path} is there: {path.exists()}, {_planned(plan)}, {profiler}, {is_fresh}")


def _adapted(table: LatencyTable, _: object, path: Path, plan: Any, *, profiler: object, **__: object) -> LatencyTable:
    _tell(path, _planned(plan), profiler)
    return table


def _adapted_from(sources: Any, _: object, path: Path, plan: Any, *, profiler: object, **__: object) -> LatencyTable:
    _tell(path, [source.name for source in sources], plan, profiler)
    return sources[0].table  # type: ignore[no-any-return]


def _planned(plan: Any) -> str:
    return f"{len(plan.networks)} networks, precision={plan.precision!r}"


def _compared(_: object, profiler: object, question: object, *, reporter: Any) -> list[ComparedModel]:
    reporter.line("news of the run")
    _tell(profiler, question)
    return [ROW]


def _fixed(paths: list[Path], _folder: Path, size: object) -> list[Model]:
    _tell(f"size: {size}")
    return [Model(key=str(path), path=path) for path in paths]


def _explained(_path: Path, profiler: object, _scratch: Path) -> Explanation:
    _tell(profiler)
    kernel = convolution(16)
    operators = tuple(
        Operator(name=name, operation="Conv", provider="CPUExecutionProvider", ms=1.0, moved_bytes=9, kernel=kernel)
        for name in ("a", "b")
    )
    overhead = Overhead()
    return Explanation(
        operators=operators, whole_ms=2.0, overhead=overhead, part_errors=(), roofline=None, provider="cpu", worker={}
    )


def _fused(*_: object, **__: object) -> list[Kernel]:
    return [convolution(16), convolution(32)]


def _verified(table: LatencyTable, _: object, *, profiler: Any, **named: object) -> Verification:
    _tell(profiler, named)
    certificate = certify([1.0, 2.0, 3.0], [1.0, 2.1, 3.0], repeatability_mape=0.0)
    return Verification(certificate=certificate, drift=0.01, without_drift=certificate)


@contextmanager
def _limited(_: object) -> Iterator[None]:
    _tell("code is limited")
    yield


@pytest.fixture(scope="module", autouse=True)
def _everything_is_imported() -> None:
    """A module that is imported while something is replaced would keep the replacement in later tests too."""
    for package in (hwnas, lut, profilers):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.rpartition(".")[2].startswith(("__main__", "worker_tvm", "rpc_supervisor")):
                importlib.import_module(module.name)


@pytest.fixture(autouse=True)
def _nothing_is_done(_everything_is_imported: None, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced = {
        "hwnas.pipeline.order.run_stages": _staged,
        "hwnas.pipeline.deploying.deploy": _stopped,
        "hwnas.pipeline.deploying.require_deployable": lambda *_, **__: None,
        "hwnas.pipeline.further.retrain_further": _stopped,
        "hwnas.pipeline.from_supernet.inputs_from": _begun_from,
        "hwnas.export.compare.compare_models": _compared,
        "hwnas.table_request.profile_space": _profiled,
        "hwnas.profiling.fixed_models": _fixed,
        "hwnas.api.tools.fixed_models": _fixed,
        "hwnas.api.tools.explain_model": _explained,
        "hwnas.api.tools.kernels_on": _fused,
        "hwnas.report.watch.make_server": _served,
        "hwnas.ui.make_ui_server": _looked_at,
        "webbrowser.open": lambda address: _tell(f"opened {address}"),
        "lut.adapt.adapt_table": _adapted,
        "lut.adapt_from.adapt_from": _adapted_from,
        "lut.build.finished": lambda *_: SimpleNamespace(calibration=True),
        "lut.merge.merge_tables": lambda *_: None,
        "hwnas.front.plot_front": _stopped,
        "lut.plot.plot_table": _stopped,
        "lut.save_table": lambda _, path: _stopped(f"saved {path}"),
        "lut.verify.verify_table": _verified,
        "profilers.check.check_device": lambda device, _: iter([Finding(step="reach", is_good=True, text=device.name)]),
        "profilers.emulator.set_up_rpi4": lambda _: Path("python3"),
        "profilers.tuning.tune": _stopped,
        "safe_files.code_trust.code_limited_to": _limited,
        "search_spaces.SPACES": {"nasbench-macro": SPACES["nasbench-macro"]},
        "subprocess.run": _stopped,
    }
    for name, instead in replaced.items():
        monkeypatch.setattr(name, instead)


def _seen(*arguments: object) -> str:
    """What a command printed, and which files there are now."""
    outcome = run_cli(*arguments)
    assert outcome.code in (0, 1, 2), outcome
    return "\n".join([outcome.out, outcome.err, *sorted(path.name for path in Path().rglob("*"))])


def _command_line(command: str, flag: str, value: object = None) -> tuple[list[object], list[object]]:
    """A command without a flag, and with it."""
    option, case = OPTIONS[command, flag], _case(command, flag)
    given = [*COMMANDS[command]]
    for spelling in option.opts:
        if spelling in given:
            del given[given.index(spelling) : given.index(spelling) + 2]
    without = [*command.split(), *given, *case.beside]
    written = case.written or flag
    value = case.value if value is None else value
    return without, [*without, written if value is None else f"{written}={value}"]


@pytest.fixture(scope="module")
def known() -> dict[tuple[object, ...], str]:
    """What commands print without the flags that are tried."""
    return {}


@pytest.mark.parametrize(("command", "flag"), sorted(OPTIONS))
def test_a_flag_acts(command: str, flag: str, known: dict[tuple[object, ...], str]) -> None:
    case = _case(command, flag)
    without, line = _command_line(command, flag)
    if (key := tuple(without)) not in known:
        known[key] = _seen(*without)
    before, after = known[key], _seen(*line)
    assert case.seen or case.gone
    assert not case.seen or (case.seen in after and case.seen not in before), (before, after)
    assert not case.gone or (case.gone in before and case.gone not in after), (before, after)


@pytest.mark.parametrize(
    ("command", "flag"), sorted(key for key, option in OPTIONS.items() if option.bare_type() == "Path")
)
def test_the_home_folder_stands_for_its_sign_in_every_path(command: str, flag: str) -> None:
    _, line = _command_line(command, flag, "~/there/x.json")
    seen = _seen(*line)
    assert str(Path.home() / "there") in seen or "there" in seen.splitlines(), seen
    assert "~" not in seen


@pytest.mark.parametrize("flag", sorted({*SETTINGS} - {"--actors", "--allow-unmeasured", "--tracker"}))
def test_resuming_with_another_setting_is_refused(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwnas.pipeline.order.run_stages", RUN_STAGES)
    monkeypatch.setattr("hwnas.pipeline.order.require_possible", lambda _: None)
    monkeypatch.setattr("hwnas.pipeline.order._work_through", lambda *_: _stopped("went on"))
    case = SETTINGS[flag]
    given = (*case.beside, flag if case.value is None else f"{flag}={'d.json' if flag == '--lut' else case.value}")
    outcome = run_cli("search", "--resume", "--out", "run", *given)
    assert outcome.code == 2 and "other settings" in outcome.err, outcome


def test_resuming_with_the_same_settings_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwnas.pipeline.order.run_stages", RUN_STAGES)
    monkeypatch.setattr("hwnas.pipeline.order.require_possible", lambda _: None)
    monkeypatch.setattr("hwnas.pipeline.order._work_through", lambda *_: _stopped("went on"))
    for same in ((), ("--max-latency", "50%", "--seed", 99, "--lut=t.json"), ("--tracker", "tensorboard")):
        assert "went on" in run_cli("search", "--resume", "--out", "run", *same).err


@pytest.mark.parametrize(
    "line",
    [
        ("compare", "m.onnx", "--data-root", "x"),
        ("compare", "m.onnx", "--output", "x"),
        ("compare", "m.onnx", "--skip-broken-images"),
        ("explain", "m.onnx", "--json", "--most", 3),
        ("predict", "m.onnx", "--lut", "k.json", "--json", "--most", 3),
        ("profile", "m.onnx", "--kernels", "-o", "new.json", "--width", 0.5),
        ("export", "run", "--no-int8"),
        ("export", "run", "--fp16"),
        ("export", "run", "--mixed"),
        ("export", "run", "-o", "b", "--no-int8", "--mixed"),
        ("export", "run", "--max-drop", 3),
        ("export", "run", "--network", "largest"),
        ("export", "run", "-o", "b", "--no-int8", "--max-drop", 3),
        ("lut", "show", "t.json", "--json", "--slowest", 3),
        ("lut", "diff", "t.json", "t.json", "--json", "--most", 3),
        ("lut", "adapt", "t.json", "-o", "new.json", "--held-out", 3),
        ("device", "emulate", "rpi4", "--set-up-only", "--port", 7),
        ("search", "--max-latency", "5ms", "--actors", 7),
        ("search", "--max-latency", "5ms", "--data-root", "x"),
        ("search", "--max-latency", "5ms", "--allow-unmeasured"),
        ("search", "--max-latency", "5ms", "--evaluator", "zen", "--epochs", 7),
        ("search", "--max-latency", "5ms", "--evaluator", "zen", "--strategy", "fairness"),
        ("search", "--max-latency", "5ms", "--set", "search.short_epochs=3"),
        ("search", "--max-latency", "5ms", "--epochs", 7, "--set", "supernet.epochs=8"),
    ],
    ids=lambda line: " ".join(map(str, line)),
)
def test_what_would_do_nothing_is_refused(line: tuple[object, ...]) -> None:
    outcome = run_cli(*line)
    assert outcome.code == 2 and ("does nothing" in outcome.err or "given twice" in outcome.err), outcome
    flag = next(part for part in reversed(line) if str(part).startswith("--") or "=" in str(part))
    assert str(flag).partition("=")[0].removeprefix("--").replace("-", "_").rpartition("_")[2] in outcome.err


def test_what_has_moved_must_be_there() -> None:
    for flag in ("--data-root", "--lut", "--devices"):
        outcome = run_cli("export", "run", flag, "absent")
        assert outcome.code == 2 and "expected a file or folder, found none at absent" in outcome.err, outcome


def test_a_complete_table_is_not_taken_for_a_larger_one_or_one_by_another_seed() -> None:
    line = ("profile", *SPACE, "-o", "t.json")
    assert "is complete; --fresh measures it again" in run_cli(*line, "--networks", 0, "--seed", 0).err
    for flag, value, words in (
        ("--networks", 30, f"{NUM_OF_30} were asked for"),
        ("--seed", 7, "seed 7 was asked for"),
    ):
        outcome = run_cli(*line, flag, value)
        assert outcome.code == 2 and "t.json is complete" in outcome.err and words in outcome.err, outcome


def test_a_dry_run_says_what_limits_the_work_and_what_becomes_of_what_is_there() -> None:
    line = ("profile", *SPACE, "--dry-run", "-o")
    assert len(run_cli(*line, "new.json").out.splitlines()) == 1
    assert "would be checked, and nothing measured" in run_cli(*line, "t.json").out
    assert "t.json would be measured again, and what is there discarded" in run_cli(*line, "t.json", "--fresh").out
    Path("new.json.journal").touch()
    assert "what is measured of new.json already would be kept" in run_cli(*line, "new.json").out
    assert "new.json would be measured again" in run_cli(*line, "new.json", "--fresh").out
    assert "measuring would end after 0.1 min" in run_cli(*line, "x.json", "--max-minutes", 0.1).out
    assert "in groups, of about 9 MB each" in run_cli(*line, "x.json", "--memory-mb", 9).out
    assert {path.name for path in Path().glob("*.json*")} == {"t.json", "k.json", "new.json.journal"}


@pytest.mark.parametrize("budget", ["0,1ms", "5min", "nan", "inf", "150%", "0%", "1e400ms", "5", "", "ms", "%", "0ms"])
def test_what_is_no_budget_is_refused_wherever_budgets_are_given(budget: str) -> None:
    for line in (("emit", "run", budget), ("search", "--max-latency", budget), ("search", f"--budgets={budget}")):
        outcome = run_cli(*line, *(() if "--max-latency" in line or line[0] == "emit" else ("--max-latency", "5ms")))
        assert outcome.code == 2, (line, outcome)
        assert "expected" in outcome.err or "a share must be" in outcome.err, (line, outcome)
