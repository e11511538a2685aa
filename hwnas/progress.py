"""The progress that people watch while long work runs: bars on a terminal, lines in a log, nothing when quiet."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import rich.progress
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class Task:
    """One piece of work under way; `update` tells how much is done."""

    def __init__(self, update: object = None) -> None:
        self._update = update

    def update(self, done: int, detail: str = "") -> None:
        """Show that `done` steps are over."""
        if callable(self._update):
            self._update(done, detail)


class _RateColumn(ProgressColumn):
    """Steps per second of late."""

    def render(self, task: rich.progress.Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.3g}/s")


class Reporter:
    """Writes to standard error, so that standard output is left for results.

    Args:
        is_quiet: show nothing but warnings.
    """

    def __init__(self, *, is_quiet: bool = False) -> None:
        self.console = Console(stderr=True, highlight=False)
        self._is_quiet = is_quiet

    def line(self, text: str) -> None:
        """One line of news."""
        if not self._is_quiet:
            self.console.print(text, markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """One line that matters even when quiet."""
        self.console.print(f"warning: {text}", style="yellow", markup=False, soft_wrap=True)

    def log_line(self, text: str) -> None:
        """One line for logs; a terminal has its progress bar instead."""
        if not self.console.is_terminal:
            self.line(text)

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Task]:
        """A bar with rate and time left while the block runs; in a log, one line when it ends."""
        if self._is_quiet:
            yield Task()
            return
        started = time.monotonic()
        if self.console.is_terminal:
            with self._bar() as bar:
                row = bar.add_task(name, total=total, detail="")
                yield Task(lambda done, detail: bar.update(row, completed=done, detail=detail))
        else:
            yield Task()
        self.line(f"{name}: done in {time.monotonic() - started:.1f} s")

    def _bar(self) -> Progress:
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}"),
            console=self.console,
            transient=True,
        )
