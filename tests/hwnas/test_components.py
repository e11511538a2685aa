"""Components of one's own: generated, tested, and used in a run."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from command_line import COMPONENT_FLAGS, run_cli
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import synthetic_table

from hwnas.components import CONTRACTS, KINDS, built_ins, find, summary_line
from hwnas.errors import RequestError
from hwnas.scaffold import generate
from lut import save_table
from search_spaces import SpaceSpec, make_space

pytestmark = pytest.mark.usefixtures("very_short_runs")


@pytest.fixture(scope="module", autouse=True)
def _installed_packages_are_listed_once() -> Iterator[None]:
    """For each name that a component is given a file of every installed package is read."""
    installed = packages_distributions()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("hwnas.scaffold.packages_distributions", lambda: installed)
        yield


def test_every_kind_has_built_ins_with_a_line_each() -> None:
    for kind in KINDS:
        listed = json.loads(run_cli("list", kind, "--json").out)
        assert [row["name"] for row in listed] == sorted(built_ins(kind))
        for row in listed:
            assert len(row["description"]) > 15, (kind, row)
    assert "uniform" in run_cli("list", "training-strategy").out
    outcome = run_cli("list", "gadget")
    assert outcome.code == 2 and "unknown kind of component 'gadget'; there are: space, block" in outcome.err


def test_what_is_generated_passes_its_own_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in KINDS:
        outcome = run_cli("new", kind, f"My-{kind}", "--folder", tmp_path)
        assert outcome.code == 0, outcome.err
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    told, before = _Reports(), {*sys.modules}
    without = ("cacheprovider", "xdist", "cov", "timeout", "faulthandler")  # which know one run in a process
    pytest.main(["-q", *(part for name in without for part in ("-p", f"no:{name}")), str(tmp_path)], plugins=[told])
    for name in {*sys.modules} - before:
        if name.removeprefix("test_").startswith("my_"):
            del sys.modules[name]
    assert [report.longreprtext for report in told.reports if not report.passed] == []
    assert len(told.reports) == len(KINDS) + 1  # one of each kind, and a task of boxes besides


class _Reports:
    """Keeps what became of each test of a run."""

    def __init__(self) -> None:
        self.reports: list[pytest.TestReport] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what is told of the test itself, and of what could not be set up for it."""
        if report.when == "call" or not report.passed:
            self.reports.append(report)


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(COMPONENT_FLAGS))
def test_what_is_generated_searches(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path, _ = generate(kind, "mine", Path())
    name = "Mine" if kind not in ("space", "dataflow") else "mine"
    reference = f"./{path.name}:{name}"
    sizes = {"input_size": 16 if kind == "dataflow" else 8, "num_classes": 2 if kind == "dataflow" else 10}
    spec = SpaceSpec(
        name=reference if kind == "space" else "nasbench-macro",
        in_channels=1,
        width=1.0 if kind == "space" else 0.25,
        **sizes,
    )
    save_table(synthetic_table(make_space(spec), scale_ns=1e8), tmp_path / "t.json")
    flags = ("--epochs", 1, "--evaluations", 4, "--retrain-epochs", 1, "--train-images", 128, "--quiet")
    few = ("--set", "search.finalists=2", "--set", "retrain.references=false")
    budget = ("--lut", "t.json", "--max-latency", "80%")
    where = ("--width", spec.width, "--out", "run", "--json", COMPONENT_FLAGS[kind], reference)
    outcome = run_cli("search", *flags, *few, *budget, *where)
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["budget_kept"] is True
    # The run's configuration names the file now, not the command line; what is finished is read without it.
    assert run_cli("export", "run", "--json").out == outcome.out
    (tmp_path / "run" / "summary.json").unlink()
    refused = run_cli("export", "run", "--json")
    assert refused.code == 2 and "give --trust-code" in refused.err
    assert run_cli("export", "run", "--json", "--trust-code").out == outcome.out


def test_a_device_with_a_worker_of_ones_own_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    generate("profiler-worker", "mine", Path())
    (tmp_path / "devices.yaml").write_text("mine: {runtime: ./mine.py}\n")
    flags = ("--space", "nasbench-macro", "--input-size", 4, "--width", 0.25, "--networks", 0, "--rounds", 2)
    command = ("profile", *flags, "--device", "mine", "--devices", "devices.yaml", "-o", "t.json")
    refused = run_cli(*command)
    assert refused.code == 2 and "device 'mine' would run the code in ./mine.py" in refused.err
    outcome = run_cli(*command, "--trust-code")
    assert outcome.code == 0, outcome.err
    assert "0 failed" in outcome.out


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("gadget", "x", "unknown kind of component 'gadget'"),
        ("space", "../x", "a name begins with a letter"),
        ("space", "", "a name begins with a letter"),
        ("space", "there", "is there already"),
    ],
)
def test_what_cannot_be_generated_is_said(kind: str, name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "test_there.py").write_text("kept")
    with pytest.raises(RequestError, match=message):
        generate(kind, name, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["test_there.py"]


NAMES = {
    "MyStrategy": ("my_strategy", "MyStrategy"),
    "my-strategy": ("my_strategy", "MyStrategy"),
    "my_strategy": ("my_strategy", "MyStrategy"),
    "myStrategy": ("my_strategy", "MyStrategy"),
    "My-Strategy_2": ("my_strategy_2", "MyStrategy2"),
    "HTTPThing": ("http_thing", "HTTPThing"),
    "MY_THING": ("my_thing", "MyThing"),
    "Conv2D": ("conv2d", "Conv2D"),
    "K3Block": ("k3_block", "K3Block"),
    "plain": ("plain", "Plain"),
}


@pytest.mark.parametrize("name", NAMES)
def test_files_classes_and_functions_are_named_as_python_names_them(name: str, tmp_path: Path) -> None:
    module, in_class = NAMES[name]
    for kind in ("training-strategy", "space"):
        path, test = generate(kind, name, tmp_path / kind)
        assert (path.name, test.name) == (f"{module}.py", f"test_{module}.py")
        component = module if kind == "space" else in_class
        assert f"from {module} import {component}\n" in test.read_text()
        assert callable(find(kind, f"{path}:{component}"))


TAKEN = {
    "class": "class is a keyword of Python",
    "none": "none is a keyword of Python",
    "Random": "random is a module of Python's standard library",
    "lut": "lut is an installed package",
    "Torch": "torch is an installed package",
    "TestThing": "test_thing is a name by which pytest finds tests",
    "conftest": "conftest is a name by which pytest finds tests",
    "training-strategy": "the file uses TrainingStrategy for something else",
}


@pytest.mark.parametrize("name", TAKEN)
def test_names_that_are_taken_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=f"the name {name!r} is taken: {TAKEN[name]}; give another"):
        generate("training-strategy", name, tmp_path)
    assert not list(tmp_path.iterdir())


WORDS = ("Space", "data", "spec", "np", "path", "step", "Step", "x", "Block", "Agent", "import", "size", "rng")
"""Names that templates use, or nearly."""


@given(
    kind=st.sampled_from(sorted(KINDS)),
    name=st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,12}", fullmatch=True) | st.sampled_from(WORDS) | st.text(max_size=5),
)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_any_name_gives_a_part_that_can_be_used_or_is_refused(kind: str, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            path, test = generate(kind, name, Path(folder))
        except RequestError as error:
            assert len(str(error).splitlines()) == 1 and not list(Path(folder).iterdir())
            return
        assert path.stem.isidentifier() and path.stem == path.stem.lower()
        compile(test.read_text(), test.name, "exec")
        if kind in CONTRACTS:
            component = re.search(rf"^from {path.stem} import (\w+)(?:, \w+)?$", test.read_text(), re.MULTILINE)
            assert component is not None and callable(find(kind, f"{path}:{component[1]}"))


def test_references_to_nothing_are_said(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0")
    for name, message in (
        ("uniformly", r"unknown training strategy 'uniformly'; there are: binarised, .*name your own as"),
        (f"{tmp_path}/broken.py:X", r"ZeroDivisionError"),
        (f"{tmp_path}/none.py:X", "no file"),
        ("hwnas.training:Nothing", "has no 'Nothing'"),
    ):
        with pytest.raises(RequestError, match=message):
            find("training-strategy", name)
    assert summary_line(find("training-strategy", "hwnas.training:StrictFairness")).startswith("Every choice")


def test_the_documented_example_finds_shapes(tmp_path: Path) -> None:
    """Dense prediction: data, space and agent of one file that is nobody's built-in."""
    example = Path(__file__).parents[2] / "docs" / "examples" / "shapes.py"
    spec = SpaceSpec(name=f"{example}:dense", input_size=16, in_channels=1, num_classes=3)
    save_table(synthetic_table(make_space(spec), scale_ns=1e8), tmp_path / "t.json")
    outcome = run_cli(
        *("search", "--data", f"{example}:shapes", "--space", f"{example}:dense", "--task", f"{example}:WorstShape"),
        *("--input-size", 16, "--lut", tmp_path / "t.json", "--max-latency", "80%", "--epochs", 2, "--evaluations", 4),
        *("--retrain-epochs", 8, "--train-images", 300, "--out", tmp_path / "run", "--json", "--quiet"),
        *("--set", "retrain.references=false", "--set", "search.finalists=2"),
    )
    assert outcome.code == 0, outcome.err
    metrics = json.loads(outcome.out)["test_metrics"]
    assert next(iter(metrics)) == "worst_recall" and set(metrics) == {
        *("worst_recall", "mean_iou", "pixel_accuracy", "likelihood")
    }
    assert metrics["mean_iou"] > 0.5
