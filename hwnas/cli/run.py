"""`hwnas search`, `train`, `retrain` and `export`: a run, whole or up to a stage."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas.cli.arguments import MovedFlags, RunFolder
from hwnas.cli.printing import print_json, print_models, print_retrained, print_summary
from hwnas.cli.ranges import ranged
from hwnas.quantities import counted

if TYPE_CHECKING:
    from hwnas.pipeline.run import Run
    from hwnas.progress import Reporter

JSON = "Print the summary as JSON; progress goes to standard error."
QUIET = "No progress."

Json = Annotated[bool, typer.Option("--json", help=JSON)]
Quiet = Annotated[bool, typer.Option(help=QUIET)]
DEFAULT_MAX_DROP = 1.0
"""Points of accuracy that int8 may cost."""


def command(last: str) -> Callable[..., None]:
    """Return the command that works through a run up to that stage; its flags override the YAML file's settings.

    Besides the parameters here it takes a flag for every setting that has one.
    """

    def run_command(
        config: Annotated[Path | None, typer.Argument(help="YAML file with settings; flags override it.")] = None,
        setting: Annotated[
            list[str] | None,
            typer.Option(
                "--set", help="Any setting of hwnas settings: --set retrain.ema_decay=0.99.", rich_help_panel="What"
            ),
        ] = None,
        begun_from: Annotated[
            Path | None,
            typer.Option(
                "--from",
                help="Search anew, in a new folder, with the supernet, the table and the settings of this run.",
                rich_help_panel="What",
            ),
        ] = None,
        resume: Annotated[
            bool,
            typer.Option(
                "--resume",
                help="Continue the run in --out with the settings it was begun with.",
                rich_help_panel="Output",
            ),
        ] = False,
        as_json: Annotated[bool, typer.Option("--json", help=JSON, rich_help_panel="Output")] = False,
        quiet: Annotated[bool, typer.Option(help=QUIET, rich_help_panel="Output")] = False,
        **flags: Any,
    ) -> None:
        from hwnas.cli.idle_flags import refuse_idle
        from hwnas.flags import overrides_of
        from hwnas.progress import Reporter

        overrides = overrides_of(flags, setting or [])
        run = _run(config, overrides, flags["out"], Reporter(is_quiet=quiet), source=begun_from, resume=resume)
        refuse_idle(run, overrides)
        _work(run, last, as_json=as_json)

    signature = inspect.signature(run_command, eval_str=True)
    left_out = {"flags"} if last == "export" else {"flags", "begun_from"}  # a supernet that is there is not trained
    own = [p for name, p in signature.parameters.items() if name not in left_out]
    run_command.__signature__ = signature.replace(parameters=own)  # type: ignore[attr-defined]
    return run_command


def _run(
    config: Path | None,
    overrides: Mapping[str, Any],
    out: Path | None,
    reporter: Reporter,
    *,
    source: Path | None,
    resume: bool,
) -> Run:
    """Return the run of these settings, one that begins with another's supernet, or the one that is resumed."""
    from hwnas.config_file import load_config
    from hwnas.errors import RequestError
    from hwnas.pipeline.from_supernet import run_from_supernet
    from hwnas.pipeline.run import Run

    if source is not None:
        if out is None:
            raise RequestError(f"--from {source} needs a folder for the new run: give --out")
        if config is not None or resume:
            raise RequestError(f"--from takes the settings of {source}, got {config or '--resume'} too: leave one out")
        return run_from_supernet(source, reporter, overrides)
    if not resume:
        return Run(load_config(config, overrides), reporter)
    if out is None:
        raise RequestError("--resume needs the run's folder: give --out")
    if config is not None:
        raise RequestError(f"--resume continues with the run's own settings, got {config} too: leave one out")
    return Run.from_folder(out, reporter, overrides, has_begun=False)


def retrain(
    folder: RunFolder,
    *,
    architecture: Annotated[
        list[str] | None,
        typer.Option("--architecture", help="Train this network too, as printed: 0-1-1-0; may be given again."),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option("--budget", help="And the best network found that keeps this latency; may be given again."),
    ] = None,
    front: Annotated[bool, typer.Option("--front", help="And every network that hwnas front prints.")] = False,
    moved: MovedFlags,
    quiet: Quiet = False,
) -> None:
    """Work through a run up to the retrained networks, and train further ones."""
    from hwnas.artifacts import duplicate_names
    from hwnas.pipeline.further import Request, retrain_further
    from hwnas.pipeline.named import named_architectures
    from hwnas.pipeline.run import Run
    from hwnas.progress import Reporter

    request = Request(architectures=tuple(architecture or ()), budgets=tuple(budget or ()), front=front)
    if request.is_empty:
        _continue(folder, "retrain", moved.by_setting, as_json=False, quiet=quiet)
        return
    run = Run.from_folder(folder, Reporter(is_quiet=quiet), moved=moved.by_setting)
    networks = retrain_further(run, request)
    title = f"{counted(len(networks), 'network')} of {folder}"
    print_retrained(title, networks, duplicate_names(named_architectures(run.files)))


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleFlags:
    """The network that a bundle is of, and the kinds of models that it has."""

    network: Annotated[
        str | None,
        typer.Option("--network", help="The retrained network that the bundle is of: winner-5ms, largest [winner]."),
    ] = None
    int8: Annotated[bool | None, typer.Option(help="Quantize too, into the bundle [--int8].")] = None
    mixed: Annotated[
        bool, typer.Option("--mixed", help="Choose int8 or float for each block, by measuring it on the device.")
    ] = False
    fp16: Annotated[
        bool | None, typer.Option(help="Half precision too; by default where the device computes in it.")
    ] = None
    max_drop: Annotated[float | None, ranged("max_drop", "Points of accuracy that int8 may cost [1].")] = None
    min_score: Annotated[
        float | None, ranged("min_score", "Of detectors: the score that boxes must exceed [0.05].")
    ] = None
    max_iou: Annotated[
        float | None,
        ranged("max_iou", "Of detectors: the overlap (IoU) from which of two boxes of a class one is dropped [0.6]."),
    ] = None
    max_boxes: Annotated[int | None, ranged("max_boxes", "Of detectors: boxes of an image at most [100].")] = None

    @property
    def limits(self) -> dict[str, Any]:
        """The limits of boxes, by name; those that were given."""
        given = {"min_score": self.min_score, "max_iou": self.max_iou, "max_boxes": self.max_boxes}
        return {name: value for name, value in given.items() if value is not None}


def export(
    folder: RunFolder,
    *,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write a bundle to this new folder.")] = None,
    bundle: BundleFlags,
    moved: MovedFlags,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Work through a run up to the exported model, and write it with proof and a program that runs it."""
    from hwnas.cli.idle_flags import refuse_without
    from hwnas.errors import RequestError

    if output is None:
        wanted = {
            "no-int8" if bundle.int8 is False else "int8": bundle.int8 is not None,
            "mixed": bundle.mixed,
            "no-fp16" if bundle.fp16 is False else "fp16": bundle.fp16 is not None,
        }
        refuse_without("--output", network=bundle.network, **wanted, max_drop=bundle.max_drop, **bundle.limits)
        _continue(folder, "export", moved.by_setting, as_json=as_json, quiet=quiet)
        return
    if bundle.int8 is False:
        refuse_without("--int8", max_drop=bundle.max_drop, mixed=bundle.mixed)
    from hwnas.artifacts import WINNER
    from hwnas.export.request import BundleOptions
    from hwnas.pipeline.deploying import deploy, require_deployable
    from hwnas.pipeline.order import run_stages
    from hwnas.pipeline.run import Run
    from hwnas.progress import Reporter
    from onnx_models.box_limits import BoxLimits

    run = Run.from_folder(folder, Reporter(is_quiet=quiet), moved=moved.by_setting)
    if bundle.limits and run.task.head != "detection":
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in bundle.limits)
        raise RequestError(f"{flags}: expected a detector, {folder} is of {run.config.task}; leave it out")
    drop = (DEFAULT_MAX_DROP if bundle.max_drop is None else bundle.max_drop) / 100
    limits = replace(BoxLimits(), **bundle.limits)
    options = BundleOptions(
        int8=bundle.int8 is not False, mixed=bundle.mixed, fp16=bundle.fp16, max_drop=drop, limits=limits
    )
    network = bundle.network or WINNER
    require_deployable(run, output, options, network=network)
    summary = run_stages(run)
    assert summary is not None
    deployment = deploy(run, summary, output, options, network=network)
    if as_json:
        print_json(deployment.as_dict())
    else:
        print_models(output, deployment)


def _continue(folder: Path, last: str, moved: Mapping[str, Path | str | None], *, as_json: bool, quiet: bool) -> None:
    from hwnas.flags import settings_by_flag
    from hwnas.pipeline.order import is_finished
    from hwnas.pipeline.run import Run
    from hwnas.progress import Reporter

    run = Run.from_folder(folder, Reporter(is_quiet=quiet), moved=moved)
    flags = {setting.name: flag for flag, settings in settings_by_flag().items() for setting in settings}
    given = ", ".join(flags[name] for name, place in moved.items() if place is not None)
    if given and last == "export" and is_finished(run):
        run.reporter.warn(f"{folder} is finished, and told from its folder alone: {given} has no effect")
    _work(run, last, as_json=as_json)


def _work(run: Run, last: str, *, as_json: bool) -> None:
    from hwnas.artifacts import WINNER
    from hwnas.errors import RunError
    from hwnas.pipeline.order import run_stages

    summary = run_stages(run, last=last)
    if summary is None and os.environ.get("RANK", "0") != "0":
        return  # the first process of torchrun speaks for all
    if summary is None:
        run.reporter.line(f"{run.folder}: done up to {last}")
        if as_json:
            print_json({"folder": str(run.folder), "done": last})
        return
    if as_json:
        print_json(run.files.described(summary))
    else:
        print_summary(summary, run.files.export.model(WINNER), offer=summary.offer(str(run.folder)))
    if missed := summary.missed_budgets:
        raise RunError("; ".join(missed))
