"""Bundles, int8, comparisons and reports of one small real run."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import replace
from functools import partial
from html import escape
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from boards_here import make_environment
from command_line import run_cli
from digits_run import SPEC, finish_digits_run
from PIL import Image, ImageOps
from samples import synthetic_table
from torch import nn

from hwnas.errors import RunError
from hwnas.export import bundle as bundling
from hwnas.export.tvm_parity import has_tvm
from hwnas.pipeline.reporting import render_report
from hwnas.pipeline.run import Run
from hwnas.progress import Reporter
from hwnas.report.watch import make_server
from lut import load_table, save_table
from onnx_models import export as exporting
from onnx_models.best_int8 import quantize_network
from onnx_models.export import export_module
from onnx_models.metadata import properties_of
from onnx_models.parity import Parity
from onnx_models.session import OnnxNetwork
from search_spaces import make_space
from search_spaces.onnx_export import export_block

pytestmark = pytest.mark.usefixtures("very_short_runs")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on digits."""
    folder = tmp_path_factory.mktemp("runs")
    return finish_digits_run(folder, epochs=2, evaluations=8, retrain_epochs=4)


@pytest.fixture(scope="module")
def bundle(very_short_runs: None, run_folder: Path) -> Path:
    folder = run_folder.parent / "bundle"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bundling, "has_tvm", lambda: False)  # it takes most of the time
        outcome = run_cli("export", run_folder, "-o", folder, "--fp16", "--quiet")
    assert outcome.code == 0, outcome.err
    assert "model.int8.onnx" in outcome.out and "MinMax" not in outcome.err
    return folder


def test_deployment_says_what_the_files_are(bundle: Path, run_folder: Path) -> None:
    deployment = json.loads((bundle / "deployment.json").read_text())
    summary = json.loads((run_folder / "summary.json").read_text())
    assert deployment["version"] == 1
    names = ("", ".dynamic", ".pixels", ".image", ".int8", ".fp16")
    assert set(deployment["models"]) == {f"model{name}.onnx" for name in names}
    for name, model in deployment["models"].items():
        assert model["sha256"] == hashlib.sha256((bundle / name).read_bytes()).hexdigest()
        assert (model["measured_ms"] is None) == (name in {"model.dynamic.onnx", "model.image.onnx"})
        accuracy = model["test_metrics"]["accuracy"]
        likelihood = model["test_metrics"]["likelihood"]
        assert likelihood == pytest.approx(summary["test_metrics"]["likelihood"], abs=0.05 if "int8" in name else 2e-3)
        assert accuracy == pytest.approx(summary["test_accuracy"], abs=0.02 if "int8" in name else 0.001)
    assert deployment["models"]["model.int8.onnx"]["operations"]["QLinearConv"] > 3
    assert deployment["classes"] == [str(i) for i in range(10)] and deployment["certificate"]["num_networks"] > 2
    half = next(iter(onnx.load(bundle / "model.fp16.onnx").graph.initializer)).data_type
    assert half == onnx.TensorProto.FLOAT16
    assert deployment["parity_with_tvm"] is None
    float_ms, int8_ms = (deployment["models"][f"model{name}.onnx"]["measured_ms"] for name in ("", ".int8"))
    recommended, change = deployment["recommended"], deployment["int8_change"]
    assert (
        recommended["file"] in deployment["models"]
        and f"{int8_ms:.4g} against {float_ms:.4g} ms" in recommended["reason"]
    )
    assert change["num_images"] == 360 and 0 < change["margin"] < 0.05
    scores = [deployment["models"][f"model{name}.onnx"]["test_metrics"]["accuracy"] for name in ("", ".int8")]
    assert change["difference"] == pytest.approx(scores[1] - scores[0])
    assert f"Deploy `{recommended['file']}`" in (bundle / "README.md").read_text()
    assert escape(recommended["reason"]) in (run_folder / "report.html").read_text()
    others = {"deployment.json", "model.safetensors", "predict.py", "README.md"}
    assert {p.name for p in bundle.iterdir()} == {*deployment["models"], *others}
    page = (run_folder / "report.html").read_text()
    assert all(model["sha256"][:12] in page for model in deployment["models"].values())
    assert "model.pixels.onnx" in (bundle / "README.md").read_text() and "$" not in (bundle / "README.md").read_text()


@pytest.mark.slow
def test_a_bundle_tells_what_tvm_computes(run_folder: Path, tmp_path: Path) -> None:
    if not has_tvm():
        pytest.skip("needs TVM: pip install 'hwnas[tvm]'")
    assert run_cli("export", run_folder, "-o", tmp_path / "b", "--no-int8", "--quiet").code == 0
    parity = json.loads((tmp_path / "b" / "deployment.json").read_text())["parity_with_tvm"]
    assert parity["equal_predictions"] == 1.0 and 0.0 < parity["max_abs_difference"] < 1e-4
    assert parity["num_images"] == 360


def test_every_model_tells_what_it_is(bundle: Path, run_folder: Path) -> None:
    deployment = json.loads((bundle / "deployment.json").read_text())
    for name, model in deployment["models"].items():
        found = properties_of(bundle / name)
        assert json.loads(found["classes"]) == deployment["classes"] and found["task"] == "classification"
        assert float(found["accuracy"]) == pytest.approx(model["test_metrics"]["accuracy"], abs=1e-5)
        assert json.loads(found["mean"]) == pytest.approx(model["mean"], abs=1e-6)
        assert found["input_values"].startswith("pixels") == model["normalises"]
        assert len(onnx.load(bundle / name).graph.value_info) > 5
    own = properties_of(run_folder / "export" / "largest.onnx")
    assert float(own["accuracy"]) > 0.5 and json.loads(own["std"]) == pytest.approx(model["std"], abs=1e-6)


def test_pixels_model_is_the_model_after_normalising(bundle: Path) -> None:
    deployment = json.loads((bundle / "deployment.json").read_text())["models"]["model.onnx"]
    pixels = np.random.default_rng(0).integers(0, 256, (5, 1, 8, 8), dtype=np.uint8)
    x = (torch.from_numpy(pixels).float() / 255 - deployment["mean"][0]) / deployment["std"][0]
    expected = OnnxNetwork(bundle / "model.onnx")(x).softmax(dim=1)
    torch.testing.assert_close(
        OnnxNetwork(bundle / "model.pixels.onnx")(torch.from_numpy(pixels)), expected, rtol=1e-4, atol=1e-6
    )


def test_image_model_crops_and_resizes_as_pillow_does(bundle: Path) -> None:
    for height, width in ((8, 8), (31, 90), (57, 20), (5, 7)):
        pixels = np.random.default_rng(height).integers(0, 256, (height, width), dtype=np.uint8)
        fitted = ImageOps.fit(Image.fromarray(pixels), (8, 8), Image.Resampling.BILINEAR)
        expected = OnnxNetwork(bundle / "model.pixels.onnx")(torch.from_numpy(np.array(fitted)[None, None]))
        found = OnnxNetwork(bundle / "model.image.onnx")(torch.from_numpy(pixels[None, None]))
        # Pillow rounds to whole grey levels, and takes half pixels from both sides where the rest is odd.
        assert (found - expected).abs().max() < (0.05 if (height - width) % 2 == 0 else 0.25)


def _predict(bundle: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(bundle / "predict.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_predict_takes_images_of_any_size_and_mode(bundle: Path, tmp_path: Path) -> None:
    from hwnas.dataflow import load_dataset

    test = load_dataset("digits", Path()).test
    right = 0
    for i in range(6):
        Image.fromarray(test.images()[i, 0].numpy()).convert("RGBA").resize((96, 96)).save(tmp_path / f"{i}.png")
        model = f"model{('', '.pixels', '.image')[i % 3]}.onnx"
        done = _predict(bundle, tmp_path / f"{i}.png", "--model", model)
        assert done.returncode == 0, done.stderr
        right += done.stdout.split(": ")[1].split()[0] == str(int(test.targets_N[i]))
    assert right >= 4
    Image.new("CMYK", (33, 70)).save(tmp_path / "c.jpg")
    top = _predict(bundle, "--top", 3, tmp_path / "c.jpg").stdout
    assert top.count("%") == 3
    for wrong, words in ((bundle / "README.md", "is not an image"), ("nowhere.png", "no file nowhere.png")):
        done = _predict(bundle, wrong)
        assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr
    assert "there are: model.onnx" in _predict(bundle, "--model", "x", tmp_path / "c.jpg").stderr


def test_the_quickstart_draws_a_picture(bundle: Path, tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "docs" / "examples" / "classify.py"
    for i, mode in enumerate(("L", "RGB")):
        Image.new(mode, (30, 20 + i)).save(tmp_path / f"{i}.png")
    command = [sys.executable, script, bundle, tmp_path / "out.png", tmp_path / "0.png", tmp_path / "1.png"]
    subprocess.run(command, check=True)
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.width > picture.height > 300


def test_a_search_result_that_lacks_a_figure_is_refused(run_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run_folder, copy)
    path = copy / "search" / "result.json"
    path.write_text(path.read_text().replace("supernet_score", "supernet_accuracy"))
    (copy / "summary.json").unlink()  # of a finished run nothing else is read
    outcome = run_cli("export", copy, "--quiet")
    assert (
        outcome.code == 1
        and "is damaged" in outcome.err
        and "remove it to" in outcome.err
        and "Traceback" not in outcome.err
    )
    path.unlink()
    assert run_cli("export", copy, "--quiet").code == 0


def test_tensorboard_files_hold_the_curves(run_folder: Path) -> None:
    from tensorboardX.proto.event_pb2 import Event

    def scalars(folder: Path) -> dict[str, list[float]]:
        (path,) = folder.iterdir()
        data, found = path.read_bytes(), {}
        while data:  # a length, its checksum, the event, its checksum
            size = int.from_bytes(data[:8], "little")
            for value in Event.FromString(data[12 : 12 + size]).summary.value:
                found.setdefault(value.tag, []).append(value.simple_value)
            data = data[16 + size :]
        return found

    assert {p.name for p in (run_folder / "tensorboard").iterdir()} >= {"supernet", "retrain-winner", "search"}
    assert len(scalars(run_folder / "tensorboard" / "supernet")["loss"]) == 2
    search = scalars(run_folder / "tensorboard" / "search")
    history = [json.loads(line) for line in (run_folder / "search" / "history.jsonl").read_text().splitlines()]
    assert search["score"] == pytest.approx([row["score"] for row in history])
    assert search["best_score"][-1] == max(search["score"]) and len(search["latency_ms"]) == 8


@pytest.mark.slow
def test_predict_runs_in_a_bare_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finish_digits_run(tmp_path, epochs=1, evaluations=2, retrain_epochs=1)
    monkeypatch.setattr(bundling, "has_tvm", lambda: False)
    assert run_cli("export", run, "-o", tmp_path / "elsewhere", "--no-int8", "--quiet").code == 0
    python = make_environment(tmp_path / "bare")
    (site,) = (tmp_path / "bare").glob("lib/python*/site-packages")
    for package in Path(Image.__file__).parents[1].glob("[Pp][Ii][Ll]*"):
        (site / package.name).symlink_to(package)
    Image.new("L", (50, 20)).save(tmp_path / "x.jpg")
    done = subprocess.run(
        [python, tmp_path / "elsewhere" / "predict.py", tmp_path / "x.jpg"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0 and "%" in done.stdout, done.stderr


def test_no_bundle_without_proof(run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path, target: Path, **_: object) -> None:
        model = onnx.load(path)
        for tensor in model.graph.initializer:
            if len(tensor.dims) == 2:  # the classifier
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros(tensor.dims, np.float32), tensor.name))
        onnx.save(model, target)

    monkeypatch.setattr(bundling, "with_preprocessing", broken)
    outcome = run_cli("export", run_folder, "-o", tmp_path / "b", "--no-int8", "--quiet")
    assert outcome.code == 1 and "model.pixels.onnx scores" in outcome.err and "Traceback" not in outcome.err
    assert not (tmp_path / "b").exists() and (tmp_path / "b.failed" / "model.pixels.onnx").is_file()
    assert [p.name for p in tmp_path.iterdir()] == ["b.failed"]


def test_a_folder_that_is_there_is_kept(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    outcome = run_cli("export", run_folder, "-o", tmp_path / "b", "--quiet")
    assert outcome.code == 2 and "is there already" in outcome.err
    assert not list((tmp_path / "b").iterdir())


class _Uneven(nn.Module):
    """A network whose one layer has weights of very different size in a channel: int8 loses the small ones."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.fragile = nn.Conv2d(4, 4, 1, bias=False)
        with torch.no_grad():
            self.fragile.weight.copy_(torch.eye(4)[:, :, None, None] * 0.004)
            self.fragile.weight[:, 3] = 5.0
            self.first.weight[3], self.first.bias[3] = 0.0, 0.0

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        return self.fragile(torch.relu(self.first(x_NCHW))).mean(dim=(2, 3)) * 100


def test_sensitive_layers_stay_in_float(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = _Uneven().eval()
    export_module(module, tmp_path / "m.onnx", input_shapes=[(1, 1, 8, 8)])
    images = [torch.randn(1, 1, 8, 8) for _ in range(64)]
    expected = torch.cat([module(x) for x in images]).argmax(dim=1)

    def score(network: Any) -> float:
        return float((torch.cat([network(x) for x in images]).argmax(dim=1) == expected).float().mean())

    found = quantize_network(tmp_path / "m.onnx", tmp_path / "q.onnx", images[:32], score, max_drop=0.05)
    assert found.scores["float"] == 1.0 and found.scores[found.method] < 0.9
    assert found.kept and len(found.float_nodes) == 1
    assert score(OnnxNetwork(tmp_path / "q.onnx")) >= 0.95
    lenient = quantize_network(tmp_path / "m.onnx", tmp_path / "q2.onnx", images[:32], score, max_drop=1.0)
    assert lenient.kept and not lenient.float_nodes
    assert {p.name for p in tmp_path.iterdir()} == {"m.onnx", "q.onnx", "q2.onnx"}


def test_calibrations_that_find_no_range_are_left_out(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1)).eval()
    with torch.no_grad():  # so that the first layer's outputs differ by rounding alone
        module[0].weight.fill_(5e-8)
        module[0].bias.fill_(1.0)
    export_module(module, tmp_path / "m.onnx", input_shapes=[(1, 1, 8, 8)])
    images = [torch.randn(1, 1, 8, 8) for _ in range(8)]
    found = quantize_network(tmp_path / "m.onnx", tmp_path / "q.onnx", images, lambda _: 0.5, max_drop=0.1)
    assert found.method == "MinMax" and "Percentile" not in found.scores and found.kept


def test_compare_measures_any_models(bundle: Path, run_folder: Path) -> None:
    paths = [bundle / "model.onnx", bundle / "model.int8.onnx", run_folder / "export" / "random.onnx"]
    outcome = run_cli("compare", *paths, "--data", "digits", "--rounds", 5, "--json", "--quiet")
    assert outcome.code == 0, outcome.err
    rows = json.loads(outcome.out)
    assert [row["model"] for row in rows] == [str(p) for p in paths]
    expected = json.loads((run_folder / "summary.json").read_text())["test_accuracy"]
    assert rows[0]["accuracy"] == pytest.approx(expected, abs=1e-3)
    assert all(row["latency_ms"] > 0 for row in rows) and rows[1]["peak_memory_bytes"] is None
    assert rows[0]["peak_memory_bytes"] > 0 and "depends on the runtime" in rows[1]["missing"]["peak_memory_bytes"]
    assert "times the fastest" in run_cli("compare", *paths, "--rounds", 3, "--quiet").out
    for wrong, words in (
        (bundle / "README.md", "is no ONNX model"),
        ("nowhere.onnx", "found neither a file nor a run at nowhere.onnx"),
    ):
        outcome = run_cli("compare", wrong)
        assert outcome.code == 2 and words in outcome.err
    dynamic = bundle / "model.dynamic.onnx"
    outcome = run_cli("compare", paths[0], dynamic, "--data", "digits", "--quiet", "--rounds", 2, "--json")
    fixed, free = json.loads(outcome.out)
    assert free["accuracy"] == fixed["accuracy"] and free["input"] == fixed["input"] and free["bound"]
    outcome = run_cli("compare", paths[0], "--data", "digits", "--input-size", 16, "--quiet", "--rounds", 2)
    assert outcome.code == 0 and "takes 1x8x8, digits has 1x16x16" in outcome.out


def test_fixed_batches_are_filled_up(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    export_module(module, tmp_path / "m.onnx", input_shapes=[(4, 1, 8, 8)])
    x_NCHW = torch.randn(6, 1, 8, 8)
    torch.testing.assert_close(OnnxNetwork(tmp_path / "m.onnx")(x_NCHW), module(x_NCHW), rtol=1e-4, atol=1e-5)


def test_report_shows_a_run_at_every_stage(run_folder: Path, tmp_path: Path) -> None:
    page = (run_folder / "report.html").read_text()
    summary = json.loads((run_folder / "summary.json").read_text())
    assert f"{summary['test_accuracy']:.2%}" in page
    assert "http://" not in page.split("<script>")[0] and 'src="' not in page.split("<script>")[0]
    whole = Run.from_folder(run_folder, Reporter(is_quiet=True))
    assert render_report(whole) == page
    times = whole.files.read_times()
    assert times is not None and times.ended is not None and f"<dd>{times.ended:%Y-%m-%d %H:%M} UTC</dd>" in page
    links = re.findall(r'href="(export/[^"]+)"', page)
    assert links and all((run_folder / link).is_file() for link in links)
    assert 'href="export/' not in render_report(whole, refresh_s=5)
    started = tmp_path / "run"
    shutil.copytree(run_folder, started)
    Run.from_folder(started, Reporter(is_quiet=True)).files.write_times(replace(times, ended=None))
    for gone in ("summary.json", "export", "retrain", "search", "supernet"):
        path = started / gone
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        run = Run.from_folder(started, Reporter(is_quiet=True))
        partial = render_report(run, refresh_s=5)
        assert "Still running" in partial and 'http-equiv="refresh"' in partial
        assert ('id="front"' in partial) == (started / "search").exists()
    assert run_cli("report", run_folder).out.strip() == str(run_folder / "report.html")


def test_texts_cannot_become_markup(run_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    evil = "</script><script>alert(1)</script>$FIGURES"
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "device": evil, "choices": [evil] * 8}))
    page = render_report(Run.from_folder(folder, Reporter(is_quiet=True)))
    assert "<script>alert" not in page


def _server(folder: Path) -> ThreadingHTTPServer:
    run = Run.from_folder(folder, Reporter(is_quiet=True))
    return make_server(partial(render_report, run), 0, warn=run.reporter.warn)


def test_watch_serves_on_loopback(run_folder: Path) -> None:
    server = _server(run_folder)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/", timeout=10) as answer:
            assert b"Accuracy against latency" in answer.read()
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/../etc/passwd", timeout=10)
    finally:
        server.shutdown()
        server.server_close()


def test_report_works_in_a_browser(chromium: Any, run_folder: Path) -> None:
    page = chromium.new_page(viewport={"width": 375, "height": 900}, color_scheme="light")
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto((run_folder / "report.html").as_uri())
    page.wait_for_selector("#front .scatterlayer .points path")
    num_lines = sum(1 for _ in (run_folder / "search" / "history.jsonl").open())
    points = page.locator("#front .scatterlayer .trace").first.locator("path.point")
    assert points.count() == num_lines == 8
    _assert_fits(page, 375, "rgb(255, 255, 255)")
    assert page.locator("#headline .scatterlayer .textpoint, #headline .scatterlayer text").count() >= 3
    # Over the winner's star, which is drawn on top.
    point = page.locator("#front .scatterlayer .trace").last.locator("path.point")
    point.scroll_into_view_if_needed()
    star = point.bounding_box()
    middle = (star["x"] + star["width"] / 2, star["y"] + star["height"] / 2)
    page.mouse.move(*middle)
    page.wait_for_selector("#front .hoverlayer .hovertext")
    summary = json.loads((run_folder / "summary.json").read_text())
    name = "-".join(map(str, summary["architecture"]))
    assert name in page.locator("#front .hoverlayer .hovertext").first.text_content()
    assert page.locator("#shown").text_content() == "winner"
    page.mouse.click(*middle)
    page.wait_for_function("document.getElementById('shown').textContent !== 'winner'")
    assert page.locator("#shown").text_content().startswith(name)
    assert page.locator("#strip > li").count() == 8
    num_figures = page.evaluate("Object.keys(figures).length")
    assert page.locator(".figure").count() == page.locator("details.data").count() == num_figures >= 7
    assert page.locator("details[open]").count() == 0 and page.locator(".figure svg.main-svg").count() >= num_figures
    assert page.locator(".shot svg image").count() == page.locator(".shot").count() > 0
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="dark")
    _assert_fits(page, 1280, "rgb(13, 17, 23)")
    assert not problems and all(url.startswith(("file:", "data:", "blob:")) for url in requests)
    page.close()


def _assert_fits(page: Any, width: int, background: str) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == background


def test_report_tells_its_numbers_without_javascript(chromium: Any, run_folder: Path) -> None:
    context = chromium.new_context(viewport={"width": 375, "height": 900}, java_script_enabled=False)
    page = context.new_page()
    page.goto((run_folder / "report.html").as_uri())
    summary = json.loads((run_folder / "summary.json").read_text())
    assert f"{summary['test_accuracy']:.2%}" in page.locator(".lead").text_content()
    assert page.locator(".tile").count() == 6 and page.locator("noscript p").is_visible()
    assert page.locator("details.data table").first.is_visible() and not page.locator(".figure").first.is_visible()
    context.close()


def test_opened_model_needs_one_input_and_output(tmp_path: Path) -> None:
    make = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["a", "b"], ["c"])],
        "g",
        [make("a", 1, [1]), make("b", 1, [1])],
        [make("c", 1, [1])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "two.onnx")
    assert onnxruntime.InferenceSession(tmp_path / "two.onnx", providers=["CPUExecutionProvider"])
    with pytest.raises(ValueError, match="has 2 inputs and 1 outputs"):
        OnnxNetwork(tmp_path / "two.onnx")


def test_what_tvm_says_decides_only_where_it_can_run_the_model(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: object) -> Parity:
        raise RunError("TVM cannot run model.onnx: no such operator")

    differing = Parity(max_abs_difference=0.5, max_abs_output=1.0, equal_predictions=0.9, num_images=10)
    monkeypatch.setattr(bundling, "has_tvm", lambda: True)
    monkeypatch.setattr(bundling, "compare_with_tvm", cannot)
    assert run_cli("export", run_folder, "-o", tmp_path / "a", "--no-int8", "--quiet").code == 0
    deployment = json.loads((tmp_path / "a" / "deployment.json").read_text())
    assert "no such operator" in deployment["parity_with_tvm"]["error"]
    monkeypatch.setattr(bundling, "compare_with_tvm", lambda *_: differing)
    outcome = run_cli("export", run_folder, "-o", tmp_path / "b", "--no-int8", "--quiet")
    assert outcome.code == 1 and "TVM computes something else" in outcome.err
    assert not (tmp_path / "b").exists() and (tmp_path / "b.failed").is_dir()


@pytest.mark.slow
def test_models_are_written_in_the_operator_set_of_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = synthetic_table(make_space(SPEC), scale_ns=1e8)
    made_there = replace(table.provenance, device={**table.provenance.device, "opset": 13})
    save_table(replace(table, provenance=made_there), tmp_path / "t.json")
    (tmp_path / "d.yaml").write_text("cpu: {runtime: onnxruntime, opset: 13}\n")
    exported: list[int | None] = []
    original = exporting._write

    def write(*arguments: Any, **named: Any) -> None:
        exported.append(named["opset"])
        original(*arguments, **named)

    monkeypatch.setattr(exporting, "_write", write)
    flags = ("--width", 0.25, "--epochs", 1, "--evaluations", 4, "--retrain-epochs", 1, "--train-images", 128)
    flags += ("--set", "search.finalists=2")
    where = ("--lut", tmp_path / "t.json", "--devices", tmp_path / "d.yaml", "--out", tmp_path / "run")
    outcome = run_cli("search", *flags, *where, "--max-latency", "70%", "--quiet", "--json")
    assert outcome.code == 0, outcome.err
    summary = json.loads(outcome.out)
    assert exported and {*exported} == {13}  # finalists and references: the device has to run them too
    monkeypatch.setattr(bundling, "has_tvm", lambda: False)
    assert run_cli("export", tmp_path / "run", "-o", tmp_path / "bundle", "--fp16", "--quiet").code == 0
    files = [*(tmp_path / "bundle").glob("*.onnx"), *(Path(summary[name]) for name in ("onnx", "onnx_dynamic_batch"))]
    assert len(files) == 8
    for path in files:
        model = onnx.load(path)
        assert [(found.domain, found.version) for found in model.opset_import] == [("", 13)], path
        assert model.ir_version <= 8, path


def test_profiles_are_made_in_the_operator_set_of_the_device(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text("old: {runtime: onnxruntime, opset: 13}\n")
    flags = ("--space", SPEC.name, "--input-size", 8, "--channels", 1, "--width", 0.25, "--networks", 0, "--rounds", 2)
    where = ("--device", "old", "--devices", tmp_path / "d.yaml")
    outcome = run_cli("profile", *flags, *where, "-o", tmp_path / "t.json", "--quiet", "--precision", "int8")
    assert outcome.code in (0, 1) and "0 failed" in outcome.out, outcome
    table = load_table(tmp_path / "t.json")
    assert table.opset == 13 and table.provenance.device["opset"] == 13
    block = next(b for b in make_space(SPEC).candidates if not b.is_identity)
    old, usual = export_block(block, tmp_path, opset=13), export_block(block, tmp_path)
    assert [onnx.load(path).opset_import[0].version for path in (old, usual)] == [13, 17]


@pytest.mark.parametrize("error", [ValueError("torn <file>"), KeyError("no such key")])
def test_a_report_that_cannot_be_made_is_said_once_and_not_by_a_traceback(
    error: Exception, run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise error

    server = make_server(fail, 0, warn=Reporter(is_quiet=True).warn)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for _ in range(2):
            with pytest.raises(urllib.error.HTTPError, match="500") as found:
                urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/", timeout=10)
            assert escape(str(error)) in found.value.read().decode()
        with socket.create_connection(("127.0.0.1", server.server_port)) as rude:
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # ends with a reset
            rude.sendall(b"GET / HT")
    finally:
        server.shutdown()
        server.server_close()
    told = capsys.readouterr().err
    assert told.count("warning: the report cannot be shown") == 1 and "Traceback" not in told
