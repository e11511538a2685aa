"""Budgets on tail percentiles: predicted by the table's networks, held on what single runs of finalists take."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from command_line import run_cli
from samples import small_spec, synthetic_table
from simulated_machine import WORST
from simulated_worker import write_devices
from tailed_table import EXTRA_MS, SCALE, tailed_table

from hwnas import profiling
from hwnas.config import TrustConfig
from hwnas.config_file import config_as_yaml, load_config
from hwnas.errors import RequestError, RunError
from hwnas.measured import Measured
from hwnas.profiling import measure_networks
from hwnas.progress import Reporter
from hwnas.quantities import format_ms
from hwnas.search import Evaluation
from hwnas.stages.finalists import Finalist, Finalists
from hwnas.stages.latency import Latency, LatencyRequest, confident_margin, latency_of
from hwnas.stages.speed import Speed
from hwnas.trust import required_tail, tail_doubt
from lut import LatencyModel, TableError, save_table
from lut.build import require_extent
from lut.tails import tail_of
from profilers import Measurement, Model
from profilers.device import find_device
from search_spaces import SpaceSpec, make_space

SPACE = make_space(small_spec("nasbench-macro"))
TABLE = tailed_table(SPACE, 40)
MODEL = LatencyModel(SPACE, TABLE)
QUIET = Reporter(is_quiet=True)


class HeldUp:
    """Profiles models that take a millisecond, and two in one run of ten."""

    def __init__(self, *, rounds: int, **_: object) -> None:
        self.rounds = min(rounds, self.most)

    most = 10**6

    def measure(self, models: Sequence[Model], _: Path) -> Any:
        wall_ns = tuple(2_000_000 if i % 10 == 9 else 1_000_000 + i for i in range(self.rounds))
        found = [
            Measurement(
                key=m.key, visits=tuple(range(k, 10 * self.rounds, 10)), wall_ns=wall_ns, cpu_ns=(1,) * len(wall_ns)
            )
            for k, m in enumerate(models)
        ]
        return SimpleNamespace(measurements=found)


@pytest.fixture
def held_up(monkeypatch: pytest.MonkeyPatch) -> type[HeldUp]:
    monkeypatch.setattr(profiling, "Profiler", HeldUp)
    monkeypatch.setattr(HeldUp, "most", 10**6)
    return HeldUp


def measured(percentile: int, rounds: int = 80) -> Measured:
    device, paths = find_device("cpu"), {"a": Path("a.onnx"), "b": Path("b.onnx")}
    found = measure_networks(paths, device, Path("j"), rounds=rounds, seed=0, reporter=QUIET, percentile=percentile)
    assert found.keys() == {*paths}
    return found["a"]


@pytest.mark.usefixtures("held_up")
def test_latency_is_the_percentile_of_enough_runs() -> None:
    median, p95, p99 = measured(50), measured(95), measured(99)
    assert (median.p95_ms, median.p99_ms) == (None, None), "of eighty runs"
    assert median.latency_ms == median.p50_ms == pytest.approx(1.0, rel=1e-3)
    assert p95.latency_ms == p95.p95_ms == 2.0 and p95.p99_ms is None and p95.p50_ms == pytest.approx(1.0, rel=1e-3)
    assert p99.latency_ms == p99.p99_ms == 2.0 and p99.p95_ms == 2.0
    assert measured(50, 100).p95_ms == 2.0


def test_a_percentile_that_too_few_runs_were_made_for_is_refused(held_up: type[HeldUp]) -> None:
    held_up.most = 90
    with pytest.raises(RunError, match=r"p95 of a takes 100 runs on cpu, 90 were made .* hold the budget on a lower"):
        measured(95)


def latency(percentile: int, **request: Any) -> Latency:
    tail = None if percentile == 50 else tail_of(TABLE, SPACE, percentile)
    asked = LatencyRequest(**{"max_latency": "80%", **request})
    return latency_of(MODEL, Speed(drift=1.5), asked, tail=tail, doubt=None, reporter=QUIET)


def test_tails_are_predicted_for_the_machine_as_it_is_now() -> None:
    architectures = np.array([SPACE.sample(np.random.default_rng(i)) for i in range(20)])
    median, p95 = latency(50), latency(95)
    np.testing.assert_array_equal(median.model.predict_ms(architectures), 1.5 * MODEL.predict_ms(architectures))
    expected = 1.5 * (SCALE * MODEL.predict_ms(architectures) + EXTRA_MS)
    np.testing.assert_allclose(p95.model.predict_ms(architectures), expected, rtol=0.05)
    assert p95.model.extreme()[0] == median.model.extreme()[0] and p95.max_ms > median.max_ms
    # Networks of the table that are timed beside finalists are chosen by their medians.
    assert p95.near_ms == pytest.approx(median.near_ms, rel=0.2)


def test_errors_are_those_of_the_tails_own_certificate() -> None:
    median, p95 = latency(50), latency(95)
    assert TABLE.certificate is not None and p95.model.certificate is not None
    assert median.error == TABLE.certificate.error_std and p95.error == p95.model.certificate.error_std
    assert latency(95, confidence=0.9).margin == confident_margin(p95.model.certificate, 0.9)
    bias, std = p95.model.certificate.bias, p95.model.certificate.error_std
    assert p95.probability(1.0 + bias, 1.0) == pytest.approx(0.5)
    assert p95.probability(1.0 + bias - std, 1.0) == pytest.approx(0.841, abs=1e-3)


def test_a_finalist_keeps_the_budget_by_its_own_tail() -> None:
    """The better network is as fast as the other one mostly, and slower in one run of twenty."""
    tails = {(0,): 2.0, (1,): 1.2}
    evaluations = [Evaluation(architecture=a, score=1.0 - a[0], costs={"latency_ms": 1.1}) for a in tails]

    def measure(group: Sequence[Evaluation], _: int) -> list[Finalist]:
        found = [Measured(latency_ms=tails[e.architecture], repeatability=0.0, p50_ms=1.0) for e in group]
        return [Finalist(evaluation=e, measured=m) for e, m in zip(group, found, strict=True)]

    best = Finalists(evaluations, measure, latency(95), 1.5, group_size=8).best()
    assert best is not None and best.architecture == (1,) and best.measured.p50_ms == 1.0


def test_tables_that_cannot_tell_a_percentile_are_refused() -> None:
    trust, any_table = TrustConfig(), TrustConfig(accept_any=True)
    with pytest.raises(RequestError, match=r"t.json has no certificate of p99 .* 100 runs of each network, found 40"):
        required_tail(TABLE, SPACE, 99, trust, name="t.json")
    assert required_tail(TABLE, SPACE, 99, any_table, name="t.json").percentile == 99
    with pytest.raises(RequestError, match=r"tells no p95 .* --percentile 95 and --fresh"):
        required_tail(replace(TABLE, certificate=None), SPACE, 95, any_table, name="t.json")
    imported = replace(TABLE.provenance, stopped_by="imported", worker={"source": "a paper"})
    with pytest.raises(RequestError, match="found those of none; hwnas lut adapt makes a table"):
        required_tail(replace(TABLE, networks=(), certificate=None, provenance=imported), SPACE, 95, trust, name="t")


def test_a_complete_table_of_too_few_rounds_is_measured_again() -> None:
    require_extent(TABLE, SPACE, least_rounds=40)
    with pytest.raises(TableError, match="complete with 40 rounds; 100 at least are needed: --fresh measures it again"):
        require_extent(TABLE, SPACE, least_rounds=100)


def test_a_table_that_predicts_tails_poorly_is_doubted() -> None:
    tail = tail_of(TABLE, SPACE, 95)
    assert tail is not None and tail.certificate is not None and tail_doubt(tail, TrustConfig()) is None
    poor = replace(tail, certificate=replace(tail.certificate, within_5pct=0.1, within_10pct=0.5))
    doubt = tail_doubt(poor, TrustConfig())
    assert doubt is not None and doubt.startswith("predicts p95 of 50% of held-out networks within 10 %")
    assert tail_doubt(poor, TrustConfig(accept_any=True)) is None


def test_percentiles_are_settings_and_said() -> None:
    config = load_config(None, {"max_latency": "10ms", "percentile": 95})
    assert config.percentile == 95 and "percentile: 95\n" in config_as_yaml(config)
    assert load_config(None, {"max_latency": "10ms"}).percentile == 50
    with pytest.raises(RequestError, match="expected one of the percentiles 50, 95, 99, got 90"):
        load_config(None, {"max_latency": "10ms", "percentile": 90})
    assert (format_ms(10.0), format_ms(10.0, 95)) == ("10 ms", "10 ms (p95)")
    with pytest.raises(RequestError, match=r"no architecture under 0.1 ms \(p95\); the fastest of this space is"):
        latency(95, max_latency="0.1ms")


def test_profile_measures_enough_for_the_percentile(tmp_path: Path) -> None:
    command = ("profile", "--space", "nasbench-macro", "--input-size", 8, "--dry-run", "-o", tmp_path / "t.json")
    assert "up to 100 rounds" in run_cli(*command, "--percentile", 99).out
    assert "up to 80 rounds" in run_cli(*command, "--percentile", 95).out
    for flags, words in ((("--rounds", 40), "--percentile 99 takes 100 rounds, got --rounds 40"), ((), "")):
        outcome = run_cli(*command, "--percentile", 99, *flags)
        assert outcome.code == (2 if words else 0) and words in outcome.err


SPEC = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25)
SETTINGS = ("--width", 0.25, "--epochs", 1, "--evaluations", 8, "--retrain-epochs", 1, "--train-images", 128)


def test_a_search_needs_a_table_that_knows_the_percentile(tmp_path: Path) -> None:
    save_table(synthetic_table(make_space(SPEC)), tmp_path / "t.json")
    given = ("--lut", tmp_path / "t.json", "--max-latency", "60%", "--percentile", 95, "--out", tmp_path / "run")
    outcome = run_cli("search", *SETTINGS, *given)
    assert outcome.code == 2 and "tells no p95 of networks" in outcome.err and "Traceback" not in outcome.err


@pytest.mark.slow
@pytest.mark.usefixtures("short_runs")
@pytest.mark.usefixtures("no_tvm")
def test_a_search_ends_in_a_model_whose_tail_keeps_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWNAS_TRUST_CODE", "1")  # the machine's worker is a file of code
    monkeypatch.setattr("hwnas.stages.table.NUM_NETWORKS", 20)
    monkeypatch.setattr("hwnas.stages.table.ROUNDS", 20)
    monkeypatch.setitem(profiling.LEAST_RUNS, 95, 20)
    write_devices(tmp_path / "devices.yaml", worst=WORST)
    where = ("--device", "worst", "--devices", tmp_path / "devices.yaml", "--out", tmp_path / "run")
    budget = ("--max-latency", "60%", "--percentile", 95, "--set", "trust.extra_minutes=0")
    outcome = run_cli("search", *SETTINGS, *where, *budget, "--set", "search.finalists=4", "--json")
    assert outcome.out, outcome.err
    summary = json.loads(outcome.out)
    assert outcome.code == (0 if summary["budget_kept"] else 1), outcome.err
    assert "p95 of networks: " in outcome.err and "measure p95" in outcome.err
    assert summary["percentile"] == 95 and summary["measured_ms"] == summary["p95_ms"] > summary["p50_ms"]
    assert summary["budget_kept"] == (summary["p95_ms"] <= summary["max_latency_ms"])
    finalists = json.loads((tmp_path / "run" / "search" / "result.json").read_text())["finalists"]
    assert all(f["measured_ms"] == f["p95_ms"] > f["p50_ms"] for f in finalists)
    shown = run_cli("search", "--resume", "--out", tmp_path / "run").out
    assert "measured p95 ms" in shown and "budget p95 ms" in shown and "p50 ms" in shown
    assert "(p95)" in (tmp_path / "run" / "report.html").read_text()
    bundled = run_cli("export", tmp_path / "run", "-o", tmp_path / "bundle", "--no-int8", "--quiet")
    assert bundled.code == 0 and "deploy model.onnx" in bundled.out, bundled.err
    deployment = json.loads((tmp_path / "bundle" / "deployment.json").read_text())
    model = deployment["models"]["model.onnx"]
    assert deployment["percentile"] == 95 and model["measured_ms"] == model["p95_ms"] > model["p50_ms"]
    assert "Latencies are p95 of single passes" in (tmp_path / "bundle" / "README.md").read_text()
