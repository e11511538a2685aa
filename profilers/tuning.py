"""The parent side of tuning: which models, how long it will take, and how far it is."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from profilers.connection import Connection
from profilers.device import Device
from profilers.errors import DeviceError, MeasurementError, WorkerLostError
from profilers.events import Tuned, parse_event
from profilers.measurement import Model
from profilers.runtime import RUNTIMES, runtime_of
from profilers.worker_tvm_tuning import tuned_trials
from safe_files import explaining

SECONDS_PER_TRIAL = 8.0
"""Building and measuring one schedule, on two cores."""

START_S = 600.0
TRIAL_S = 120.0
"""A model's tuning is given up once it takes longer than the first and so much more for each trial."""


def estimated_s(models: Sequence[Model], device: Device, trials: int) -> float:
    """Return about how long tuning what is not tuned yet will take, in seconds."""
    done = tuned_trials(tuning_folder(device))
    return SECONDS_PER_TRIAL * trials * sum(done.get(m.key, 0) < trials for m in models)


def tune(
    models: Sequence[Model],
    device: Device,
    *,
    trials: int,
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, str]:
    """Tune the models' schedules for the device; the database serves every device of the same target.

    Gives the errors of models that could not be tuned, by key; the others are tuned.

    Raises:
        DeviceError: the device's runtime cannot be tuned, it is a board without a tracker, or another process tunes for
            its target.
        MeasurementError: the tuner ended before it was done.
    """
    require_tunable(device)
    folder = tuning_folder(device)
    folder.mkdir(parents=True, exist_ok=True)
    job = {
        "models": [[m.key, str(m.path)] for m in models],
        "target": device.target,
        "threads": device.threads,
        "folder": str(folder),
        "trials": trials,
        "tracker": None if device.rpc is None else asdict(device.rpc),
        "seed": seed,
    }
    errors: dict[str, str] = {}
    num = 0
    try:
        with _alone_in(folder), Connection([sys.executable, "-m", "profilers.worker_tvm_tuning"]) as tuner:
            tuner.send(job)
            for num, model in enumerate(models):
                event = parse_event(tuner.receive(START_S + TRIAL_S * trials))
                if not isinstance(event, Tuned) or (event.key, event.number) != (model.key, num + 1):
                    raise WorkerLostError(f"expected word of block {num + 1}, found {event}")
                if event.error is not None:
                    errors[model.key] = event.error
                on_progress(num + 1, len(models))
    except WorkerLostError as loss:
        raise MeasurementError(
            f"the tuner was lost after {num} of {len(models)} blocks: {loss}; the same command continues"
        ) from loss
    return errors


def require_tunable(device: Device) -> None:
    """Raise DeviceError unless schedules can be tuned on a device."""
    if not runtime_of(device.runtime).is_tunable:
        tunable = " and ".join(name for name, runtime in RUNTIMES.items() if runtime.is_tunable)
        raise DeviceError(f"{device.name} runs {device.runtime}: only devices of runtime {tunable} are tuned")
    if device.rpc is not None and not device.rpc.tracker:
        raise DeviceError(
            f"tuning on {device.name} needs a TVM tracker: set rpc.tracker and rpc.key in its description"
        )


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        with explaining(folder / ".lock"):
            lock.acquire()
    except Timeout as error:
        raise DeviceError("another process tunes schedules for this target; wait for it") from error
    try:
        yield
    finally:
        lock.release()


def tuning_folder(device: Device) -> Path:
    """Return where the tuning database of a device's target is kept."""
    digest = hashlib.sha256(f"{device.target};{device.threads}".encode()).hexdigest()[:12]
    return user_cache_path("hwnas") / "tuning" / digest
