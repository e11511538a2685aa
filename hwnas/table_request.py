"""Tables as they are asked for: how much is measured, and what becomes of a table that is there already."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hwnas.errors import RequestError
from hwnas.profiling import making_table, profile_space
from hwnas.progress import Reporter
from hwnas.quantities import parse_percentile
from lut import LatencyTable, load_table, plan_table
from lut.build import TablePlan, journal_beside, require_extent
from lut.tails import least_rounds
from onnx_models.precision import Precision
from profilers import Device, Profiler
from search_spaces import SearchSpace

NUM_NETWORKS, ROUNDS = 50, 80
"""Numbers of networks and of rounds that are measured unless others are given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableRequest:
    """The work that a table is to be made with.

    Attributes:
        networks: to calibrate and certify with; None where the number is not given, which a complete table need not
            have then; likewise rounds and seed.
        memory_mb: for opened models; None for half of what is available.
        percentile: that is to be certified too, 95 or 99.
    """

    precision: Precision = "fp32"
    networks: int | None = None
    rounds: int | None = None
    max_minutes: float = 60.0
    memory_mb: float | None = None
    percentile: int | None = None
    seed: int | None = None

    @property
    def _least_rounds(self) -> int:
        """The rounds to measure at least.

        Raises:
            RequestError: fewer are asked for than the percentile takes, or there is no such percentile.
        """
        least = 0 if self.percentile is None else least_rounds(parse_percentile(self.percentile))
        if self.rounds is not None and self.rounds < least:
            raise RequestError(f"--percentile {self.percentile} takes {least} rounds, got --rounds {self.rounds}")
        return least

    def profiler(self, device: Device) -> Profiler:
        """Return what measures on a device.

        Raises:
            RequestError: fewer rounds are asked for than the percentile takes, or there is no such percentile.
        """
        least = self._least_rounds
        return Profiler(
            device=device,
            rounds=max(ROUNDS, least) if self.rounds is None else self.rounds,
            least_rounds=least,
            max_minutes=self.max_minutes,
            memory_mb=self.memory_mb,
            seed=self.seed or 0,
        )

    def plan(self, space: SearchSpace, profiler: Profiler) -> TablePlan:
        """Return what is to be measured of a space."""
        return plan_table(
            space,
            rounds=profiler.rounds,
            num_networks=NUM_NETWORKS if self.networks is None else self.networks,
            batch=profiler.device.batch,
            precision=self.precision,
            seed=self.seed or 0,
        )

    def made(
        self, space: SearchSpace, path: Path, profiler: Profiler, *, is_fresh: bool = False, reporter: Reporter
    ) -> LatencyTable:
        """Return the table in a file, measured first where it is not there yet or is wanted anew.

        Args:
            is_fresh: discard what is there, and measure again.

        Raises:
            RequestError: another process makes it, or the folder cannot be written to.
            TableError: the file is the table of another space, device or precision, or has less than is asked for.
        """
        plan = self.plan(space, profiler)
        with making_table(path):
            if is_fresh:
                path.unlink(missing_ok=True)
                journal_beside(path).unlink(missing_ok=True)
            if not path.exists():
                return profile_space(space, path, plan, profiler=profiler, reporter=reporter, is_fresh=is_fresh)
            table = load_table(path)
            table.require_origin(space.spec, profiler.device, precision=plan.precision, name=str(path))
            asked = {"networks": self.networks, "seed": self.seed, "rounds": self.rounds}
            require_extent(table, space, **asked, least_rounds=profiler.least_rounds, name=str(path))
            journal_beside(path).unlink(missing_ok=True)  # of a process that was killed before it could
            reporter.line(f"{path} is complete; --fresh measures it again")
            return table
