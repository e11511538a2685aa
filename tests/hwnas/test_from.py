"""A trained supernet serves again: runs that begin with another's supernet, table and inputs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from command_line import Outcome, num_lines, run_cli
from samples import history_of, synthetic_table

from hwnas.config_file import load_config
from hwnas.pipeline.origin import without_own_table
from hwnas.pipeline.run import Run
from hwnas.progress import Reporter
from hwnas.run_folder import RunFolder
from lut import load_table, save_table
from search_spaces import SpaceSpec, make_space

pytestmark = pytest.mark.usefixtures("very_short_runs")

SPEC = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25)
SETTINGS = ("--width", 0.25, "--train-images", 256, "--epochs", 2, "--evaluations", 6, "--retrain-epochs", 1)
QUICK = ("--set", "search.finalists=2", "--set", "retrain.references=false", "--quiet")
OTHER = ("--max-latency", "70%", "--evaluations", 8, "--seed", 5, "--quiet")


@pytest.fixture(scope="module")
def folder(very_short_runs: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, and another that began with its supernet."""
    folder = tmp_path_factory.mktemp("runs")
    save_table(synthetic_table(make_space(SPEC), scale_ns=1e8), folder / "t.json")
    given = ("--lut", folder / "t.json", "--max-latency", "90%", "--out", folder / "run")
    _ok(run_cli("search", *SETTINGS, *QUICK, *given))
    shutil.copytree(folder / "run", folder / "before")
    _ok(run_cli("search", "--from", folder / "run", *OTHER, "--out", folder / "new"))
    return folder


def _ok(outcome: Outcome) -> Outcome:
    assert outcome.code == 0, outcome.err
    return outcome


def _refused(outcome: Outcome, *words: str) -> None:
    errors = [line for line in outcome.err.splitlines() if not line.startswith("warning: ")]
    assert outcome.code == 2 and len(errors) == 1, outcome
    for word in words:
        assert word in outcome.err, outcome.err


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _run(folder: Path) -> Run:
    return Run.from_folder(folder, Reporter(is_quiet=True))


def test_a_new_run_has_the_supernet_and_the_table_and_trains_and_profiles_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, new = folder / "run", folder / "new"
    for name in ("supernet/checkpoint.safetensors", "lut.json"):
        assert (new / name).read_bytes() == (run / name).read_bytes()
    settings = {path: yaml.safe_load((path / "config.yaml").read_text()) for path in (run, new)}
    assert settings[new]["seed"] == 5 and settings[new]["search"] == settings[run]["search"] | {"evaluations": 8}
    assert settings[new]["max_latency"] == "70%" and settings[new]["supernet"] == settings[run]["supernet"]
    assert num_lines(new / "search" / "history.jsonl") == 8
    assert _content(run) == _content(folder / "before")


def test_the_search_is_not_driven_by_images_that_the_supernet_learnt_from(folder: Path) -> None:
    """Though the new run has another seed."""
    old, new = (_run(folder / name).splits for name in ("run", "new"))
    for name in ("train", "validation", "retrain"):
        assert (getattr(old, name).images() == getattr(new, name).images()).all(), name


def test_a_new_run_needs_nothing_of_the_old_one_and_serves_again(folder: Path, tmp_path: Path) -> None:
    new = Path(shutil.copytree(folder / "new", tmp_path / "new"))
    settings = (new / "config.yaml").read_text().replace(str(folder), str(tmp_path / "gone"))
    (new / "config.yaml").write_text(settings)
    for name in ("summary.json", "report.html", "search/result.json"):
        (new / name).unlink()
    _ok(run_cli("search", "--resume", "--out", new, "--quiet"))
    assert json.loads((new / "summary.json").read_text())["architecture"]
    _ok(run_cli("search", "--from", new, "--max-latency", "80%", "--seed", 6, "--out", tmp_path / "third", "--quiet"))
    third = _run(tmp_path / "third")
    assert third.origin is not None and third.origin.images_seed == 0


def test_a_run_that_stopped_in_its_search_goes_on_with_the_same_command_and_ends_as_undisturbed(
    folder: Path, tmp_path: Path
) -> None:
    """By its files, which are those of a process that ended while the third network was evaluated."""
    command = ("search", "--from", folder / "run", *OTHER, "--out", tmp_path / "new")
    new = _unfinished(folder / "new", tmp_path / "new", "retrain", "export", "report.html", "summary.json")
    (new / "search" / "result.json").unlink()
    history = new / "search" / "history.jsonl"
    history.write_text("".join(history.read_text().splitlines(keepends=True)[:2]))
    _ok(run_cli(*command))
    assert history_of(history) == history_of(folder / "new" / "search" / "history.jsonl")
    _ok(run_cli(*command))  # of a finished run there is nothing to be done
    assert _run(tmp_path / "new").inputs == _run(folder / "new").inputs


@pytest.mark.parametrize("begun_again", [True, False])
def test_a_supernet_that_was_not_copied_yet_is_copied_and_never_trained_in_its_place(
    begun_again: bool, folder: Path, tmp_path: Path
) -> None:
    """As where the process was killed between the settings and the copy."""
    command = ("--from", folder / "run", *OTHER) if begun_again else ("--resume", "--quiet")
    new = _unfinished(folder / "new", tmp_path / "new")
    _ok(run_cli("search", *command, "--out", new))
    assert (new / "supernet" / "checkpoint.safetensors").read_bytes() == (
        folder / "run" / "supernet" / "checkpoint.safetensors"
    ).read_bytes()
    assert history_of(new / "search" / "history.jsonl") == history_of(folder / "new" / "search" / "history.jsonl")


@pytest.mark.parametrize("is_there", [True, False])
def test_a_supernet_that_is_another_by_now_or_gone_is_not_copied(is_there: bool, folder: Path, tmp_path: Path) -> None:
    new, run = _unfinished(folder / "new", tmp_path / "new"), tmp_path / "run"
    if is_there:
        shutil.copytree(folder / "run", run)
        (run / "supernet" / "checkpoint.safetensors").write_bytes(b"another")
    inputs = (new / "inputs.json").read_text()
    (new / "inputs.json").write_text(inputs.replace(str(folder / "run"), str(run)))
    _refused(run_cli("search", "--resume", "--out", new, "--quiet"), "has no copy of it", "--from")
    assert not (new / "supernet").exists()


RESULTS = ("supernet", "search", "retrain", "export", "report.html", "summary.json")


def _unfinished(run: Path, copy: Path, *without: str) -> Path:
    """Return a copy of a run without some results, or as it was before the supernet that it began with was copied."""
    shutil.copytree(run, copy)
    for name in without or RESULTS:
        shutil.rmtree(copy / name) if (copy / name).is_dir() else (copy / name).unlink()
    return copy


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--epochs", 3), ("depend on supernet.epochs: expected 2 as there, got 3",)),
        (("--strategy", "fairness"), ("depend on supernet.strategy: expected uniform",)),
        (("--space", "fbnet-s"), ("depend on space.name: expected nasbench-macro",)),
        (("--train-images", 99), ("depend on data.train_images: expected 256",)),
        (("--task", "verification"), ("depend on task: expected classification",)),
        (("--precision", "int8"), ("depend on precision: expected fp32",)),
        (("--device", "rpi4"), ("depend on device: expected none, as there, got rpi4",)),
        (("--set", "data.augmentation={shift: 2}"), ("depend on data.augmentation",)),
        (("--max-latency", "1us"), ("no architecture under",)),
        (("--agent", "007"), ("unknown search agent",)),
    ],
    ids=lambda part: " ".join(map(str, part)),
)
def test_what_the_supernet_or_the_table_depends_on_and_what_cannot_be_is_refused(
    flags: tuple[object, ...], words: tuple[str, ...], folder: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    _refused(run_cli("search", "--from", folder / "run", "--out", new, "--quiet", *flags), *words)
    assert not new.exists()


def test_another_table_takes_the_place_of_the_runs_and_its_device_that_of_its_device(
    folder: Path, tmp_path: Path
) -> None:
    table = synthetic_table(make_space(SPEC), seed=3, scale_ns=1e8)
    device = table.provenance.device | {"name": "cpu-2threads", "threads": 2}
    save_table(replace(table, provenance=replace(table.provenance, device=device)), tmp_path / "u.json")
    new = tmp_path / "new"
    command = ("search", "--from", folder / "run", *OTHER, "--lut", tmp_path / "u.json", "--out", new)
    _refused(run_cli(*command, "--device", "cpu"), "was measured on 'cpu-2threads', but --device is 'cpu'")
    _ok(run_cli(*command))
    assert (new / "lut.json").read_bytes() == (tmp_path / "u.json").read_bytes()
    assert _run(new).device_name == "cpu-2threads" and num_lines(new / "search" / "history.jsonl") == 8
    (tmp_path / "u.json").unlink()
    _ok(run_cli("search", "--resume", "--out", new, "--quiet"))


def test_the_runs_table_may_have_moved(folder: Path, tmp_path: Path) -> None:
    command = ("search", "--from", folder / "run", "--out", tmp_path / "new", "--quiet", "--lut")
    shutil.copy(folder / "t.json", tmp_path / "moved.json")
    _ok(run_cli(*command, tmp_path / "moved.json"))
    assert load_table(tmp_path / "new" / "lut.json").latency_ms == load_table(folder / "t.json").latency_ms


def test_the_table_that_the_run_made_for_itself_may_be_named(folder: Path, tmp_path: Path) -> None:
    source, given = RunFolder(folder / "run"), {"max_latency": "70%", "lut": folder / "run" / "lut.json"}
    begun = load_config(None, {"max_latency": "90%"})
    assert without_own_table(source, begun, given) == {"max_latency": "70%"}
    save_table(synthetic_table(make_space(SPEC), seed=3, scale_ns=1e8), tmp_path / "u.json")
    for other in (tmp_path / "u.json", tmp_path / "absent.json"):
        assert without_own_table(source, begun, given | {"lut": other}) == given | {"lut": other}
    published = load_config(None, {"max_latency": "90%", "lut": folder / "t.json"})
    assert without_own_table(source, published, given) == given


def test_folders_that_cannot_be_are_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    run, new = folder / "run", folder / "new"
    command = ("search", "--quiet", "--from")
    _refused(run_cli(*command, tmp_path / "absent", "--out", tmp_path / "x"), "no run in")
    _refused(run_cli(*command, run), "give --out")
    _refused(run_cli(*command, run, "--out", run), "are the same run")
    _refused(run_cli(*command, run, "--out", tmp_path / "x", "--resume"), "--resume too: leave one out")
    _refused(run_cli(*command, run, "--out", new, "--max-latency", "75%"), "holds a run with other settings")
    shutil.copytree(run, tmp_path / "copy")
    _refused(run_cli(*command, new, "--out", tmp_path / "copy"), "did not begin with the supernet of")
    unfinished = tmp_path / "unfinished"
    given = ("--lut", folder / "t.json", "--max-latency", "90%", "--evaluator", "zen", "--out", unfinished, "--quiet")
    _ok(run_cli("train", "--width", 0.25, "--train-images", 256, *given))
    _refused(
        run_cli(*command, unfinished, "--out", tmp_path / "x"), "no finished supernet: expected 60 epochs, found 0"
    )
    (tmp_path / "copy" / "inputs.json").unlink()
    _refused(run_cli(*command, tmp_path / "copy", "--out", tmp_path / "x"), "begun by an earlier version", "retrain")
    assert not (tmp_path / "x").exists()
