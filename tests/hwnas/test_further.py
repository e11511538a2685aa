"""Networks of a run besides its winner: retrained on demand, exported by name, compared, and offered where better."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from command_line import Outcome, run_cli
from samples import synthetic_table

import hwnas
from hwnas.artifacts import NetworkSummary, Summary
from hwnas.cli.printing import print_summary
from hwnas.errors import RequestError
from hwnas.pipeline.reporting import further_rows, render_report
from hwnas.pipeline.run import Run
from hwnas.progress import Reporter
from hwnas.run_folder import RunFolder
from hwnas.training.trainer import epochs_of
from lut import save_table
from profilers import Device
from search_spaces import SpaceSpec, make_space

pytestmark = pytest.mark.usefixtures("very_short_runs")

SPEC = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25)
SETTINGS = ("--width", 0.25, "--train-images", 300, "--epochs", 2, "--evaluations", 8, "--retrain-epochs", 2)


@pytest.fixture(scope="module")
def finished(very_short_runs: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with a winner of a further budget."""
    folder = tmp_path_factory.mktemp("runs")
    save_table(synthetic_table(make_space(SPEC), scale_ns=1e8), folder / "t.json")
    given = ("--lut", folder / "t.json", "--max-latency", "90%", "--budgets", "60%", "--out", folder / "run")
    _ok(run_cli("search", *SETTINGS, *given, "--set", "search.finalists=2", "--quiet"))
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def _ok(outcome: Outcome) -> Outcome:
    assert outcome.code == 0, outcome.err
    return outcome


def _printed(architecture: list[int] | tuple[int, ...]) -> str:
    return "-".join(map(str, architecture))


def _summary(run: Path) -> Summary:
    summary = RunFolder(run).read_summary()
    assert summary is not None
    return summary


def _unseen(run: Path) -> str:
    """An architecture that the search did not evaluate."""
    known = {e.architecture for e in RunFolder(run).read_evaluations()}
    known |= {row.architecture for row in _summary(run).networks.values()}
    space = make_space(SPEC)
    return _printed(next(a for c in range(3) for a in [space.canonical((c, 0, 1, 2, 0, 1, 2, c))] if a not in known))


def test_any_architecture_is_trained_as_the_winner_was_and_found_again(run: Path) -> None:
    unseen, winner = _unseen(run), _printed(_summary(run).architecture)
    own = {path: path.read_bytes() for path in run.rglob("*.safetensors")}
    command = ("retrain", run, "--architecture", unseen, "--architecture", winner)
    printed = _ok(run_cli(*command)).out
    assert f"network-{unseen} " in printed and f"network-{winner} = winner" in printed
    files = RunFolder(run)
    assert len(epochs_of(files.retrain.checkpoint(f"network-{unseen}"))) == 2
    # The winner's architecture is there under the winner's name.
    assert {path: path.read_bytes() for path in run.rglob("*.safetensors") if path in own} == own
    assert len([*run.rglob("*.safetensors")]) == len(own) + 1
    again = _ok(run_cli(*command))
    assert again.out == printed and "retrain network" not in again.err
    assert len(onnx.load(files.export.model(f"network-{unseen}")).graph.node) > 3
    assert _ok(run_cli("export", run, "--json")).code == 0


def test_the_networks_of_the_front_and_of_a_budget_are_trained_once_each(run: Path) -> None:
    front = [_printed(row["architecture"]) for row in json.loads(_ok(run_cli("front", run, "--json")).out)]
    budget = ("--budget", "75%")
    printed = _ok(run_cli("retrain", run, "--front", *budget, "--quiet")).out
    assert all(f"network-{architecture}" in printed for architecture in front) and "budget-75pct" in printed
    further = RunFolder(run).search.read_further()
    assert [*further] == [*(f"network-{architecture}" for architecture in front), "budget-75pct"]
    chosen = further["budget-75pct"]
    assert chosen.finalist is not None and chosen.finalist.latency_ms <= chosen.max_ms < _summary(run).max_latency_ms
    architectures = [n.architecture for n in (*_summary(run).networks.values(), *further.values())]
    assert len([*(run / "retrain").glob("*.safetensors")]) == len(set(architectures))


def test_the_report_has_the_networks_that_were_trained_after_the_runs_own(run: Path) -> None:
    unseen, winner = _unseen(run), _printed(_summary(run).architecture)
    command = ("retrain", run, "--architecture", unseen, "--architecture", winner, "--budget", "75%", "--quiet")
    _ok(run_cli(*command))
    page = (run / "report.html").read_text()
    for name in (f"network-{unseen}", f"network-{winner} = winner", "budget-75pct"):
        assert f'<th scope="row" class="text">{name}' in page, name
    rows = further_rows(Run.from_folder(run, Reporter(is_quiet=True)))
    assert [*rows] == [f"network-{unseen}", f"network-{winner}", "budget-75pct"]
    own = _summary(run)
    assert rows[f"network-{winner}"].test_metrics == own.test_metrics and rows[f"network-{winner}"].epoch == own.epoch
    RunFolder(run).retrain.checkpoint(f"network-{unseen}").write_bytes(b"damaged")
    assert f">network-{unseen}</th>" not in render_report(Run.from_folder(run, Reporter(is_quiet=True)))


@pytest.mark.parametrize(("budget", "words"), [("1us", "no architecture under"), ("99%", "the search looked at")])
def test_a_budget_that_cannot_be_kept_is_refused_before_anything_is_trained(budget: str, words: str, run: Path) -> None:
    for name in ("retrain", "export", "report.html", "summary.json"):
        shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink()
    outcome = run_cli("retrain", run, "--budget", budget, "--quiet")
    assert outcome.code == 2 and words in outcome.err, outcome
    assert not (run / "retrain").exists()


def test_a_budget_below_everything_that_was_evaluated_is_refused_before_anything_is_trained(run: Path) -> None:
    """Some network of the space keeps it; none of the history does."""
    files = RunFolder(run)
    slowest = max(files.read_evaluations(), key=lambda e: e.costs["latency_ms"])
    for path in files.search.folder.glob("history*.jsonl"):
        path.unlink()
    files.search.history("winner").write_text(json.dumps(slowest.as_dict()) + "\n")
    shutil.rmtree(run / "retrain")
    outcome = run_cli("retrain", run, "--budget", f"{0.9 * slowest.costs['latency_ms']}ms", "--quiet")
    assert outcome.code == 2 and "none of the 1 networks that the search evaluated keeps" in outcome.err, outcome
    assert not (run / "retrain").exists()


def test_training_that_was_stopped_goes_on(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unseen = _unseen(run)
    command = ("retrain", run, "--architecture", unseen, "--quiet")
    checkpoint = RunFolder(run).retrain.checkpoint(f"network-{unseen}")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("hwnas.callbacks.Callbacks.on_epoch", stop)
        assert run_cli(*command).code == 130
    assert len(epochs_of(checkpoint)) == 1
    _ok(run_cli(*command))
    assert len(epochs_of(checkpoint)) == 2 and RunFolder(run).export.model(f"network-{unseen}").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--architecture", "0-1-x"), "expected an architecture as it is printed, such as 0-1-1-0, got '0-1-x'"),
        (("--architecture", "0-1"), "expected 8 choices, one for each decision"),
        (("--architecture", "9-0-0-0-0-0-0-0"), "nasbench-macro"),
        (("--budget", "soon"), "expected a duration"),
        (("--budget", "1us"), "no architecture under"),
        (("--budget", "99%"), "the search looked at networks of at most"),
    ],
)
def test_networks_that_cannot_be_are_refused(flags: tuple[str, ...], words: str, run: Path) -> None:
    outcome = run_cli("retrain", run, *flags, "--quiet")
    assert outcome.code == 2 and words in outcome.err and len(outcome.err.splitlines()) == 1, outcome
    assert not RunFolder(run).search.further.exists()


def test_a_damaged_record_is_named(run: Path) -> None:
    unseen = _unseen(run)
    _ok(run_cli("retrain", run, "--architecture", unseen, "--quiet"))
    path = RunFolder(run).search.further
    record = json.loads(path.read_text())
    (network,) = record["networks"].values()
    for networks in ({"../x": network}, {"network-0": network | {"architecture": [9]}}, {"network-0": 1}):
        path.write_text(json.dumps(record | {"networks": networks}))
        outcome = run_cli("retrain", run, "--architecture", unseen, "--quiet")
        assert outcome.code == 1 and f"{path} is damaged" in outcome.err, outcome


@pytest.mark.slow
@pytest.mark.usefixtures("no_tvm")
def test_every_retrained_network_becomes_a_bundle_with_its_own_proof(run: Path, tmp_path: Path) -> None:
    _ok(run_cli("retrain", run, "--budget", "75%", "--quiet"))
    further = RunFolder(run).search.read_further()["budget-75pct"]
    summary = _summary(run)
    for name, more in (("winner-60pct", ()), ("largest", ("--no-int8",)), ("budget-75pct", ("--no-int8",))):
        target = tmp_path / name
        _ok(run_cli("export", run, "--network", name, "-o", target, "--quiet", *more))
        deployment = json.loads((target / "deployment.json").read_text())
        row = summary.networks.get(name)
        assert deployment["architecture"] == list(further.architecture if row is None else row.architecture)
        assert deployment["network"] == name
        assert deployment["max_latency_ms"] == (further.max_ms if row is None else row.max_latency_ms)
        assert deployment["parity_with_torch"]["equal_predictions"] == 1.0
        assert {"model.onnx", "model.dynamic.onnx"} <= deployment["models"].keys()
        assert ("model.int8.onnx" in deployment["models"]) == (not more)
        assert deployment["models"]["model.onnx"]["measured_ms"] > 0
        if row is not None:
            assert deployment["models"]["model.onnx"]["test_metrics"]["accuracy"] == pytest.approx(row.test_accuracy)
            assert (target / "model.onnx").read_bytes() == RunFolder(run).export.model(name).read_bytes()
        copy = RunFolder(run).export.deployment(name)
        assert copy.read_text() == (target / "deployment.json").read_text()
    page = (run / "report.html").read_text()
    assert all(f"Bundle of {name}<" in page for name in ("winner-60pct", "largest", "budget-75pct"))
    assert _summary(run) == summary
    plain, named = tmp_path / "plain", tmp_path / "named"
    _ok(run_cli("export", run, "-o", plain, "--no-int8", "--quiet"))
    _ok(run_cli("export", run, "--network", "winner", "-o", named, "--no-int8", "--quiet"))
    assert "network" not in json.loads((plain / "deployment.json").read_text())
    assert [d.network for d in RunFolder(run).export.read_deployments()] == [
        None,
        "budget-75pct",
        "largest",
        "winner-60pct",
    ]
    assert (plain / "model.onnx").read_bytes() == (named / "model.onnx").read_bytes()


def test_unknown_networks_list_those_that_are_there(run: Path, tmp_path: Path) -> None:
    known = "there are: winner, winner-60pct, largest, random"
    for command in (("export", run, "--network", "x", "-o", tmp_path / "b"), ("compare", f"{run}:x")):
        outcome = run_cli(*command, "--quiet")
        assert outcome.code == 2 and "got 'x'" in outcome.err and known in outcome.err, outcome
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("has_searched", [True, False])
def test_a_bundle_that_cannot_be_is_refused_before_an_unfinished_run_goes_on(
    has_searched: bool, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, target = RunFolder(run), tmp_path / "b"
    for path in (files.report, *(() if has_searched else (files.search.outcome,))):
        path.unlink()
    monkeypatch.setattr("hwnas.pipeline.order._work_through", lambda *_: pytest.fail("worked on"))
    (tmp_path / "file").write_text("")
    expected = "there will be: winner, winner-60pct, largest, random"
    for flags, words in (
        (("--network", "nosuch", "-o", target), f"got 'nosuch'; {expected}"),
        (("-o", tmp_path / "file" / "deeper" / "b"), f"cannot write to {tmp_path / 'file'}: "),
    ):
        outcome = run_cli("export", run, *flags, "--quiet")
        assert outcome.code == 2 and words in outcome.err, outcome
    with pytest.raises(RequestError, match=expected):
        hwnas.open_run(run).export(target, network="nosuch")
    monkeypatch.setattr(Device, "is_measurable", False)
    outcome = run_cli("export", run, "--mixed", "-o", target, "--quiet")
    assert outcome.code == 2 and "mixed precision is chosen by measured latencies, and cpu gives none" in outcome.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "run"]


def test_runs_stand_for_their_winners_beside_files(run: Path, tmp_path: Path) -> None:
    _ok(run_cli("retrain", run, "--architecture", _unseen(run), "--quiet"))
    other = shutil.copy(run / "export" / "random.onnx", tmp_path / "other.onnx")
    names = (run, f"{run}:largest", f"{run}:network-{_unseen(run)}", other)
    rows = json.loads(_ok(run_cli("compare", *names, "--rounds", 2, "--json", "--quiet")).out)
    models = ("model.onnx", "largest.onnx", f"network-{_unseen(run)}.onnx")
    assert [row["model"] for row in rows] == [*(str(run / "export" / name) for name in models), str(other)]
    twice = _ok(run_cli("compare", run, f"{run}:winner", other, "--rounds", 2, "--json", "--quiet"))
    assert twice.err == f"warning: {run}:winner is the same file as {run}, {rows[0]['model']}: it is left out\n"
    assert [row["model"] for row in json.loads(twice.out)] == [rows[0]["model"], str(other)]
    (run / "summary.json").unlink()
    unfinished = run_cli("compare", run, "--quiet")
    assert unfinished.code == 2 and "has no model of winner yet; finish the run with hwnas export" in unfinished.err


def _with_references(summary: Summary, **references: NetworkSummary) -> Summary:
    return replace(summary, references=references)


def test_a_reference_that_is_a_better_choice_is_offered(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = replace(_summary(run), test_accuracy=0.5, budget_kept=True)
    row = summary.references["largest"]
    better = replace(row, test_accuracy=0.7, budget_kept=True)
    for one, is_offered in (
        (better, True),
        (replace(better, test_accuracy=0.5), False),
        (replace(better, budget_kept=False), False),
        (replace(better, budget_kept=None), False),
    ):
        changed = _with_references(summary, largest=one, random=replace(row, test_accuracy=0.6, budget_kept=True))
        if not is_offered:
            changed = _with_references(summary, largest=one)
        offer = changed.offer("runs/a")
        RunFolder(run).write_summary(changed)
        written = json.loads((run / "summary.json").read_text())
        page = render_report(Run.from_folder(run, Reporter(is_quiet=True)))
        print_summary(changed, run / "model.onnx", offer=offer)
        last = capsys.readouterr().out.splitlines()[-1]
        if is_offered:
            assert offer == last and "largest is more accurate than the winner (70.00% against 50.00%)" in last
            assert "hwnas export runs/a --network largest -o DIR ships it" in last
            assert written["better_reference"] == "largest" and f"hwnas export {run} --network" in written["offer"]
            assert "hwnas export RUN --network largest -o DIR ships it" in page
        else:
            assert offer is None and not {"offer", "better_reference"} & written.keys()
            assert "more accurate" not in page and "more accurate" not in last
        assert _summary(run) == changed


def test_a_reference_that_is_the_winners_architecture_is_said_to_be_it(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = _summary(run)
    same = replace(summary.references["random"], architecture=summary.architecture)
    changed = _with_references(summary, largest=summary.references["largest"], random=same)
    RunFolder(run).write_summary(changed)
    print_summary(changed, run / "model.onnx")
    assert "random = winner" in capsys.readouterr().out.replace("\n", " ")
    assert "random = winner" in render_report(Run.from_folder(run, Reporter(is_quiet=True)))


def test_a_network_that_was_exported_under_another_name_keeps_its_latency(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    winner = "-".join(map(str, summary["architecture"]))
    out = _ok(run_cli("retrain", run, "--architecture", winner, "--quiet")).out
    assert f"network-{winner} = winner" in out and f"{summary['measured_ms']:.4g}" in out


def test_a_further_network_without_a_model_says_how_it_gets_one(run: Path) -> None:
    name = f"network-{_unseen(run)}"
    _ok(run_cli("retrain", run, "--architecture", _unseen(run), "--quiet"))
    (run / "export" / f"{name}.onnx").unlink()
    outcome = run_cli("compare", f"{run}:{name}", run, "--quiet")
    assert outcome.code == 2 and f"hwnas retrain {run}" in outcome.err
    _ok(run_cli("retrain", run, "--architecture", _unseen(run), "--quiet"))
    assert (run / "export" / f"{name}.onnx").is_file()


RECORDS = (
    "inputs.json",
    "speed.json",
    "summary.json",
    "times.json",
    "search/result.json",
    "search/further.json",
    "export/result.json",
    "export/next.json",
    "export/deployment-largest.json",
    "export/predictions.json",
    "missed/1/next.json",
)


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_of_a_later_version_is_neither_overwritten_nor_ignored(name: str, run: Path, tmp_path: Path) -> None:
    path = run / name
    content = json.loads(path.read_text()) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(later := json.dumps({**content, "version": 99}))
    (run / "report.html").unlink()  # a run that is not finished writes its summary
    commands = [("export", run), ("export", run, "-o", tmp_path / "b"), ("emit", run, "60%"), ("report", run)]
    commands += [("retrain", run, "--front"), ("search", "--resume", "--out", run)]
    commands += [] if name == "inputs.json" else [("compare", run)]  # which reads models and their names alone
    for command in commands:
        outcome = run_cli(*command, *(() if command[0] in ("emit", "report") else ("--quiet",)))
        assert outcome.code == 1 and outcome.out == "", outcome
        assert f"{path} was written by a later version of hwnas (version 99, this one reads 1): use " in outcome.err
    assert path.read_text() == later and not (run / "report.html").exists()


def test_a_table_of_a_later_version_is_neither_made_again_nor_left_out_of_the_report(run: Path) -> None:
    path = run / "lut.json"
    path.write_text(later := path.read_text().replace('"version":2', '"version":99', 1))
    lines = [line for line in (run / "config.yaml").read_text().splitlines() if not line.startswith("lut:")]
    (run / "config.yaml").write_text("\n".join(lines) + "\n")  # as if the run had made it for itself
    words = "later version of hwnas (schema version 99, this one reads 2)"
    for command in (("report", run), ("emit", run, "60%")):
        outcome = run_cli(*command)
        assert outcome.code == 2 and words in outcome.err, outcome
    (run / "config.yaml").rename(run.parent / "own.yaml")  # as if it had not begun either
    (run / "report.html").unlink()
    outcome = run_cli("search", run.parent / "own.yaml", "--out", run, "--quiet")
    assert outcome.code == 2 and words in outcome.err, outcome
    assert path.read_text() == later


def test_a_network_that_was_measured_for_a_budget_keeps_its_latency(run: Path) -> None:
    _ok(run_cli("retrain", run, "--budget", "75%", "--quiet"))
    further = RunFolder(run).search.read_further()["budget-75pct"]
    assert further.finalist is not None
    name = f"network-{_printed(further.architecture)}"
    # Not the winner's or a reference's: those have latencies of their own as exported.
    exported = json.loads((run / "export" / "result.json").read_text())
    exported["networks"] = {
        n: row for n, row in exported["networks"].items() if tuple(row["architecture"]) != further.architecture
    }
    (run / "export" / "result.json").write_text(json.dumps(exported))
    printed = _ok(run_cli("retrain", run, "--architecture", name.removeprefix("network-"), "--quiet")).out
    assert "1 network of" in printed and "budget ms" in printed and "kept" in printed and "by prediction" not in printed
    row = further_rows(Run.from_folder(run, Reporter(is_quiet=True)))[name]
    assert row.measured_ms == further.finalist.latency_ms and row.budget_kept is True
