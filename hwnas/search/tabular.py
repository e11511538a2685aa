"""Published accuracies of every network of a space, instead of training."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import RequestError
from search_spaces import Architecture, SearchSpace, SpaceSpec, make_space
from search_spaces.nasbench201 import NasBench201


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TabularBenchmark:
    """What a benchmark knows, one row per architecture of the space, in the order of `index`.

    Attributes:
        space: at 32 px with 10 classes.
        validation, test: [num_architectures] accuracies in percent; what search may see, and what it is judged by.
        costs: by name, [num_architectures].
    """

    space: SearchSpace
    validation: NDArray[np.float64]
    test: NDArray[np.float64]
    costs: Mapping[str, NDArray[np.float64]]

    def of_space(self, space: SearchSpace) -> TabularBenchmark:
        """This benchmark, where it is of that space.

        Raises:
            RequestError: it is of another.
        """
        if [d.choices for d in space.decisions] != [d.choices for d in self.space.decisions]:
            raise RequestError(f"the benchmark is of {self.space.spec.name}, this search of {space.spec.name}")
        return self

    def index(self, architectures: NDArray[np.integer]) -> NDArray[np.int64]:
        """[num] rows of architectures."""
        sizes = [len(d.choices) for d in self.space.decisions]
        rows: NDArray[np.int64] = np.ravel_multi_index(tuple(np.asarray(architectures).T), tuple(sizes)).astype(
            np.int64
        )
        return rows

    def score(self, architecture: Architecture) -> float:
        """The validation accuracy, in 0 to 1."""
        return float(self.validation[self.index(np.array([architecture]))[0]]) / 100

    def cost(self, name: str, architectures: NDArray[np.integer]) -> NDArray[np.float64]:
        """[num] costs of that name."""
        found: NDArray[np.float64] = self.costs[name][self.index(architectures)]
        return found


def load_tabular(path: Path) -> TabularBenchmark:
    """NAS-Bench-Macro's JSON (Su et al. 2021), or NAS-Bench-201's accuracies and latencies as npz.

    NAS-Bench-Macro has one accuracy only, the mean of three trainings: it stands for both.

    Raises:
        RequestError: the file cannot be read, or holds something else.
    """
    try:
        return _macro(path) if path.suffix == ".json" else _nasbench201(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise RequestError(
            f"cannot read the benchmark {path}: {type(error).__name__} {error}; expected NAS-Bench-Macro's JSON, or an "
            "npz of NAS-Bench-201 with arch and accuracies"
        ) from error


def _macro(path: Path) -> TabularBenchmark:
    space = make_space(SpaceSpec(name="nasbench-macro", input_size=32, num_classes=10))
    table = json.loads(path.read_text(encoding="utf-8"))
    names = ["".join(map(str, np.unravel_index(i, (3,) * 8))) for i in range(3**8)]
    mean = np.array([table[name]["mean_acc"] for name in names], dtype=np.float64)
    costs = {
        "macs": np.array([table[name]["flops"] for name in names], dtype=np.float64),
        "params": np.array([table[name]["params"] for name in names], dtype=np.float64),
    }
    return TabularBenchmark(space=space, validation=mean, test=mean, costs=costs)


def _nasbench201(path: Path) -> TabularBenchmark:
    space = make_space(SpaceSpec(name="nasbench201", input_size=32, num_classes=10))
    with np.load(path, allow_pickle=False) as file:
        columns = {name: file[name] for name in file.files}
    sizes = tuple(len(d.choices) for d in space.decisions)
    rows = np.array([NasBench201.parse(str(text)) for text in columns["arch"]])
    order = np.argsort(np.ravel_multi_index(tuple(rows.T), sizes))
    if len(order) != int(np.prod(sizes)):
        raise ValueError(f"{len(order)} cells, expected {int(np.prod(sizes))}")

    def column(name: str) -> NDArray[np.float64]:
        values: NDArray[np.float64] = columns[name][order].astype(np.float64)
        return values

    latencies = {name: column(name) for name in columns if name.startswith("lat_")}
    return TabularBenchmark(
        space=space,
        validation=column("val_acc_cifar10"),
        test=column("test_acc_cifar10"),
        costs=latencies,
    )
