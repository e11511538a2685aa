"""Winners that miss their budget once they are exported, and the finalists that take their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict  # pydantic reads Python's own from 3.12 on only

from hwnas.profiling import Measured, MeasuredFields
from hwnas.quantities import ceil_ms, format_ms
from hwnas.records import read_record
from hwnas.run import Run
from hwnas.search import HardLimits, RandomAgent
from hwnas.stages.export import JOURNAL, RESULT, SECOND_JOURNAL, Exported, exported_from
from hwnas.stages.finalists import Finalists, ranked, search_limits
from hwnas.stages.latency import Latency
from hwnas.stages.retrain import checkpoint_of, metrics_of
from hwnas.stages.search import FoundNetwork, described, networks_of
from hwnas.summary_file import DYNAMIC_MODEL, model_of
from hwnas.training.randomness import numpy_rng
from search_spaces.cost import GraphCosts

NEXT = "export/next.json"
"""The file of winners that missed their budgets, and of what is retrained instead. Once it is there the attempt is set
aside."""

MISSED = "missed"
"""Folder of what was set aside, a numbered folder for each attempt, with the files as they lay in the run's."""

NUM_SAMPLED = 200
"""Networks among which the one nearest to a budget is sought; each costs a table look-up only."""


def is_settled(run: Run) -> bool:
    """Return whether the last export stands: every budget is kept, or nothing is left to be tried."""
    pending = run.folder / NEXT
    return (run.folder / RESULT).exists() and not (pending.exists() and networks_of(run, _read(pending), pending))


def current_networks(run: Run, found: Mapping[str, FoundNetwork]) -> dict[str, FoundNetwork]:
    """Return the networks of the attempt that the run is at: those found, with the winners that missed replaced."""
    networks = dict(found)
    for path in _paths(run):
        networks |= networks_of(run, _read(path), path)
    pending = run.folder / NEXT
    if pending.exists() and (replaced := networks_of(run, _read(pending), pending)):
        _set_aside(run, networks, replaced)
        networks |= replaced
    return networks


def exported_before(run: Run) -> Exported | None:
    """Return the result of the last attempt that missed; None where none did."""
    num = len(list(_paths(run)))
    path = run.folder / MISSED / str(num) / RESULT
    return None if num == 0 else exported_from(read_record(dict[str, Any], path), path)


def missed_winners(found: Mapping[str, FoundNetwork], exported: Exported) -> list[str]:
    """Return the names of the winners that take longer than their budgets as exported."""
    return [
        name
        for name, network in found.items()
        if network.finalist is not None and exported.networks[name].measured.latency_ms > network.max_ms
    ]


def replace_missed(
    run: Run, latency: Latency, constraint: HardLimits, found: Mapping[str, FoundNetwork], exported: Exported
) -> bool:
    """Return whether there is another attempt, the next finalist in place of a winner that missed its budget."""
    if not missed_winners(found, exported):
        return False
    record = run.stored(NEXT, lambda: _decide(run, latency, constraint, found, exported))
    return bool(record["networks"])


def advice(run: Run, name: str, max_ms: float, exported: Exported) -> str:
    """Return one line on a winner that missed its budget when nothing was left to be tried."""
    measured = exported.networks[name].measured
    nearest = _read(run.folder / NEXT)["nearest"][name]
    wanted = f"{ceil_ms(measured.at_worst_ms):g}ms"
    flag = f"--max-latency {wanted}" if name == "winner" else f"--budgets {wanted}"
    known = (
        "no network of this space keeps it on a machine as slow as it is now"
        if nearest is None
        else f"the nearest network that should keep it takes about {format_ms(nearest['now_ms'])}: "
        + "-".join(map(str, nearest["architecture"]))
    )
    return f"{_over(name, max_ms, exported)}, and no other finalist is left; {known}; give {flag}"


def _over(name: str, max_ms: float, exported: Exported) -> str:
    takes_ms = exported.networks[name].measured.latency_ms
    return f"{name} takes {format_ms(takes_ms)} as exported, more than its budget of {format_ms(max_ms)}"


def _decide(
    run: Run, latency: Latency, constraint: HardLimits, found: Mapping[str, FoundNetwork], exported: Exported
) -> dict[str, Any]:
    missed: dict[str, _Missed] = {
        name: {
            "architecture": list(found[name].architecture),
            "exported": exported.networks[name].measured.as_dict(),
            "finalist": finalist,
        }
        for name in missed_winners(found, exported)
        if (finalist := found[name].finalist) is not None
    }
    networks, nearest = {}, {}
    for name, record in missed.items():
        max_ms = found[name].max_ms
        finalists = Finalists(run, ranked(run, search_limits(constraint, latency, max_ms)), latency, max_ms, name)
        records = [*(r["missed"][name] for r in _records(run) if name in r["missed"]), record]
        without = {tuple(r["architecture"]) for r in records}
        now = exported.networks[name].measured
        if (chosen := finalists.best(now=now, room=max(map(_room, records)), without=without)) is None:
            slow_down = now.latency_ms / found[name].predicted_ms
            nearest[name] = _nearest(run, latency, constraint, max_ms, slow_down)
            continue
        instead = "-".join(map(str, chosen.architecture))
        run.reporter.line(f"{_over(name, max_ms, exported)}: the next finalist, {instead}, is retrained")
        fields = described(chosen.architecture, GraphCosts(run.space), chosen.evaluation.score, latency, max_ms)
        networks[name] = fields | {"finalist": chosen.measured.as_dict()}
    return {"missed": missed, "networks": networks, "nearest": nearest}


def _room(record: _Missed) -> float:
    """Return how many times as long a network took once exported, besides what the machine is slower by.

    Others will, too.
    """
    exported, finalist = Measured.from_dict(record["exported"]), Measured.from_dict(record["finalist"])
    return max(1.0, exported.latency_ms / finalist.latency_ms / exported.slower_by(finalist))


def _nearest(
    run: Run, latency: Latency, constraint: HardLimits, max_ms: float, slow_down: float
) -> dict[str, Any] | None:
    """Return the slowest of a sample of the space that keeps the budget on a machine slowed by `slow_down`."""
    limits = constraint.with_maximum("latency_ms", max_ms / slow_down)
    if not limits.is_met(latency.model.extreme()[0]):
        return None
    sample = RandomAgent(run.space, limits, numpy_rng(run.config.seed, "nearest")).ask(NUM_SAMPLED)
    nearest = max(sample, key=latency.model.predict_one_ms)
    return {"architecture": list(nearest), "now_ms": slow_down * latency.model.predict_one_ms(nearest)}


def _records(run: Run) -> Iterator[_Decision]:
    """Yield what was decided about the attempts that were set aside, in order."""
    return map(_read, _paths(run))


def _paths(run: Run) -> Iterator[Path]:
    number = 1
    while (path := run.folder / MISSED / str(number) / "next.json").exists():
        yield path
        number += 1


class _Missed(TypedDict):
    """A winner that missed its budget."""

    architecture: list[int]
    exported: MeasuredFields
    finalist: MeasuredFields


class _Nearest(TypedDict):
    """The network that should keep a budget that nothing kept, and its milliseconds on the machine as it is now."""

    architecture: list[int]
    now_ms: float


class _Decision(TypedDict):
    """The decision about winners that missed their budgets, by name."""

    missed: dict[str, _Missed]
    networks: dict[str, Any]
    nearest: dict[str, _Nearest | None]


def _read(path: Path) -> _Decision:
    return read_record(_Decision, path)


def _set_aside(run: Run, found: Mapping[str, FoundNetwork], replaced: Mapping[str, FoundNetwork]) -> None:
    """Move the attempt's files out of the way, the decision last, so that it can be interrupted and done again.

    Trainings that a network of another name shares go to that name.
    """
    place = run.folder / MISSED / str(len(list(_paths(run))) + 1)
    names = {name: found[name].architecture for name in found if name not in replaced}
    for name in replaced:
        heir = next((other for other, a in names.items() if a == found[name].architecture), None)
        for file in (checkpoint_of, metrics_of):
            if heir is not None:
                _move(run.folder / file(name), run.folder / file(heir))
            _move(run.folder / file(name), place / file(name))
        model = run.folder / model_of(name)
        for written in [model, *model.parent.glob(f"{model.stem}-int8-*.onnx")]:
            _move(written, place / written.relative_to(run.folder))
        if name == "winner":
            _move(run.folder / DYNAMIC_MODEL, place / DYNAMIC_MODEL)
    for path in (JOURNAL, SECOND_JOURNAL, RESULT):
        _move(run.folder / path, place / path)
    (run.folder / NEXT).replace(place / "next.json")


def _move(source: Path, target: Path) -> None:
    """Move a file that is still there; one that was moved before is not overwritten by its successor."""
    if source.exists() and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
