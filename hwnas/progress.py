"""The progress that people watch while long work runs: bars on a terminal, lines in a log, nothing when quiet."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
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

from hwnas.callbacks import Callback, Callbacks

LINE_EVERY_S = 30.0
"""A log has a line about work under way at least this often."""


class Work:
    """One piece of work under way; `update` tells how much is done."""

    def __init__(self, update: object = None) -> None:
        self._update = update

    def update(self, done: int, detail: str = "") -> None:
        """Show that `done` steps are over."""
        if callable(self._update):
            self._update(done, detail)


class Rate:
    """The share of a piece of work that is done, and the time for the rest at the rate so far.

    Args:
        total: steps of the work.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._done, self._detail = 0, ""
        self._base: tuple[int, float] | None = None

    def update(self, done: int, detail: str, *, now_s: float) -> None:
        """Note that `done` steps are over; work may begin with some, and be prepared before the first."""
        if self._base is None or self._base[0] == done:
            self._base = (done, now_s)
        self._done, self._detail = done, detail

    def describe(self, *, now_s: float) -> str:
        """Return the share that is done, what is done now, and the time left as soon as it can be told."""
        parts = [f"{self._done / max(self._total, 1):.0%}", self._detail]
        if self._base is not None and self._done > self._base[0]:
            first, since_s = self._base
            left_s = (self._total - self._done) * (now_s - since_s) / (self._done - first)
            parts.append(f"about {describe_duration(left_s)} left")
        return ", ".join(part for part in parts if part)


def describe_duration(seconds: float) -> str:
    """Return a time in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class _RateColumn(ProgressColumn):
    """Steps per second of late."""

    def render(self, task: rich.progress.Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.3g}/s")


class Reporter:
    """Writes to standard error, so that standard output is left for results.

    Args:
        is_quiet: show nothing but warnings.
        line_every_s: how often a log has a line about work under way.
        callbacks: told what programs want to know of a run, also when quiet.
    """

    def __init__(
        self, *, is_quiet: bool = False, line_every_s: float = LINE_EVERY_S, callbacks: Sequence[Callback] = ()
    ) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.is_quiet = is_quiet
        self.callbacks = Callbacks(callbacks)
        self._line_every_s = line_every_s

    def line(self, text: str) -> None:
        """One line of news."""
        if not self.is_quiet:
            self.console.print(text, markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """One line that matters even when quiet."""
        self.console.print(f"warning: {text}", style="yellow", markup=False, soft_wrap=True)

    def log_line(self, text: str) -> None:
        """One line for logs; a terminal has its progress bar instead."""
        if not self.console.is_terminal:
            self.line(text)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Tell callbacks that a stage of a run begins, and that it is over once the block is."""
        self.callbacks.on_stage_start(name)
        yield
        self.callbacks.on_stage_end(name)

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Work]:
        """Show a bar with rate and time left while the block runs; in a log, a line now and then and one at the end."""
        if self.is_quiet:
            yield Work()
            return
        started = time.monotonic()
        if self.console.is_terminal:
            with self._bar() as bar:
                row = bar.add_task(name, total=total, detail="")
                yield Work(lambda done, detail: bar.update(row, completed=done, detail=detail))
        else:
            with self._lines(name, Rate(total)) as update:
                yield Work(update)
        self.line(f"{name}: done in {time.monotonic() - started:.1f} s")

    @contextmanager
    def _lines(self, name: str, rate: Rate) -> Iterator[Callable[[int, str], None]]:
        """Write how far the work is now and then, however long a step of it takes; yields what notes the steps."""
        is_over = threading.Event()

        def tell() -> None:
            while not is_over.wait(self._line_every_s):
                self.line(f"{name}: {rate.describe(now_s=time.monotonic())}")

        thread = threading.Thread(target=tell, name="progress", daemon=True)
        thread.start()
        try:
            yield lambda done, detail: rate.update(done, detail, now_s=time.monotonic())
        finally:
            is_over.set()
            thread.join()

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
