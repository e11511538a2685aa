"""Layout conversions of networks are those of the runtime, counted without building the network."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from general_blocks import Join
from samples import bare_table, small_spec

from lut.build import block_counts, finished
from lut.layout import TO_BLOCKED, TO_PLAIN, BlockLayout, LayoutWalk, Transition, block_layout
from lut.networks import NetworkMeasurement, draw_networks
from profilers import Measurement, Model, Profiler
from profilers.device import find_device
from search_spaces import SpaceSpec, make_space
from search_spaces.blocks.detection import TopDown
from search_spaces.onnx_export import export_block, export_network

CONVERSIONS = (TO_BLOCKED, TO_PLAIN, "Add")


def _operations_in_file(path: Path, folder: Path) -> Counter[str]:
    """Operations of the optimised graph, from the file that ONNX Runtime writes of it."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return Counter(n.op_type for n in onnx.load(folder / "optimised.onnx").graph.node)


@pytest.mark.parametrize("name", ["fbnet-s", "nasbench-macro", "proxylessnas"])
def test_conversions_of_networks_are_counted_exactly(name: str, tmp_path: Path) -> None:
    space = make_space(SpaceSpec(name=name, input_size=32, num_classes=10))
    rng = np.random.default_rng(0)
    architectures = [space.sample(rng) for _ in range(24 // len(space.decisions))]  # about as many layers of each
    used = {key for architecture in architectures for key in block_counts(space, architecture)}
    blocks = list({b.key: b for b in space.candidates if b.key in used}.values())
    models = [Model(key=b.key, path=export_block(b, tmp_path)) for b in blocks]
    inspected = Profiler(device=find_device("cpu")).inspect(models)
    operations = {key: found.operations for key, found in inspected.items()}
    assert operations.keys() == {b.key for b in blocks}
    if not any(TO_BLOCKED in names for names in operations.values()):
        pytest.skip("this processor has no blocked layout")
    layouts = {b.key: block_layout(b, operations[b.key]) for b in blocks}
    changes = LayoutWalk(space, layouts).changes(np.array(architectures))
    for architecture, (nodes, elements, ms) in zip(architectures, changes, strict=True):
        alone = sum(
            n * sum(operations[k].count(c) for c in CONVERSIONS) for k, n in block_counts(space, architecture).items()
        )
        found = _operations_in_file(export_network(space, architecture, tmp_path), tmp_path)
        assert nodes == sum(found[c] for c in CONVERSIONS) - alone
        assert elements < 0 and ms == 0  # ONNX Runtime does not time its operations


def test_a_resized_input_is_added_within_the_convolution_whatever_the_layout_of_the_other() -> None:
    block = TopDown(feature=(16, 4, 4), coarse=(2, 2), width=8)
    layout = block_layout(block, [TO_BLOCKED, "Conv", TO_PLAIN, "Resize", "Add"])
    num_in, num_out = 16 * 16 + 8 * 4, 8 * 16
    assert layout.after_plain == Transition(nodes=-2, elements=-2 * num_out, gives_blocked=True)
    assert layout.after_blocked == Transition(nodes=-3, elements=-num_in - 2 * num_out, gives_blocked=True)


def test_residual_block_alone_and_after_each_layout() -> None:
    space = make_space(small_spec("nasbench-macro"))
    block = next(b for b in space.candidates if b.keeps_shape and not b.is_identity and b.family == "mbconv")
    size = block.in_channels * block.input_size**2
    layout = block_layout(block, [TO_BLOCKED, "Conv", "Conv", "Conv", TO_PLAIN, "Add"])
    assert layout.after_plain == Transition(nodes=0, elements=0, gives_blocked=False)
    assert layout.after_blocked == Transition(nodes=-3, elements=-3 * size, gives_blocked=True)
    begins_plain = block_layout(block, ["FusedConv", "Transpose", TO_BLOCKED, "Conv", TO_PLAIN, "FusedConv"])
    assert begins_plain.after_blocked == Transition(nodes=1, elements=size, gives_blocked=False)
    without = block_layout(block, ["QLinearConv", "QLinearConv"])
    assert without.after_plain == without.after_blocked.__class__(nodes=0, elements=0, gives_blocked=False)


def test_known_times_of_conversions_vanish_with_them() -> None:
    block = Join()
    layout = block_layout(block, [TO_BLOCKED, "Mul", "Conv", TO_PLAIN], [4.0, 10.0, 20.0, 83.0])
    assert (layout.after_plain.ms, layout.after_blocked.ms) == pytest.approx((-0.083, -0.087))
    ends_blocked = block_layout(block, [TO_BLOCKED, "Conv", "ReduceMean"], [4.0, 10.0, 5.0])
    assert (ends_blocked.after_plain.ms, ends_blocked.after_blocked.ms) == pytest.approx((0.0, -0.004))
    begins_plain = block_layout(block, ["MatMul", "Conv"], [4.0, 10.0])
    assert begins_plain.after_blocked.ms == 0.0, "the conversion that it needs was not there to be timed"


def test_conversions_of_every_input_count() -> None:
    block = Join()
    num_in, num_out = 4 * 6 * 9 + 4, 8 * 6 * 9
    layout = block_layout(block, [TO_BLOCKED, "Mul", "Conv", TO_PLAIN])
    assert layout.after_plain == Transition(nodes=-1, elements=-num_out, gives_blocked=True)
    assert layout.after_blocked == Transition(nodes=-2, elements=-num_in - num_out, gives_blocked=True)


@pytest.mark.parametrize("is_timed", [False, True], ids=["learnt", "timed"])
@pytest.mark.parametrize("name", ["fbnet-s", "nasbench-macro", "ofa-mobilenetv3"])
def test_conversions_are_learnt_or_known_and_predicted(name: str, is_timed: bool) -> None:
    space = make_space(small_spec(name))
    table = bare_table(space)
    rng = np.random.default_rng(0)

    def spare(key: str) -> Transition:
        # Times that go with neither the number of conversions nor their size, as those of OpenVINO do not.
        ms = -table.latency_ms[key] * float(rng.uniform(0.0, 0.8)) if is_timed else 0.0
        return Transition(nodes=-2, elements=-100, gives_blocked=True, ms=ms)

    keep = Transition(nodes=0, elements=0, gives_blocked=False)
    layouts = {}
    for key in {b.key: b for b in space.candidates if "k=" in b.key}:
        spared = spare(key)
        layouts[key] = BlockLayout(after_plain=spared if "k=5" in key else keep, after_blocked=spared)
    walk = LayoutWalk(space, layouts)
    networks = []
    for number, plan in enumerate(draw_networks(space, 60, seed=0)):
        total = 0.2 + sum(n * table.latency_ms[k] for k, n in block_counts(space, plan.architecture).items())
        nodes, _, known_ms = walk.changes(np.array([plan.architecture]))[0]
        total += known_ms if is_timed else 0.03 * nodes
        measurement = Measurement(
            key=plan.key,
            visits=tuple(10**5 + 7 * number + i for i in range(4)),
            wall_ns=(int(1e6 * total),) * 4,
            cpu_ns=(1,) * 4,
        )
        networks.append(NetworkMeasurement(architecture=plan.architecture, role=plan.role, measurement=measurement))
    errors = []
    for known in (layouts, {}):
        done = finished(replace(table, networks=tuple(networks), layouts=known), space)
        assert done.certificate is not None
        errors.append(done.certificate.mape)
    assert errors[0] < min(0.01, errors[1])
