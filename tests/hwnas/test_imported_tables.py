"""Searching by tables that others published, for devices that are not at hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from command_line import run_cli
from samples import synthetic_table

from hwnas.export import bundle
from lut import LatencyTable, load_table, save_table
from lut.provenance import IMPORTED
from lut.table import ReportedLatency
from search_spaces import SearchSpace, SpaceSpec, make_space
from search_spaces.blocks.conv import ConvBnAct
from search_spaces.blocks.head import Classifier
from search_spaces.blocks.mbconv import MBConv
from search_spaces.blocks.separable import SeparableConv

pytestmark = pytest.mark.usefixtures("very_short_runs")

SPEC = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25)
FLAGS = ("--width", 0.25, "--evaluator", "naswot", "--evaluations", 6, "--retrain-epochs", 1, "--train-images", 160)
ALONE = ("--set", "retrain.references=false")
SEARCH = ("search", *FLAGS, *ALONE, "--lut", "phone.json", "--max-latency", "60%", "--out", "run", "--quiet")


def _published(space: SearchSpace) -> LatencyTable:
    """A table of a phone, as it would have been imported."""
    measured = synthetic_table(space, scale_ns=1e7)
    device = {"name": "phone", "runtime": "unknown", "threads": 1, "cores": None, "batch": 1}
    return replace(
        measured,
        entries=(),
        reported=tuple(ReportedLatency(key=key, mean_ms=ms, count=9) for key, ms in measured.latency_ms.items()),
        networks=(),
        calibration=None,
        certificate=None,
        provenance=replace(
            measured.provenance, device=device, worker={"source": "phone.yaml"}, rounds=0, stopped_by=IMPORTED
        ),
    )


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bundle, "has_tvm", lambda: False)
    save_table(_published(make_space(SPEC)), "phone.json")


def test_a_search_by_a_published_table_ends_in_a_model_and_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = run_cli(*SEARCH)
    assert refused.code == 2 and "--accept-table" in refused.err and "hwnas lut adapt" in refused.err
    monkeypatch.setattr("profilers.session.Session.start_worker", lambda _: pytest.fail("something is measured"))
    outcome = run_cli(*SEARCH, "--accept-table", "--json")
    assert outcome.code == 0, outcome.err
    assert "phone.json was published for phone" in outcome.err
    summary = json.loads(outcome.out)
    assert Path(summary["onnx"]).is_file() and summary["parity"]["equal_predictions"] == 1
    assert summary["measured_ms"] is None and summary["budget_kept"] is None
    assert summary["predicted_ms"] <= summary["max_latency_ms"]
    again = run_cli("search", "--resume", "--out", "run", "--quiet")
    assert again.code == 0 and "by prediction" in again.out, again.err
    page = Path("run/report.html").read_text()
    assert "not measured" in page and "kept by prediction" in page
    bundled = run_cli("export", "run", "-o", "bundle", "--no-int8", "--quiet")
    assert bundled.code == 0, bundled.err
    assert "not measured" in Path("bundle/README.md").read_text()


@pytest.mark.slow
def test_whoever_names_a_device_has_networks_measured_on_it() -> None:
    outcome = run_cli(*SEARCH, "--accept-table", "--device", "cpu", "--json", "--set", "search.finalists=2")
    assert outcome.code == 0, outcome.err
    summary = json.loads(outcome.out)
    assert summary["device"] == "cpu" and summary["measured_ms"] > 0 and summary["budget_kept"] is True


def test_what_cannot_be_done_with_a_published_table_says_what_can() -> None:
    verified = run_cli("lut", "verify", "phone.json")
    assert verified.code == 2 and "hwnas lut adapt phone.json --device NAME" in verified.err
    other = run_cli(*SEARCH, "--accept-table", "--input-size", 16)
    assert other.code == 2 and "--input-size 8 --width 0.25 --set space.outputs=10" in other.err


def _write_published(path: Path, space: SearchSpace, *, leave_out: int = 0) -> None:
    """Write a made-up table of ProxylessNAS's space as its authors do."""
    rows = {}
    for number, block in enumerate(b for b in space.candidates if not b.is_identity):
        size, out = block.input_size, block.output_size
        shapes = f"input:{size}x{size}x{block.in_channels}-output:{out}x{out}x{block.out_channels}"
        if isinstance(block, Classifier):
            name = f"Logits-{shapes}"
        elif isinstance(block, ConvBnAct):
            name = f"{'Conv' if block.kernel == 3 else 'Conv_1'}-{shapes}"
        else:
            assert isinstance(block, (MBConv, SeparableConv))
            expansion = block.expansion if isinstance(block, MBConv) else 1
            name = f"expanded_conv-{shapes}-expand:{expansion}-kernel:{block.kernel}-stride:{block.stride}-idskip:0"
        if number < 3 or number >= 3 + leave_out:
            rows[name] = {"mean": 1.0 + number % 7, "std": 0.1, "count": 50}
    path.write_text(yaml.safe_dump(rows))


@pytest.mark.slow
def test_half_of_a_published_table_is_taken_only_where_that_is_accepted(tmp_path: Path) -> None:
    space = make_space(SpaceSpec(name="proxylessnas", input_size=72, in_channels=1, num_classes=12, width=0.5))
    _write_published(tmp_path / "whole.yaml", space)
    _write_published(tmp_path / "half.yaml", space, leave_out=30)
    command = ("lut", "import", "proxylessnas")
    assert run_cli(*command, "whole.yaml", "-o", "whole.json").code == 0
    assert load_table("whole.json").space == space.spec
    refused = run_cli(*command, "half.yaml", "-o", "half.json")
    assert refused.code == 2 and "found none of 30, such as mbconv(" in refused.err
    assert not Path("half.json").exists()
    taken = run_cli(*command, "half.yaml", "-o", "half.json", "--accept-table")
    assert taken.code == 0 and "lacks 30 blocks of its space" in taken.out
    flags = ("--space", "proxylessnas", "--width", 0.5, "--input-size", 72, "--set", "space.outputs=12")
    searched = run_cli("search", *flags, "--lut", "half.json", "--accept-table", "--max-latency", "90%", "--out", "r")
    assert searched.code == 2 and "import the whole table" in searched.err, searched.err
