"""`hwnas compare` with models as people have them: measured all the same, and scored rightly or not at all."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import run_cli
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto as Kind
from onnx import helper
from small_models import save_chain, save_classifier, save_graph, value

from hwnas.export.accuracy import NoAccuracyError, predicted_classes

pytestmark = pytest.mark.usefixtures("very_short_runs")

FAST = ("--rounds", 2, "--quiet", "--json")
ON_DIGITS = ("--data", "digits", *FAST)


def compared(*arguments: object) -> list[dict[str, Any]]:
    outcome = run_cli("compare", *arguments)
    assert outcome.code == 0, outcome.err
    rows: list[dict[str, Any]] = json.loads(outcome.out)
    assert all(row["latency_ms"] > 0 for row in rows)
    assert all(row[figure] is None for row in rows for figure in row["missing"])
    return rows


def refused(*arguments: object, code: int = 2) -> str:
    outcome = run_cli("compare", *arguments)
    assert outcome.code == code and outcome.out == "" and "Traceback" not in outcome.err, outcome
    return outcome.err


IDENTITY = helper.make_node("Identity", ["logits"], ["y"])
ARG_MAX = helper.make_node("ArgMax", ["logits"], ["y"], axis=1, keepdims=0)
SAME = {
    "N x K": ([IDENTITY], value("y", ["N", 10])),
    "N x K x 1 x 1": (
        [helper.make_node("Unsqueeze", ["logits", "axes"], ["y"])],
        value("y", ["N", 10, 1, 1]),
    ),
    "classes": ([ARG_MAX], value("y", ["N"], Kind.INT64)),
    "classes N x 1": (
        [helper.make_node("ArgMax", ["logits"], ["y"], axis=1, keepdims=1)],
        value("y", ["N", 1], Kind.INT64),
    ),
    "doubles": ([helper.make_node("Cast", ["logits"], ["y"], to=Kind.DOUBLE)], value("y", ["N", 10], Kind.DOUBLE)),
}


def test_one_classifier_has_one_accuracy_whatever_its_output_looks_like(tmp_path: Path) -> None:
    axes = helper.make_node("Constant", [], ["axes"], value_ints=[2, 3])
    paths = [save_classifier(tmp_path / f"{name}.onnx", [axes, *tail], output) for name, (tail, output) in SAME.items()]
    paths.append(save_classifier(tmp_path / "three.onnx", *_tail(IDENTITY, ["M", 10]), input_shape=(3, 1, 8, 8)))
    wide = {"kind": Kind.DOUBLE, "input_shape": (None, 1, None, None)}
    paths.append(save_classifier(tmp_path / "wide.onnx", *_tail(IDENTITY, [None, 10]), **wide))
    squeezed = helper.make_node("Squeeze", ["logits"], ["y"])
    paths.append(save_classifier(tmp_path / "row.onnx", *_tail(squeezed, [10]), input_shape=(1, 1, 8, 8)))
    rows = compared(*paths, *ON_DIGITS)
    assert len({row["accuracy"] for row in rows}) == 1 and 0 <= rows[0]["accuracy"] <= 1
    assert rows[0]["bound"] == {"N": 1} and rows[-3]["bound"] == {} and rows[-1]["missing"] == {}
    assert rows[-2]["bound"] == {"x[0]": 1, "x[2]": 8, "x[3]": 8}


def _tail(node: onnx.NodeProto, shape: list[int | str | None]) -> tuple[list[onnx.NodeProto], onnx.ValueInfoProto]:
    return [node], value("y", shape)


@pytest.mark.parametrize("num_classes", [7, 1000])
def test_other_classes_are_measured_and_not_scored(num_classes: int, tmp_path: Path) -> None:
    scores = save_classifier(tmp_path / "s.onnx", *_tail(IDENTITY, ["N", num_classes]), num_classes=num_classes)
    (row,) = compared(scores, *ON_DIGITS)
    assert row["missing"]["accuracy"] == f"it gives {num_classes} outputs for each image, the data have 10 classes"
    text = run_cli("compare", scores, *ON_DIGITS[:-1]).out
    assert f"no accuracy: it gives {num_classes} outputs" in text and "measured with N = 1" in text
    if num_classes > 10:
        output = value("y", ["N"], Kind.INT64)
        classes = save_classifier(tmp_path / "c.onnx", [ARG_MAX], output, num_classes=num_classes)
        assert "it tells class" in compared(classes, *ON_DIGITS)[0]["missing"]["accuracy"]


def test_outputs_that_are_no_classes_are_measured_and_not_scored(tmp_path: Path) -> None:
    text_tail = [ARG_MAX, helper.make_node("LabelEncoder", ["y"], ["z"], domain="ai.onnx.ml")]
    text_tail[1].attribute.extend(
        [
            helper.make_attribute("keys_int64s", list(range(10))),
            helper.make_attribute("values_strings", [b"class"] * 10),
        ]
    )
    zip_map = helper.make_node("ZipMap", ["logits"], ["z"], domain="ai.onnx.ml", classlabels_int64s=list(range(10)))
    maps = helper.make_map_type_proto(Kind.INT64, helper.make_tensor_type_proto(Kind.FLOAT, []))
    flat = helper.make_node("ReduceMean", ["logits"], ["y"], axes=[1], keepdims=0)
    positions = helper.make_node("NonZero", ["logits"], ["y"])
    planes = helper.make_node("Identity", ["numbers"], ["y"])
    expected = {}
    for name, words, tail, output in (
        ("strings", "it gives object", text_tail, value("z", ["N"], Kind.STRING)),
        ("maps", "it gives list", [zip_map], helper.make_value_info("z", helper.make_sequence_type_proto(maps))),
        ("numbers", "it gives 1 outputs for each image", [flat], value("y", ["N"])),
        ("unknown length", "it gives", [positions], value("y", [2, None], Kind.INT64)),
        ("pictures", "it gives 1x1x8x8 for 1 images, expected 1x10", [planes], value("y", ["N", 1, 8, 8])),
        ("truths", "it gives bool", [helper.make_node("Cast", ["logits"], ["y"], to=9)], value("y", ["N", 10], 9)),
    ):
        expected[save_classifier(tmp_path / f"{name}.onnx", tail, output)] = words
    for row, words in zip(compared(*expected, *ON_DIGITS), expected.values(), strict=True):
        assert words in row["missing"]["accuracy"], row


def test_every_element_type_is_measured(tmp_path: Path) -> None:
    widths = ("INT8", "INT16", "INT32", "INT64")
    kinds = ("FLOAT", "DOUBLE", "FLOAT16", "BOOL", *widths, *(f"U{name}" for name in widths))
    node, paths, expected = helper.make_node("Identity", ["x"], ["y"]), [], []
    for kind, shape, words in ((k, s, w) for k in kinds for s, w in (([2, 3], "2x3"), ([], "scalar"))):
        both = [value(name, shape, getattr(Kind, kind)) for name in "xy"]
        paths.append(save_graph(tmp_path / f"{kind} {words}.onnx", [node], both[:1], both[1:]))
        expected.append(f"{kind.lower()} {words}")
    rows = compared(*paths, *ON_DIGITS)
    assert [row["input"] for row in rows] == expected
    assert all(row["missing"]["accuracy"].startswith("it takes") for row in rows)


def test_words_are_numbered_within_any_vocabulary(tmp_path: Path) -> None:
    node = helper.make_node("Gather", ["w", "x"], ["y"])
    inputs = [value("x", ["batch", "sequence"], Kind.INT64)]
    outputs = [value("y", ["batch", "sequence", 4])]
    path = save_graph(tmp_path / "m.onnx", [node], inputs, outputs, w=np.ones((2, 4), np.float32))
    assert "takes batchxsequence; give --input-size" in refused(path, *FAST)
    (row,) = compared(path, *FAST, "--input-size", 12)
    assert row["bound"] == {"batch": 1, "sequence": 12} and row["input"] == "int64 1x12"


def test_several_inputs_and_outputs_are_measured_and_one_output_scored(tmp_path: Path) -> None:
    both = [helper.make_node("Add", ["a", "b"], ["y"])]
    two = save_graph(tmp_path / "two.onnx", both, [value("a", [1, 4]), value("b", [4])], [value("y", [1, 4])])
    path = save_classifier(tmp_path / "heads.onnx", [IDENTITY], value("y", ["N", 10]))
    model = onnx.load(path)
    model.graph.output.append(value("flat", ["N", 64]))
    onnx.save(model, path)
    heads, sums = compared(path, two, *ON_DIGITS)
    assert "it has 1 inputs and 2 outputs (y, flat)" in heads["missing"]["accuracy"]
    assert "it has 2 inputs and 1 outputs" in sums["missing"]["accuracy"]
    assert sums["input"] == "a: float 1x4, b: float 4"
    (scored,) = compared(path, *ON_DIGITS, "--output", "y")
    assert 0 <= scored["accuracy"] <= 1
    assert "64 outputs" in compared(path, *ON_DIGITS, "--output", "flat")[0]["missing"]["accuracy"]
    assert "no model has an output 'z'; there are:" in refused(path, *ON_DIGITS, "--output", "z")
    assert "expected --data too" in refused(path, *FAST, "--output", "y")


def test_what_cannot_be_measured_is_refused_in_words(tmp_path: Path) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])

    def made(name: str, shape: list[int | str | None], kind: int) -> Path:
        return save_graph(tmp_path / name, [node], [value("x", shape, kind)], [value("y", shape, kind)])

    assert "takes string as 'x', expected one of float, double" in refused(made("s.onnx", [1], Kind.STRING))
    assert "takes nothing: 'x' has the shape 0x3" in refused(made("z.onnx", [0, 3], Kind.FLOAT))
    assert "takes bfloat16" in refused(made("b.onnx", [1], Kind.BFLOAT16))
    open_size = made("o.onnx", ["N", 3, "H", "W"], Kind.FLOAT)
    assert "it takes Nx3xHxW; give --input-size" in refused(open_size)
    assert compared(open_size, *FAST, "--input-size", 16)[0]["bound"] == {"N": 1, "H": 16, "W": 16}
    fixed = made("f.onnx", [1, 3, 8, 8], Kind.FLOAT)
    remarked = run_cli("compare", fixed, open_size, *FAST, "--input-size", 16).err
    assert "f.onnx takes float 1x3x8x8 whatever --input-size says" in remarked and "o.onnx takes" not in remarked
    anything = made("a.onnx", [None, None, None, None], Kind.FLOAT)
    assert compared(anything, *ON_DIGITS)[0]["input"] == "float 1x1x8x8"
    named = run_cli("compare", open_size, open_size, *FAST, "--input-size", 8)
    assert "is left out" in named.err and len(json.loads(named.out)) == 1
    assert "found neither a file nor a run at" in refused(tmp_path / "nope")
    assert "found no run in the folder" in refused(tmp_path)
    shape = helper.make_tensor_value_info("x", Kind.FLOAT, None)
    pool = helper.make_node("GlobalAveragePool", ["x"], ["y"])
    unknown = save_graph(tmp_path / "u.onnx", [pool], [shape], [helper.make_tensor_value_info("y", Kind.FLOAT, None)])
    assert "does not say how many axes 'x' has" in refused(unknown)


def test_more_threads_than_cores_are_refused(tmp_path: Path) -> None:
    path = save_chain(tmp_path / "m.onnx", (1, 4))
    num = len(os.sched_getaffinity(0)) + 1
    assert f"one for each core that this process may use, got {num}" in refused(path, *FAST, "--threads", num)
    (tmp_path / "d.yaml").write_text(f"mine: {{runtime: onnxruntime, threads: {num}}}\n")
    for arguments in (
        ("devices", "check", "mine", "--devices", tmp_path / "d.yaml", "--json"),
        ("devices", "--json", "--devices", tmp_path / "d.yaml", "check", "mine"),
    ):
        outcome = run_cli(*arguments)
        (finding,) = json.loads(outcome.out)
        assert outcome.code == 1 and finding["step"] == "device" and "fewer" in finding["remedy"]
    elsewhere = f"mine: {{runtime: onnxruntime, threads: 4096, command: [env, {sys.executable}]}}\n"
    (tmp_path / "d.yaml").write_text(elsewhere.replace("4096", "1024"))
    (_, finding) = json.loads(run_cli(*arguments).out)
    assert "1024 threads on" in finding["text"]


def test_weights_in_other_files_count_and_are_found(tmp_path: Path) -> None:
    (tmp_path / "phone").mkdir()
    plain = save_classifier(tmp_path / "plain.onnx", *_tail(IDENTITY, ["N", 10]))
    heavy = save_classifier(tmp_path / "heavy.onnx", *_tail(IDENTITY, ["N", 10]), location="heavy.onnx.data")
    phone = f"phone: {{runtime: onnxruntime, command: [env, {sys.executable}], folder: {tmp_path}/phone,"
    (tmp_path / "d.yaml").write_text(phone + ' copy: [cp, "{local}", "{remote}"]}\n')
    for where in ((), ("--devices", tmp_path / "d.yaml", "--device", "phone")):
        one, other = compared(plain, heavy, *ON_DIGITS, *where)
        assert one["accuracy"] == other["accuracy"]
        assert other["size_bytes"] >= 4 * 64 * 10 and abs(one["size_bytes"] - other["size_bytes"]) < 200
        assert one["peak_memory_bytes"] == other["peak_memory_bytes"] > 4 * 64 * 10


def test_a_figure_that_cannot_be_had_says_why(tmp_path: Path) -> None:
    positions = save_graph(
        tmp_path / "m.onnx",
        [helper.make_node("NonZero", ["x"], ["y"])],
        [value("x", [2, 3])],
        [value("y", [2, None], Kind.INT64)],
    )
    (row,) = compared(positions, *FAST)
    assert row["peak_memory_bytes"] is None and "how large 'y' is" in row["missing"]["peak_memory_bytes"]
    assert "no peak memory: the graph does not tell it" in run_cli("compare", positions, *FAST[:-1]).out


sizes = st.sampled_from([0, 1, 2, 3, 10])


@given(
    shape=st.lists(sizes, max_size=4), num=sizes.filter(bool), classes=st.integers(2, 10), kind=st.sampled_from("fi?")
)
def test_predictions_are_one_class_for_each_image_or_refused(
    shape: list[int], num: int, classes: int, kind: str
) -> None:
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype({"f": "f4", "i": "i8", "?": "?"}[kind])
    try:
        found = predicted_classes(values, num, classes)
    except NoAccuracyError:
        return
    assert found.shape == (num,) and ((found >= 0) & (found < classes)).all()
