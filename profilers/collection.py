"""From the records of a journal to measurements of models, and to the pace of the machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from profilers.journal import Journal, RoundRecord
from profilers.measurement import Measurement, Model
from profilers.pace import Pace
from profilers.quoting import printable
from profilers.visits import restart_of, visit_of

_COLUMNS = ("visits", "wall_ns", "cpu_ns", "first_ns")


def collect(models: Sequence[Model], journal: Journal) -> tuple[Measurement, ...]:
    """Return the measurements that the journal holds, in the order of the models."""
    columns: list[dict[str, list[int]]] = [{name: [] for name in _COLUMNS} for _ in models]
    for first_visit, record in _numbered(journal):
        for place, index in enumerate(record.order):
            columns[index]["visits"].append(first_visit + place)
            columns[index]["wall_ns"].append(record.wall_ns[place])
            columns[index]["cpu_ns"].append(record.cpu_ns[place])
            if record.first_ns is not None:
                columns[index]["first_ns"].append(record.first_ns[place])
    return tuple(
        Measurement(key=model.key, error=printable(journal.failures[index]))
        if index in journal.failures
        else _measurement(model.key, columns[index])
        for index, model in enumerate(models)
    )


def collect_pace(journal: Journal) -> Pace | None:
    """Return the pace of the rounds and after them; None where the worker tells none."""
    told = [(first_visit, *record.pace) for first_visit, record in _numbered(journal) if record.pace is not None]
    if not told:
        return None
    visits, wall_ns, cpu_ns = zip(*told, strict=True)
    after = journal.pace_after
    return Pace(
        visits=visits,
        wall_ns=wall_ns,
        cpu_ns=cpu_ns,
        after_wall_ns=after.wall_ns if after else (),
        after_cpu_ns=after.cpu_ns if after else (),
    )


def _measurement(key: str, columns: Mapping[str, list[int]]) -> Measurement:
    visits, wall_ns, cpu_ns, first_ns = (tuple(columns[name]) for name in _COLUMNS)
    is_told = len(first_ns) == len(visits)  # by every worker that took part
    return Measurement(key=key, visits=visits, wall_ns=wall_ns, cpu_ns=cpu_ns, first_ns=first_ns if is_told else ())


def _numbered(journal: Journal) -> Iterator[tuple[int, RoundRecord]]:
    """Yield the rounds, each with the number of its first visit."""
    visit, restart = 0, None
    for record in journal.rounds:
        if restart is not None and record.restart != restart:
            visit = visit_of(int(restart_of(visit)) + 1)
        restart = record.restart
        yield visit, record
        visit += len(record.order)
