"""MLflow: a server, or a database in a file."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hwnas.trackers.tracker import TrackerInputs

EXPERIMENT = "hwnas"
"""The experiment that runs are in where MLFLOW_EXPERIMENT_NAME names none."""

PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""How long a server that does not answer is waited for, where the environment does not say; MLflow's own is minutes."""

MOST_CHARACTERS, MOST_AT_ONCE = 500, 100
"""Of a parameter's value, and parameters of a request; servers refuse more."""


class MlflowTracker:
    """Keeps a run in MLflow, where MLFLOW_TRACKING_URI says; mlflow.db in the current folder otherwise.

    A run that goes on is found again by its id, at the place that it was begun at unless the environment names another.
    """

    def __init__(self, inputs: TrackerInputs) -> None:
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        import mlflow

        kept = inputs.kept("mlflow")
        uri = os.environ.get("MLFLOW_TRACKING_URI") or kept.get("tracking_uri") or mlflow.get_tracking_uri()
        self._client: Any = mlflow.MlflowClient(uri)
        self._run_id = self._resumed(kept) or self._begun(inputs.name)
        inputs.keep("mlflow", {"tracking_uri": uri, "run_id": self._run_id})
        self._log_settings(inputs.settings)

    def _resumed(self, kept: Mapping[str, str]) -> str | None:
        """Return the id of the run that was begun before and is still there; None where there is none."""
        from mlflow.exceptions import MlflowException

        if (run_id := kept.get("run_id")) is None:
            return None
        try:
            self._client.update_run(run_id, status="RUNNING")
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return run_id

    def _begun(self, name: str) -> str:
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        found = self._client.get_experiment_by_name(experiment)
        number = self._client.create_experiment(experiment) if found is None else found.experiment_id
        tags = {"mlflow.source.name": "hwnas", "hwnas_version": version("hwnas")}
        return str(self._client.create_run(number, run_name=name, tags=tags).info.run_id)

    def _log_settings(self, settings: Mapping[str, object]) -> None:
        """Keep the settings that are not kept yet: MLflow refuses other values of those that are."""
        from mlflow.entities import Param

        known = self._client.get_run(self._run_id).data.params
        new = [Param(n, str(value)[:MOST_CHARACTERS]) for n, value in settings.items() if n not in known]
        for start in range(0, len(new), MOST_AT_ONCE):
            self._client.log_batch(self._run_id, params=new[start : start + MOST_AT_ONCE])

    def log_metrics(self, group: str, values: Mapping[str, float], step: int) -> None:
        """Send numbers of a step."""
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1e3)
        metrics = [Metric(f"{group}/{name}", value, now_ms, step) for name, value in values.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def log_files(self, name: str, paths: Sequence[Path]) -> None:
        """Send files as artifacts."""
        for path in paths:
            if path.is_dir():
                self._client.log_artifacts(self._run_id, str(path), name)
            else:
                self._client.log_artifact(self._run_id, str(path), name)

    def close(self, *, is_complete: bool) -> None:
        """Say that the run is over, or that it failed."""
        self._client.set_terminated(self._run_id, "FINISHED" if is_complete else "FAILED")
