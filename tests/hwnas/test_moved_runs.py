"""Runs whose folder, data, tables and files have moved: only what is in the folder counts."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from command_line import Outcome, run_cli
from PIL import Image
from samples import synthetic_table

from hwnas.config_file import load_config
from hwnas.pipeline.file_settings import with_absolute_paths
from hwnas.pipeline.inputs import Inputs, fingerprint_of, read_inputs
from hwnas.pipeline.run import Run
from hwnas.progress import Reporter
from lut import load_table, save_table
from search_spaces import SpaceSpec, make_space

SETTINGS = ("--epochs", 1, "--evaluations", 6, "--retrain-epochs", 1, "--set", "search.finalists=2", "--quiet")

SPACE = """
stem: [{conv: {kernel: 3, act: relu}, out: 8}]
layers:
  - {out: 16, stride: 2, choices: [{mbconv: {kernel: 3, expansion: 1}}, {mbconv: {kernel: 5, expansion: 3}}]}
  - {out: 24, stride: 2, repeat: 2, choices: [{mbconv: {kernel: 3, expansion: 1}}, {mbconv: {kernel: 3, expansion: 6}}]}
head: [pool, classifier]
"""


pytestmark = pytest.mark.usefixtures("very_short_runs", "instant_measurements", "no_tvm")


def _images(root: Path, *, shade: int = 0) -> None:
    rng = np.random.default_rng(0)
    for number, name in enumerate(("cats", "dogs")):
        (root / name).mkdir(parents=True)
        for i in range(40):
            pixels = rng.integers(0, 100, (12, 12, 3)) + 100 * number + shade
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{i}.png")


@pytest.fixture(scope="module")
def begun(
    tmp_path_factory: pytest.TempPathFactory, very_short_runs: None, instant_measurements: None
) -> tuple[Path, Path]:
    """Where the run was begun, and a copy of everything there."""
    folder = tmp_path_factory.mktemp("begun") / "project"
    folder.mkdir()
    _images(folder / "data")
    (folder / "space.yaml").write_text(SPACE)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        spec = SpaceSpec(name="./space.yaml", input_size=12, in_channels=3, num_classes=2)
        save_table(synthetic_table(make_space(spec), scale_ns=1e8), folder / "t.json")
        _ok(run_cli(*_command(), "--json"))
    return folder, Path(shutil.copytree(folder, folder.parent / "copy"))


@pytest.fixture
def project(begun: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run, begun in this folder with everything named by where it lies in it."""
    folder, copy = begun
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(copy, folder)
    monkeypatch.chdir(folder)
    return folder


def _command() -> tuple[object, ...]:
    data = ("--data", "folder", "--data-root", "data", "--space", "./space.yaml", "--lut", "t.json", "--input-size", 12)
    return ("search", *SETTINGS, *data, "--max-latency", "95%", "--out", "run")


def _moved(project: Path) -> Path:
    """The run's folder alone, on another machine: nothing else of the project is there."""
    run = project.parent / "elsewhere"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(project / "run", run)
    shutil.rmtree(project)
    return run


def _other_table(path: Path) -> None:
    """Of the same name and space, for a machine three times as slow."""
    spec = SpaceSpec(name="./space.yaml", input_size=12, in_channels=3, num_classes=2)
    save_table(synthetic_table(make_space(spec), scale_ns=3e8), path)


def _ok(outcome: Outcome) -> Outcome:
    assert outcome.code == 0, outcome.err
    return outcome


def _refused(outcome: Outcome, *words: str) -> None:
    assert outcome.code == 2 and "Traceback" not in outcome.err, outcome
    for word in words:
        assert word in outcome.err, outcome.err


def test_what_reads_results_needs_nothing_but_the_folder(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    front = _ok(run_cli("front", "run", "--json")).out
    emitted = _ok(run_cli("emit", "run", "90%", "--json")).out
    summary = json.loads(_ok(run_cli("export", "run", "--json")).out)
    run = _moved(project)
    away = tmp_path / "away"
    away.mkdir()
    monkeypatch.chdir(away)
    (away / "space.yaml").write_text(SPACE)
    _other_table(away / "t.json")
    _images(away / "data", shade=50)
    assert run_cli("front", run, "--json").out == front
    assert _ok(run_cli("emit", run, "90%", "--json")).out == emitted
    assert json.loads(_ok(run_cli("export", run, "--json")).out) == {
        **summary,
        "onnx": str(run / "export" / "model.onnx"),
        "onnx_dynamic_batch": str(run / "export" / "model.dynamic.onnx"),
    }
    remarked = _ok(run_cli("export", run, "--data-root", away / "data", "--json"))
    assert "is finished, and told from its folder alone: --data-root has no effect" in remarked.err
    (run / "report.html").unlink()
    _ok(run_cli("report", run))
    page = (run / "report.html").read_text()
    assert "./space.yaml on cpu</title>" in page and str(load_table(run / "lut.json").provenance.date) in page
    assert _ok(run_cli("front", run, "--plot", away / "front.png")) and (away / "front.png").stat().st_size > 1000


def test_a_bundle_needs_the_data_which_can_be_given_anew(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project / "data", tmp_path / "same")
    _images(tmp_path / "other", shade=50)
    (tmp_path / "other" / "cats" / "0.png").unlink()
    _images(tmp_path / "brighter", shade=50)
    run = _moved(project)
    bundle = ("export", run, "-o", tmp_path / "bundle", "--no-int8", "--quiet")
    _refused(run_cli(*bundle), "where the data of", "have moved, give --data-root")
    _refused(run_cli(*bundle, "--data-root", tmp_path / "other"), "are not those that", "64 images to train", "found")
    _refused(run_cli(*bundle, "--data-root", tmp_path / "brighter"), "are not those that", "but others")
    assert not (tmp_path / "bundle").exists()
    _ok(run_cli(*bundle, "--data-root", tmp_path / "same"))
    assert (tmp_path / "bundle" / "predict.py").exists()


def test_a_moved_run_continues_with_its_data_given_anew(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project / "data", tmp_path / "same")
    expected = json.loads(_ok(run_cli("export", "run", "--json")).out)
    run = _moved(project)
    for folder in ("retrain", "export"):
        shutil.rmtree(run / folder)
    found = json.loads(_ok(run_cli("export", run, "--data-root", tmp_path / "same", "--json", "--quiet")).out)
    for name in ("architecture", "test_accuracy", "predicted_ms", "parity"):
        assert found[name] == expected[name]
    # From now on it knows where they are.
    shutil.rmtree(run / "export")
    _ok(run_cli("search", "--out", run, "--resume", "--quiet"))


def test_the_same_command_is_the_same_run_wherever_everything_lies(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tmp_path / "moved"
    project.rename(moved)
    monkeypatch.chdir(moved)
    _ok(run_cli(*_command()))
    shutil.rmtree(moved / "run" / "export")
    _ok(run_cli(*_command()))
    _refused(run_cli(*_command(), "--seed", 3), "other settings (seed)")


def test_files_that_have_changed_since_are_said(project: Path) -> None:
    (project / "run" / "report.html").unlink()
    _other_table(project / "t.json")
    _refused(run_cli(*_command()), "t.json is not what", "--resume alone to continue with the run's own copy")
    _ok(run_cli("search", "--out", "run", "--resume", "--quiet"))
    _refused(run_cli("emit", "run", "90%", "--lut", "t.json"), "t.json is not what")
    (project / "run" / "lut.json").write_bytes((project / "t.json").read_bytes())
    for command in (("emit", "run", "90%"), ("search", "--out", "run", "--resume", "--seed", 0)):
        (project / "run" / "report.html").unlink(missing_ok=True)
        _refused(run_cli(*command), "lut.json is not the table that", "restore a copy")


def test_a_changed_space_is_said(project: Path) -> None:
    (project / "space.yaml").write_text(SPACE.replace("kernel: 5", "kernel: 7"))
    _refused(run_cli(*_command()), "space.yaml is not what", "(space.name)")
    emitted = json.loads(_ok(run_cli("emit", "run", "90%", "--json")).out)
    assert len(emitted[0]["architecture"]) == 3


def test_what_is_kept(project: Path) -> None:
    config = yaml.safe_load((project / "run" / "config.yaml").read_text())
    assert config["lut"] == str(project / "t.json") and config["data"]["root"] == str(project / "data")
    assert config["space"]["name"] == str(project / "space.yaml")
    assert (project / "run" / "lut.json").read_bytes() == (project / "t.json").read_bytes()
    assert (project / "run" / "space.yaml").read_text() == SPACE
    inputs = read_inputs(project / "run" / "inputs.json")
    assert isinstance(inputs, Inputs) and inputs.spec.name == "./space.yaml" and inputs.device == "cpu"
    assert inputs.data.num_images == {"train": 64, "test": 16}
    path = project / "run" / "inputs.json"
    for text in ("{", "[]", path.read_text().replace('"device"', '"devise"'), path.read_text().replace("64", "true")):
        path.write_text(text)
        outcome = run_cli("emit", "run", "90%")
        assert outcome.code == 2 and "Traceback" not in outcome.err and "inputs.json" in outcome.err, outcome


def _as_begun_by_an_earlier_version(run: Path, project: Path) -> None:
    """Relative paths, and no copies."""
    path = run / "config.yaml"
    text = path.read_text().replace(f"{project}/", "")
    path.write_text(text.replace("name: space.yaml", "name: ./space.yaml"))
    for name in ("inputs.json", "space.yaml", "lut.json"):
        (run / name).unlink()


def test_runs_of_earlier_versions_open_where_they_were_begun(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emitted = _ok(run_cli("emit", "run", "90%", "--json")).out
    front = _ok(run_cli("front", "run", "--json")).out
    _as_begun_by_an_earlier_version(project / "run", project)
    assert _ok(run_cli("emit", "run", "90%", "--json")).out == emitted
    assert _ok(run_cli("front", "run", "--json")).out == front
    for command in (_command(), ("report", "run"), ("export", "run", "--quiet")):
        _ok(run_cli(*command))
    assert not (project / "run" / "inputs.json").exists()  # reading writes nothing down
    away = tmp_path / "away"
    away.mkdir()
    shutil.copytree(project / "run", away / "run")
    shutil.copytree(project / "data", away / "data")
    (away / "space.yaml").write_text(SPACE)
    _other_table(away / "t.json")
    monkeypatch.chdir(away)
    _refused(run_cli("emit", "run", "90%"), "t.json is not the table that", "give that table with --lut")
    assert run_cli("emit", "run", "90%", "--json", "--lut", project / "t.json").out == emitted
    monkeypatch.chdir(project)
    shutil.rmtree(project / "run" / "export")
    _ok(run_cli(*_command()))
    assert (project / "run" / "inputs.json").exists() and (project / "run" / "lut.json").exists()


def test_data_are_recognised_whatever_decodes_them(project: Path) -> None:
    run = Run.from_folder(project / "run", Reporter(is_quiet=True))
    dataset = run.whole_dataset
    mark = fingerprint_of(dataset)
    train = dataset.train
    for change, is_same in ((1, True), (40, False)):
        images = train.images_NCHW.clone()
        images[: len(images) // 2] += change
        other = replace(dataset, train=replace(train, images_NCHW=images))
        assert mark.is_same(fingerprint_of(other)) == is_same
    swapped = replace(train, targets_N=1 - train.targets_N)
    assert not mark.is_same(fingerprint_of(replace(dataset, train=swapped)))


def test_paths_are_absolute_and_names_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {
        "max_latency": "60%",
        "space.name": "./net.py:Net",
        "search.evaluator": "tabular:figures.json",
        "task": "package.module:Task",
        "search.agent": "random",
        "supernet.criterion": "../losses.py:Loss",
        "devices": "d.yaml",
    }
    config = with_absolute_paths(load_config(None, settings))
    assert config.space.name == f"{tmp_path}/net.py:Net"
    assert config.search.evaluator == f"tabular:{tmp_path}/figures.json"
    assert config.task == "package.module:Task" and config.search.agent == "random"
    assert config.supernet.criterion == f"{tmp_path}/../losses.py:Loss" and config.retrain.criterion is None
    assert config.devices == tmp_path / "d.yaml" and config.lut is None
    assert with_absolute_paths(config) == config
