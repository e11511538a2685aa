"""Models taken apart by the runtime itself: the graph that it makes of them, and the time of every node.

The runtime's profiler tells what each node takes among its neighbours, with the caches as they are there, which no node
tells that runs alone. But it slows what it measures, so that every visit with it is beside one without, in the same
process; `lut.overhead` learns from both what the profiler adds.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from profilers.errors import MeasurementError, WorkerLostError
from profilers.estimate import BUSY_SHARE, PREEMPTED_NS, PREEMPTED_RATIO, UNDISTURBED
from profilers.events import Dissected, Failed, RunNode, RunTimes
from profilers.measurement import Model
from profilers.runtime import runtime_of
from profilers.session import ROUNDS_PER_RESTART, Session
from profilers.settings import ProfilerSettings

MAX_GRAPH_BYTES = 256 << 20
"""An optimised graph without its weights is far smaller; what a worker sends may still claim to be anything."""


TYPICAL = 0.25
"""The quantile of visits that counts, with the profiler and without. Beside other work it agreed better between the two
than the median did, 1.3 against 1.7 % over twelve networks; on a quiet machine both are the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dissection:
    """Holds what a runtime makes of a model, and what it took visit by visit.

    Attributes:
        graph: the optimised graph as an ONNX file without its larger weights; None where the runtime cannot write it.
        nodes: in the order that they ran.
        plain, profiled: of the whole, without the profiler and with it.
    """

    graph: bytes | None
    nodes: tuple[RunNode, ...]
    plain: RunTimes
    profiled: RunTimes

    def whole_ms(self) -> float:
        """Return what a run takes without the profiler."""
        return float(np.quantile(np.asarray(self.plain.wall_ns) * own_share(self.plain), TYPICAL)) / 1e6

    def node_ms(self) -> NDArray[np.float64]:
        """Return what the profiler says that each node takes, [num_nodes]."""
        times_us = np.array([node.us for node in self.nodes], dtype=np.float64)
        return typical_times(times_us * own_share(self.profiled)) / 1e3

    def joined(self, other: Dissection) -> Dissection:
        """Return the visits of both.

        Raises:
            ValueError: the other has other nodes.
        """
        others = aligned(self.nodes, other.nodes)
        return replace(
            self,
            nodes=tuple(replace(a, us=a.us + b.us) for a, b in zip(self.nodes, others, strict=True)),
            plain=_joined(self.plain, other.plain),
            profiled=_joined(self.profiled, other.profiled),
        )


def aligned(nodes: Sequence[RunNode], others: Sequence[RunNode]) -> list[RunNode]:
    """Return the nodes of another session in the order of these.

    Two sessions of a model may call conversions of layout by other names and run them in another order. Nodes that are
    called alike belong together; of the others, those that do the same with tensors of the same shapes.

    Raises:
        ValueError: the other session has other nodes.
    """
    known = {(*_doing(node), node.name) for node in others}
    named = {(*_doing(node), node.name) for node in nodes} & known
    waiting: dict[tuple[object, ...], list[RunNode]] = {}
    for node in others:
        waiting.setdefault(_identity(node, named), []).append(node)
    try:
        found = [waiting[_identity(node, named)].pop(0) for node in nodes]
    except (KeyError, IndexError):
        raise ValueError("expected the same nodes each time, found others") from None
    if len(found) != len(others):
        raise ValueError(f"expected {len(found)} nodes each time, found {len(others)}")
    return found


def _identity(node: RunNode, named: Collection[tuple[object, ...]]) -> tuple[object, ...]:
    """Return what a node is called and does, without its name where the other session has none of that name."""
    whole = (*_doing(node), node.name)
    return whole if whole in named else _doing(node)


def _doing(node: RunNode) -> tuple[object, ...]:
    shapes = tuple(tuple(*tensor.items()) for tensor in (*node.inputs, *node.outputs))
    return (node.operation, shapes)


def own_share(times: RunTimes) -> NDArray[np.float64]:
    """Return the share of each run's wall-clock time that the model itself took, [num_visits].

    A run during which the thread lost its core counts with its CPU time, where that thread does all the work: with
    several threads the CPU time of one tells nothing.
    """
    wall_ns, cpu_ns = np.asarray(times.wall_ns, dtype=np.float64), np.asarray(times.cpu_ns, dtype=np.float64)
    if np.quantile(cpu_ns / wall_ns, UNDISTURBED) <= BUSY_SHARE:
        return np.ones(len(wall_ns))
    is_preempted = (wall_ns > PREEMPTED_RATIO * cpu_ns) & (wall_ns > cpu_ns + PREEMPTED_NS)
    share: NDArray[np.float64] = np.where(is_preempted, cpu_ns / wall_ns, 1.0)
    return share


def typical_times(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what nodes take, [num_nodes], of [num_nodes, num_visits]; they sum to the typical one of the visits' sums.

    Each by the mean of its faster visits but the fastest: the profiler's clock ticks in microseconds, and the median of
    a node of three would be off by up to a sixth. All of them then times one factor: what disturbs a visit hits a few
    nodes of it, no node in most visits, and yet the whole in all of them.
    """
    ordered = np.sort(times, axis=1)
    num = ordered.shape[1]
    means: NDArray[np.float64] = ordered[:, num // 10 : max(num // 10 + 1, num // 2)].mean(axis=1)
    total = float(means.sum())
    return means * float(np.quantile(times.sum(axis=0), TYPICAL)) / total if total > 0 else means


def _joined(one: RunTimes, other: RunTimes) -> RunTimes:
    return RunTimes(wall_ns=one.wall_ns + other.wall_ns, cpu_ns=one.cpu_ns + other.cpu_ns)


@dataclass(frozen=True, kw_only=True, slots=True)
class Dissections:
    """Holds what a runtime makes of several models, by key, and why some could not be taken apart.

    Attributes:
        worker: what the worker said of itself and its machine.
    """

    found: Mapping[str, Dissection]
    failures: Mapping[str, str]
    worker: Mapping[str, object]


def dissect(settings: ProfilerSettings, models: Sequence[Model]) -> Dissections:
    """Have a device's runtime take models apart, in `rounds` visits each.

    Every ten visits a new worker opens the models anew, and their order is another. A model that is rejected, or that
    ends its worker, is a failure, and the others are taken apart all the same.

    Raises:
        MeasurementError: no worker can be started, or the runtime's worker takes no models apart.
    """
    _require_dissecting(settings)
    session = Session(settings, models)
    found: dict[str, Dissection] = {}
    failures: dict[str, str] = {}
    done = 0
    try:
        while done < settings.rounds:
            visits = min(ROUNDS_PER_RESTART, settings.rounds - done)
            rng = np.random.default_rng([settings.seed, done])
            for place in rng.permutation(len(models)):
                key = models[place].key
                if key not in failures:
                    _take_apart(session, models[place], visits, found, failures)
            session.end()
            done += visits
            settings.on_progress("round", done, settings.rounds)
    finally:
        session.end()
    kept = {key: dissection for key, dissection in found.items() if key not in failures}
    return Dissections(found=kept, failures=failures, worker=session.about_worker)


def graphs_of(settings: ProfilerSettings, models: Sequence[Model]) -> Dissections:
    """Have models taken apart at one visit each, for their graphs: no time of it is to be believed."""
    return dissect(replace(settings, rounds=1, on_progress=lambda *_: None), models)


def _require_dissecting(settings: ProfilerSettings) -> None:
    device = settings.device
    if not runtime_of(device.runtime).dissects:
        raise MeasurementError(
            f"{device.name} runs {device.runtime}, whose worker does not tell what it makes of a model: name a device "
            "whose runtime is onnxruntime"
        )


def _take_apart(
    session: Session, model: Model, visits: int, found: dict[str, Dissection], failures: dict[str, str]
) -> None:
    """Add so many visits of a model to what is known of it, or why it cannot be taken apart."""
    device = session.device
    client = session.client or session.start_worker()
    try:
        (path,) = session.transport.place([model.path])
        timeout_s = device.open_timeout_s + visits * device.visit_timeout_s
        answer = client.dissect(path, visits=visits, timeout_s=timeout_s)
        if isinstance(answer, Failed):
            failures[model.key] = answer.message
            return
        fresh = _dissection(answer)
        found[model.key] = found[model.key].joined(fresh) if model.key in found else fresh
    except (WorkerLostError, ValueError) as loss:
        session.end()
        failures[model.key] = f"while it was taken apart: {loss}"


def _dissection(answer: Dissected) -> Dissection:
    graph = None if answer.graph is None else _unpacked(answer.graph)
    return Dissection(graph=graph, nodes=answer.nodes, plain=answer.plain, profiled=answer.profiled)


def _unpacked(text: str) -> bytes:
    """Return what base64 and zlib hold.

    Raises:
        WorkerLostError: they hold nothing that can be, since a worker that says so cannot be believed.
    """
    try:
        unpacker = zlib.decompressobj()
        graph = unpacker.decompress(base64.b64decode(text, validate=True), MAX_GRAPH_BYTES)
    except (ValueError, zlib.error) as error:
        raise WorkerLostError(f"expected a packed graph, found what cannot be unpacked: {error}") from error
    if not unpacker.eof:
        raise WorkerLostError(f"expected a whole graph of at most {MAX_GRAPH_BYTES:,} bytes")
    return graph
