"""A machine whose speed a test changes while a run is under way: its worker works out times instead of measuring."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import paced_worker
import pytest
import yaml
from paced_worker import PacedWorker

from profilers.connection import Message
from profilers.errors import WorkerLostError


class PacedMachine:
    """The device `paced` of a devices file in `folder`.

    Args:
        luck: graphs take up to so much more or less than their layers, which no sum over blocks foresees.
        about: what its worker tells of the machine.
    """

    def __init__(self, folder: Path, *, luck: float = 0.0, about: Mapping[str, str] = MappingProxyType({})) -> None:
        self._rules = folder / "rules.json"
        self._luck = luck
        self._about = dict(about)
        self._factors: list[dict[str, object]] = []
        worker = shutil.copy(paced_worker.__file__, folder / "paced_worker.py")
        self.devices = folder / "devices.yaml"
        self.devices.write_text(yaml.safe_dump({"paced": {"runtime": str(worker)}}))
        self._save()

    def slow_once_there_is(self, path: Path, factor: float) -> None:
        """Everything takes so many times as long from when the file is there."""
        self._factors.append({"path": str(path), "factor": factor, "exists": True})
        self._save()

    def slow_until_there_is(self, path: Path, factor: float) -> None:
        """Everything takes so many times as long until the file is there."""
        self._factors.append({"path": str(path), "factor": factor, "exists": False})
        self._save()

    def _save(self) -> None:
        self._rules.write_text(json.dumps({"about": self._about, "luck": self._luck, "factors": self._factors}))


class _InstantTransport:
    """Workers that are called instead of started; what is asked and answered is the same."""

    def start(self, program: Sequence[Path]) -> _InstantConnection:
        """Return a worker that goes by the rules beside the program, where there are any."""
        return _InstantConnection(PacedWorker(program[-1].with_name("rules.json")))

    def place(self, paths: Sequence[Path]) -> list[str]:
        return [str(path) for path in paths]


class _InstantConnection:
    def __init__(self, worker: PacedWorker) -> None:
        self._worker = worker
        self._said: list[bytes] = []

    def send(self, message: Message, _timeout_s: float = 0.0) -> None:
        self._said += [json.dumps(event).encode() for event in self._worker.answers(message)]

    def receive(self, _timeout_s: float, _max_bytes: int = 0) -> bytes:
        return self._said.pop(0)

    def require_silence(self, _wait_s: float) -> None:
        if self._said:
            raise WorkerLostError(f"it said what nobody asked: {self._said}")

    def kill(self) -> None:
        self._said.clear()


def measure_instantly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all measurements of this process made by paced machines, of which no process is started."""
    monkeypatch.setattr("profilers.session.transport_for", lambda _device: _InstantTransport())
