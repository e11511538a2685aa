"""Limits that no network keeps are refused before the work for them is done."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from command_line import Outcome, run_cli
from numpy.typing import NDArray
from samples import synthetic_table

from hwnas.pipeline import order
from hwnas.stages import limits as limits_stage
from lut import LatencyModel, load_table, save_table
from search_spaces import SpaceSpec, make_space
from search_spaces.overview import describe_space

pytestmark = pytest.mark.usefixtures("very_short_runs")

DIGITS = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25)
LEAST = describe_space(make_space(DIGITS))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.json"
    save_table(synthetic_table(make_space(DIGITS), scale_ns=1e8), path)
    return path


@pytest.fixture(autouse=True)
def _nothing_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "supernet_of", lambda *_: pytest.fail("trained"))


def search_by(table: Path, *flags: object) -> Outcome:
    base = ("--width", 0.25, "--train-images", 128, "--lut", table, "--accept-table", "--quiet")
    out = () if "--out" in flags else ("--out", table.parent / "run")
    return run_cli("search", *base, *out, *flags)


def assert_refused(outcome: Outcome, *words: str) -> None:
    assert outcome.code == 2 and outcome.out == "", outcome
    last = outcome.err.strip().splitlines()[-1]
    for word in words:
        assert word in last, outcome.err


@pytest.mark.parametrize(
    ("flag", "given", "words"),
    [
        ("--max-params", "1k", f"allows 1000 parameters, but no.*less than {LEAST['min_params']} parameters"),
        ("--max-macs", "10", f"allows 10 multiply-accumulates, but no.*less than {LEAST['min_macs']} multiply"),
        ("--max-memory", "1kB", r"allows 1000 bytes, but no.*less than \d+ bytes"),
    ],
)
def test_what_the_graph_tells_is_refused_before_anything_is_measured(
    flag: str, given: str, words: str, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "prepare_latency", lambda *_: pytest.fail("measured"))
    refused = search_by(table, "--max-latency", "60%", flag, given)
    assert_refused(refused, flag, f"give a larger {flag}")
    assert re.search(words, refused.err), refused.err


def test_what_the_refusal_names_is_possible(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def begun(*_: object) -> None:
        raise RuntimeError("begun")

    monkeypatch.setattr(order, "prepare_latency", begun)
    refused = search_by(table, "--max-latency", "60%", "--max-memory", "1kB")
    named = re.search(r"less than (\d+) bytes", refused.err)
    assert named is not None, refused.err
    limits = ("--max-params", LEAST["min_params"], "--max-macs", LEAST["min_macs"], "--max-memory", named[1])
    with pytest.raises(RuntimeError, match="begun"):
        search_by(table, "--max-latency", "60%", *limits)


def test_energy_is_refused_before_training(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def energy_mj(_table: object, _space: object, architectures: NDArray[np.integer]) -> NDArray[np.float64]:
        return 3.25 + architectures.sum(axis=1).astype(np.float64)

    monkeypatch.setattr(limits_stage, "energy_mj", energy_mj)
    refused = search_by(table, "--max-latency", "60%", "--max-energy", "1mJ")
    assert_refused(refused, "--max-energy allows 1 mJ, but no architecture of this space has less than 3.252 mJ")


def test_limits_that_exclude_each_other_are_refused_together(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def energy_mj(_table: object, _space: object, architectures: NDArray[np.integer]) -> NDArray[np.float64]:
        return 20.0 - architectures.sum(axis=1)  # the largest networks take least

    monkeypatch.setattr(limits_stage, "energy_mj", energy_mj)
    least = LEAST["min_params"]
    refused = search_by(table, "--max-latency", "90%", "--max-params", least, "--max-energy", "5mJ")
    assert_refused(refused, "keeps all of --max-latency", f"--max-params {least} parameters (the least is {least})")
    assert "--max-energy 5 mJ (the least is 4); give one of them more" in refused.err


def test_a_confidence_that_no_network_gives_is_refused_before_training(table: Path) -> None:
    fastest_ms = LatencyModel(make_space(DIGITS), load_table(table)).extreme()[1]
    refused = search_by(table, "--max-latency", f"{1.01 * fastest_ms}ms", "--confidence", 0.999)
    assert_refused(refused, "--max-latency with a confidence of 0.999 allows", "ms; give a larger --max-latency")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--train-images", 1), "needs at least two, got 1: use more of them; give more than 1 with --train-images"),
        (("--train-images", 9), "7 images are left to train the supernet, fewer than the 10 classes; give more than 9"),
        (("--train-images", 11), "9 images are left to train the supernet, fewer than the 10 classes"),
        (("--train-images", 3, "--task", "verification"), "with --train-images"),
    ],
)
def test_too_few_images_are_refused_before_anything_is_measured(
    flags: tuple[object, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "prepare_latency", lambda *_: pytest.fail("measured"))
    out = tmp_path / "runs" / "few"
    assert_refused(run_cli("search", "--width", 0.25, "--max-latency", "60%", "--out", out, *flags), words)
    assert not out.parent.exists()


def test_a_refused_request_leaves_nothing(table: Path, tmp_path: Path) -> None:
    command = ("--max-latency", "1us", "--out")
    assert_refused(search_by(table, *command, tmp_path / "new" / "run"), "no architecture under")
    assert not (tmp_path / "new").exists()
    (tmp_path / "mine").mkdir()
    assert_refused(search_by(table, *command, tmp_path / "mine"), "no architecture under")
    assert list((tmp_path / "mine").iterdir()) == []
    (tmp_path / "mine" / "notes.txt").write_text("kept")
    assert_refused(search_by(table, *command, tmp_path / "mine"), "no architecture under")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_fewer_outputs_than_classes_are_refused(tmp_path: Path) -> None:
    flags = ("--width", 0.25, "--max-latency", "60%", "--set", "space.outputs=7", "--out", tmp_path / "run")
    outcome = run_cli("search", *flags)
    assert outcome.code == 2 and "space.outputs is 7, but classification of digits needs 10" in outcome.err
    assert not (tmp_path / "run").exists()
