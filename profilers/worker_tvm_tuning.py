"""Tunes TVM's schedules for models on a device, in a process of its own: compilers crash, and searches take hours.

Reads the job as one JSON line from standard input:

    {"models": [["key", "block.onnx"], ...], "target": "native", "threads": 1, "folder": "...", "trials": 64,
     "tracker": null or {"host": ..., "port": ..., "key": ...}, "seed": 0}
        -> {"event": "tuned", "key": "key", "number": 1, "seconds": 500.0, "error": null or why it could not be tuned}

Prints one such line a model. The database in `folder` grows with every measured schedule, and models that are done are
noted beside it: the same call continues.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from safe_files import FileError, read_bytes
from safe_files.writing import JsonLines

DONE = "tuned.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))
class TunedNote:
    """A note that a model has had so many trials."""

    key: str
    trials: Annotated[int, Field(ge=0)]


_NOTE = TypeAdapter(TunedNote)


def main() -> int:
    """Tune what is left to be tuned."""
    job = json.loads(sys.stdin.readline())
    os.environ["TVM_NUM_THREADS"] = str(job["threads"])
    folder = Path(job["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    done = tuned_trials(folder)
    protocol = os.dup(1)
    os.dup2(2, 1)  # TVM prints its own progress on standard output
    for number, (key, path) in enumerate(job["models"], start=1):
        event: dict[str, Any] = {"event": "tuned", "key": key, "number": number, "seconds": 0.0, "error": None}
        if done.get(key, 0) < job["trials"]:
            started = time.monotonic()
            try:
                tune(Path(path), folder, job)
            except Exception as error:  # one model that cannot be tuned must not end the others
                event["error"] = f"{type(error).__name__}: {str(error).strip()[-300:]}"
            else:
                event["seconds"] = time.monotonic() - started
                with JsonLines(folder / DONE) as lines:
                    lines.append({"key": key, "trials": job["trials"]})
        os.write(protocol, (json.dumps(event) + "\n").encode())
    return 0


def tuned_trials(folder: Path) -> dict[str, int]:
    """Return how many trials each model has had; unreadable notes count as none."""
    try:
        lines = read_bytes(folder / DONE).splitlines()
    except FileError:
        return {}
    found = {}
    for line in lines:
        with contextlib.suppress(ValidationError):
            note = _NOTE.validate_json(line, strict=True)
            found[note.key] = note.trials
    return found


def tune(path: Path, folder: Path, job: dict[str, Any]) -> None:
    """Search schedules of one model's operations by measuring them on the device."""
    import onnx
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx
    from tvm.s_tir import meta_schedule

    from profilers.worker_tvm import find_target

    runner: Any = "local"
    if job["tracker"] is not None:
        tracker = job["tracker"]
        runner = meta_schedule.runner.RPCRunner(
            meta_schedule.runner.RPCConfig(
                tracker_host=tracker["host"],
                tracker_port=tracker["port"],
                tracker_key=tracker["key"],
                session_timeout_sec=60,
            )
        )
    target = find_target(job["target"])
    module = from_onnx(onnx.load(path), keep_params_in_input=False)
    with target:
        # What compiling with a database does first, so that it finds the same fused operations.
        module = tvm.transform.Sequential(
            [
                *relax.pipeline.library_dispatch_passes(target),
                relax.transform.LegalizeOps(),
                relax.transform.AnnotateTIROpPattern(),
                relax.transform.FoldConstant(),
                relax.transform.FuseOps(),
                relax.transform.FuseTIR(),
            ]
        )(module)
    meta_schedule.relax_integration.tune_relax(
        module,
        params={},
        target=target,
        work_dir=str(folder),
        max_trials_global=job["trials"],
        num_trials_per_iter=min(64, max(4, job["trials"] // 4)),
        runner=runner,
        seed=job["seed"],
    )


if __name__ == "__main__":
    sys.exit(main())
