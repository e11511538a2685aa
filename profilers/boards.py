"""Several boards of one kind behind a tracker, measuring together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import TypeVar

from onnx_models.external_data import size_bytes
from profilers.errors import MeasurementError
from profilers.grouping import share_out
from profilers.measurement import Model
from profilers.result import ProfileResult
from profilers.samples import Samples
from profilers.settings import ProfilerSettings

SettingsT = TypeVar("SettingsT", bound=ProfilerSettings)


def measure_on_boards(
    profiler: SettingsT,
    models: Sequence[Model],
    journal_path: Path,
    measure: Callable[[SettingsT, Sequence[Model], Path], ProfileResult],
) -> ProfileResult:
    """Deal the models out to the boards, a few anchors to all of them, and join what they measure.

    What one board is faster than another is told by the anchors, as between groups of models on one board. Each board
    has a journal of its own beside `journal_path`, which is made once all are done; the same call continues.

    Args:
        measure: measures a board's share, given the same profiler with that board alone as its device.

    Raises:
        MeasurementError: a board could not measure its share; the others have finished theirs.
    """
    assert profiler.device.rpc is not None
    shares = share_out([size_bytes(m.path) for m in models], profiler.device.rpc.boards)
    single = replace(profiler.device, rpc=replace(profiler.device.rpc, boards=1))
    progress = _Progress(profiler, len(shares))
    journals = [journal_path.with_name(f"{journal_path.name}.board{i}") for i in range(len(shares))]

    def measure_share(board: int) -> ProfileResult:
        part = replace(profiler, device=single, on_progress=progress.of(board))
        return measure(part, [models[i] for i in shares[board]], journals[board])

    with ThreadPoolExecutor(len(shares)) as threads:
        futures = [threads.submit(measure_share, board) for board in range(len(shares))]
    if errors := [error for future in futures if (error := future.exception()) is not None]:
        raise MeasurementError(f"{len(errors)} of {len(shares)} boards failed: {errors[0]}") from errors[0]
    result = _joined(models, [future.result() for future in futures])
    journal_path.touch()
    for path in journals:
        path.unlink()
    return result


class _Progress:
    """As far as the board that is furthest behind."""

    def __init__(self, profiler: ProfilerSettings, num_boards: int) -> None:
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
    samples = (Samples(measurements={m.key: m for m in r.measurements}) for r in results)
    found = reduce(Samples.followed_by, samples).measurements
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
