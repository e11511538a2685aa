"""The places where evaluations run: this process, or the actors of a Ray cluster."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hwnas.errors import RequestError, RunError
from hwnas.evaluators import ChunkwiseEvaluator, Evaluator
from hwnas.evaluators.score import Evaluate, Score
from search_spaces import Architecture
from search_spaces.importing import modules_of_files

MAX_LOSSES = 3
"""Actors that may be lost over one architecture before it is taken to be the cause."""


def in_this_process(evaluator: Evaluator) -> Evaluate:
    """Return a function that evaluates one architecture after the other in this process."""
    return lambda architectures, baselines: (
        _evaluated(evaluator, architecture, baseline)
        for architecture, baseline in zip(architectures, baselines, strict=True)
    )


def _evaluated(evaluator: Evaluator, architecture: Architecture, baseline: Score | None) -> Score:
    """Return an evaluator's score, by chunks where the evaluator can."""
    if isinstance(evaluator, ChunkwiseEvaluator):
        return evaluator.evaluate(architecture, baseline)
    return Score(value=evaluator.score(architecture))


@contextmanager
def on_ray(evaluator: Evaluator, num_actors: int, address: str | None = None) -> Iterator[Evaluate]:
    """Yield a function that evaluates on actors of a Ray cluster, each with a replica of the evaluator and one thread.

    The cluster is the address's, or RAY_ADDRESS's; without either one is started on this machine for the time being,
    whether or not another runs here. The evaluator goes into the object store once, and from there to each node once.
    Ray listens on all of a machine's interfaces: use it in networks that are trusted. What a lost actor was working on
    is done again by a new one. Scores do not depend on the number of actors.

    Raises:
        RequestError: ray is not installed, or the cluster cannot be reached.
        RunError: an architecture has cost several actors.
    """
    try:
        import ray
    except ImportError as error:
        raise RequestError("the ray executor needs ray: pip install 'hwnas[ray]'") from error
    address = address or os.environ.get("RAY_ADDRESS")
    was_running = ray.is_initialized()
    if not was_running:
        here = {"num_cpus": num_actors, "include_dashboard": False}
        local: dict[str, Any] = {} if address else here
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or ray hides GPUs and says so at length
        try:
            with _own_answer_to_sigterm(), _as_raised():
                ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **local)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            wanted = "; one with a token wants RAY_AUTH_MODE=token and the token on every machine" if address else ""
            raise RequestError(f"cannot reach a Ray cluster at {address or 'this machine'}: {error}{wanted}") from error
    try:
        with _as_raised():
            yield _Pool(ray, evaluator, num_actors).evaluate
    finally:
        if not was_running:
            ray.shutdown()


@contextmanager
def _as_raised() -> Iterator[None]:
    """Let through what the answer to a signal raises, which Ray's compiled code wraps in a SystemError."""
    try:
        yield
    except SystemError as error:
        if error.__cause__ is None:
            raise
        raise error.__cause__ from None


@contextmanager
def _own_answer_to_sigterm() -> Iterator[None]:
    """Keep this process's answer to SIGTERM: ray's own ends it with exit code 15 and without a word.

    A signal that ray answered so meanwhile is sent once more.
    """
    before = signal.getsignal(signal.SIGTERM)
    is_terminated = False
    try:
        yield
    except SystemExit as end:
        is_terminated = end.code == signal.SIGTERM
        raise
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
            if is_terminated:
                signal.raise_signal(signal.SIGTERM)


@contextmanager
def _own_files_by_value(cloudpickle: Any) -> Iterator[None]:
    """Pickle classes of `./file.py:Name` with their code, as actors have no such module."""
    modules = modules_of_files()
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


class _Replica:
    """An actor's side."""

    def __init__(self, evaluator: Evaluator) -> None:
        import torch

        torch.set_num_threads(1)  # sums depend on the number of threads
        self._evaluator = evaluator

    def evaluate(self, architecture: Architecture, baseline: Score | None) -> Score:
        return _evaluated(self._evaluator, architecture, baseline)


class _Pool:
    def __init__(self, ray: Any, evaluator: Evaluator, num_actors: int) -> None:
        self._ray = ray
        with _own_files_by_value(ray.cloudpickle):
            self._evaluator = ray.put(evaluator)
        self._actor_class = ray.remote(num_cpus=1)(_Replica)
        self.actors = [self._new_actor() for _ in range(num_actors)]

    def _new_actor(self) -> Any:
        return self._actor_class.remote(self._evaluator)

    def evaluate(self, architectures: Sequence[Architecture], baselines: Sequence[Score | None]) -> Iterator[Score]:
        waiting = list(range(len(architectures)))
        idle = list(range(len(self.actors)))
        running: dict[Any, tuple[int, int]] = {}  # reference to position and actor
        done: dict[int, Score] = {}
        losses = [0] * len(architectures)
        for position in range(len(architectures)):
            while position not in done:
                while waiting and idle:
                    actor, job = idle.pop(), waiting.pop(0)
                    running[self.actors[actor].evaluate.remote(architectures[job], baselines[job])] = (job, actor)
                (ready, *_), _ = self._ray.wait(list(running), num_returns=1)
                job, actor = running.pop(ready)
                try:
                    done[job] = self._ray.get(ready)
                except self._ray.exceptions.RayActorError as error:
                    losses[job] += 1
                    if losses[job] >= MAX_LOSSES:
                        raise RunError(
                            f"{losses[job]} actors were lost over the architecture "
                            f"{'-'.join(map(str, architectures[job]))}: {error}"
                        ) from error
                    self.actors[actor] = self._new_actor()
                    waiting.insert(0, job)
                idle.append(actor)
            yield done[position]
