"""`hwnas explain`, `hwnas profile --kernels` and `hwnas predict`, on small models of this machine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import run_cli
from onnx import helper
from small_models import save_classifier, save_graph, value


def save_network(path: Path, *, channels: int, size: int | str = 16) -> Path:
    """Three convolutions with activations."""
    rng = np.random.default_rng(0)
    nodes, weights, name, given = [], {}, "x", 3
    for number in range(3):
        nodes += [
            helper.make_node("Conv", [name, f"w{number}"], [f"c{number}"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [f"c{number}"], [f"r{number}"]),
        ]
        weights[f"w{number}"] = rng.standard_normal((channels, given, 3, 3)).astype(np.float32)
        name, given = f"r{number}", channels
    return save_graph(
        path, nodes, [value("x", (1, 3, size, size))], [value(name, (1, channels, size, size))], **weights
    )


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_operators_and_what_is_not_explained_sum_to_the_whole_run() -> None:
    save_network(Path("m.onnx"), channels=16)
    outcome = run_cli("explain", "m.onnx", "--rounds", 3, "--json")
    assert outcome.code == 0, outcome
    told = json.loads(outcome.out)
    explained = sum(operator["ms"] for operator in told["operators"])
    assert explained + told["not_explained_ms"] == pytest.approx(told["whole_ms"])
    assert sum("Conv" in o["operation"] for o in told["operators"]) >= 3
    assert sum(o["macs"] for o in told["operators"]) == 256 * 9 * 16 * (3 + 16 + 16)
    assert told["fallen_back"] == []


def test_explain_prints_the_whole_the_rest_and_the_most_expensive() -> None:
    save_network(Path("m.onnx"), channels=16)
    outcome = run_cli("explain", "m.onnx", "--rounds", 3, "--most", 2, "--quiet")
    assert outcome.code == 0, outcome
    for words in ("the whole run", "not explained", "the 2 most expensive", "all operators ran on CPU", "GB/s"):
        assert words in outcome.out


@pytest.mark.parametrize("command", [("explain",), ("predict", "--lut", "k.json")], ids=" ".join)
def test_what_is_no_model_or_has_no_size_is_refused(command: tuple[str, ...]) -> None:
    save_network(Path("m.onnx"), channels=8)
    assert run_cli("profile", "--kernels", "m.onnx", "-o", "k.json", "--rounds", 2, "--quiet").code == 0
    Path("text.onnx").write_text("no model")
    save_network(Path("free.onnx"), channels=8, size="side")
    for name, words in (
        ("text.onnx", "is no ONNX model"),
        ("absent.onnx", "absent.onnx"),
        ("free.onnx", "give --input-size"),
    ):
        outcome = run_cli(*command, name)
        assert outcome.code == 2 and words in outcome.err and "ONNXRuntimeError" not in outcome.err, outcome
    assert run_cli(*command, "free.onnx", "--input-size", 16).code == 0


def test_kernels_of_models_predict_another() -> None:
    for channels in (8, 16, 32, 48):
        save_network(Path(f"m{channels}.onnx"), channels=channels)
    made = run_cli("profile", "--kernels", "m8.onnx", "m16.onnx", "m48.onnx", "-o", "k.json", "--rounds", 3, "--quiet")
    assert made.code == 0 and "each model predicted by the others" in made.out, made
    known = json.loads(run_cli("predict", "m16.onnx", "--lut", "k.json", "--json").out)
    assert known["known_share"] == pytest.approx(1.0) and known["latency_ms"] > 0
    outcome = run_cli("predict", "m32.onnx", "--lut", "k.json")
    assert outcome.code == 0 and "predicted on cpu" in outcome.out and "regression" in outcome.out, outcome
    again = run_cli("profile", "--kernels", "m8.onnx", "m16.onnx", "m48.onnx", "-o", "k.json")
    assert again.code == 0 and "is complete" in again.err, again
    other = run_cli("profile", "--kernels", "m8.onnx", "-o", "k.json")
    assert other.code == 2 and "of other models" in other.err, other


def test_models_that_cannot_be_taken_apart_are_named_and_the_others_kept() -> None:
    save_network(Path("m.onnx"), channels=8)
    tail = [helper.make_node("Softmax", ["logits"], ["y"]), helper.make_node("NonZero", ["y"], ["n"])]
    save_classifier(Path("c.onnx"), tail, value("n", (2, None), 7), input_shape=(1, 1, 8, 8))
    Path("text.onnx").write_text("no model")
    assert run_cli("profile", "--kernels", "m.onnx", "text.onnx", "-o", "k.json").code == 2
    outcome = run_cli("profile", "--kernels", "m.onnx", "c.onnx", "-o", "k.json", "--rounds", 2, "--quiet")
    assert outcome.code in (0, 1) and "m.onnx" not in outcome.err, outcome
    assert Path("k.json").exists()


def test_a_table_of_blocks_holds_no_kernels() -> None:
    save_network(Path("m.onnx"), channels=8)
    Path("table.json").write_text('{"format": "hwnas-latency-table"}')
    outcome = run_cli("predict", "m.onnx", "--lut", "table.json")
    assert outcome.code == 2 and "hwnas profile --kernels" in outcome.err, outcome


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (("m.onnx",), "expected --kernels"),
        (("--kernels",), "found none"),
        (("--kernels", "m.onnx", "m.onnx"), "given twice"),
        (("--kernels", "m.onnx", "--precision", "int8"), "--precision"),
        (("--kernels", "m.onnx", "--space", "spos"), "--space"),
        (("--kernels", "m.onnx", "--networks", 20), "--networks"),
    ],
)
def test_wrong_requests_say_what_is_wrong(line: tuple[object, ...], words: str) -> None:
    save_network(Path("m.onnx"), channels=8)
    outcome = run_cli("profile", *line, "-o", "k.json")
    assert outcome.code == 2 and words in outcome.err, outcome
    assert not Path("k.json").exists()
