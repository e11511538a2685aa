"""What the benchmarks say of wrong arguments: a line with what is expected, before any work."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from samples import bare_table, synthetic_table

from lut import save_table
from search_spaces import SearchSpace, SpaceSpec, make_space

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TABULAR = ("predictor_ablation", "search_tabular")


def small_space(width: float) -> SearchSpace:
    return make_space(SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=width))


def refused(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *given: object
) -> tuple[object, str]:
    """Return the exit code of a benchmark and what it said."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, given)])
    module, arguments = importlib.import_module(name), importlib.import_module("arguments")
    with pytest.raises(SystemExit) as ended, arguments.errors_in_a_line():
        module.main()
    return ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "given", "words"),
    [
        (TABULAR, ("--data", "absent"), "expected a folder that is there, got 'absent'"),
        (TABULAR, ("--data", "", "--seeds", 3), "expected a folder that is there, got ''"),
        (TABULAR, ("--data", ".", "--seeds", 1), "expected a whole number from 2 to 1000000, got '1'"),
        (TABULAR, ("--data", ".", "--processes", 0), "expected a whole number from 1 to 1024, got '0'"),
        (TABULAR, ("--data", ".", "--most", 3), "expected a whole number from 50"),
        (TABULAR, ("--data", ".", "--batch", "nan"), "expected a whole number from 1"),
        (TABULAR, ("--data", ".", "--tasks", ""), "expected some of macro macs q25, "),
        (TABULAR, ("--data", ".", "--out", "absent/rows.json"), "expected a file in a folder that is there"),
        (("predictor_ablation",), ("--data", ".", "--variants", "none"), "got 'none'"),
        (("search_tabular",), ("--data", ".", "--agents", "nsga2,agent"), "got 'agent'"),
        (("front_tabular",), ("--data", ".", "--tasks", "macro"), "expected some of nb201 pi4 q25 pixel3 q25, "),
        (("front_tabular",), ("--data", ".", "--seeds", 1), "expected a whole number from 2"),
        (("search_tabular",), ("--data", ".", "--fleet", "--tasks", "macro"), "expected no --tasks beside it"),
        (("end_to_end",), ("--data", ".", "--out", "o", "--quantiles", "0.5,2"), "expected a number from 0 to 1"),
        (("end_to_end",), ("--data", ".", "--out", "out", "--evaluations", 0), "expected a whole number from 1"),
        (("end_to_end",), ("--data", ".", "--out", "out"), "cannot read the benchmark nas-bench-macro_cifar10.json"),
        (("end_to_end",), ("--data", ".", "--out", "table.json"), "expected a folder, or a place where one can be"),
        (("end_to_end",), ("--data", ".", "--out", "table.json/out"), "expected a folder, or a place where one can be"),
        (("mixed_precision",), ("--data-root", ".", "--max-drop", "nan"), "expected a number from 0 to 100, got 'nan'"),
        (("mixed_precision",), ("--data-root", ".", "--assignments", -5), "expected a whole number from 0"),
        (("mixed_precision",), ("--data-root", ".", "--device", "toaster"), "unknown device 'toaster'"),
        (("mixed_precision",), ("--data-root", ".", "--weights", "absent"), "weights"),
        (("few_shot",), ("--sources", "absent"), "expected a file for each of two devices or more in absent"),
        (("few_shot",), ("--sources", ".", "--networks", 1), "expected --networks of 2 or more"),
        (("fleet",), ("table.json",), "expected a budget behind the table, such as table.json=60%"),
        (("fleet",), ("absent.json=60%", "table.json=60%"), "absent.json"),
        (("fleet",), ("table.json=60%", "other.json=60%"), "expected tables of one search space"),
        (("fleet",), ("table.json=60%", "--agent", "none"), "invalid choice: 'none'"),
        (("fleet",), ("table.json=0%",), "a share must be above 0 %"),
        (("fleet",), ("table.json=1us", "--seeds", 1), "no feasible architecture found"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_told_of_in_a_line(
    names: tuple[str, ...],
    given: tuple[object, ...],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for file, width in (("table.json", 0.25), ("other.json", 0.5)):
        save_table(synthetic_table(small_space(width), scale_ns=1e8), tmp_path / file)
    for name in names:
        code, said = refused(name, monkeypatch, capsys, *given)
        assert code == 2 and words in said, f"{name}: {said}"


def test_the_benchmark_of_fleets_says_how_good_each_table_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_table(synthetic_table(small_space(0.25), scale_ns=1e8), tmp_path / "table.json")
    save_table(bare_table(small_space(0.25), seed=1), tmp_path / "bare.json")
    short = ("--agent", "random", "--evaluations", "5", "--seeds", "1")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "argv", ["fleet.py", "table.json=60%", "bare.json=60%", *short])
    importlib.import_module("fleet").main()
    said = capsys.readouterr().out
    assert "table.json: latency table: " in said and "held-out networks predicted with" in said
    assert "bare.json: latency table: no certificate" in said
