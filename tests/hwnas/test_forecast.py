"""How long a run is said to take."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import run_cli
from safetensors.torch import load_file
from samples import synthetic_table

from hwnas.errors import RunError
from hwnas.pipeline import forecast
from hwnas.pipeline.forecast import describe
from lut import save_table
from search_spaces import SpaceSpec, make_space

SPEC = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25)


def test_a_forecast_has_one_unit_and_says_what_takes_how_long() -> None:
    told = describe({"profile": 130.0, "train 30 epochs": 180.0, "retrain 3 networks": 56.0})
    assert told == "about 6.1 min in all: 2.2 to profile, 3.0 to train 30 epochs, 0.9 to retrain 3 networks"
    assert describe({"train 1 epochs": 20.0}).startswith("about 20 s in all: 20 to train")
    assert describe({"train 9 epochs": 360000.0}).startswith("about 100 h in all: 100 to train")


@pytest.mark.slow
def test_a_run_is_foretold_and_learns_what_it_would_have_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_table(synthetic_table(make_space(SPEC), scale_ns=1e8), tmp_path / "t.json")
    monkeypatch.setattr(forecast, "TIMED_STEPS", 1)
    flags = ("--width", 0.25, "--train-images", 128, "--lut", tmp_path / "t.json", "--max-latency", "60%")
    line = ("train", *flags, "--epochs", 50, "--set", "supernet.batch_size=64")
    told = run_cli(*line, "--out", tmp_path / "told")
    assert told.code == 0 and "in all: " in told.err and "to train 50 epochs" in told.err, told
    assert "retrain" not in told.err and "profile" not in told.err
    monkeypatch.setattr(forecast, "MOST_SHARE", 0.0)
    untold = run_cli(*line, "--out", tmp_path / "untold")
    assert untold.code == 0 and "in all" not in untold.err
    one, other = ((tmp_path / name / "supernet").iterdir() for name in ("told", "untold"))
    for path, same in zip(sorted(one), sorted(other), strict=True):
        if path.suffix == ".safetensors":
            assert _weights(path) == _weights(same)


def _weights(path: Path) -> dict[str, list[float]]:
    tensors = load_file(path)
    assert tensors
    return {name: tensor.flatten().tolist() for name, tensor in tensors.items()}


def test_the_stages_that_a_search_has_are_foretold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "TIMED_STEPS", 1)
    monkeypatch.setattr("hwnas.pipeline.order.prepare_latency", lambda _: _ended())
    flags = ("--width", 0.25, "--train-images", 128, "--max-latency", "60%", "--budgets", "50%")
    more = ("--set", "search.trained_finalists=4", "--set", "supernet.batch_size=64")
    told = run_cli("search", *flags, *more, "--epochs", 50, "--out", tmp_path / "run").err
    words = ("profile on a server core", "train 50 epochs", "evaluate 100 networks", "retrain 4 networks")
    for word in (*words, "train finalists for 32 epochs"):
        assert f"to {word}" in told, told
    by_training = ("--evaluator", "short-training", "--evaluations", 20, "--out", tmp_path / "short")
    told = run_cli("search", *flags, *more, *by_training).err  # no supernet is trained
    for word in ("train 20 networks for 80 epochs", "train finalists for 16 epochs"):
        assert f"to {word}" in told, told
    quiet = run_cli("search", *flags, "--set", "supernet.batch_size=64", "--out", tmp_path / "run", "--quiet").err
    assert "in all" not in quiet


def _ended() -> None:
    raise RunError("far enough")
