"""Bundles that people ship: models, proof, and a program that runs them."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from hwnas.dataflow import Batches
from hwnas.deployment_file import DEPLOYMENT
from hwnas.errors import RequestError, RunError
from hwnas.export.judging import test_batches
from hwnas.export.tvm_parity import compare_with_tvm, has_tvm
from hwnas.kept_table import kept_table
from hwnas.profiling import Measured, measure_networks
from hwnas.report import write_report
from hwnas.run import Run
from hwnas.stages.speed import Speed, references_of
from hwnas.stages.table import ROUNDS, known_speed
from hwnas.training.randomness import numpy_rng
from onnx_models.best_int8 import Quantization, quantize_network
from onnx_models.half_precision import write_half_precision
from onnx_models.pixels import with_preprocessing
from onnx_models.session import OnnxNetwork, operations
from profilers import Device
from safe_files import drafting, explaining, forget_drafts, put_folder, raise_if_full, sha256_of, write_text

SCHEMA_VERSION = 1

NUM_CALIBRATION, NUM_SELECTION = 128, 1000
"""Training images that int8 ranges are taken from, and others that calibrations are compared on."""

HALF_PRECISION_TOLERANCE = 0.005
"""The largest difference of a half-precision model's score from the trained network's."""

PURPOSES = {
    "model.onnx": "the network as it was trained",
    "model.dynamic.onnx": "any batch size",
    "model.pixels.onnx": "takes pixels as they are, gives probabilities",
    "model.image.onnx": "takes an image of any size, gives probabilities",
    "model.int8.onnx": "static int8",
    "model.fp16.onnx": "half precision inside, for processors that compute in it",
}


def write_bundle(
    run: Run,
    summary: Mapping[str, Any],
    folder: Path,
    *,
    int8: bool = True,
    fp16: bool | None = None,
    max_drop: float = 0.01,
) -> dict[str, Any]:
    """Write a run's winner to a new folder, with everything needed to run it and to trust it.

    The folder appears whole or not at all, after everything else that is written, so that the same command can be given
    again; where a proof fails, what was written is kept beside it as evidence.

    Args:
        summary: of the finished run.
        int8: whether to quantize too.
        fp16: whether to write half precision too; None for where the device computes in it.
        max_drop: of the score that int8 may cost on images not used for calibration.

    Returns:
        The content of deployment.json.

    Raises:
        RequestError: the folder is there already, or cannot be written to.
        RunError: a model does not do what the trained network does.
        WriteError: there is no room.
    """
    if folder.exists():
        raise _there_already(folder)
    with drafting(folder) as draft:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            forget_drafts(folder.parent, of=folder.name)
            draft.mkdir()
        except OSError as error:
            raise_if_full(error, folder)
            raise RequestError(
                f"cannot write to {folder.parent}: {error.strerror}; give another folder with -o"
            ) from error
        with explaining(folder):
            return _filled(run, summary, draft, folder, int8=int8, fp16=fp16, max_drop=max_drop)


def _filled(
    run: Run, summary: Mapping[str, Any], draft: Path, folder: Path, *, int8: bool, fp16: bool | None, max_drop: float
) -> dict[str, Any]:
    with_fp16 = _computes_in_fp16(run.device) if fp16 is None else fp16
    try:
        deployment = _Bundle(run, summary, draft).write(int8=int8, fp16=with_fp16, max_drop=max_drop)
    except RunError as error:
        evidence = folder.with_name(folder.name + ".failed")
        shutil.rmtree(evidence, ignore_errors=True)
        draft.replace(evidence)
        raise RunError(f"no bundle was written: {error}; what there is of it is in {evidence}") from error
    write_text(run.folder / DEPLOYMENT, json.dumps(deployment, indent=1) + "\n")
    write_report(run)
    try:
        put_folder(draft, folder)
    except FileExistsError as error:  # by another process, meanwhile
        raise _there_already(folder) from error
    return deployment


def _there_already(folder: Path) -> RequestError:
    return RequestError(f"{folder} is there already; give another folder with -o")


class _Bundle:
    def __init__(self, run: Run, summary: Mapping[str, Any], folder: Path) -> None:
        self._run, self._summary, self._folder = run, summary, folder
        self._mean, self._std = summary["mean"], summary["std"]
        self._table = kept_table(run)

    def write(self, *, int8: bool, fp16: bool, max_drop: float) -> dict[str, Any]:
        run, folder = self._run, self._folder
        for name, source in (("model.onnx", "onnx"), ("model.dynamic.onnx", "onnx_dynamic_batch")):
            shutil.copyfile(self._summary[source], folder / name)
        is_classifier = run.config.task == "classification"
        if is_classifier:
            for name, any_size in (("model.pixels.onnx", False), ("model.image.onnx", True)):
                with_preprocessing(
                    folder / "model.onnx", folder / name, mean=self._mean, std=self._std, any_size=any_size
                )
        if fp16:
            write_half_precision(folder / "model.onnx", folder / "model.fp16.onnx")
        quantization = self._quantize(max_drop) if int8 else None
        names = [name for name in PURPOSES if (folder / name).is_file()]
        metrics = {name: self._metrics(name) for name in names}
        self._require_equal(metrics, names)
        with_tvm = self._compare_with_tvm() if has_tvm() else None
        deployment = self._describe(names, metrics, self._latencies(names), quantization, with_tvm)
        write_text(folder / "deployment.json", json.dumps(deployment, indent=1) + "\n")
        if is_classifier:
            template = files("hwnas") / "templates"
            write_text(folder / "predict.py", (template / "predict.py.txt").read_text(encoding="utf-8"))
        write_text(folder / "README.md", self._readme(deployment))
        return deployment

    def _quantize(self, max_drop: float) -> Quantization:
        run, batch = self._run, self._run.device.batch
        order = numpy_rng(run.config.seed, "int8").permutation(len(run.dataset.train))
        num = min(NUM_CALIBRATION, len(order) // 2)
        if num < batch:
            raise RequestError(
                f"int8 needs {2 * batch} training images at least for batches of {batch}, half of them for the ranges "
                f"and half to compare them on, got {len(order)}: use more, or give --no-int8"
            )
        chosen = run.dataset.train.subset(order[:num])
        others = run.dataset.train.subset(order[num : num + NUM_SELECTION])
        whole = [x for x, _ in Batches.of(run.dataset, chosen, batch).in_order() if len(x) == batch]
        selection = list(Batches.of(run.dataset, others, 250).in_order())

        def score(network: Callable[[torch.Tensor], torch.Tensor]) -> float:
            return next(iter(run.agent.metrics(network, selection).values()))

        self._run.reporter.line("int8: trying MinMax, Entropy and Percentile calibration")
        return quantize_network(
            self._folder / "model.onnx", self._folder / "model.int8.onnx", whole, score, max_drop=max_drop
        )

    def _metrics(self, name: str) -> Mapping[str, float]:
        network = OnnxNetwork(self._folder / name)

        def outputs(x_NCHW: torch.Tensor) -> torch.Tensor:
            found = network(x_NCHW)
            # Agents expect logits; so are logarithms of probabilities.
            return found.clamp(min=1e-12).log() if network.gives_probabilities else found

        return self._run.test_agent.metrics(outputs, test_batches(network, self._run.dataset))

    def _require_equal(self, metrics: Mapping[str, Mapping[str, float]], names: list[str]) -> None:
        """Raise RunError unless float models predict what the trained network did, but for rounding at ties."""
        expected = float(self._summary["test_accuracy"])
        for name in names:
            found = next(iter(metrics[name].values()))
            tolerance = HALF_PRECISION_TOLERANCE if "fp16" in name else 0.001
            if "int8" not in name and abs(found - expected) > tolerance + 1e-9:
                raise RunError(f"{name} scores {found:.4f} on the test images, the trained network {expected:.4f}")

    def _compare_with_tvm(self) -> dict[str, Any]:
        """Return the comparison with TVM, or why there is none: what TVM cannot compile may be right all the same."""
        run = self._run
        run.reporter.line("comparing with TVM, for five minutes at most")
        batches = Batches.of(run.dataset, run.dataset.test, run.config.retrain.batch_size).in_order()
        try:
            parity = compare_with_tvm(self._folder / "model.onnx", batches)
        except RunError as error:
            run.reporter.line(f"no comparison: {error}")
            return {"error": str(error)}
        if not parity.holds:
            raise RunError(
                f"TVM computes something else than ONNX Runtime from model.onnx: outputs differ by up to "
                f"{parity.max_abs_difference:.2g}, {parity.equal_predictions:.2%} of predictions agree"
            )
        return asdict(parity)

    def _latencies(self, names: list[str]) -> dict[str, Measured]:
        run, table = self._run, self._table
        if not run.device.is_measurable:
            return {}
        paths = {name: self._folder / name for name in names if OnnxNetwork(self._folder / name).has_fixed_shape}
        speed = known_speed(run, table) or Speed()
        with tempfile.TemporaryDirectory() as scratch:
            return measure_networks(
                paths,
                run.device,
                Path(scratch) / "journal",
                rounds=ROUNDS,
                seed=run.config.seed,
                reporter=run.reporter,
                references=references_of(run, table, self._summary["max_latency_ms"], speed),
            )

    def _describe(
        self,
        names: list[str],
        metrics: Mapping[str, Mapping[str, float]],
        latencies: Mapping[str, Measured],
        quantization: Quantization | None,
        with_tvm: Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        run, summary, table = self._run, self._summary, self._table
        models = {}
        for name in names:
            network = OnnxNetwork(self._folder / name)
            models[name] = {
                "purpose": PURPOSES[name],
                "sha256": sha256_of(self._folder / name),
                "size_bytes": (self._folder / name).stat().st_size,
                "input": network.input.name,
                "input_shape": network.input.shape,
                "input_type": network.input.type,
                "output": network.output.name,
                "output_shape": network.output.shape,
                "batch": network.batch,
                "layout": "NCHW",
                "normalises": network.takes_pixels,
                "mean": self._mean,
                "std": self._std,
                "test_metrics": dict(metrics[name]),
                "measured_ms": latencies[name].latency_ms if name in latencies else None,
                "measured_table_ms": latencies[name].table_ms if name in latencies else None,
                "operations": operations(self._folder / name),
            }
        return {
            "schema_version": SCHEMA_VERSION,
            "architecture": summary["architecture"],
            "choices": summary["choices"],
            "space": summary["space"],
            "task": run.config.task,
            "classes": summary["classes"],
            "input": {"channels": run.dataset.in_channels, "size": run.dataset.input_size},
            "models": models,
            "parity_with_torch": summary["parity"],
            "parity_with_tvm": with_tvm,
            "int8": None if quantization is None else asdict(quantization),
            "device": run.device.settings(),
            "max_latency_ms": summary["max_latency_ms"],
            "predicted_ms": summary["predicted_ms"],
            "measured_ms_in_run": summary["measured_ms"],
            "certificate": None if table.certificate is None else asdict(table.certificate),
            "seed": summary["seed"],
            "git": _git_state(),
            "versions": _versions(),
        }

    def _readme(self, deployment: Mapping[str, Any]) -> str:
        rows = [
            f"| `{name}` | {model['input_type'].removeprefix('tensor(').rstrip(')')} "
            f"{'x'.join(map(str, model['input_shape']))} | {next(iter(model['test_metrics'].values())):.2%} | "
            f"{'not measured' if model['measured_ms'] is None else format(model['measured_ms'], '.4g') + ' ms'} | "
            f"{model['purpose']} |"
            for name, model in deployment["models"].items()
        ]
        space, device = deployment["space"], deployment["device"]
        words = {
            "$TITLE": f"{space['name']} for {device['name']}",
            "$ROWS": "\n".join(rows),
            "$DEVICE": f"{device['name']} ({device['runtime']}, {device['threads']} threads)",
            "$BUDGET": f"{deployment['max_latency_ms']:.4g} ms",
            "$CHANNELS": str(deployment["input"]["channels"]),
            "$SIZE": str(deployment["input"]["size"]),
        }
        text = (files("hwnas") / "templates" / "bundle.md.txt").read_text(encoding="utf-8")
        for word, value in words.items():
            text = text.replace(word, value)
        return text


def _computes_in_fp16(device: Device) -> bool:
    return device.provider == "cuda" or (device.target or "").startswith(("nvidia/", "cuda"))


def _git_state() -> dict[str, Any] | None:
    """Commit and cleanliness of the folder that the command runs in; None outside of git."""
    found = {}
    for name, command in (("commit", ["rev-parse", "HEAD"]), ("changes", ["status", "--porcelain"])):
        try:
            done = subprocess.run(["git", *command], capture_output=True, text=True, check=False, timeout=10)  # noqa: S607
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode:
            return None
        found[name] = done.stdout.strip()
    return {"commit": found["commit"], "is_clean": not found["changes"]}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("hwnas", "numpy", "onnx", "onnxruntime", "torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found
