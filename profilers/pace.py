"""The machine's speed at a fixed piece of work, while it measured and once it was done."""

from __future__ import annotations

from dataclasses import dataclass, replace

from profilers.measurement import require_times, require_visits
from profilers.visits import moved


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """Nanoseconds that a worker's fixed piece of work took: at the beginning of rounds, and again after the last one.

    Attributes:
        visits: the first visit of each round, numbered as those of the samples are; time order.
        wall_ns, cpu_ns: wall-clock time and CPU time of the thread, before that visit.
        after_wall_ns, after_cpu_ns: of the repeats once nothing was measured any more.

    Raises:
        ValueError: columns of different length, visits out of order or twice, a time that cannot be.
    """

    visits: tuple[int, ...] = ()
    wall_ns: tuple[int, ...] = ()
    cpu_ns: tuple[int, ...] = ()
    after_wall_ns: tuple[int, ...] = ()
    after_cpu_ns: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.visits) == len(self.wall_ns) == len(self.cpu_ns):
            raise ValueError("pace: visits, wall_ns and cpu_ns must be equally long")
        if len(self.after_wall_ns) != len(self.after_cpu_ns):
            raise ValueError("pace: after_wall_ns and after_cpu_ns must be equally long")
        require_visits("pace", self.visits)
        require_times("pace", wall_ns=(*self.wall_ns, *self.after_wall_ns), cpu_ns=(*self.cpu_ns, *self.after_cpu_ns))

    def moved(self, restarts: int) -> Pace:
        """Return the same pace that many restarts later."""
        return replace(self, visits=moved(self.visits, restarts))

    def joined(self, other: Pace) -> Pace:
        """Return both, of which `other` has the later visits."""
        return Pace(
            visits=self.visits + other.visits,
            wall_ns=self.wall_ns + other.wall_ns,
            cpu_ns=self.cpu_ns + other.cpu_ns,
            after_wall_ns=self.after_wall_ns + other.after_wall_ns,
            after_cpu_ns=self.after_cpu_ns + other.after_cpu_ns,
        )
