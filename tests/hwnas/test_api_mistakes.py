"""What a program is told of the mistakes that people make in it: at once, in words, and without anything broken."""

from __future__ import annotations

import inspect
import math
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples import synthetic_table
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import hwnas
from hwnas.api.scores import finite_score
from hwnas.api.searching import search
from hwnas.api.table import LatencyTable
from hwnas.api.tools import device_of
from hwnas.cli.exit_codes import verdict
from hwnas.ui.run_entry import Runs
from lut import save_table
from search_spaces import SpaceError, SpaceSpec, make_space

pytestmark = pytest.mark.usefixtures("very_short_runs")

DIGITS = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25)
IMAGES, CLASSES = torch.rand(24, 1, 8, 8), torch.arange(24) % 3


@pytest.fixture
def table(tmp_path: Path) -> LatencyTable:
    save_table(synthetic_table(make_space(DIGITS), scale_ns=1e8), tmp_path / "table.json")
    return hwnas.load_table(tmp_path / "table.json")


@pytest.fixture
def scored(table: LatencyTable, tmp_path: Path) -> Callable[..., Any]:
    """Search without data by a score."""

    def run(score: Any, **more: Any) -> hwnas.Result:
        named = {"max_latency": "80%", "evaluations": 4, "out": tmp_path / "run", "quiet": True, **more}
        return hwnas.search(data=None, table=table, score=score, **named)

    return run


def test_search_looks_like_the_function_that_it_is() -> None:
    assert inspect.signature(hwnas.search) == inspect.signature(search)
    assert pickle.loads(pickle.dumps(hwnas.search)) is hwnas.search


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, None, "good", torch.ones(2)])
def test_a_score_is_a_finite_number(wrong: object) -> None:
    with pytest.raises(hwnas.RunError, match="score of 0-1: expected a finite number, got"):
        finite_score(wrong, "0-1")


def test_a_score_that_is_infinite_leaves_a_run_that_goes_on(scored: Callable[..., Any]) -> None:
    with pytest.raises(hwnas.RunError, match=r"score of [-0-9]+: expected a finite number, got -inf"):
        scored(lambda _: -math.inf)
    assert scored(sum).winner.score > 0


def test_wrong_types_are_refused_before_any_work(scored: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(hwnas.RequestError, match="expected a function as score, got 5"):
        scored(5)
    for callbacks in (hwnas.Callback(), [print]):
        with pytest.raises(hwnas.RequestError, match="expected a list of callbacks"):
            scored(sum, callbacks=callbacks)
    with pytest.raises(hwnas.RequestError, match="expected settings by dotted name"):
        scored(sum, settings=["seed"])
    for space, table in ((3, None), ("nasbench-macro", 3)):
        with pytest.raises(hwnas.RequestError, match="got 3"):
            hwnas.search(space, "digits", table=table, max_latency="60%", out=tmp_path / "run")  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_what_a_search_without_data_cannot_do_is_refused(scored: Callable[..., Any]) -> None:
    result = scored(sum)
    for act in (lambda: result.retrain(front=True), result.module, lambda: result.export("bundle")):
        with pytest.raises(hwnas.RequestError, match="searched without data"):
            act()
    assert len(result.emit("50%")) == len(result.emit(["50%"])) == 1
    with pytest.raises(hwnas.RequestError, match="expected one of train, search, retrain, export"):
        hwnas.resume(result.folder, last="serch")


def test_a_search_without_data_is_shown_as_finished(scored: Callable[..., Any], tmp_path: Path) -> None:
    folder = scored(sum).folder
    entry = Runs(tmp_path.resolve()).entry("run", folder.resolve())
    assert (entry.data, entry.state) == ("none", "finished")


def test_arguments_that_there_are_not_are_refused(table: LatencyTable, tmp_path: Path) -> None:
    place = tmp_path / "new.json"
    with pytest.raises(TypeError, match="unknown argument 'netwoks'"):
        hwnas.profile(table.space, "cpu", output=place, netwoks=3)  # type: ignore[call-arg]
    for wrong in ({"rounds": 0}, {"networks": -1}, {"rounds": "5"}, {"max_minutes": math.nan}):
        with pytest.raises(hwnas.RequestError, match=f"{next(iter(wrong))}: expected a number from"):
            hwnas.profile(table.space, "cpu", output=place, **wrong)  # type: ignore[arg-type]
    with pytest.raises(hwnas.RequestError, match="expected a network"):
        hwnas.profile(None, "cpu", output=place, input_shape=(1, 8, 8))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unknown argument 'epoch'"):
        _optimize(epoch=3)
    for models in ([], "model.onnx"):
        with pytest.raises(hwnas.RequestError, match="expected a list of models"):
            hwnas.compare(models)
    with pytest.raises(hwnas.RequestError, match="output='scores' names what tells the class: give data= too"):
        hwnas.compare(["model.onnx"], output="scores")
    assert not place.exists()


def test_a_study_is_told_lists_and_finite_numbers(table: LatencyTable) -> None:
    study = hwnas.Study(table=table, max_latency="80%")
    first, second = study.ask(2)
    study.tell(list(first), 1.0)  # type: ignore[arg-type]
    for wrong in (math.inf, math.nan, None, "x"):
        with pytest.raises(hwnas.RunError, match="expected a finite number"):
            study.tell(second, wrong)  # type: ignore[arg-type]
    study.tell(second, torch.tensor(2.0))  # type: ignore[arg-type]
    assert study.best.architecture == second
    with pytest.raises(hwnas.RequestError, match="give the study a table="):
        _ = hwnas.Study(table.space).front
    with pytest.raises(hwnas.RequestError, match="expected a search space and a table"):
        hwnas.Study("nasbench-macro")  # type: ignore[arg-type]


def _net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, 3),
    )  # fmt: skip


WRONG: tuple[Any, ...] = (
    None, True, -1, 2**70, 0.5, math.nan, b"8", [None], {"a": 1}, {3}, np.float64(0.5), np.array(8), np.array([8, 4]),
    np.array([]), torch.tensor(8), object(), lambda: 3, int,
)  # fmt: skip
"""Values of types that few arguments take."""


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        (
            lambda: hwnas.space,
            {"name": "nasbench-macro", "channels": 1, "classes": 3, "width": 0.25, "head": "classifier"},
        ),
        (lambda: hwnas.space, {"name": "nasbench-macro", "input_size": 8, "resolutions": (8, 6)}),
        (
            lambda: hwnas.convert,
            {"model": _net(), "input_shape": (1, 8, 8), "freeze": (), "shares": (1.0, 0.5), "step": 8},
        ),
        (lambda: hwnas.convert, {"model": _net(), "input_shape": (1, 8, 8), "weights": None, "output": None}),
        (lambda: hwnas.convert, {"model": _net(), "input_shape": (1, 8, 8), "resolutions": (8, 6)}),
        (
            lambda: hwnas.compare,
            {"models": ["absent.onnx"], "device": "cpu", "data": None, "input_size": 8, "output": None, "rounds": 2},
        ),
        (lambda: hwnas.explain, {"model": "absent.onnx", "device": "cpu", "input_size": 8, "rounds": 2, "seed": 1}),
        (lambda: hwnas.predict, {"model": "absent.onnx", "kernels": "absent.json", "devices": None, "input_size": 8}),
        (lambda: device_of, {"device": "cpu", "devices": None, "threads": 1, "runtime": "onnxruntime"}),
        (lambda: hwnas.resume, {"folder": "absent", "last": "search"}),
        (lambda: hwnas.open_run, {"folder": "absent"}),
        (lambda: hwnas.search_from, {"source": "absent", "out": "absent"}),
    ],
)
def test_any_value_of_an_argument_works_or_is_told_of_in_words(
    call: Callable[[], Callable[..., Any]], arguments: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in arguments:
        for wrong in WRONG:
            _works_or_is_told_of(call(), **{**arguments, name: wrong})


def _works_or_is_told_of(call: Callable[..., Any], **arguments: Any) -> None:
    try:
        call(**arguments)
    except Exception as error:
        assert verdict(error) is not None, f"{arguments}: {error!r}"


def test_any_value_is_told_of_by_studies_tables_and_searches(
    table: LatencyTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hwnas.api.searching.run_stages", lambda *_, **__: None)
    monkeypatch.chdir(tmp_path)
    study = hwnas.Study(table=table, agent="random")
    for wrong in WRONG:
        for name in ("space", "max_latency", "agent", "seed"):
            _works_or_is_told_of(hwnas.Study, **{"table": table, "agent": "random", name: wrong})
        _works_or_is_told_of(study.ask, num=wrong)
        _works_or_is_told_of(study.tell, architecture=wrong, score=1.0)
        for name in ("num", "at_a_time"):
            _works_or_is_told_of(study.optimize, **{"score": sum, "num": 1, name: wrong})
        _works_or_is_told_of(table.predict, architectures=wrong)
        _works_or_is_told_of(hwnas.load_table, path=wrong)
        _works_or_is_told_of(hwnas.load_table, path=table.path, space=wrong)
        for name in ("resolutions", "freeze", "budgets", "epochs", "out", "seed", "model", "callbacks", "settings"):
            named = {"out": "run", "max_latency": "60%", "quiet": True, name: wrong}
            _works_or_is_told_of(hwnas.search, space="nasbench-macro", **named)
    with pytest.raises(SpaceError, match="are 8 integers each"):
        table.predict([[0] * 8, [0]])


def test_wrong_arguments_are_named_with_what_is_expected(table: LatencyTable, tmp_path: Path) -> None:
    for act, words in (
        (
            lambda: hwnas.space("fbnet-s", resolutions=8),
            r"resolutions: expected a list of sizes, such as \(96, 80\), got 8",
        ),  # type: ignore[arg-type]
        (lambda: hwnas.space(3), "name: expected a text such as 'fbnet-s', got 3"),  # type: ignore[arg-type]
        (lambda: hwnas.space("fbnet-s", input_size=0.5), "input_size: expected pixels a side .*, got 0.5"),  # type: ignore[arg-type]
        (lambda: hwnas.search("fbnet-s", resolutions=8, max_latency="60%"), "resolutions: expected a list"),  # type: ignore[arg-type]
        (lambda: hwnas.open_run(None), "folder: expected the path of a file or a folder, got None"),  # type: ignore[arg-type]
        (lambda: hwnas.Study(table=table, seed=-1), "seed: expected a number from 0 to 4294967295, got -1"),
        (lambda: hwnas.Study(table=table).optimize(None, 3), "expected a function as score, got None"),  # type: ignore[arg-type]
        (lambda: hwnas.profile(table.space, output=tmp_path / "t.json", rounds=2.5), "rounds: expected a whole number"),  # type: ignore[arg-type]
    ):
        with pytest.raises(hwnas.RequestError, match=words):
            act()


def test_numbers_of_numpy_are_numbers(table: LatencyTable) -> None:
    given = hwnas.space("nasbench-macro", channels=np.int64(1), width=np.float64(0.25), resolutions=np.array([8, 6]))
    assert given.spec == hwnas.space("nasbench-macro", channels=1, width=0.25, resolutions=(8, 6)).spec
    study = hwnas.Study(table=table, seed=np.int64(3))
    (asked,) = study.ask(np.int64(1))
    study.tell(np.array(asked), np.float32(0.5))
    assert study.best.architecture == asked


def test_callbacks_that_can_be_gone_through_but_once_are_refused(scored: Callable[..., Any]) -> None:
    with pytest.raises(hwnas.RequestError, match="expected a list of callbacks"):
        scored(sum, callbacks=iter([hwnas.Callback()]))


def _loader(images: torch.Tensor = IMAGES, classes: torch.Tensor = CLASSES) -> Any:
    return DataLoader(TensorDataset(images, classes), 8)


def _optimize(model: Any = None, train: Any = None, val: Any = None, **more: Any) -> hwnas.Result:
    found = _loader() if train is None else train
    return hwnas.optimize(model or _net(), found, val or _loader(), max_latency="90%", quiet=True, **more)


def _batches() -> Iterator[object]:
    yield from _loader()


@pytest.mark.parametrize(
    ("loader", "words"),
    [
        (lambda: _batches(), "expected a loader that gives an epoch of batches each time"),
        (lambda: iter(_loader()), "expected a loader that gives an epoch of batches each time"),
        (lambda: 3, "expected a loader"),
        (lambda: _loader(IMAGES, CLASSES + 5), "the network has 3 outputs: expected targets from 0 to 2, found 5 to 7"),
        (lambda: _loader(IMAGES, CLASSES - 1), "found -1 to 1"),
        (lambda: _loader(IMAGES / 0), "images with NaN or infinity"),
        (lambda: [(IMAGES[:9], CLASSES[:8])], "expected a target for each"),
        (lambda: [(IMAGES, CLASSES), (torch.rand(24, 1, 9, 9), CLASSES)], "images of one size"),
        (lambda: _loader(torch.rand(24, 3, 8, 8)), "the network does not take what the loader gives"),
    ],
)
def test_loaders_that_cannot_serve_are_refused(loader: Callable[[], Any], words: str) -> None:
    with pytest.raises(hwnas.RequestError, match=words):
        _optimize(train=loader(), val=loader())


def test_what_is_no_network_or_function_is_refused() -> None:
    with pytest.raises(hwnas.RequestError, match=r"expected a network, a torch\.nn\.Module, got 'net\.onnx'"):
        _optimize("net.onnx")
    with pytest.raises(hwnas.RequestError, match="expected a function as train_step"):
        _optimize(train_step=3)
    with pytest.raises(hwnas.RequestError, match="else than a score for each class"):
        _optimize(nn.Identity())


def test_a_network_stays_in_the_modes_that_its_parts_are_in() -> None:
    model = _net().train()
    model[1].eval()
    with pytest.raises(hwnas.RequestError, match="found 5 to 7"):
        _optimize(model, train=_loader(IMAGES, CLASSES + 5))
    assert model.training and model[0].training and not model[1].training


def test_one_pattern_is_a_pattern_and_not_its_characters() -> None:
    model = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), *_net()[3:5], nn.Linear(32, 3))
    free = len(hwnas.convert(model, (1, 8, 8)).decisions)
    assert 0 < len(hwnas.convert(model, (1, 8, 8), freeze="0.*,0").decisions) < free


def test_a_network_may_run_at_several_resolutions() -> None:
    found = hwnas.convert(_net(), (1, 8, 8), resolutions="8,6")
    assert found.decisions[0].choices == ("8", "6")
    with pytest.raises(hwnas.RequestError, match="resolutions: expected resolutions that begin with the images' own"):
        hwnas.convert(_net(), (1, 8, 8), resolutions=(6, 4))


def test_what_a_bundle_is_to_have_is_checked_before_any_work(scored: Callable[..., Any]) -> None:
    result = scored(sum)
    for wrong in (math.nan, -0.1, 2, "1", None, True):
        with pytest.raises(hwnas.RequestError, match="max_drop: expected a share of accuracy from 0 to 1"):
            result.export("bundle", max_drop=wrong)
    for limits in ({"boxes": 3}, [3], {"max_iou": 2}, {"max_boxes": 1.5}, {"min_score": "x"}):
        with pytest.raises(hwnas.RequestError, match="expected"):
            result.export("bundle", limits=limits)
    for act in (
        lambda: result.export(None),
        lambda: result.export("bundle", network=3),
        lambda: result.emit(5),
        lambda: result.emit(["50%", 5]),
    ):
        with pytest.raises(hwnas.RequestError, match=r"expected (a|the)"):
            act()
