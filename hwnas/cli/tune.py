"""`hwnas tune`."""

from __future__ import annotations

from typing import Annotated

import typer

from hwnas.cli.arguments import Channels, Classes, DevicesFile, InputSize, Quiet, SpaceName, Width, spec_of
from hwnas.cli.completion import names_of
from hwnas.cli.ranges import ranged


def tune(
    space: SpaceName,
    device: Annotated[
        str, typer.Option(help="A device of runtime tvm; see hwnas devices.", autocompletion=names_of("device"))
    ],
    devices: DevicesFile = None,
    trials: Annotated[int, ranged("trials", "Schedules to try per block.")] = 64,
    blocks: Annotated[int | None, ranged("blocks", "Only the so many blocks of most MACs.")] = None,
    input_size: InputSize = 224,
    channels: Channels = 3,
    classes: Classes = None,
    width: Width = 1.0,
    seed: Annotated[int, ranged("seed", "Of the search for schedules.")] = 0,
    dry_run: Annotated[bool, typer.Option(help="Only say how long it would take.")] = False,
    quiet: Quiet = False,
) -> None:
    """Tune TVM's schedules for the blocks of a space; hwnas profile --tuning meta_schedule uses them."""
    from hwnas.profiling import onnx_cache
    from hwnas.progress import Reporter
    from profilers import Model
    from profilers.device import find_device
    from profilers.tuning import estimated_s, require_tunable
    from profilers.tuning import tune as tune_models
    from search_spaces import make_space
    from search_spaces.cost import block_cost
    from search_spaces.onnx_export import export_block

    spec = spec_of(space, input_size, channels, classes, width)
    chosen = find_device(device, devices)
    require_tunable(chosen)
    distinct = {b.key: b for b in make_space(spec).candidates if not b.is_identity}
    ranked = sorted(distinct.values(), key=lambda b: -block_cost(b).macs)[:blocks]
    models = [
        Model(key=b.key, path=export_block(b, onnx_cache(), batch=chosen.batch, opset=chosen.opset)) for b in ranked
    ]
    reporter = Reporter(is_quiet=quiet)
    minutes = estimated_s(models, chosen, trials) / 60
    reporter.line(f"tuning {len(models)} blocks of {spec} on {device}, {trials} trials each: about {minutes:.0f} min")
    if dry_run:
        return
    with reporter.task("tune", len(models)) as task:
        errors = tune_models(
            models, chosen, trials=trials, seed=seed, on_progress=lambda done, _: task.update(done, "")
        )
    for key, message in errors.items():
        reporter.line(f"not tuned: {key}: {message}")
    print(f"{len(models) - len(errors)} blocks tuned; use them: hwnas profile --device {device} --tuning meta_schedule")
