"""Tables of kernels: what a profiler adds is found, models are predicted, and files are what was written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kernels import NODE_US, WORKER, convolution, sampled_table, some_models, true_ms

from lut.errors import LaterTableError, TableError
from lut.kernel_file import load_kernels, save_kernels
from lut.kernel_model import KernelModel, certified, predicted_without
from lut.kernel_table import KernelTable
from lut.overhead import NODE_MS, Overhead, Whole, fit_overhead
from lut.roofline import fit_roofline
from profilers import Device


@pytest.fixture(scope="module")
def table() -> KernelTable:
    return certified(sampled_table(some_models()))


def test_what_the_profiler_adds_is_found_from_models_of_many_and_of_few_nodes() -> None:
    rng = np.random.default_rng(0)
    wholes = []
    for num in (10, 40, 160):
        times_ms = rng.uniform(0.005, 0.02, num)
        wholes.append(Whole(plain_ms=float(times_ms.sum()), profiled_ms=times_ms + 0.004))
    overhead = fit_overhead(wholes)
    assert overhead.node_ms == pytest.approx(0.004, rel=0.1)
    assert max(abs(whole.error(overhead)) for whole in wholes) < 0.01


def test_without_models_the_usual_overhead_is_taken() -> None:
    overhead = fit_overhead([])
    assert (overhead.scale, overhead.node_ms) == (pytest.approx(1.0), pytest.approx(NODE_MS))


def test_no_node_takes_less_than_nothing() -> None:
    assert Overhead(node_ms=0.01).corrected_ms(np.array([0.001, 0.02])).tolist() == pytest.approx([0.0, 0.01])


def test_a_roofline_finds_the_machine_it_was_sampled_from() -> None:
    kernels = [k for own in some_models().values() for k in own]
    roofline = fit_roofline(kernels, [true_ms(k) for k in kernels])
    assert roofline.fixed_ms == pytest.approx(0.002, rel=0.05)
    assert roofline.weight_ms == pytest.approx(1 / 40, rel=0.05) == roofline.activation_ms
    assert roofline.total_ms(kernels) == pytest.approx(sum(map(true_ms, kernels)), rel=0.01)
    assert 0 < roofline.memory_ms(kernels) < roofline.total_ms(kernels)


def test_times_are_those_without_the_profiler_and_without_drift(table: KernelTable) -> None:
    assert table.overhead.node_ms == pytest.approx(NODE_US / 1e3, rel=0.5)
    measured = [whole.plain_ms for whole in table.wholes]
    true = [sum(true_ms(table.kernels[n.kernel]) for n in model.nodes) for model in table.models]
    # Half of the visits were a fifth slower: all models alike are between the two speeds.
    ratios = np.divide(measured, true)
    assert ratios.std() < 0.01 and 1.0 <= ratios.mean() <= 1.2


def test_each_model_is_predicted_by_the_others(table: KernelTable) -> None:
    certificate = table.certificate
    assert certificate is not None and certificate.num_networks == len(table.models)
    assert certificate.within_10pct == 1.0 and certificate.kendall_tau > 0.9
    both = predicted_without(table, [0, 1])
    assert both == pytest.approx([table.wholes[0].plain_ms, table.wholes[1].plain_ms], rel=0.2)


def test_two_models_are_too_few_for_a_certificate() -> None:
    assert certified(sampled_table(some_models(2))).certificate is None


def test_what_was_measured_is_looked_up_and_the_rest_predicted(table: KernelTable) -> None:
    known, strange = table.kernels[0], convolution(40, out=56, size=24)
    prediction = KernelModel(table).predict([known, strange])
    assert [p.is_known for p in prediction.kernels] == [True, False]
    assert prediction.latency_ms == pytest.approx(sum(p.ms for p in prediction.kernels))
    assert prediction.kernels[1].ms == pytest.approx(1.1 * true_ms(strange), rel=0.25)
    assert prediction.strange_kinds == ("Conv",) and 0 < prediction.known_share < 1


def test_kinds_that_were_never_measured_are_predicted_above_nothing(table: KernelTable) -> None:
    other = replace(convolution(32), key="Softmax(in=1x32)", macs=0)
    assert KernelModel(table).predict([other]).latency_ms > 0


def test_a_file_holds_the_table_that_was_written(table: KernelTable, tmp_path: Path) -> None:
    save_kernels(table, tmp_path / "k.json")
    assert load_kernels(tmp_path / "k.json") == table


def _changed(path: Path, **fields: object) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**document, **fields}), encoding="utf-8")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"format": "hwnas-latency-table"}, "holds no kernels"),
        ({"version": "1"}, "schema version '1'"),
        ({"kernels": {}}, "was changed after it was written"),
    ],
)
def test_a_file_that_is_something_else_is_refused(
    fields: dict[str, object], words: str, table: KernelTable, tmp_path: Path
) -> None:
    save_kernels(table, tmp_path / "k.json")
    _changed(tmp_path / "k.json", **fields)
    with pytest.raises(TableError, match=words):
        load_kernels(tmp_path / "k.json")


def test_a_later_version_is_not_taken_for_a_damaged_file(table: KernelTable, tmp_path: Path) -> None:
    save_kernels(table, tmp_path / "k.json")
    _changed(tmp_path / "k.json", version=2)
    with pytest.raises(LaterTableError, match="later version"):
        load_kernels(tmp_path / "k.json")
    with pytest.raises(TableError, match="make them with hwnas profile --kernels"):
        load_kernels(tmp_path / "absent.json")


def test_what_no_table_can_say_is_refused(table: KernelTable) -> None:
    with pytest.raises(ValueError, match="there twice"):
        replace(table, models=(table.models[0], table.models[0]))
    with pytest.raises(ValueError, match="expected numbers of 1 kernels"):
        replace(table, kernels=table.kernels[:1])
    with pytest.raises(ValueError, match="as many times of each node"):
        replace(table.models[0], nodes=(replace(table.models[0].nodes[0], us=(1,)),))


@pytest.mark.parametrize(
    ("device", "worker", "words"),
    [
        ({"threads": 2}, {}, "threads 1.*has 2"),
        ({}, {"onnxruntime": "1.19"}, "onnxruntime '1.20'.*'1.19'"),
        ({}, {"cpu_model": "another"}, "cpu_model 'simulated'"),
    ],
)
def test_kernels_of_another_device_version_or_setting_are_refused(
    device: dict[str, object], worker: dict[str, object], words: str, table: KernelTable
) -> None:
    settings = {"name": "cpu", "runtime": "onnxruntime", "threads": 1, **device}
    table.require_device(Device(name="cpu", runtime="onnxruntime"), WORKER, name="k.json")
    with pytest.raises(TableError, match=words):
        table.require_device(Device(**settings), {**WORKER, **worker}, name="k.json")
