"""What people see while work runs."""

from __future__ import annotations

import io
import time

from rich.console import Console

from hwnas.profiling import shown
from hwnas.progress import Rate, Reporter, describe_duration


def _reporter(*, is_terminal: bool, is_quiet: bool = False) -> tuple[Reporter, io.StringIO]:
    reporter, out = Reporter(is_quiet=is_quiet), io.StringIO()
    reporter.console = Console(file=out, force_terminal=is_terminal, width=120)
    return reporter, out


def _work(reporter: Reporter) -> None:
    with reporter.task("training", 4) as task:
        for step in range(1, 5):
            task.update(step, f"epoch {step}/4")
            reporter.log_line(f"epoch {step} is over")


def test_a_terminal_has_a_bar_with_the_time_left() -> None:
    reporter, out = _reporter(is_terminal=True)
    _work(reporter)
    assert "/s" in out.getvalue()
    assert "4/4" in out.getvalue() and "left" in out.getvalue() and "epoch 4/4" in out.getvalue()
    assert "is over" not in out.getvalue()


def test_a_log_has_a_line_per_epoch_and_no_bar() -> None:
    reporter, out = _reporter(is_terminal=False)
    _work(reporter)
    lines = out.getvalue().splitlines()
    assert lines[:4] == [f"epoch {step} is over" for step in range(1, 5)]
    assert lines[4].startswith("training: done in")


def test_models_that_are_prepared_are_told_in_words() -> None:
    reporter, out = Reporter(line_every_s=0.001), io.StringIO()
    reporter.console = Console(file=out, force_terminal=False, width=120)
    for phase, words in (("export", "exporting model 3 of 7"), ("open", "loading model 3 of 7")):
        deadline = time.monotonic() + 20
        with shown(reporter, "profile", 60) as on_progress:
            on_progress(phase, 3, 7)
            while f"profile: 0%, {words}\n" not in out.getvalue() and time.monotonic() < deadline:
                time.sleep(0.001)
        assert f"profile: 0%, {words}\n" in out.getvalue()


def test_quiet_shows_warnings_only() -> None:
    reporter, out = _reporter(is_terminal=True, is_quiet=True)
    _work(reporter)
    assert out.getvalue() == ""
    reporter.warn("look here")
    assert "look here" in out.getvalue()


def test_a_log_has_lines_while_a_step_takes_long() -> None:
    reporter, out = Reporter(line_every_s=0.001), io.StringIO()
    reporter.console = Console(file=out, force_terminal=False, width=120)
    deadline = time.monotonic() + 20
    with reporter.task("training", 4) as task:
        task.update(1, "epoch 1/4")
        task.update(2, "epoch 2/4")
        while "training: 50%, epoch 2/4, about" not in out.getvalue() and time.monotonic() < deadline:
            time.sleep(0.001)
    assert "training: 50%, epoch 2/4, about" in out.getvalue() and " left\n" in out.getvalue()
    ended = out.getvalue()
    assert ended.splitlines()[-1].startswith("training: done in")
    time.sleep(0.01)
    assert out.getvalue() == ended


def test_the_time_left_is_told_by_the_pace_since_the_first_step() -> None:
    rate = Rate(100)
    assert rate.describe(now_s=0.0) == "0%"
    for now_s in (0.0, 500.0):  # what is prepared before the first step is none of its rate
        rate.update(0, "export 3/7", now_s=now_s)
    assert rate.describe(now_s=600.0) == "0%, export 3/7"
    rate.update(10, "", now_s=600.0)
    assert rate.describe(now_s=600.0) == "10%, about 15 min left"


def test_the_time_left_of_work_that_is_continued_is_told_by_what_is_done_now() -> None:
    rate = Rate(100)
    rate.update(81, "epoch 5/6", now_s=7.0)
    assert rate.describe(now_s=8.0) == "81%, epoch 5/6"
    rate.update(91, "epoch 6/6", now_s=17.0)
    assert rate.describe(now_s=17.0) == "91%, epoch 6/6, about 9 s left"


def test_durations_have_a_unit_of_their_size() -> None:
    assert [describe_duration(s) for s in (0, 89, 90, 5399, 5400)] == ["0 s", "89 s", "2 min", "90 min", "1.5 h"]
