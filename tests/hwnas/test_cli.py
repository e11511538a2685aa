"""The command line: results on standard output, mistakes in one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import Outcome, run_cli
from samples import synthetic_table

from hwnas.cli import exit_codes
from hwnas.config_file import load_config
from hwnas.pipeline.run import Run
from hwnas.progress import Reporter
from hwnas.training.trained_weights import trained_weights
from lut import LatencyModel, load_table, save_table
from search_spaces import SPACES, SpaceSpec, make_space

pytestmark = pytest.mark.usefixtures("very_short_runs")

DIGITS = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25)
FAST = ("--width", 0.25, "--epochs", 1, "--evaluations", 4, "--retrain-epochs", 1, "--train-images", 128)
ALONE = ("--set", "retrain.references=false")
NOTHING_TRAINED = ("train", "--width", 0.25, "--train-images", 128, "--evaluator", "zen", "--quiet")
"""Checks the request and the table, and keeps the settings."""


@pytest.fixture(scope="module")
def given_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table for digits on which every real network keeps any budget: a thousand times too slow."""
    path = tmp_path_factory.mktemp("given") / "table.json"
    save_table(synthetic_table(make_space(DIGITS), scale_ns=1e8), path)
    return path


@pytest.fixture
def table(given_table: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copy(given_table, tmp_path / "table.json"))


@pytest.fixture(scope="module")
def budget(given_table: Path) -> str:
    model = LatencyModel(make_space(DIGITS), load_table(given_table))
    return f"{0.5 * (model.extreme()[1] + model.extreme(slowest=True)[1])}ms"


def assert_refused(outcome: Outcome, *words: str, code: int = 2) -> None:
    assert outcome.code == code, outcome
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
    for word in words:
        assert word in outcome.err, outcome.err


@pytest.fixture(scope="module")
def whole(very_short_runs: None, given_table: Path, budget: str) -> tuple[Path, dict[str, Any]]:
    """A finished run, and what the search printed."""
    out = given_table.parent / "run"
    outcome = run_cli("search", *FAST, "--lut", given_table, "--max-latency", budget, "--out", out, "--json")
    assert outcome.code == 0, outcome.err
    return out, json.loads(outcome.out)


def test_whole_run_ends_in_a_verified_model(whole: tuple[Path, dict[str, Any]], given_table: Path, budget: str) -> None:
    out, summary = whole
    for name in ("architecture", "params", "macs", "supernet_score", "test_accuracy", "predicted_ms"):
        assert name in summary
    assert summary["measured_ms"] > 0 and summary["budget_kept"] is True
    assert summary["predicted_ms"] <= summary["max_latency_ms"]
    assert Path(summary["onnx"]).exists() and Path(summary["onnx_dynamic_batch"]).exists()
    assert summary["parity"]["equal_predictions"] == 1.0 and summary["parity"]["num_images"] == 360
    assert set(summary["references"]) == {"largest", "random"}
    assert summary["references"]["largest"]["macs"] >= summary["macs"]
    assert all(r["predicted_ms"] <= summary["max_latency_ms"] for r in summary["references"].values())
    assert json.loads((out / "summary.json").read_text()) == summary
    again = run_cli("search", "--out", out, "--resume", "--json")
    assert json.loads(again.out) == summary
    shown = run_cli("export", out)
    assert "winner" in shown.out and "100.00% equal predictions" in shown.out
    changed = run_cli("search", *FAST, "--lut", given_table, "--max-latency", budget, "--out", out, "--seed", 5)
    assert_refused(changed, "other settings (seed)")


def test_stages_one_by_one_give_what_search_gives(
    whole: tuple[Path, dict[str, Any]], table: Path, budget: str, tmp_path: Path
) -> None:
    common = (*FAST, "--lut", table, "--max-latency", budget, "--quiet")
    parts = tmp_path / "parts"
    assert run_cli("train", *common, "--out", parts).code == 0
    assert (parts / "supernet" / "checkpoint.safetensors").exists() and not (parts / "search").exists()
    assert run_cli("retrain", parts, "--quiet").code == 0
    assert (parts / "retrain" / "winner.json").exists() and not (parts / "export").exists()
    summary = json.loads(run_cli("export", parts, "--json", "--quiet").out)
    for name in ("architecture", "supernet_score", "test_accuracy", "predicted_ms", "parity"):
        assert summary[name] == whole[1][name], name


@pytest.mark.slow
def test_inherited_weights_start_better_than_fresh_ones(table: Path, budget: str, tmp_path: Path) -> None:
    effort = ("--epochs", 20, "--evaluations", 4, "--retrain-epochs", 1, "--set", "retrain.references=false")
    common = (*FAST[:2], *effort, "--train-images", 400, "--lut", table, "--quiet")
    accuracies = []
    for flag in ("--no-inherit", "--inherit"):
        out = tmp_path / flag
        outcome = run_cli("search", *common, "--max-latency", budget, "--out", out, "--json", flag)
        accuracies.append(json.loads(outcome.out)["test_accuracy"])
    assert accuracies[1] > accuracies[0]


def test_distillation_changes_what_is_learnt_and_continues(table: Path, budget: str, tmp_path: Path) -> None:
    found = []
    for weight in (0, 1):
        (tmp_path / "c.yaml").write_text(f"retrain: {{distillation: {weight}, epochs: 2, references: false}}")
        out = tmp_path / str(weight)
        flags = (*FAST[:4], "--train-images", 128, "--evaluations", 4, "--lut", table, "--max-latency", budget)
        assert run_cli("train", tmp_path / "c.yaml", *flags, "--out", out, "--quiet").code == 0
        assert run_cli("retrain", out, "--quiet").code == 0
        found.append(trained_weights(out / "retrain" / "winner.safetensors"))
    assert found[0].keys() == found[1].keys() and any(not torch.equal(found[0][n], found[1][n]) for n in found[0])
    outcome = run_cli("export", out, "--json", "--quiet")
    assert outcome.code == 0 and run_cli("export", out, "--json").out == outcome.out


def test_profile_then_show(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    common = ("profile", "--space", "nasbench-macro", "--input-size", 8, "--width", 0.25, "--networks", 0, "-o", path)
    outcome = run_cli(*common, "--rounds", 3)
    assert outcome.code == 0 and "17 distinct blocks for 24 layer choices and 0 whole networks" in outcome.err
    assert "17 blocks of nasbench-macro at 3x8x8, 10 classes, width 0.25, 0 failed" in outcome.out
    before = path.read_bytes()
    assert "is complete; --fresh measures it again" in run_cli(*common, "--rounds", 3).err
    assert path.read_bytes() == before
    assert run_cli(*common, "--rounds", 4, "--fresh").code == 0
    shown = json.loads(run_cli("lut", "show", path, "--json").out)
    assert shown["rounds"] == 4 and shown["num_entries"] == 17 == len(shown["entries"])
    assert "slowest 2 blocks" in run_cli("lut", "show", path, "--slowest", 2).out
    assert_refused(run_cli(*common, "--batch", 2), "was measured on cpu with other settings (batch)")
    assert_refused(run_cli(*common, "--precision", "int8"), "holds fp32 latencies, not int8")


def test_listings_name_everything() -> None:
    spaces = json.loads(run_cli("spaces", "--json").out)
    assert [row["name"] for row in spaces] == sorted(SPACES)
    assert "nasbench-macro" in run_cli("spaces").out
    devices = {d["name"]: d for d in json.loads(run_cli("devices", "--json").out)}
    assert devices["cpu"]["installed_runtime"] == version("onnxruntime")
    shown = run_cli("devices").out
    assert "cpu-2threads" in shown and "runtimes on this machine" in shown
    is_installed = devices["cpu-openvino"]["installed_runtime"] is not None
    assert is_installed == ("pip install 'hwnas[openvino]'" not in shown)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--space", "fbnet"], ["unknown search space 'fbnet'", "fbnet-s"]),
        (["--device", "toaster"], ["unknown device 'toaster'", "cpu"]),
        (["--data", "imagenet"], ["unknown data set 'imagenet'", "digits"]),
        (["--data", "cifar10", "--data-root", "/nowhere"], ["no cifar10 in /nowhere", "--data-root"]),
        (["--strategy", "magic"], ["unknown training strategy 'magic'", "uniform"]),
        (["--agent", "007"], ["unknown search agent '007'", "evolution"]),
        (["--max-latency", "soon"], ["expected a duration such as 20ms"]),
        (["--set", "supernet.batch_size=0"], ["supernet.batch_size", "greater than or equal to 1"]),
        (["--set", "space.input_size=2"], ["space.input_size", "got 2"]),
        (["--lut", "/nowhere.json"], ["cannot read the latency table /nowhere.json"]),
        (["--devices", "/nowhere.yaml"], ["cannot read /nowhere.yaml"]),
        (["no.yaml"], ["cannot read no.yaml"]),
    ],
)
def test_wrong_requests_end_in_one_line(
    arguments: list[str], words: list[str], table: Path, budget: str, tmp_path: Path
) -> None:
    base = [*FAST, "--max-latency", budget, "--out", tmp_path / "run", "--quiet"]
    lut = [] if "--lut" in arguments else ["--lut", table]
    outcome = run_cli("search", *lut, *base, *arguments)
    assert_refused(outcome, *words)
    assert len(outcome.err.strip().splitlines()) == 1


def test_no_budget_is_refused() -> None:
    assert_refused(run_cli("search"), "no latency budget", "--max-latency 20ms")


def test_budgets_out_of_reach_name_the_reachable(table: Path, tmp_path: Path) -> None:
    base = (*FAST, "--lut", table, "--out", tmp_path / "run")
    assert_refused(run_cli("search", *base, "--max-latency", "1us"), "no architecture under 0.001 ms; the fastest")
    loud = NOTHING_TRAINED[:-1]
    slow = run_cli(*loud, "--lut", table, "--out", tmp_path / "other", "--max-latency", "9999s")
    assert slow.code == 0 and "rules nothing out: the slowest network" in slow.err and "the fastest" in slow.err


def test_a_hopeless_budget_is_refused_before_anything_is_profiled(tmp_path: Path) -> None:
    command = ("search", *FAST, "--out", tmp_path / "run", "--quiet")
    hopeless = run_cli(*command, "--max-latency", "50%", "--budgets", "0.1us")
    assert_refused(hopeless, "no architecture under 0.0001 ms: the network of fewest", "such as 60%")
    assert_refused(run_cli(*command, "--max-latency", "2"), "got '2': did you mean 2ms?")
    assert not (tmp_path / "run" / "lut.json").exists()


def test_a_refused_request_does_not_claim_the_folder(tmp_path: Path) -> None:
    space = ("--space", "nasbench-macro", "--input-size", 8, "--channels", 1, "--width", 0.25)
    assert run_cli("profile", *space, "--networks", 0, "--rounds", 2, "-o", tmp_path / "run" / "lut.json").code == 0
    base = (*NOTHING_TRAINED, "--out", tmp_path / "run", "--accept-table")
    assert_refused(run_cli(*base, "--max-latency", "0.1us"), "no architecture under")
    assert_refused(run_cli(*base, "--max-latency", "50%", "--agent", "007"), "unknown search agent")
    before = (tmp_path / "run" / "lut.json").read_bytes()
    assert run_cli(*base, "--max-latency", "50%").code == 0
    assert (tmp_path / "run" / "lut.json").read_bytes() == before
    assert_refused(run_cli(*base, "--max-latency", "60%"), "other settings (max_latency)")


def test_table_of_another_space_or_size_or_device_is_refused(table: Path, budget: str, tmp_path: Path) -> None:
    base = ("search", *FAST, "--lut", table, "--max-latency", budget, "--out")
    assert_refused(run_cli(*base, tmp_path / "a", "--space", "fbnet-s"), "this search is for fbnet-s", "hwnas profile")
    assert_refused(run_cli(*base, tmp_path / "b", "--input-size", 16), "at 1x8x8", "at 1x16x16")
    assert_refused(run_cli(*base, tmp_path / "c", "--device", "cpu-2threads"), "was measured on 'cpu'")


def test_networks_are_measured_with_the_settings_of_the_table(table: Path, budget: str) -> None:
    good = load_table(table)
    settings = {**good.provenance.device, "threads": 2, "batch": 3}
    save_table(replace(good, provenance=replace(good.provenance, device=settings)), table)
    run = Run(load_config(None, {"max_latency": budget, "lut": table}), Reporter(is_quiet=True))
    assert (run.device.name, run.device.threads, run.device.batch) == ("cpu", 2, 3)


def test_table_cut_in_half_is_refused(table: Path, budget: str, tmp_path: Path) -> None:
    table.write_bytes(table.read_bytes()[: table.stat().st_size // 2])
    outcome = run_cli("search", *FAST, "--lut", table, "--max-latency", budget, "--out", tmp_path / "run")
    assert_refused(outcome, "is damaged or no latency table")
    assert_refused(run_cli("lut", "show", table), "is damaged or no latency table")


def test_unknown_key_suggests_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("{max_latency: 1ms, search: {evalutions: 3}}")
    assert_refused(run_cli("search", tmp_path / "c.yaml"), "unknown key 'search.evalutions'", "'evaluations'")


def test_unwritable_output_is_refused(table: Path, budget: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "run"
    refused = run_cli("search", *FAST, "--lut", table, "--max-latency", budget, "--out", out)
    assert_refused(refused, "cannot write to", "give another --out")
    assert_refused(run_cli("profile", "--space", "nasbench-macro", "-o", out / "t.json"), "cannot write to")


def test_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    assert_refused(run_cli("export", tmp_path), "no run in", "hwnas search")
    assert_refused(run_cli("search", "--resume", "--out", tmp_path), "no run in")
    assert_refused(run_cli("search", "--resume"), "--resume needs the run's folder")


def test_every_error_of_ours_has_an_exit_code() -> None:
    import hwnas.errors
    import lut.errors
    import profilers.errors
    import safe_files.errors
    import search_spaces.errors

    for module in (hwnas.errors, lut.errors, profilers.errors, safe_files.errors, search_spaces.errors):
        kinds = [k for k in vars(module).values() if isinstance(k, type) and issubclass(k, Exception)]
        assert kinds
        for kind in kinds:
            assert exit_codes.verdict(kind("x")) == (2 if issubclass(kind, ValueError) else 1, "x"), kind
    assert exit_codes.verdict(KeyError("a mistake of ours")) is None


@pytest.mark.parametrize(("command", "light"), [((), ()), (("search",), ("pydantic", "yaml"))])
def test_help_imports_nothing_heavy(command: tuple[str, ...], light: tuple[str, ...]) -> None:
    heavy = {"torch", "numpy", "onnx", "onnxruntime", "sklearn", "scipy", "pydantic", "yaml"} - {*light}
    code = (
        f"import sys; sys.argv = ['hwnas', *{command}, '--help']\n"
        "from hwnas.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        f"heavy = {heavy} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    assert "search" in done.stdout


def test_untrustworthy_tables_are_refused_unless_accepted(table: Path, budget: str, tmp_path: Path) -> None:
    good = load_table(table)
    emulated = replace(good, provenance=replace(good.provenance, is_emulated=True))
    poor = replace(good, certificate=replace(good.certificate, within_5pct=0.4, within_10pct=0.4))
    command = (*NOTHING_TRAINED, "--lut", table, "--max-latency", budget, "--out")
    for number, (spoilt, words) in enumerate(
        [
            (replace(good, certificate=None), "has no certificate"),
            (emulated, "made under an emulator"),
            (poor, "predicts 40% of held-out networks within 10 %, expected at least 80%"),
        ]
    ):
        save_table(spoilt, table)
        assert_refused(run_cli(*command, tmp_path / f"r{number}"), words, "--accept-table")
        assert run_cli(*command, tmp_path / f"a{number}", "--accept-table").code == 0


def test_table_of_another_precision_is_refused(table: Path, budget: str, tmp_path: Path) -> None:
    command = ("train", *FAST, "--lut", table, "--max-latency", budget, "--out", tmp_path / "run")
    assert_refused(run_cli(*command, "--precision", "int8"), "holds fp32 latencies, but --precision is int8")
    assert_refused(run_cli("profile", "-o", tmp_path / "t.json", "--precision", "int4"), "there are: fp32, int8")


def test_dry_run_measures_nothing(tmp_path: Path) -> None:
    outcome = run_cli("profile", "--space", "fbnet-s", "-o", tmp_path / "t.json", "--dry-run")
    assert "104 distinct blocks for 198 layer choices and 56 whole networks" in outcome.out
    assert " on cpu, fp32: " in outcome.out
    assert not list(tmp_path.iterdir())


def test_a_dry_run_says_how_many_threads(tmp_path: Path) -> None:
    outcome = run_cli("profile", "-o", tmp_path / "t.json", "--threads", "2", "--networks", "0", "--dry-run")
    assert " on cpu with 2 threads, fp32: " in outcome.out


def test_further_budgets_have_winners_of_their_own_and_references_may_be_left_out(table: Path, tmp_path: Path) -> None:
    model = LatencyModel(make_space(DIGITS), load_table(table))
    fastest, slowest = model.extreme()[1], model.extreme(slowest=True)[1]
    small, large = (f"{fastest + share * (slowest - fastest):.6g}ms" for share in (0.3, 0.6))
    out = tmp_path / "run"
    flags = ("--lut", table, "--max-latency", large, "--budgets", f"{small},80%", "--confidence", 0.9, "--out", out)
    outcome = run_cli("search", *FAST, *ALONE, *flags, "--json", "--quiet")
    assert outcome.code == 0, outcome.err
    summary = json.loads(outcome.out)
    assert summary["references"] == {}
    assert not {"largest", "random"} & {path.stem for path in (out / "retrain").iterdir()}
    assert set(summary["winners"]) == {f"winner-{small}", "winner-80pct"}
    for row in (summary, *summary["winners"].values()):
        assert row["predicted_ms"] < 0.99 * row["max_latency_ms"]  # 1.28 deviations of 1 %
        assert Path(row["onnx"]).is_file() and row["budget_kept"]
    accuracies = [row["supernet_score"] for row in (summary["winners"][f"winner-{small}"], summary)]
    assert accuracies[0] <= accuracies[1] <= summary["winners"]["winner-80pct"]["supernet_score"]
    result = json.loads((out / "search" / "result.json").read_text())
    assert result["finalists"][0]["probability_within_budget"] > 0.89
    assert result["num_evaluations"] <= 12
    front = json.loads(run_cli("front", out, "--json", "--plot", tmp_path / "f.png").out)
    assert front == result["front"] and (tmp_path / "f.png").stat().st_size > 5000
    assert "networks on the front" in run_cli("front", out).out
    assert_refused(run_cli("front", tmp_path), "no run in")
    (emitted,) = json.loads(run_cli("emit", out, f"{1.03 * front[0]['costs']['latency_ms']}ms", "--json").out)
    assert emitted["predicted_ms"] <= emitted["budget_ms"]
    assert_refused(run_cli("emit", out, "99%"), "the search looked at networks of at most")


def test_a_cache_that_cannot_be_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    flags = ("--space", "nasbench-macro", "--input-size", 8, "--width", 0.25, "--networks", 0, "--rounds", 2)
    outcome = run_cli("profile", *flags, "-o", tmp_path / "t.json")
    assert outcome.code == 1
    assert "expected a folder for exported blocks" in outcome.err and "XDG_CACHE_HOME" in outcome.err


@pytest.mark.parametrize("output", ["", ".", "/"])
def test_what_is_no_name_of_a_file_is_refused(output: str, table: Path, tmp_path: Path) -> None:
    profile = ("profile", "--space", "nasbench-macro", "--input-size", 8, "--networks", 0, "-o", output)
    for command in (profile, ("lut", "refit", table, "-o", output), ("lut", "plot", table, "-o", output)):
        assert_refused(run_cli(*command), "expected the name of a file")


def test_closed_outputs_end_no_command(tmp_path: Path) -> None:
    script = "import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, '-m', 'hwnas', *sys.argv[1:]])"
    for command in (("devices",), ("devices", "--json")):
        done = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
