"""Bundles and reports of whole runs on boxes and masks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import squares
from command_line import run_cli, shorten_runs
from PIL import Image
from square_runs import search_squares

pytestmark = pytest.mark.slow


def _run(folder: Path, task: str, data: str) -> Path:
    outcome = search_squares(
        *(folder, task, data, "--retrain-epochs", 15, "--set", "retrain.references=false"),
        *("--set", "retrain.batch_size=8", "--set", "supernet.batch_size=16", "--set", "search.finalists=2"),
    )
    assert outcome.code == 0, outcome.err
    return folder / "run"


@pytest.fixture(scope="module")
def _short() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        shorten_runs(patched)
        yield


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory, _short: None) -> Path:
    return _run(tmp_path_factory.mktemp("detection"), "detection", "boxes")


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory, _short: None) -> Path:
    return _run(tmp_path_factory.mktemp("segmentation"), "segmentation", "masks")


def _predicted(bundle: Path, *arguments: object) -> str:
    command = [sys.executable, "-I", str(bundle / "predict.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_detector_comes_with_its_suppression(detector: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    outcome = run_cli("export", detector, "-o", bundle, "--max-boxes", 7, "--trust-code", "--quiet")
    assert outcome.code == 0, outcome.err
    deployment = json.loads((bundle / "deployment.json").read_text())
    models = deployment["models"]
    names = ("", ".dynamic", ".boxes", ".pixels", ".int8", ".int8.boxes")
    assert list(models) == [f"model{name}.onnx" for name in names]
    suppression = deployment["suppression"]
    assert suppression["limits"] == {"min_score": 0.05, "max_iou": 0.6, "max_boxes": 7}
    of_boxes = {"model.boxes.onnx", "model.pixels.onnx", "model.int8.boxes.onnx"}
    assert set(suppression["parity"]) == of_boxes
    for parity in suppression["parity"].values():
        assert parity["num_images"] == 48 and parity["num_unequal"] == 0 and parity["num_boxes"] > 48
        assert parity["max_box_difference"] <= 1e-3 and parity["max_score_difference"] <= 1e-3
    for name in of_boxes:
        assert models[name]["output"] == "boxes" and set(models[name]["test_metrics"]) == {"map", "ap50"}
        assert models[name]["measured_ms"] > 0
    score, few = (models[name]["test_metrics"]["map"] for name in ("model.onnx", "model.boxes.onnx"))
    assert few > 0.05 and few == pytest.approx(score, abs=0.1)  # fewer boxes of an image are given
    assert "finds the" in outcome.out and "7 boxes at most" in (bundle / "README.md").read_text()
    Image.fromarray(squares.boxes(tmp_path).test.images()[0, 0].numpy()).resize((90, 64)).save(tmp_path / "x.png")
    lines = _predicted(bundle, tmp_path / "x.png", "--min-score", 0.1, "--folder", tmp_path).splitlines()
    assert len(lines) == 1 + int(lines[0].split()[1]) and (tmp_path / "x.boxes.png").is_file()
    page = (detector / "report.html").read_text()
    assert "Test images with the lowest scores" in page and "<rect" in page and "model.boxes.onnx" in page
    outcome = run_cli("compare", bundle / "model.boxes.onnx", bundle / "model.onnx", "--data", "digits", "--rounds", 3)
    assert outcome.code == 0 and "it is no classifier: it gives boxes" in outcome.out
    data = ("--data", f"{squares.__file__}:boxes", "--rounds", 3, "--json", "--quiet")
    names = ("model.boxes.onnx", "model.pixels.onnx", "model.onnx")
    rows = json.loads(run_cli("compare", *(bundle / name for name in names), *data).out)
    for row, name in zip(rows[:2], names[:2], strict=True):
        assert row["accuracy"] == pytest.approx(models[name]["test_metrics"]["map"], abs=1e-6)
    assert "give model.boxes.onnx" in rows[2]["missing"]["accuracy"]


@pytest.mark.usefixtures("no_tvm")
def test_a_segmentation_comes_with_an_overlay(segmenter: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    outcome = run_cli("export", segmenter, "-o", bundle, "--trust-code", "--quiet")
    assert outcome.code == 0, outcome.err
    models = json.loads((bundle / "deployment.json").read_text())["models"]
    assert list(models) == [f"model{name}.onnx" for name in ("", ".dynamic", ".pixels", ".int8")]
    score = models["model.onnx"]["test_metrics"]["mean_iou"]
    assert models["model.pixels.onnx"]["test_metrics"]["mean_iou"] == pytest.approx(score, abs=1e-3)
    Image.fromarray(squares.masks(tmp_path).test.images()[0, 0].numpy()).resize((70, 70)).save(tmp_path / "x.png")
    for name in ("model.onnx", "model.pixels.onnx", "model.int8.onnx"):
        line = _predicted(bundle, tmp_path / "x.png", "--model", name, "--folder", tmp_path / "out")
        assert "background" in line and "drawn in" in line
    data = ("--data", f"{squares.__file__}:masks", "--rounds", 3, "--json", "--quiet")
    (row,) = json.loads(run_cli("compare", bundle / "model.pixels.onnx", *data).out)
    assert row["accuracy"] == pytest.approx(models["model.pixels.onnx"]["test_metrics"]["mean_iou"], abs=1e-6)
    page = (segmenter / "report.html").read_text()
    assert "Test images with typical scores" in page and 'class="legend"' in page
    outcome = run_cli("export", segmenter, "-o", tmp_path / "other", "--min-score", 0.3, "--trust-code", "--quiet")
    assert outcome.code == 2 and "--min-score: expected a detector" in outcome.err
