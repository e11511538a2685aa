"""Looking at a run that is searching: nothing is written, and nothing is lost."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from command_line import run_cli
from hypothesis import given
from hypothesis import strategies as st
from samples import SumConstraint, ToySpace, synthetic_table

from hwnas.config_file import config_as_yaml, load_config
from hwnas.errors import RunError
from hwnas.evaluators.score import Score
from hwnas.front import latency_front
from hwnas.pipeline.reporting import render_report, write_report
from hwnas.pipeline.run import Run
from hwnas.progress import Reporter
from hwnas.search import RandomAgent
from hwnas.search.history import read_history
from hwnas.search.loop import run_search
from lut import save_table
from safe_files.writing import JsonLines, read_json_lines
from search_spaces import Architecture, SpaceSpec, make_space

SPEC = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25)
LINE = {"architecture": [0, 1, 2, 0, 1, 2, 0, 1], "score": 0.5, "costs": {"latency_ms": 2.0}}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of a small space that has begun to search, with a table of its own."""
    out = tmp_path / "run"
    (out / "search").mkdir(parents=True)
    save_table(synthetic_table(make_space(SPEC)), out / "lut.json")
    config = load_config(None, {"max_latency": "80%", "space.width": 0.25, "out": out})
    (out / "config.yaml").write_text(config_as_yaml(config))
    return Run.from_folder(out, Reporter(is_quiet=True))


def _snapshot(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def test_readers_leave_an_unfinished_line_alone(run: Run) -> None:
    history = run.folder / "search" / "history.jsonl"
    history.write_text(json.dumps(LINE) + "\n" + json.dumps(LINE)[:30])
    before = _snapshot(run.folder)
    assert [e.architecture for e in run.files.read_evaluations()] == [tuple(LINE["architecture"])]
    assert len(latency_front(run.files.read_evaluations())) == 1
    render_report(run)
    for command in (("front", run.folder, "--json"), ("front", run.folder)):
        outcome = run_cli(*command)
        assert outcome.code == 0, outcome.err
    assert _snapshot(run.folder) == before
    outcome = run_cli("report", run.folder)
    assert outcome.code == 0, outcome.err
    after = _snapshot(run.folder)
    assert {p: after[p] for p in before} == before


def test_readers_work_where_nothing_may_be_written(run: Run) -> None:
    history = run.folder / "search" / "history.jsonl"
    history.write_text(json.dumps(LINE) + "\n")
    history.chmod(0o400)
    history.parent.chmod(0o500)
    try:
        assert len(run.files.read_evaluations()) == 1
    finally:
        history.parent.chmod(0o700)


def test_nothing_is_lost_while_others_read_in_a_tight_loop(run: Run) -> None:
    history = run.folder / "search" / "history.jsonl"
    ended = threading.Event()
    seen: list[int] = []
    errors: list[Exception] = []

    def read() -> None:
        while not ended.is_set():
            try:
                seen.append(len(read_history(history)))
                if seen[-1]:
                    run.files.read_evaluations()
            except Exception as error:  # whatever it is, the test tells
                errors.append(error)
                return

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()

    def evaluate(architectures: Sequence[Architecture], _baselines: object) -> Iterator[Score]:
        for architecture in architectures:
            # Long lines take several writes each, so that readers meet them half written.
            yield Score(value=float(sum(architecture)), chunks=(0.123456,) * 10_000)

    def search() -> list[Architecture]:
        agent = RandomAgent(ToySpace(), SumConstraint(18), np.random.default_rng(0))
        result = run_search(
            agent,
            evaluate,
            lambda architecture: {"latency_ms": float(sum(architecture))},
            history_path=history,
            num_evaluations=30,
            generation_size=5,
        )
        return [e.architecture for e in result.history]

    try:
        evaluated = search()
    finally:
        ended.set()
        for reader in readers:
            reader.join()
    assert not errors
    assert len(set(seen)) > 1, "it was read while it grew"
    assert [e.architecture for e, _ in read_history(history)] == evaluated and len(evaluated) == 30
    assert search() == evaluated, "what was recorded is replayed"


def test_only_the_writer_takes_an_unfinished_line_away(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    assert read_json_lines(path) == [] and not path.exists()
    path.write_bytes(b'{"a": 1}\n{"a": 2')
    assert read_json_lines(path) == [{"a": 1}]
    assert path.read_bytes() == b'{"a": 1}\n{"a": 2'
    with JsonLines(path) as lines:
        lines.append({"a": 3})
    assert read_json_lines(path) == [{"a": 1}, {"a": 3}]


_values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "1", 10**400])
    | st.lists(st.integers(-2, 3))
)


@given(
    changes=st.dictionaries(
        st.sampled_from([*LINE, "other"]), _values | st.dictionaries(st.sampled_from("ab"), _values)
    ),
    cut=st.integers(0, 120) | st.none(),
)
def test_any_history_is_read_or_called_damaged(
    changes: dict[str, object], cut: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "history.jsonl"
    path.write_text(json.dumps(LINE) + "\n" + json.dumps({**LINE, **changes})[:cut] + "\n")
    try:
        evaluations = [evaluation for evaluation, _ in read_history(path)]
    except RunError as error:
        assert "remove the file to search again" in str(error)
    else:
        assert all(e.costs["latency_ms"] == e.costs["latency_ms"] and e.score == e.score for e in evaluations)


def test_a_score_that_is_no_number_stops_the_search(tmp_path: Path) -> None:
    agent = RandomAgent(ToySpace(), SumConstraint(18), np.random.default_rng(0))
    with pytest.raises(RunError, match="a score of nan, expected a finite number"):
        run_search(
            agent,
            lambda architectures, _: iter([Score(value=float("nan"))] * len(architectures)),
            lambda architecture: {"latency_ms": 1.0},
            history_path=tmp_path / "history.jsonl",
            num_evaluations=5,
            generation_size=5,
        )
    assert (tmp_path / "history.jsonl").read_bytes() == b""


def test_a_damaged_history_is_said(run: Run) -> None:
    (run.folder / "search" / "history.jsonl").write_text("[1]\n")
    outcome = run_cli("front", run.folder)
    assert outcome.code == 1 and "history.jsonl has a line that is not a JSON object" in outcome.err
    (run.folder / "search" / "history.jsonl").write_text("")
    assert write_report(run).exists()
