"""Budgets that are kept as measured: on machines that change their speed, and by tables that predict poorly."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import Outcome, kill_when, num_lines, run_cli, start_cli
from paced_machine import PacedMachine, measure_instantly
from samples import synthetic_table

from hwnas.cli.printing import print_summary
from hwnas.pipeline.reporting import render_report
from hwnas.pipeline.run import Run
from hwnas.progress import Reporter
from hwnas.run_folder import RunFolder, _move
from hwnas.stages.latency import WIDEST, searching_margin
from lut import LatencyModel, load_table
from search_spaces import SpaceSpec, make_space

SPEC = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25)
FEW = ("--evaluations", 10)
SETTINGS = ("--width", 0.25, "--epochs", 1, "--evaluations", 30, "--retrain-epochs", 1, "--train-images", 128)


@pytest.fixture(autouse=True)
def _short_look_for_the_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWNAS_TRUST_CODE", "1")  # the machines' workers are files of code
    monkeypatch.setattr("hwnas.stages.search.SIZE_EVALUATIONS", 100)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, instant_measurements: None) -> Path:
    """Of the machine while it is left alone."""
    folder = tmp_path_factory.mktemp("paced")
    space = ("--space", SPEC.name, "--input-size", 8, "--channels", 1, "--width", 0.25)
    where = ("--device", "paced", "--devices", PacedMachine(folder).devices)
    outcome = run_cli("profile", *space, *where, "--networks", 20, "-o", folder / "lut.json", "--quiet", "--trust-code")
    assert outcome.code == 0, outcome.err
    return folder / "lut.json"


@pytest.fixture
def budget_ms(table: Path) -> float:
    """Well within the range of the space."""
    model = LatencyModel(make_space(SPEC), load_table(table))
    return 0.5 * (model.extreme()[1] + model.extreme(slowest=True)[1])


def _command(machine: PacedMachine, run: Path, *flags: object) -> tuple[object, ...]:
    return ("search", *SETTINGS, "--device", "paced", "--devices", machine.devices, "--out", run, "--json", *flags)


def _summary(outcome: Outcome) -> dict[str, Any]:
    found = json.loads(outcome.out)
    assert isinstance(found, dict)
    return found


def test_a_run_whose_own_table_is_poor_ends_in_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, number in {"table.NUM_NETWORKS": 14, "table.EXTRA_NETWORKS": 6, "table.ROUNDS": 10}.items():
        monkeypatch.setattr(f"hwnas.stages.{name}", number)
    for name in ("ROUNDS", "FINAL_ROUNDS"):
        monkeypatch.setattr(f"hwnas.stages.setup.{name}", 10)
    measure_instantly(monkeypatch)
    run, few = tmp_path / "run", (*FEW, "--set", "search.finalists=4", "--set", "retrain.references=false")
    outcome = run_cli(*_command(PacedMachine(tmp_path, luck=0.4), run, "--max-latency", "60%", *few))
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("Measuring on, with") == 2 and "for up to 5.0 min" in outcome.err
    (warning,) = [line for line in outcome.err.splitlines() if line.startswith("warning")]
    assert "8 networks instead of 4" in warning and "the budget is kept as measured" in warning
    summary = _summary(outcome)
    assert summary["budget_kept"] and Path(summary["onnx"]).is_file()
    # Every network of the first table was measured again, and others for calibration joined them.
    own = load_table(run / "lut.json")
    roles = [n.role for n in own.networks]
    assert roles.count("held_out") == 8 and roles.count("calibration") > 6
    assert not list(run.glob("lut.extension*"))
    assert len(json.loads((run / "search" / "result.json").read_text())["finalists"]) >= 8
    before = (run / "lut.json").read_bytes()
    again = run_cli("search", "--out", run, "--resume", "--json")
    assert _summary(again) == summary and "Measuring on" not in again.err
    assert (run / "lut.json").read_bytes() == before


def test_poor_tables_widen_what_is_looked_at_by_their_own_error() -> None:
    certificate = synthetic_table(make_space(SPEC)).certificate
    assert certificate is not None

    def margin(**errors: float) -> float:
        return searching_margin(replace(certificate, mape=3.0, **errors))

    assert margin(bias=0.0, error_std=0.1) == pytest.approx(1.067, abs=1e-3)  # a quarter of those keep the budget
    assert margin(bias=0.05, error_std=0.1) == pytest.approx(1.117, abs=1e-3)  # predicted too slow
    assert margin(bias=-0.3, error_std=0.1) == 1.0 and margin(bias=0.0, error_std=3.0) == WIDEST


def _print(run: Path) -> None:
    summary = RunFolder(run).read_summary()
    assert summary is not None
    print_summary(summary, run / "model.onnx")


def _set_slow(machine: PacedMachine, when: str, run: Path, table: Path) -> None:
    if when == "all the time":
        machine.slow_once_there_is(table, 1.3)
    elif when == "from the middle on":
        machine.slow_once_there_is(run / "search" / "history.jsonl", 1.3)
    else:
        machine.slow_until_there_is(run / "lut.json", 2.5)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwnas.stages.finalists.PAUSES_S", (0.0, 0.0))


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("all the time", "30% slower than when the table was made: predictions are multiplied by 1.3"),
        pytest.param(
            "from the middle on", "30% slower than when the table was made", marks=pytest.mark.slow, id="middle"
        ),
        pytest.param(
            "while the table was made",
            "60% faster than when the table was made: predictions are multiplied by 0.4",
            marks=pytest.mark.slow,
            id="table",
        ),
    ],
)
def test_a_machine_that_was_or_is_slowed_is_noticed_and_allowed_for(
    when: str, said: str, table: Path, budget_ms: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine, run = PacedMachine(tmp_path), tmp_path / "run"
    _set_slow(machine, when, run, table)
    given = () if when == "while the table was made" else ("--lut", table)
    outcome = run_cli(*_command(machine, run, *given, "--max-latency", f"{budget_ms}ms", *FEW))
    assert outcome.code == 0, outcome.err
    assert said in outcome.err
    assert ("multiplied" in outcome.err) == ("multiplied" in said)
    summary = _summary(outcome)
    factor = 0.4 if when == "while the table was made" else 1.3
    for row in (summary, *summary["references"].values()):
        assert row["budget_kept"] and row["measured_ms"] <= budget_ms
        assert row["drift"] == pytest.approx(factor, rel=0.02)
        assert row["measured_table_ms"] == pytest.approx(row["measured_ms"] / factor, rel=0.02)
    _print(run)
    assert "ms at the table's speed" in capsys.readouterr().out
    assert "at the table&#x27;s speed" in (run / "report.html").read_text()


@pytest.mark.slow
def test_no_network_is_lost_to_a_slowness_that_passes(table: Path, budget_ms: float, tmp_path: Path) -> None:
    found = {}
    for name in ("calm", "slowed"):
        (tmp_path / name).mkdir()
        machine, run = PacedMachine(tmp_path / name), tmp_path / name / "run"
        if name == "slowed":
            machine.slow_once_there_is(run / "search" / "history.jsonl", 1.3)
            machine.slow_once_there_is(run / "search" / "finalists" / "0-again1.journal", 1 / 1.3)
        outcome = run_cli(*_command(machine, run, "--lut", table, "--max-latency", f"{budget_ms}ms"))
        assert outcome.code == 0, outcome.err
        assert ("measured once more in 0 s" in outcome.err) == (name == "slowed")
        found[name] = _summary(outcome)
    assert found["slowed"]["architecture"] == found["calm"]["architecture"]
    assert found["slowed"]["budget_kept"] and found["slowed"]["drift"] == pytest.approx(1.0, rel=0.02)


def test_a_machine_as_it_was_is_no_news(
    table: Path, budget_ms: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--lut", table, "--max-latency", f"{budget_ms}ms", *FEW, "--set", "retrain.references=false")
    outcome = run_cli(*_command(PacedMachine(tmp_path), tmp_path / "run", *flags))
    assert outcome.code == 0 and "than when the table was made" not in outcome.err
    assert not (tmp_path / "run" / "missed").exists()
    _print(tmp_path / "run")
    assert "at the table's speed" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_winner_that_misses_at_the_end_is_replaced_and_kill_9_changes_nothing(
    table: Path, budget_ms: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begun(name: str) -> tuple[Path, tuple[object, ...]]:
        (tmp_path / name).mkdir()
        machine, run = PacedMachine(tmp_path / name), tmp_path / name / "run"
        machine.slow_once_there_is(run / "retrain" / "winner.safetensors", 1.6)
        flags = ("--retrain-epochs", 12, "--set", "search.finalists=4", "--set", "retrain.references=false")
        return run, _command(machine, run, "--lut", table, "--max-latency", f"{budget_ms}ms", *flags)

    run, command = begun("whole")
    whole = run_cli(*command)
    assert whole.code == 0, whole.err
    assert "measured once more" in whole.err and ", is retrained" in whole.err
    summary = _summary(whole)
    missed = json.loads((run / "missed" / "1" / "next.json").read_text())
    assert summary["budget_kept"] and summary["advice"] is None
    assert missed["missed"]["winner"]["exported"]["measured_ms"] > budget_ms
    assert missed["missed"]["winner"]["architecture"] != summary["architecture"]
    assert {p.name for p in (run / "missed" / "1" / "export").iterdir()} >= {"model.onnx", "measure-again.journal"}

    run, command = begun("killed")
    kill_when(start_cli(*command), lambda: num_lines(run / "export" / "measure-again.journal") >= 5)
    with monkeypatch.context() as patched, pytest.raises(_StoppedError):
        patched.setattr("hwnas.run_folder._move", _interrupted_after(3))
        run_cli(*command)
    assert (run / "export" / "next.json").exists() and not (run / "missed" / "1" / "next.json").exists()
    kill_when(
        start_cli(*command),
        lambda: (run / "missed" / "1" / "next.json").exists() and (run / "retrain" / "winner.safetensors").exists(),
    )
    done = run_cli(*command)
    assert done.code == 0, done.err
    assert _without_times(_summary(done)) == _without_times(summary)


class _StoppedError(Exception):
    """Stands for a process that ends in the middle."""


def _interrupted_after(num: int) -> Callable[[Path, Path], None]:
    """What moves so many files and then has no time for another."""
    left = num

    def move(source: Path, target: Path) -> None:
        nonlocal left
        if left == 0:
            raise _StoppedError
        left -= 1
        _move(source, target)

    return move


def _without_times(summary: dict[str, Any]) -> dict[str, Any]:
    names = ("architecture", "supernet_score", "test_metrics", "predicted_ms", "budget_kept")
    return {name: summary[name] for name in names}


@pytest.mark.slow
def test_a_winner_that_misses_when_nothing_is_left_ends_in_advice(table: Path, tmp_path: Path) -> None:
    budget_ms = 2.1 * LatencyModel(make_space(SPEC), load_table(table)).extreme()[1]
    machine, run = PacedMachine(tmp_path), tmp_path / "run"
    machine.slow_once_there_is(run / "retrain" / "winner.json", 2.0)
    outcome = run_cli(*_command(machine, run, "--lut", table, "--max-latency", f"{budget_ms}ms"))
    assert outcome.code == 1 and "Traceback" not in outcome.err
    last = outcome.err.strip().splitlines()[-1]
    summary = _summary(outcome)
    assert not summary["budget_kept"] and Path(summary["onnx"]).is_file() and Path(run / "report.html").is_file()
    assert last == f"error: {summary['advice']}"
    assert "the nearest network that should keep it takes about" in last and "give --max-latency " in last
    assert float(last.rpartition(" ")[2].removesuffix("ms")) >= summary["measured_ms"]
    page = render_report(Run.from_folder(run, Reporter(is_quiet=True)))
    assert (
        'class="tile large missed"' in page
        and "The winner misses its budget" in page
        and "✗ missed" in page
        and "give --max-latency" in page
    )
    assert run_cli("search", "--out", run, "--resume", "--json").code == 1
