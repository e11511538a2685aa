"""Bundles that people ship: models, proof, and a program that runs them."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from pydantic import JsonValue

from hwnas.agents.detection import GivesPoints
from hwnas.artifacts import DeployedModel, Deployment, Suppression
from hwnas.errors import RequestError, RunError
from hwnas.export.contents import PURPOSES, image_facts, kind_of, predict_program, purpose_of
from hwnas.export.detector import BOX_MODELS, Detector
from hwnas.export.environment import git_state, versions
from hwnas.export.own_format import taken_by, write_own_formats
from hwnas.export.quantizing import Quantizer
from hwnas.export.readme import bundle_readme
from hwnas.export.recommend import FLOAT, INT8, MIXED, in_own_format, recommend
from hwnas.export.request import BundleInputs, BundleOptions
from hwnas.export.scoring import Scorer, changes_of
from hwnas.export.torch_module import write_module
from hwnas.export.tvm_parity import compare_with_tvm, has_tvm
from hwnas.measured import Measured
from hwnas.quantities import MEDIAN
from hwnas.stages.speed import references_of
from lut.certificate import Certificate
from lut.references import References
from lut.tails import tail_of
from onnx_models.best_int8 import Quantization
from onnx_models.box_limits import BoxLimits
from onnx_models.half_precision import write_half_precision
from onnx_models.metadata import ModelFacts, describe
from onnx_models.pixels import with_preprocessing
from onnx_models.session import OnnxNetwork, operations
from profilers.runtime import runtime_of
from safe_files import drafting, explaining, forget_drafts, put_folder, raise_if_full, sha256_of, write_text


def write_bundle(
    inputs: BundleInputs, folder: Path, options: BundleOptions, *, on_written: Callable[[Deployment], None]
) -> Deployment:
    """Write a network of a run to a new folder, with everything needed to run it and to trust it.

    The folder appears whole or not at all, after everything else that is written, so that the same command can be given
    again; where a proof fails, what was written is kept beside it as evidence.

    Args:
        on_written: told what the bundle says of itself, before it appears.

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
            deployment = _filled(inputs, draft, folder, options)
            on_written(deployment)
            try:
                put_folder(draft, folder)
            except FileExistsError as error:  # by another process, meanwhile
                raise _there_already(folder) from error
            return deployment


def require_new_folder(folder: Path) -> None:
    """Make sure that a bundle's folder is not there yet and can be made; it is not made.

    Raises:
        RequestError: it is there, or cannot be made.
        WriteError: there is no room.
    """
    if folder.exists():
        raise _there_already(folder)
    above = next(outer for outer in folder.absolute().parents if outer.exists())
    try:
        tempfile.TemporaryDirectory(dir=above).cleanup()
    except OSError as error:
        raise_if_full(error, folder)
        raise RequestError(f"cannot write to {above}: {error.strerror}; give another folder with -o") from error


def _filled(inputs: BundleInputs, draft: Path, folder: Path, options: BundleOptions) -> Deployment:
    try:
        return _Bundle(inputs, draft).write(options)
    except RunError as error:
        evidence = folder.with_name(folder.name + ".failed")
        shutil.rmtree(evidence, ignore_errors=True)
        draft.replace(evidence)
        raise RunError(f"no bundle was written: {error}; what there is of it is in {evidence}") from error


def _there_already(folder: Path) -> RequestError:
    return RequestError(f"{folder} is there already; give another folder with -o")


class _Bundle:
    def __init__(self, inputs: BundleInputs, folder: Path) -> None:
        self._inputs, self._summary, self._folder = inputs, inputs.summary, folder
        self._setup, self._task = inputs.setup, inputs.task
        of_pixels = inputs.task.dataset.is_of_pixels  # programs and models for pictures are of use for those alone
        self._kind = kind_of(inputs.task.agent_class, inputs.task_name) if of_pixels else None
        self._scorer = Scorer(folder=folder, task=inputs.task, kind=self._kind, expected=inputs.summary.test_accuracy)

    def write(self, options: BundleOptions) -> Deployment:
        folder = self._folder
        options.require_possible(self._setup.device)
        self._write_floats()
        if options.has_fp16(self._setup.device):
            write_half_precision(folder / "model.onnx", folder / "model.fp16.onnx")
        quantizer = Quantizer(folder=folder, setup=self._setup, task=self._task)
        quantization = quantizer.quantize(options.max_drop) if options.int8 else None
        mixed = None
        if quantization is not None and options.mixed:
            mixed = quantizer.mix(quantization.method, options.max_drop)
        detector = self._detector(options.limits)
        names = [name for name in PURPOSES if (folder / name).is_file()]
        of_boxes = [] if detector is None else [name for name in names if name in BOX_MODELS]
        scored = {name: self._scorer.scored(name) for name in names if name not in of_boxes}
        metrics = {name: found.metrics for name, found in scored.items()}
        self._scorer.require_equal(metrics)
        suppression = None
        if detector is not None:
            suppression = Suppression(limits=options.limits, parity=detector.proven(of_boxes))
            metrics |= {name: detector.metrics(name) for name in of_boxes}
        self._describe_models(metrics)
        weights = self._write_module()
        with_tvm = self._compare_with_tvm() if has_tvm() else None
        latencies = self._latencies(names)
        models = {name: self._model(name, metrics[name], latencies.get(name)) for name in names}
        changes = changes_of(scored)
        recommended = recommend(
            models,
            latencies,
            device=self._setup.device.name,
            int8_is_kept=quantization is not None and quantization.kept,
            changes=changes,
        )
        own = self._in_own_format(models)
        recommended = in_own_format(recommended, own, runtime=self._setup.device.runtime)
        models |= own
        described = self._describe(models, quantization, with_tvm)
        deployment = replace(
            described,
            weights=weights,
            int8_change=changes.get(INT8),
            mixed=mixed,
            mixed_change=changes.get(MIXED),
            recommended=recommended,
            suppression=suppression,
        )
        write_text(folder / "deployment.json", json.dumps(deployment.as_dict(), indent=1) + "\n")
        if self._kind is not None:
            write_text(folder / "predict.py", predict_program(self._kind))
        write_text(folder / "README.md", bundle_readme(deployment, self._kind))
        return deployment

    @property
    def _is_classifier(self) -> bool:
        return self._kind == "classification"

    def _detector(self, limits: BoxLimits) -> Detector | None:
        """Write the models of a detector that give boxes, and return it; None of other networks."""
        if self._kind != "detection":
            return None
        space = self._setup.space
        assert isinstance(space, GivesPoints), space.spec
        dataset = self._task.dataset
        detector = Detector(folder=self._folder, grid=space.point_grid, limits=limits, dataset=dataset)
        detector.write(mean=self._summary.mean, std=self._summary.std)
        return detector

    def _write_floats(self) -> None:
        folder, summary = self._folder, self._summary
        shutil.copyfile(self._inputs.model, folder / "model.onnx")
        shutil.copyfile(self._inputs.dynamic_model, folder / "model.dynamic.onnx")
        mean, std = list(summary.mean), list(summary.std)
        if self._is_classifier:
            for name, any_size in (("model.pixels.onnx", False), ("model.image.onnx", True)):
                with_preprocessing(folder / "model.onnx", folder / name, mean=mean, std=std, any_size=any_size)
        if self._kind == "segmentation":
            target = folder / "model.pixels.onnx"
            with_preprocessing(folder / "model.onnx", target, mean=mean, std=std, gives_probabilities=False)

    def _describe_models(self, metrics: Mapping[str, Mapping[str, float]]) -> None:
        summary, task = self._summary, self._inputs.task_name
        for name, found in metrics.items():
            facts = ModelFacts(
                task=task,
                classes=summary.classes,
                mean=summary.mean,
                std=summary.std,
                metrics=found,
                hwnas_version=versions()["hwnas"],
                is_of_pixels=self._inputs.task.dataset.is_of_pixels,
            )
            describe(self._folder / name, facts)

    def _write_module(self) -> dict[str, str]:
        module, shape = self._inputs.module, self._task.dataset.input_shape
        return {} if module is None else write_module(module, shape, self._folder, self._setup.reporter.line)

    def _compare_with_tvm(self) -> dict[str, JsonValue]:
        """Return the comparison with TVM, or why there is none: what TVM cannot compile may be right all the same."""
        reporter = self._setup.reporter
        reporter.line("comparing with TVM, for five minutes at most")
        batches = self._task.batches(self._task.dataset.test, self._inputs.batch_size).in_order()
        try:
            parity = compare_with_tvm(self._folder / "model.onnx", batches, self._task.predictions)
        except RunError as error:
            reporter.line(f"no comparison: {error}")
            return {"error": str(error)}
        if not parity.holds:
            raise RunError(
                f"TVM computes something else than ONNX Runtime from model.onnx: outputs differ by up to "
                f"{parity.max_abs_difference:.2g}, {parity.equal_predictions:.2%} of predictions agree"
            )
        return asdict(parity)

    def _latencies(self, names: list[str]) -> dict[str, Measured]:
        if not self._setup.device.is_measurable:
            return {}
        inputs = self._inputs
        taken = taken_by(runtime_of(self._setup.device.runtime), names)
        paths = {name: self._folder / name for name in taken if self._scorer.network(name).has_fixed_shape}
        references = references_of(self._setup, inputs.table, self._near_ms, inputs.speed)
        try:
            return self._measured(paths, references)
        except RunError as error:
            if self._kind != "detection":
                raise
            self._setup.reporter.line(f"models that give boxes are not measured: {error}")
            return self._measured({name: path for name, path in paths.items() if name not in BOX_MODELS}, references)

    def _measured(self, paths: Mapping[str, Path], references: References) -> dict[str, Measured]:
        with tempfile.TemporaryDirectory() as scratch:
            return self._setup.measured(paths, Path(scratch) / "journal", references=references, is_final=True)

    @property
    def _certificate(self) -> Certificate | None:
        """The errors of predictions of the percentile that the budget is held on."""
        table, percentile = self._inputs.table, self._summary.percentile
        if percentile == MEDIAN:
            return table.certificate
        tail = tail_of(table, self._setup.space, percentile)
        return None if tail is None else tail.certificate

    @property
    def _near_ms(self) -> float:
        """About what the models take."""
        summary = self._summary
        return summary.predicted_ms if summary.max_latency_ms is None else summary.max_latency_ms

    def _model(self, name: str, metrics: Mapping[str, float], latency: Measured | None) -> DeployedModel:
        path = self._folder / name
        network = self._scorer.network(name)
        return DeployedModel(
            purpose=purpose_of(name, self._kind),
            sha256=sha256_of(path),
            size_bytes=path.stat().st_size,
            input=network.input.name,
            input_shape=tuple(network.input.shape),
            input_type=network.input.type,
            output=network.output.name,
            output_shape=tuple(network.output.shape),
            ending=self._scorer.ending(network),
            batch=network.batch,
            normalises=network.takes_pixels,
            mean=self._summary.mean,
            std=self._summary.std,
            test_metrics=dict(metrics),
            measured_ms=None if latency is None else latency.latency_ms,
            measured_table_ms=None if latency is None else latency.table_ms,
            p50_ms=None if latency is None else latency.p50_ms,
            p95_ms=None if latency is None else latency.p95_ms,
            p99_ms=None if latency is None else latency.p99_ms,
            operations=operations(path),
        )

    def _in_own_format(self, models: Mapping[str, DeployedModel]) -> dict[str, DeployedModel]:
        """Return what is written in the own format of the device's runtime too, where it has one and is here."""
        device = self._setup.device
        score = partial(self._scorer.metrics, OnnxNetwork(self._folder / FLOAT))
        found = {}
        for name, own in write_own_formats(self._folder, models, device, score, self._setup.reporter.line).items():
            self._scorer.require_equal_score(own.name, own.test_metrics, is_rounded=device.arithmetic != "fp32")
            purpose = f"{models[name].purpose}, in {device.runtime}'s own format"
            found[own.name] = replace(models[name], purpose=purpose, operations={}, **own.as_dict())
        return found

    def _describe(
        self,
        models: dict[str, DeployedModel],
        quantization: Quantization | None,
        with_tvm: dict[str, JsonValue] | None,
    ) -> Deployment:
        summary, dataset = self._summary, self._task.dataset
        return Deployment(
            network=self._inputs.network,
            architecture=summary.architecture,
            choices=summary.choices,
            space=summary.space,
            task=self._inputs.task_name,
            classes=summary.classes,
            input=image_facts(dataset),
            input_values="pixels" if dataset.is_of_pixels else "floats",
            models=models,
            parity_with_torch=summary.parity,
            parity_with_tvm=with_tvm,
            int8=quantization,
            device=dict(self._setup.device.settings()),
            percentile=summary.percentile,
            max_latency_ms=summary.max_latency_ms,
            predicted_ms=summary.predicted_ms,
            measured_ms_in_run=summary.measured_ms,
            certificate=self._certificate,
            fleet=dict(summary.fleet),
            seed=summary.seed,
            git=git_state(),
            versions=versions(),
        )
