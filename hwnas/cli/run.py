"""`hwnas search`, `train`, `retrain` and `export`: a run, whole or up to a stage."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.arguments import MovedData, MovedDevices, MovedSpace, RunFolder, RunTable
from hwnas.cli.printing import print_json, print_models, print_summary
from hwnas.cli.ranges import ranged

Json = Annotated[bool, typer.Option("--json", help="Print the summary as JSON; progress goes to standard error.")]
Quiet = Annotated[bool, typer.Option(help="No progress.")]

DEFAULT_MAX_DROP = 1.0
"""Points of accuracy that int8 may cost."""


def command(last: str) -> Callable[..., None]:
    """Return the command that works through a run up to that stage; its flags override the YAML file's settings."""

    def run_command(
        config: Annotated[Path | None, typer.Argument(help="YAML file with settings; flags override it.")] = None,
        space: Annotated[str | None, typer.Option(help="Search space; see hwnas spaces.")] = None,
        input_size: Annotated[int | None, ranged("input_size", "Pixels a side [the data's].")] = None,
        width: Annotated[float | None, ranged("width", "Width multiplier.")] = None,
        data: Annotated[str | None, typer.Option(help="Data set; see hwnas list dataflow.")] = None,
        data_root: Annotated[Path | None, typer.Option(help="Folder or archive of the data [data].")] = None,
        train_images: Annotated[int | None, ranged("images", "Use only so many training images.")] = None,
        validation_images: Annotated[int | None, ranged("images", "Judge on only so many images.")] = None,
        skip_broken_images: Annotated[bool | None, typer.Option("--skip-broken-images", help="Leave them out.")] = None,
        lut: Annotated[Path | None, typer.Option(help="Latency table; made first where none is given.")] = None,
        accept_table: Annotated[
            bool | None, typer.Option("--accept-table", help="Take a table whatever its certificate says.")
        ] = None,
        precision: Annotated[str | None, typer.Option(help="Of the table: fp32 or int8.")] = None,
        device: Annotated[str | None, typer.Option(help="Device; see hwnas devices [the table's, or cpu].")] = None,
        devices: Annotated[Path | None, typer.Option(help="A devices file of your own.")] = None,
        max_latency: Annotated[
            str | None, typer.Option(help="The budget: 20ms, or 60% of the slowest network.")
        ] = None,
        budgets: Annotated[
            str | None, typer.Option(help="Further budgets, each with a winner of its own: 5ms,10ms,20ms.")
        ] = None,
        confidence: Annotated[
            float | None,
            ranged("confidence", "Probability of keeping the budget that predictions must leave room for."),
        ] = None,
        max_params: Annotated[str | None, typer.Option(help="Parameters at most: 3M.")] = None,
        max_macs: Annotated[str | None, typer.Option(help="Multiply-accumulates at most: 300M.")] = None,
        max_memory: Annotated[
            str | None, typer.Option(help="Weights and activations at their peak at most: 64MB.")
        ] = None,
        max_energy: Annotated[
            str | None, typer.Option(help="Energy of a forward pass at most: 5mJ; the table must have it.")
        ] = None,
        epochs: Annotated[int | None, ranged("epochs", "Epochs of the supernet.")] = None,
        task: Annotated[str | None, typer.Option(help="classification or verification; see hwnas list agent.")] = None,
        strategy: Annotated[
            str | None, typer.Option(help="Training strategy of the supernet; see hwnas list training-strategy.")
        ] = None,
        criterion: Annotated[
            str | None, typer.Option(help="What training minimises [the task's]; see hwnas list criterion.")
        ] = None,
        agent: Annotated[str | None, typer.Option(help="Search agent; see hwnas list search-agent.")] = None,
        evaluator: Annotated[
            str | None, typer.Option(help="What architectures are judged by; see hwnas list evaluator.")
        ] = None,
        executor: Annotated[str | None, typer.Option(help="Where evaluations run: local or ray.")] = None,
        actors: Annotated[int | None, ranged("actors", "Ray actors.")] = None,
        evaluations: Annotated[int | None, ranged("evaluations", "Architectures to evaluate.")] = None,
        retrain_epochs: Annotated[int | None, ranged("epochs", "Epochs of the winner.")] = None,
        inherit: Annotated[bool | None, typer.Option(help="Retrain from the supernet's weights.")] = None,
        accelerator: Annotated[str | None, typer.Option(help="Where training runs: cpu or cuda.")] = None,
        setting: Annotated[
            list[str] | None, typer.Option("--set", help="Any other setting: --set retrain.ema_decay=0.99 --set ...")
        ] = None,
        seed: Annotated[int | None, ranged("seed", "Everything random depends on it.")] = None,
        out: Annotated[Path | None, typer.Option(help="The run's folder [runs/default].")] = None,
        resume: Annotated[
            bool, typer.Option("--resume", help="Continue the run in --out with the settings it was begun with.")
        ] = False,
        as_json: Json = False,
        quiet: Quiet = False,
    ) -> None:
        from hwnas.cli.idle_flags import refuse_idle
        from hwnas.config import load_config, parse_setting
        from hwnas.errors import RequestError
        from hwnas.progress import Reporter
        from hwnas.run import Run

        flags = {
            "space.name": space,
            "space.input_size": input_size,
            "space.width": width,
            "data.name": data,
            "data.root": data_root,
            "data.train_images": train_images,
            "data.validation_images": validation_images,
            "data.skip_broken_images": skip_broken_images,
            "lut": lut,
            "trust.accept_any": accept_table,
            "precision": precision,
            "device": device,
            "devices": devices,
            "max_latency": max_latency,
            "budgets": None if budgets is None else [part.strip() for part in budgets.split(",")],
            "search.confidence": confidence,
            "max_params": max_params,
            "max_macs": max_macs,
            "max_memory": max_memory,
            "max_energy": max_energy,
            "supernet.epochs": epochs,
            "task": task,
            "supernet.strategy": strategy,
            "supernet.criterion": criterion,
            "retrain.criterion": criterion,
            "search.agent": agent,
            "search.evaluator": evaluator,
            "search.executor": executor,
            "search.actors": actors,
            "search.evaluations": evaluations,
            "retrain.epochs": retrain_epochs,
            "retrain.inherit": inherit,
            "supernet.accelerator": accelerator,
            "retrain.accelerator": accelerator,
            "seed": seed,
            "out": out,
        }
        overrides = {name: value for name, value in flags.items() if value is not None}
        for name, value in map(parse_setting, setting or []):
            if name in overrides:
                raise RequestError(f"{name} was given twice: {overrides[name]!r} and {value!r}; leave one out")
            overrides[name] = value
        reporter = Reporter(is_quiet=quiet)
        if resume:
            if out is None:
                raise RequestError("--resume needs the run's folder: give --out")
            if config is not None:
                raise RequestError(f"--resume continues with the run's own settings, got {config} too: leave one out")
            run = Run.from_folder(out, reporter, overrides)
        else:
            run = Run(load_config(config, overrides), reporter)
        refuse_idle(run, overrides)
        _work(run, last, as_json=as_json)

    return run_command


def retrain(
    folder: RunFolder,
    data_root: MovedData = None,
    lut: RunTable = None,
    devices: MovedDevices = None,
    space: MovedSpace = None,
    quiet: Quiet = False,
) -> None:
    """Work through a run up to the retrained networks."""
    moved = {"data.root": data_root, "lut": lut, "devices": devices, "space.name": space}
    _continue(folder, "retrain", moved, as_json=False, quiet=quiet)


def export(
    folder: RunFolder,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write a bundle to this new folder.")] = None,
    int8: Annotated[bool | None, typer.Option(help="Quantize too, into the bundle [--int8].")] = None,
    fp16: Annotated[
        bool | None, typer.Option(help="Half precision too; by default where the device computes in it.")
    ] = None,
    max_drop: Annotated[float | None, ranged("max_drop", "Points of accuracy that int8 may cost [1].")] = None,
    data_root: MovedData = None,
    lut: RunTable = None,
    devices: MovedDevices = None,
    space: MovedSpace = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Work through a run up to the exported model, and write it with proof and a program that runs it."""
    from hwnas.cli.idle_flags import refuse_without
    from hwnas.errors import RequestError

    moved = {"data.root": data_root, "lut": lut, "devices": devices, "space.name": space}
    if output is None:
        wanted = {
            "no-int8" if int8 is False else "int8": int8 is not None,
            "no-fp16" if fp16 is False else "fp16": fp16 is not None,
        }
        refuse_without("--output", **wanted, max_drop=max_drop)
        _continue(folder, "export", moved, as_json=as_json, quiet=quiet)
        return
    if int8 is False:
        refuse_without("--int8", max_drop=max_drop)
    if output.exists():
        raise RequestError(f"{output} is there already; give another folder with -o")
    from hwnas.export.bundle import write_bundle
    from hwnas.progress import Reporter
    from hwnas.run import Run
    from hwnas.stages import run_stages

    run = Run.from_folder(folder, Reporter(is_quiet=quiet), moved=moved)
    summary = run_stages(run)
    assert summary is not None
    deployment = write_bundle(
        run,
        summary,
        output,
        int8=int8 is not False,
        fp16=fp16,
        max_drop=(DEFAULT_MAX_DROP if max_drop is None else max_drop) / 100,
    )
    if as_json:
        print_json(deployment)
    else:
        print_models(output, deployment)


def _continue(folder: Path, last: str, moved: Mapping[str, Path | str | None], *, as_json: bool, quiet: bool) -> None:
    from hwnas.progress import Reporter
    from hwnas.run import Run

    _work(Run.from_folder(folder, Reporter(is_quiet=quiet), moved=moved), last, as_json=as_json)


def _work(run: object, last: str, *, as_json: bool) -> None:
    from hwnas.errors import RunError
    from hwnas.report.facts import missed_budgets
    from hwnas.run import Run
    from hwnas.stages import run_stages

    assert isinstance(run, Run)
    summary = run_stages(run, last=last)
    if summary is None and os.environ.get("RANK", "0") != "0":
        return  # the first process of torchrun speaks for all
    if summary is None:
        run.reporter.line(f"{run.folder}: done up to {last}")
        if as_json:
            print_json({"folder": str(run.folder), "done": last})
        return
    if as_json:
        print_json(summary)
    else:
        print_summary(summary)
    if missed := missed_budgets(summary):
        raise RunError("; ".join(missed))
