"""Latencies of architectures from a table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lut.cache import CacheModel
from lut.errors import MissingLatencyError, TableError
from lut.layout import LayoutWalk
from lut.table import LatencyTable, block_keys
from onnx_models.image_size import size_text
from search_spaces import Architecture, SearchSpace, SpaceSpec
from search_spaces.overview import extreme_architecture


class LatencyModel:
    """Predicts the latency of architectures of one space on the device of one table.

    Args:
        name: of the table, as messages call it.

    Raises:
        TableError: the table is of another space or input size, or has a block that the space no longer has.
        MissingLatencyError: a block of the space was never measured, or failed to be.
    """

    def __init__(self, space: SearchSpace, table: LatencyTable, *, name: str = "the table") -> None:
        if not table.space.has_networks_of(space.spec):
            raise TableError(
                f"{name} is for {table.space}; this search is for {space.spec}. "
                + (
                    _fitting_flags(table.space)
                    if table.is_imported
                    else f"Build a table for it: {profile_command(space.spec, table, 'another.lut.json')}"
                )
            )
        table.require_blocks_of(space, name=name)
        self.space = space
        self.table = table
        self.name = name
        if missing := table.missing(space):
            first, total = missing[0], len(block_keys(space))
            why = table.by_key[first].error if first in table.by_key else "never measured"
            raise MissingLatencyError(
                f"no latency for {first} in {name} ({len(missing)} of {total} blocks; {why}); "
                + (
                    "import the whole table"
                    if table.is_imported
                    else f"run: {profile_command(space.spec, table, name)} --fresh"
                )
            )
        self._costs = _Costs(table, space)

    def predict_ms(self, architectures: NDArray[np.integer]) -> NDArray[np.float64]:
        """Predict the latency of each architecture, in milliseconds per forward pass.

        Sums the (calibrated) latencies of the chosen blocks, and what their neighbours change about them. Assumes the
        table's batch size, precision and threads.

        Args:
            architectures: [num_architectures, num_decisions] choice indices.

        Returns:
            [num_architectures] milliseconds.

        Raises:
            SpaceError: an architecture has another number of decisions, or a choice that does not exist.
        """
        return self._costs.total_ms(self.space.as_array(architectures))

    def predict_one_ms(self, architecture: Architecture) -> float:
        """Predict the latency of one architecture, in milliseconds per forward pass."""
        return float(self.predict_ms(np.array([architecture]))[0])

    def extreme(self, *, slowest: bool = False) -> tuple[Architecture, float]:
        """Return the fastest (or slowest) architecture and its predicted milliseconds.

        Found segment by segment, see `extreme_architecture`; what neighbours change about blocks can hide a little.
        """
        best = extreme_architecture(self.space, self.predict_ms, largest=slowest)
        return best, self.predict_one_ms(best)


def predict_ms(table: LatencyTable, space: SearchSpace, architectures: NDArray[np.integer]) -> NDArray[np.float64]:
    """Predict the latency of architectures, [num_architectures] milliseconds; NaN where an entry is missing.

    Raises:
        SpaceError: an architecture has another number of decisions, or a choice that does not exist.
    """
    return _Costs(table, space).total_ms(space.as_array(architectures))


class _Costs:
    """The milliseconds that each candidate block adds to a network after a plain and after a blocked input."""

    def __init__(self, table: LatencyTable, space: SearchSpace) -> None:
        self._offset_ms = table.offset_ms
        self._space = space
        self._block_ms = np.array(
            [
                0.0 if b.is_identity else table.block_ms(b.key) if b.key in table.latency_ms else np.nan
                for b in space.candidates
            ]
        )
        self._cache: CacheModel | None = None
        self._walk: LayoutWalk | None = None
        if table.calibration is None:
            return
        self._cache = table.calibration.cache
        sizes = [table.block_size(b) for b in space.candidates]
        self._working_set_mb = np.array([size.total_mb for size in sizes])
        self._lost_ms = np.array(
            [0.0 if b.is_identity else self._cache.block_ms(s) for b, s in zip(space.candidates, sizes, strict=True)]
        )
        if table.layouts:
            walk = self._walk = LayoutWalk(space, table.layouts)
            conversions = table.calibration.conversion_ms * walk.nodes + table.calibration.element_ms * walk.elements
            factors = np.array([table.calibration.factors.get(b.key, 1.0) for b in space.candidates])
            conversions += factors * walk.ms
            # A block adds nothing at least, whatever it spares.
            self._by_layout_ms = np.maximum(0.0, self._block_ms + conversions)

    def total_ms(self, architectures: NDArray[np.integer]) -> NDArray[np.float64]:
        if self._walk is None:
            sums_ms = self._space.block_sum(self._block_ms, architectures)
        else:
            sums_ms = self._walk.total(self._by_layout_ms, architectures)
        if self._cache is not None:
            lost = self._cache.lost(self._space.block_sum(self._working_set_mb, architectures))
            sums_ms = sums_ms + lost * self._space.block_sum(self._lost_ms, architectures)
        return self._offset_ms + sums_ms


def energy_mj(table: LatencyTable, space: SearchSpace, architectures: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the millijoules of one forward pass, [num_architectures]: the sum over the blocks.

    Raises:
        TableError: the table has no energy of a block, since its device has no counter that may be read.
    """
    missing = [b.key for b in space.candidates if not b.is_identity and b.key not in table.energy_mj]
    if missing:
        raise TableError(
            f"the table has no energy of {missing[0]} ({len(missing)} blocks): its device has no counter (RAPL) that "
            "this user may read; leave --max-energy out"
        )
    return space.block_sum(np.array([table.energy_mj.get(b.key, 0.0) for b in space.candidates]), architectures)


def _fitting_flags(spec: SpaceSpec) -> str:
    """Return the flags that make a search fit a published table; the data's classes may be fewer than the outputs."""
    return (
        f"Search what was published: --space {spec.name} --input-size {size_text(spec.input_size)} "
        f"--width {spec.width:g} --set space.outputs={spec.num_classes}, with images of {spec.in_channels} channels"
    )


def profile_command(spec: SpaceSpec, like: LatencyTable, output: str) -> str:
    """Return the command that builds a table for a space on the device and in the precision of another table."""
    device, precision = like.provenance.device, like.provenance.precision
    name = spec.name if spec.network_hash is None else "FILE (which hwnas convert -o FILE writes)"
    head = "" if spec.head == "classifier" else f"--head {spec.head} "
    sizes = f"--resolutions {','.join(map(size_text, spec.resolutions))} " if spec.resolutions else ""
    return (
        f"hwnas profile --space {name} --input-size {size_text(spec.input_size)} --channels {spec.in_channels} "
        f"--classes {spec.num_classes} --width {spec.width:g} {head}{sizes}"
        f"--device {device['name']} --threads {device['threads']} --batch {device['batch']} --precision {precision} "
        f"-o {output}"
    )
