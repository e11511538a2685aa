"""`hwnas tune`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from hwnas.cli.arguments import DeviceFlags, Quiet, ShapeFlags, SpaceName, device_named
from hwnas.cli.ranges import ranged


@dataclass(frozen=True, kw_only=True, slots=True)
class TunedDevice(DeviceFlags):
    """The device that schedules are tuned for, which must be given."""

    device: Annotated[str, device_named("A device of runtime tvm; see hwnas devices.")]


def tune(
    space: SpaceName,
    *,
    target: TunedDevice,
    trials: Annotated[int, ranged("trials", "Schedules to try per block.")] = 64,
    blocks: Annotated[int | None, ranged("blocks", "Only the so many blocks of most MACs.")] = None,
    shape: ShapeFlags,
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

    spec = shape.spec(space)
    chosen = find_device(target.device, target.devices)
    require_tunable(chosen)
    name = chosen.name
    made = make_space(spec)
    distinct = {b.key: b for b in made.candidates if not b.is_identity}
    ranked = sorted(distinct.values(), key=lambda b: -block_cost(b).macs)[:blocks]
    models = [
        Model(key=b.key, path=export_block(b, onnx_cache(), batch=chosen.batch, opset=chosen.opset)) for b in ranked
    ]
    reporter = Reporter(is_quiet=quiet)
    minutes = estimated_s(models, chosen, trials) / 60
    reporter.line(
        f"tuning {len(models)} blocks of {made.spec} on {name}, {trials} trials each: about {minutes:.0f} min"
    )
    if dry_run:
        return
    with reporter.task("tune", len(models)) as task:
        errors = tune_models(
            models, chosen, trials=trials, seed=seed, on_progress=lambda done, _: task.update(done, "")
        )
    for key, message in errors.items():
        reporter.line(f"not tuned: {key}: {message}")
    print(f"{len(models) - len(errors)} blocks tuned; use them: hwnas profile --device {name} --tuning meta_schedule")
