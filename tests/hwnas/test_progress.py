"""What people see while work runs."""

from __future__ import annotations

import io

from rich.console import Console

from hwnas.progress import Reporter


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


def test_quiet_shows_warnings_only() -> None:
    reporter, out = _reporter(is_terminal=True, is_quiet=True)
    _work(reporter)
    assert out.getvalue() == ""
    reporter.warn("look here")
    assert "look here" in out.getvalue()
