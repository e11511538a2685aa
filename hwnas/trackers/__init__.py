"""Trackers: where people keep the numbers and files of many runs. Their packages are imported when they are used."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec

from hwnas.errors import RequestError
from hwnas.trackers.mlflow import MlflowTracker
from hwnas.trackers.search_curve import SearchCurve
from hwnas.trackers.tensorboard import TensorBoardTracker
from hwnas.trackers.tracker import Tracker, TrackerInputs
from hwnas.trackers.wandb import WandbTracker

TRACKERS: dict[str, Callable[[TrackerInputs], Tracker]] = {
    "mlflow": MlflowTracker,
    "tensorboard": TensorBoardTracker,
    "wandb": WandbTracker,
}
"""Trackers by name."""

EXTRAS = {"mlflow": ("mlflow", "sqlalchemy"), "wandb": ("wandb",)}
"""The packages of trackers that hwnas does without, by the extra that installs them."""

SERVERS = ("http://", "https://", "databricks")
"""What the address of an MLflow that is a server begins with: no database is needed here."""


def require_packages(name: str) -> None:
    """Raise RequestError where the packages of the tracker of that name are not installed."""
    has_server = os.environ.get("MLFLOW_TRACKING_URI", "").startswith(SERVERS)
    needed = [package for package in EXTRAS.get(name, ()) if not (package == "sqlalchemy" and has_server)]
    if missing := [package for package in needed if find_spec(package) is None]:
        raise RequestError(
            f"tracker {name} needs {' and '.join(missing)}: pip install 'hwnas[{name}]', or leave out --tracker"
        )


__all__ = [
    "TRACKERS",
    "MlflowTracker",
    "SearchCurve",
    "TensorBoardTracker",
    "Tracker",
    "TrackerInputs",
    "WandbTracker",
    "require_packages",
]
