"""The tracker of a run: told what callbacks are told, and never the end of a run."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hwnas.callbacks import Callback, Callbacks
from hwnas.components import find
from hwnas.config_file import flat_settings
from hwnas.pipeline.run import Run
from hwnas.search import Evaluation
from hwnas.trackers import SearchCurve, Tracker, TrackerInputs, require_packages

FIGURES = ("test_accuracy", "validation_score", "predicted_ms", "measured_ms", "max_latency_ms", "params", "macs")
"""The numbers of a network that are tracked, by their names in the summary."""


def require_tracker(run: Run) -> None:
    """Raise RequestError unless the run's tracker, where it has one, is there and has its packages."""
    if (name := run.config.tracker) is not None:
        find("tracker", name)
        require_packages(name)


@contextmanager
def tracked(run: Run) -> Iterator[None]:
    """Have the run's tracker, where it has one, told what the run tells callbacks while the block runs.

    Raises:
        RequestError: there is no such tracker, or its packages are not installed.
    """
    callbacks = run.reporter.callbacks
    if run.config.tracker is None or any(isinstance(member, Tracking) for member in callbacks.members):
        yield
        return
    require_tracker(run)
    tracking = Tracking(run)
    run.reporter.callbacks = Callbacks((*callbacks.members, tracking))
    try:
        yield
    except BaseException:
        tracking.close(is_complete=False)
        raise
    else:
        tracking.close(is_complete=True)
    finally:
        run.reporter.callbacks = callbacks


class Tracking(Callback):
    """Tells a run's tracker what callbacks are told.

    The tracker is made once the run proves to be possible. One that fails, as its server is away or the disk is full,
    is told nothing more: a warning says so once, and the run goes on.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._tracker: Tracker | None = None
        self._has_failed = False
        self._curve = SearchCurve()

    def on_stage_start(self, stage: str) -> None:
        """Begin or continue the tracked run with the first stage after the table; evaluations there are counted on."""
        if stage != "latency":
            self._tell(lambda _: None)
        if stage == "search":
            evaluations = self._run.files.search.evaluations()
            self._curve = SearchCurve(len(evaluations), max((e.score for e in evaluations), default=float("-inf")))

    def on_epoch(self, training: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """Track the numbers of an epoch."""
        self._tell(lambda tracker: tracker.log_metrics(training, metrics, epoch))

    def on_candidate(self, architecture: tuple[int, ...], score: float, latency_ms: float) -> None:
        """Track an evaluation."""
        values = self._curve.add(score, latency_ms)
        self._tell(lambda tracker: tracker.log_metrics("search", values, self._curve.num))

    def on_bundle(self, folder: Path) -> None:
        """Track a bundle's files."""
        self._tell(lambda tracker: tracker.log_files("bundle", [folder]))

    def on_run_end(self, folder: Path, summary: Mapping[str, object] | None) -> None:
        """Track the front, the figures of every network, and the run's own files."""
        if summary is not None:
            self._tell(lambda tracker: self._log_outcome(tracker, summary))

    def close(self, *, is_complete: bool) -> None:
        """Send what is left."""
        if self._tracker is not None:
            self._tell(lambda tracker: tracker.close(is_complete=is_complete))
            self._tracker = None

    def _tell(self, act: Callable[[Tracker], None]) -> None:
        if self._has_failed:
            return
        try:
            if self._tracker is None:
                self._tracker = self._made()
            act(self._tracker)
        except Exception as error:  # whatever a tracker's package raises, of the network, of the disk or of its own
            self._has_failed = True
            text = next(iter(str(error).strip().splitlines()), "")
            self._run.reporter.warn(
                f"tracker {self._run.config.tracker} failed, and is told nothing more of {self._run.folder}; the run "
                f"goes on: {type(error).__name__}: {text[:300]}"
            )

    def _made(self) -> Tracker:
        run = self._run
        assert run.config.tracker is not None
        inputs = TrackerInputs(
            name=run.folder.resolve().name,
            settings={name: value for name, value in flat_settings(run.config).items() if value is not None},
            state=run.files.tracking,
            events=run.files.events,
        )
        tracker: Tracker = find("tracker", run.config.tracker)(inputs)
        return tracker

    def _log_outcome(self, tracker: Tracker, summary: Mapping[str, object]) -> None:
        files = self._run.files
        front = files.search.read_outcome().front
        for place, evaluation in enumerate(front, start=1):
            values = {"score": evaluation.score, "latency_ms": evaluation.costs["latency_ms"]}
            tracker.log_metrics("front", values, place)
        rows = {"winner": summary, **_rows(summary, "winners"), **_rows(summary, "references")}
        for name, row in rows.items():
            tracker.log_metrics(name, _figures(row), 1)
        with tempfile.TemporaryDirectory() as scratch:
            table = Path(scratch) / "front.csv"
            _write_front(front, table)
            tracker.log_files("run", [table, files.config, files.summary, files.report])


def _rows(summary: Mapping[str, object], part: str) -> dict[str, Mapping[str, object]]:
    found = summary.get(part)
    return dict(found) if isinstance(found, Mapping) else {}


def _figures(row: Mapping[str, object]) -> dict[str, float]:
    """Return the numbers of a network that there are, its metrics on the test images among them."""
    metrics = row.get("test_metrics")
    named = {f"test_{name}": value for name, value in metrics.items()} if isinstance(metrics, Mapping) else {}
    named |= {name: row.get(name) for name in FIGURES}
    return {name: float(value) for name, value in named.items() if isinstance(value, int | float)}


def _write_front(front: tuple[Evaluation, ...], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["architecture", "score", "latency_ms"])
        writer.writerows(["-".join(map(str, e.architecture)), e.score, e.costs["latency_ms"]] for e in front)
