"""Everything that was measured together, and how such measurements join."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from profilers.measurement import Measurement
from profilers.pace import Pace


@dataclass(frozen=True, kw_only=True, slots=True)
class Samples:
    """The samples of several models that were measured in the same restarts of a worker.

    Attributes:
        measurements: by key.
        pace: of the machine meanwhile; None where the worker tells none.
    """

    measurements: Mapping[str, Measurement]
    pace: Pace | None = None

    @property
    def num_restarts(self) -> int:
        """One more than the number of the last restart; 1 where nothing was measured."""
        return 1 + max((m.restarts[-1] for m in self.measurements.values() if m.visits), default=0)

    def followed_by(self, later: Samples) -> Samples:
        """Return these samples and later ones, whose restarts are counted on from the last one here.

        A model that is in both keeps all its samples. Such models tell how fast the machine was each time, since the
        speed of every restart is told by the models that are in all restarts.
        """
        found = dict(self.measurements)
        for key, measurement in later.measurements.items():
            moved = measurement.moved(self.num_restarts)
            found[key] = found[key].joined(moved) if key in found else moved
        pace = None if later.pace is None else later.pace.moved(self.num_restarts)
        if self.pace is not None:
            pace = self.pace if pace is None else self.pace.joined(pace)
        return Samples(measurements=found, pace=pace)
