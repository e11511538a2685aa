"""Callbacks of a run: what is told of its stages, its epochs and the networks that it evaluates while it works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hwnas.errors import RequestError


class Callback:
    """Is told what a run does, as it does it; inherit from it, and write the methods that you need.

    A run tells of the work that it does now: what it finds done in its folder, as after `kill -9`, is not told again.
    Under torchrun the first process alone tells. An exception that a method raises ends the run as Ctrl-C would: the
    same call continues it. All methods do nothing unless they are written.
    """

    def on_run_start(self, settings: Mapping[str, object]) -> None:
        """Be told that a run begins or continues; its settings by dotted name, the run's folder as `out`."""

    def on_stage_start(self, stage: str) -> None:
        """Be told that a stage begins: latency, train, search, retrain or export."""

    def on_stage_end(self, stage: str) -> None:
        """Be told that a stage is over."""

    def on_epoch(self, training: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """Be told that an epoch is over.

        Args:
            training: "supernet", or "retrain" and the name of a network, such as "retrain winner".
            epoch: counted from 1.
            metrics: loss, learning_rate, images_per_s, and score where networks are scored after each epoch.
        """

    def on_candidate(self, architecture: tuple[int, ...], score: float, latency_ms: float) -> None:
        """Be told that the search has evaluated an architecture; its latency is the predicted one."""

    def on_bundle(self, folder: Path) -> None:
        """Be told that the bundle of a network was written to a folder."""

    def on_run_end(self, folder: Path, summary: Mapping[str, object] | None) -> None:
        """Be told that a run has done what it was asked for.

        Args:
            folder: the run's.
            summary: as `hwnas search --json` prints it; None of a run that was not asked for its export.
        """

    def on_run_error(self, folder: Path, error: BaseException) -> None:
        """Be told that a run ended early, by an error or by Ctrl-C; on_run_end is not called then."""


class Callbacks(Callback):
    """Several callbacks, told one after another."""

    def __init__(self, members: Sequence[Callback] = ()) -> None:
        """Take them, in their order.

        Raises:
            RequestError: one is no callback.
        """
        if not isinstance(members, Sequence) or not all(isinstance(member, Callback) for member in members):
            raise RequestError(f"expected a list of callbacks, which inherit from hwnas.Callback, got {members!r}")
        self.members = tuple(members)

    def on_run_start(self, settings: Mapping[str, object]) -> None:
        """Tell them all, as the other methods do."""
        for member in self.members:
            member.on_run_start(settings)

    def on_stage_start(self, stage: str) -> None:
        for member in self.members:
            member.on_stage_start(stage)

    def on_stage_end(self, stage: str) -> None:
        for member in self.members:
            member.on_stage_end(stage)

    def on_epoch(self, training: str, epoch: int, metrics: Mapping[str, float]) -> None:
        for member in self.members:
            member.on_epoch(training, epoch, metrics)

    def on_candidate(self, architecture: tuple[int, ...], score: float, latency_ms: float) -> None:
        for member in self.members:
            member.on_candidate(architecture, score, latency_ms)

    def on_bundle(self, folder: Path) -> None:
        for member in self.members:
            member.on_bundle(folder)

    def on_run_end(self, folder: Path, summary: Mapping[str, object] | None) -> None:
        for member in self.members:
            member.on_run_end(folder, summary)

    def on_run_error(self, folder: Path, error: BaseException) -> None:
        for member in self.members:
            member.on_run_error(folder, error)
