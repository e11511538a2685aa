"""Several boards of one kind behind a tracker, measuring together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from onnx_models.external_data import size_bytes
from profilers.errors import MeasurementError
from profilers.grouping import share_out
from profilers.measurement import SITTING_STRIDE, Measurement, Model
from profilers.profiler import Profiler, ProfileResult


def measure_on_boards(profiler: Profiler, models: Sequence[Model], journal_path: Path) -> ProfileResult:
    """Deal the models out to the boards, a few anchors to all of them, and join what they measure.

    What one board is faster than another is told by the anchors, as between groups of models on one board. Each board
    has a journal of its own beside `journal_path`, which is made once all are done; the same call continues.

    Raises:
        MeasurementError: a board could not measure its share; the others have finished theirs.
    """
    assert profiler.device.rpc is not None
    shares = share_out([size_bytes(m.path) for m in models], profiler.device.rpc.boards)
    single = replace(profiler.device, rpc=replace(profiler.device.rpc, boards=1))
    progress = _Progress(profiler, len(shares))
    journals = [journal_path.with_name(f"{journal_path.name}.board{i}") for i in range(len(shares))]

    def measure(board: int) -> ProfileResult:
        part = replace(profiler, device=single, on_progress=progress.of(board))
        return part.measure([models[i] for i in shares[board]], journals[board])

    with ThreadPoolExecutor(len(shares)) as threads:
        futures = [threads.submit(measure, board) for board in range(len(shares))]
    if errors := [error for future in futures if (error := future.exception()) is not None]:
        raise MeasurementError(f"{len(errors)} of {len(shares)} boards failed: {errors[0]}") from errors[0]
    result = _joined(models, [future.result() for future in futures])
    journal_path.touch()
    for path in journals:
        path.unlink()
    return result


class _Progress:
    """As far as the board that is furthest behind."""

    def __init__(self, profiler: Profiler, num_boards: int) -> None:
        self._report = profiler.on_progress
        self._done = [0] * num_boards
        self._lock = threading.Lock()

    def of(self, board: int) -> Callable[[str, int, int], None]:
        def report(phase: str, done: int, total: int) -> None:
            with self._lock:
                if phase == "round":
                    self._done[board] = done
                    self._report(phase, min(self._done), total)
                elif min(self._done) == 0:
                    self._report(phase, done, total)

        return report


def _joined(models: Sequence[Model], results: Sequence[ProfileResult]) -> ProfileResult:
    found: dict[str, Measurement] = {}
    shift = 0
    for result in results:
        latest = max((v for m in result.measurements for v in m.visits), default=0)
        for measurement in result.measurements:
            moved = replace(measurement, visits=tuple(v + shift for v in measurement.visits))
            found[moved.key] = found[moved.key].joined(moved) if moved.key in found else moved
        shift += (latest // SITTING_STRIDE + 1) * SITTING_STRIDE
    first = results[0]
    return replace(
        first,
        measurements=tuple(found[m.key] for m in models),
        num_rounds=min(r.num_rounds for r in results),
        num_groups=sum(r.num_groups for r in results),
        num_throttled=sum(r.num_throttled for r in results),
        inference_s=sum(r.inference_s for r in results),
        pace=None,  # each board has its own
    )
