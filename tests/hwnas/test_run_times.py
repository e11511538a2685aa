"""When a run began, when it ended and what it failed by: written once, by whatever command works on it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from made_up_runs import begin_run

import hwnas.pipeline.order as order
from hwnas.artifacts import RunTimes
from hwnas.callbacks import Callback, Callbacks
from hwnas.config_file import load_config
from hwnas.errors import RunError
from hwnas.pipeline.reporting import render_report
from hwnas.pipeline.run import Run
from hwnas.pipeline.run_times import MOST_CHARACTERS, keep_end, timed
from hwnas.progress import Reporter
from hwnas.run_folder import RunFolder
from hwnas.ui.run_entry import Runs
from safe_files import WriteError

LONG_AGO = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)

KILLED = """
import os, signal, sys
from pathlib import Path
from hwnas.pipeline.keeping import opened
from hwnas.pipeline.run import Run
from hwnas.pipeline.run_times import timed
from hwnas.progress import Reporter

run = Run.from_folder(Path(sys.argv[1]), Reporter(is_quiet=True))
with opened(run), timed(run):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that began long ago and failed."""
    files = begin_run(tmp_path / "run")
    files.write_times(RunTimes(began=LONG_AGO, ended=LONG_AGO, failure="before"))
    return Run.from_folder(files.root, Reporter(is_quiet=True))


def _times(files: RunFolder) -> RunTimes:
    times = files.read_times()
    assert times is not None
    return times


def _state(files: RunFolder) -> str:
    return Runs(files.root.parent).entry("run", files.root).state


def test_a_run_that_goes_on_keeps_when_it_began_and_forgets_what_it_failed_by(run: Run) -> None:
    assert _state(run.files) == "failed"
    with timed(run):
        assert _times(run.files) == RunTimes(began=LONG_AGO)
    times = _times(run.files)
    assert times.began == LONG_AGO and times.failure is None and _state(run.files) == "stopped"
    assert times.ended is not None and times.ended > LONG_AGO


def test_an_end_that_is_written_stays(run: Run) -> None:
    with timed(run):
        run.files.write_times(RunTimes(began=LONG_AGO, ended=LONG_AGO))
        keep_end(run.files)
    assert _times(run.files).ended == LONG_AGO


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RunError("the work failed"), "the work failed"),
        (KeyError("x"), "KeyError: 'x'"),
        (MemoryError(), "MemoryError: "),
        (RunError("\udcff of no text"), "\\udcff of no text"),
        (RunError("x" * 2 * MOST_CHARACTERS), "x" * MOST_CHARACTERS),
    ],
)
def test_what_a_run_failed_by_is_kept_in_words(error: Exception, words: str, run: Run) -> None:
    with pytest.raises(type(error)), timed(run):
        raise error
    times = _times(run.files)
    assert times.failure == words and times.ended is not None and _state(run.files) == "failed"


def test_a_run_that_is_interrupted_has_no_end(run: Run) -> None:
    with pytest.raises(KeyboardInterrupt), timed(run):
        raise KeyboardInterrupt
    assert _times(run.files) == RunTimes(began=LONG_AGO) and _state(run.files) == "interrupted"


def test_nor_has_one_that_is_killed(run: Run) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(run.folder)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert _times(run.files) == RunTimes(began=LONG_AGO) and _state(run.files) == "interrupted"


def test_where_there_is_no_room_for_the_end_the_error_is_the_one_before(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise WriteError("no room")

    with pytest.raises(RunError, match="the work failed"), timed(run):
        monkeypatch.setattr(RunFolder, "write_times", full)
        raise RunError("the work failed")
    assert _times(run.files) == RunTimes(began=LONG_AGO)


def test_when_a_run_of_an_earlier_version_began_is_not_known(run: Run) -> None:
    run.files.times.unlink()
    assert _state(run.files) == "stopped"
    with timed(run):
        pass
    times = _times(run.files)
    assert times.began is None and times.ended is not None


def test_of_a_run_that_proves_impossible_nothing_stays(tmp_path: Path) -> None:
    new = Run(load_config(None, {"max_latency": "4ms", "out": tmp_path / "new"}), Reporter(is_quiet=True))
    new.folder.mkdir()
    with pytest.raises(RunError), timed(new):
        assert _times(new.files).began is not None
        raise RunError("impossible")
    assert list(new.folder.iterdir()) == []


def test_of_a_finished_run_it_stays_written_when_that_ended(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "require_possible", lambda _: None)
    monkeypatch.setattr(order, "is_finished", lambda _: True)
    monkeypatch.setattr(order, "_work_through", lambda *_: None)
    before = run.files.times.read_bytes()
    order.run_stages(run, last="retrain")
    assert run.files.times.read_bytes() == before


def test_a_callback_that_fails_at_the_end_is_no_failure_of_the_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Told(Callback):
        def on_run_end(self, folder: Path, summary: Mapping[str, object] | None) -> None:
            raise ConnectionError("the chat server is away")

    monkeypatch.setattr(order, "require_possible", lambda _: None)
    monkeypatch.setattr(order, "_work_through", lambda *_: None)
    run.reporter.callbacks = Callbacks([Told()])
    with pytest.raises(ConnectionError):
        order.run_stages(run, last="train")
    times = _times(run.files)
    assert times.failure is None and times.ended is not None and _state(run.files) == "stopped"


@pytest.mark.parametrize(
    ("times", "lead", "word"),
    [
        (RunTimes(began=LONG_AGO), "Still running: supernet", "going on"),
        (RunTimes(began=LONG_AGO, ended=LONG_AGO), "Not finished: supernet", "not finished"),
        (RunTimes(began=LONG_AGO, ended=LONG_AGO, failure="no <room>"), "It failed: no &lt;room&gt;", "not finished"),
    ],
)
def test_the_report_says_how_it_ended(times: RunTimes, lead: str, word: str, run: Run) -> None:
    run.files.write_times(times)
    page = render_report(run)
    assert f'<p class="lead">{lead}' in page and f'<span class="badge ">{word}</span>' in page
