"""Published accuracies of every network of a space, instead of training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # pydantic reads Python's own from 3.12 on only

from hwnas.errors import RequestError
from hwnas.evaluators.npz_columns import ArrayError, read_columns
from safe_files import FileError, first_fault, read_bytes
from search_spaces import Architecture, SearchSpace, SpaceSpec, make_space
from search_spaces.nasbench201 import NasBench201

MAX_BYTES = 1 << 26
"""Largest benchmark; NAS-Bench-Macro's has 2 MB."""

MOST_COST = 1e18

_Accuracy = Annotated[float, Field(ge=0, le=100)]
_Cost = Annotated[float, Field(ge=0, le=MOST_COST)]


@with_config(ConfigDict(extra="ignore", allow_inf_nan=False))
class _MacroRow(TypedDict):
    """The fields of a network in NAS-Bench-Macro that are read."""

    mean_acc: _Accuracy
    flops: _Cost
    params: _Cost


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TabularBenchmark:
    """The contents of a benchmark, one row per architecture of the space, in the order of `index`.

    Attributes:
        space: at 32 px with 10 classes.
        validation, test: [num_architectures] accuracies in percent; what search may see, and what it is scored by.
        costs: by name, [num_architectures].
    """

    space: SearchSpace
    validation: NDArray[np.float64]
    test: NDArray[np.float64]
    costs: Mapping[str, NDArray[np.float64]]

    def of_space(self, space: SearchSpace) -> TabularBenchmark:
        """Return this benchmark, where it is of that space.

        Raises:
            RequestError: it is of another.
        """
        if [d.choices for d in space.decisions] != [d.choices for d in self.space.decisions]:
            resolutions = ", which choose a resolution" if space.spec.resolutions else ""
            raise RequestError(
                f"the benchmark is of networks of {self.space.spec.name}, this search of those of "
                f"{space.spec.name}{resolutions}"
            )
        return self

    def index(self, architectures: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the rows of architectures, [num]."""
        sizes = [len(d.choices) for d in self.space.decisions]
        rows: NDArray[np.int64] = np.ravel_multi_index(tuple(np.asarray(architectures).T), tuple(sizes)).astype(
            np.int64
        )
        return rows

    def score(self, architecture: Architecture) -> float:
        """Return the validation accuracy, in 0 to 1."""
        return float(self.validation[self.index(np.array([architecture]))[0]]) / 100

    def cost(self, name: str, architectures: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return the costs of that name, [num]."""
        found: NDArray[np.float64] = self.costs[name][self.index(architectures)]
        return found


def load_tabular(path: Path) -> TabularBenchmark:
    """Read NAS-Bench-Macro's JSON (Su et al. 2021), or NAS-Bench-201's accuracies and latencies as npz.

    NAS-Bench-Macro has one accuracy only, the mean of three trainings: it stands for both.

    Raises:
        RequestError: the file cannot be read, or holds something else.
    """
    try:
        return _macro(path) if path.suffix == ".json" else _nasbench201(path)
    except (FileError, ValueError, KeyError, ArrayError) as error:
        raise RequestError(
            f"cannot read the benchmark {path}: {error}; expected NAS-Bench-Macro's JSON, or an "
            "npz of NAS-Bench-201 with arch and accuracies"
        ) from error


def _macro(path: Path) -> TabularBenchmark:
    space = make_space(SpaceSpec(name="nasbench-macro", input_size=32, num_classes=10))
    # As JSON and strictly: text is no number, and neither is true.
    try:
        table = TypeAdapter(dict[str, _MacroRow]).validate_json(read_bytes(path, max_bytes=MAX_BYTES), strict=True)
    except ValidationError as error:
        raise ValueError(first_fault(error)[0][:200]) from error
    rows = [table["".join(map(str, np.unravel_index(i, (3,) * 8)))] for i in range(3**8)]
    mean = np.array([row["mean_acc"] for row in rows])
    costs = {"macs": np.array([row["flops"] for row in rows]), "params": np.array([row["params"] for row in rows])}
    return TabularBenchmark(space=space, validation=mean, test=mean, costs=costs)


def _nasbench201(path: Path) -> TabularBenchmark:
    space = make_space(SpaceSpec(name="nasbench201", input_size=32, num_classes=10))
    sizes = tuple(len(d.choices) for d in space.decisions)
    num = int(np.prod(sizes))
    columns = read_columns(path, length=num)
    places = np.ravel_multi_index(tuple(_cells(columns["arch"]).T), sizes)
    order = np.argsort(places)
    if not np.array_equal(places[order], np.arange(num)):
        raise ValueError("a cell is there twice")

    def column(name: str, *, most: float) -> NDArray[np.float64]:
        if columns[name].dtype.kind not in "fiu":
            raise ValueError(f"{name}: expected numbers, found {columns[name].dtype}")
        values: NDArray[np.float64] = columns[name][order].astype(np.float64)
        if not ((values >= 0) & (values <= most)).all():  # NaN is neither
            raise ValueError(f"{name}: expected numbers from 0 to {most:g}")
        return values

    return TabularBenchmark(
        space=space,
        validation=column("val_acc_cifar10", most=100),
        test=column("test_acc_cifar10", most=100),
        costs={name: column(name, most=MOST_COST) for name in columns if name.startswith("lat_")},
    )


def _cells(texts: NDArray[Any]) -> NDArray[np.int64]:
    """Return the choices of the cells that texts describe, [num, num_decisions]."""
    if texts.dtype.kind != "U":
        raise ValueError(f"arch: expected texts, found {texts.dtype}")
    return np.array([NasBench201.parse(str(text)) for text in texts])
