"""`kill -9` in every stage, then the same command again: the result is that of an undisturbed run."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

from command_line import kill_when, num_lines, run_cli, start_cli
from samples import history_without_times, synthetic_table

from lut import LatencyModel, load_table, save_table
from search_spaces import SpaceSpec, make_space

SPEC = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25)
SETTINGS = ("--width", 0.25, "--epochs", 25, "--evaluations", 40, "--retrain-epochs", 25, "--train-images", 256)


def test_search_killed_in_every_stage_ends_as_undisturbed(tmp_path: Path) -> None:
    table = tmp_path / "table.json"
    save_table(synthetic_table(make_space(SPEC), scale_ns=1e8), table)
    model = LatencyModel(make_space(SPEC), load_table(table))
    budget = f"{0.5 * (model.extreme()[1] + model.extreme(slowest=True)[1])}ms"
    command = ("search", *SETTINGS, "--lut", table, "--max-latency", budget, "--json", "--quiet", "--out")

    whole = run_cli(*command, tmp_path / "whole")
    assert whole.code == 0, whole.err
    run = tmp_path / "killed"
    moments: tuple[Callable[[], bool], ...] = (
        (run / "supernet" / "checkpoint.safetensors").exists,
        lambda: num_lines(run / "search" / "history.jsonl") >= 13,
        lambda: num_lines(run / "search" / "finalists" / "0.journal") >= 5,
        (run / "retrain" / "winner.safetensors").exists,
        (run / "retrain" / "largest.safetensors").exists,
        lambda: num_lines(run / "export" / "measure.journal") >= 5,
    )
    for moment in moments:
        kill_when(start_cli(*command, run), moment)
    done = run_cli(*command, run)
    assert done.code == 0, done.err

    expected, found = (_deterministic(json.loads(o.out)) for o in (whole, done))
    assert found == expected
    history = history_without_times(tmp_path / "whole" / "search" / "history.jsonl")
    assert history_without_times(run / "search" / "history.jsonl") == history
    for name in ("winner", "largest", "random"):
        assert (run / "export" / f"{name}.onnx").exists() == (name != "winner")
    assert (run / "export" / "model.onnx").read_bytes() == (tmp_path / "whole" / "export" / "model.onnx").read_bytes()


def _deterministic(summary: dict[str, object]) -> dict[str, object]:
    """A summary without what was measured and where it was saved."""
    rows = {"winner": summary, **summary["references"]}  # type: ignore[dict-item]
    names = ("architecture", "params", "macs", "supernet_score", "test_accuracy", "predicted_ms")
    return {row: {name: fields[name] for name in names} for row, fields in rows.items()} | {"parity": summary["parity"]}


def test_profile_killed_twice_ends_with_the_same_blocks_and_rounds(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    command = (
        "profile",
        "--space",
        "fbnet-s",
        "--input-size",
        32,
        "--rounds",
        40,
        "--networks",
        0,
        "-o",
        path,
        "--quiet",
    )
    journal = tmp_path / "t.json.journal"
    kill_when(start_cli(*command), lambda: num_lines(journal) >= 4)
    kill_when(start_cli(*command), lambda: num_lines(journal) >= 12)
    assert not path.exists()
    run_cli(*command)  # whether it is usable depends on what else runs here
    table = load_table(path)
    assert len(table.entries) == 104 and not table.failures
    assert all(m.num_samples == 40 for m in table.entries)
    assert not journal.exists()


def test_ctrl_c_says_so_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    command = ("profile", "--space", "nasbench-macro", "--networks", 0, "--rounds", 60, "-o", path, "--quiet")
    journal = tmp_path / "t.json.journal"
    process = start_cli(*command)
    kill_when(process, lambda: num_lines(journal) >= 4, number=signal.SIGINT)
    assert process.returncode == 130
    rounds_before = num_lines(journal)
    assert rounds_before >= 4 and not path.exists()
    run_cli(*command)
    assert all(m.num_samples == 60 for m in load_table(path).entries)
