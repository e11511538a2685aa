"""Published tables, whole and as our blocks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from lut import LatencyModel, TableError, load_table, save_table
from lut.importers import import_table
from search_spaces import SearchSpace, make_space

OFA = "published_tables/ofa_note10_224.yaml"
OFA_NETWORK = "published_tables/ofa_note10_lat-30ms.net.config.json"
PROXYLESS = "published_tables/proxyless_mobile_trim.yaml"


def _published_architecture(space: SearchSpace, config: dict) -> tuple[int, ...]:
    """A once-for-all network description as an architecture: consecutive layers of one width are a stage."""
    layers = [b["mobile_inverted_conv"] for b in config["blocks"][1:]]
    stages: list[list[dict]] = []
    for layer in layers:
        if layer["in_channels"] != layer["out_channels"]:
            stages.append([])
        stages[-1].append(layer)
    architecture: list[int] = []
    for segment, stage in zip(space.segments, stages, strict=True):
        depth, *choices = (space.decisions[i].choices for i in segment.decisions)
        architecture.append(depth.index(str(len(stage))))
        names = [f"k{layer['kernel_size']}_e{layer['expand_ratio']}" for layer in stage]
        architecture += [c.index(n) for c, n in zip(choices, names, strict=False)]
        architecture += [0] * (len(choices) - len(names))
    return tuple(architecture)


def test_once_for_all_predicts_its_published_30_ms_network_at_29_97(benchmark_data: Path, tmp_path: Path) -> None:
    table = import_table("once-for-all", benchmark_data / OFA)
    assert len(table.reported) == 96
    assert (table.space.input_size, table.space.num_classes, table.space.width) == (224, 1000, 1.2)
    save_table(table, tmp_path / "t.json")
    space = make_space(table.space)
    model = LatencyModel(space, load_table(tmp_path / "t.json"))
    config = json.loads((benchmark_data / OFA_NETWORK).read_text())
    assert round(model.predict_one_ms(_published_architecture(space, config)), 2) == 29.97
    stem = next(r for r in table.reported if r.key.startswith("conv(in=3"))
    assert (stem.count, round(stem.mean_ms, 6), round(stem.std_ms or 0, 6)) == (500, 0.994418, 0.017268)


def test_proxylessnas_imports_whole(benchmark_data: Path) -> None:
    table = import_table("proxylessnas", benchmark_data / PROXYLESS)
    raw = yaml.safe_load((benchmark_data / PROXYLESS).read_text())
    assert len(table.reported) == len({r.key for r in table.reported}) == len(raw) == 72
    first = raw["Conv-input:224x224x3-output:112x112x32"]
    stem = table.reported[0]
    assert (stem.mean_ms, stem.count) == (first["mean"], first["count"])
    assert stem.std_ms == pytest.approx(first["var"] ** 0.5)
    space = make_space(table.space)
    predicted = LatencyModel(space, table).predict_ms(space.sample_many(100, np.random.default_rng(0)))
    assert 20 < predicted.min() < predicted.max() < 200
    assert table.certificate is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n- b\n", "must map block names"),
        ("Conv-input:224x224x3-output:112x112x32: {count: 1}\n", "mean: Field required"),
        ("Conv-input:224x224x3-output:112x112x32: {count: 1, mean: 1}\n", "'std'"),
        ("Conv-input:224x224x3-output:112x112x32: {mean: .nan, std: 0, count: 1}\n", "mean: Input should be a finite"),
        ("Conv-input:224x224x3-output:112x112x32: {mean: 1, std: 0, count: .inf}\n", "count: Input should be"),
        (
            "Conv-input:224x224x3-output:112x112x32: {mean: '1', std: 0, count: 1}\n",
            "mean: Input should be",
        ),
        ("Conv-input:224x224x3-output:112x112x32: {mean: 1, var: -1, count: 1}\n", "var: Input should be greater"),
        ("Conv-input:9999999x3x3-output:112x112x32: {mean: 1, std: 0, count: 1}\n", "expected input:HxWxC"),
        ("Pool-input:7x7x3-output:1x1x3: {mean: 1, std: 0, count: 1}\n", "unknown kind of block 'Pool'"),
        ("Conv-input:7-output:1: {mean: 1, std: 0, count: 1}\n", "expected input:HxWxC"),
        ("Conv_1-input:7x7x32-output:7x7x64: {mean: 1, std: 0, count: 1}\n", "lacks the first convolution"),
        ("Conv_1-input:7x7x32-output:7x7x64: {mean: -1, std: 0, count: 1}\n", "greater than 0"),
        ("a: [", "is not YAML"),
        ("a: {mean: 1, std: 0, count: 1}\n", "expected names of blocks such as expanded_conv-input:.*, found 'a'"),
        ('{"conv-bn-relu": {"0": {"latency": 3}}}', "holds nn-Meter's latencies.*hwnas profile"),
        ('{"cortexA76cpu": {"dwconv_bn_relu": {"0": {"latency": 3}}}}', "holds nn-Meter's latencies"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(text)
    with pytest.raises(TableError, match=words):
        import_table("once-for-all", path)


def test_unknown_format_and_absent_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="unknown table format 'csv'; there are: once-for-all, proxylessnas"):
        import_table("csv", tmp_path / "t")
    with pytest.raises(TableError, match="cannot read"):
        import_table("proxylessnas", tmp_path / "t")
