"""How well models of one family are predicted by the kernels of other families.

Constructs torchvision's classifiers, takes them apart on the device, and leaves one family out at a time: its models
are predicted from the kernels of all others, by the table where a kernel is there, else by regression. torchvision is
no dependency: name the folder that it is installed in, and the one with the module `torchvision_shim`, whose
`import_torchvision` makes it importable beside a CPU build of torch.

    python benchmarks/predict_kernels.py --site FOLDER --site FOLDER --input-size 128 --keep kernels.json

With a table that is kept already nothing is measured.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lut.kernel_build import measure_kernels
from lut.kernel_file import load_kernels, save_kernels
from lut.kernel_model import predicted_without
from lut.kernel_table import KernelTable
from onnx_models.export import export_module
from profilers import Model, Profiler
from profilers.device import adjusted, find_device

FAMILIES = {
    "resnet": ("resnet18", "resnet34", "resnet50"),
    "mobilenet": ("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"),
    "efficientnet": ("efficientnet_b0", "efficientnet_b1"),
    "shufflenet": ("shufflenet_v2_x0_5", "shufflenet_v2_x1_0"),
    "mnasnet": ("mnasnet0_5", "mnasnet1_0"),
    "regnet": ("regnet_x_400mf", "regnet_y_400mf", "regnet_x_800mf"),
    "squeezenet": ("squeezenet1_0", "squeezenet1_1"),
    "densenet": ("densenet121",),
    "googlenet": ("googlenet",),
}
"""Names of torchvision's constructors."""

WITHIN = 0.10


def main() -> None:
    """Measure the kernels, unless a table is kept, and print the errors by family."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", type=Path, action="append", default=[], help="folder to import from; several")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--input-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="file that keeps the table")
    options = parser.parse_args()

    sys.path.extend(map(str, options.site))
    if options.keep is not None and options.keep.exists():
        table = load_kernels(options.keep)
    else:
        device = adjusted(find_device(options.device), threads=options.threads)
        table = measured(Profiler(device=device, rounds=options.rounds, seed=options.seed), options.input_size)
        if options.keep is not None:
            save_kernels(table, options.keep)
    print_errors(table)


def measured(profiler: Profiler, input_size: int) -> KernelTable:
    """Return the kernels of all models at that size."""
    constructors: Any = importlib.import_module("torchvision_shim").import_torchvision().models
    with tempfile.TemporaryDirectory() as folder:
        models = []
        for name in (name for names in FAMILIES.values() for name in names):
            path = Path(folder) / f"{name}.onnx"
            settings = {"init_weights": False} if name == "googlenet" else {}
            network = getattr(constructors, name)(**settings).eval()
            export_module(network, path, input_shapes=[(1, 3, input_size, input_size)])
            models.append(Model(key=name, path=path))
        return measure_kernels(models, profiler)


def print_errors(table: KernelTable) -> None:
    """Print measured and predicted milliseconds of each family's models, predicted by all other families."""
    places = {model.name: place for place, model in enumerate(table.models)}
    print(f"{len(table.kernels)} kernels of {len(table.models)} models, {table.visits} visits each")
    errors: list[float] = []
    families = {family: [places[n] for n in names if n in places] for family, names in FAMILIES.items()}
    families = {family: members for family, members in families.items() if members}
    for family, members in families.items():
        predicted_ms = predicted_without(table, members)
        for place, ms in zip(members, predicted_ms, strict=True):
            measured_ms = table.wholes[place].plain_ms
            errors.append(ms / measured_ms - 1)
            line = f"{table.models[place].name:20} {measured_ms:8.3f} ms measured, {ms:8.3f} predicted"
            print(f"  {family:13} {line}, {errors[-1]:+.1%}")
    print(f"one family of {len(families)} left out at a time: {summary(errors)}")
    if table.certificate is not None:
        print(
            f"one model left out at a time: mean error {table.certificate.mape:.1%}, "
            f"{table.certificate.within_10pct:.0%} within 10 %"
        )


def summary(errors: Sequence[float]) -> str:
    """Return mean absolute error, bias and share within 10 %."""
    sizes = np.abs(errors)
    return f"mean error {sizes.mean():.1%} (bias {np.mean(errors):+.1%}), {np.mean(sizes <= WITHIN):.0%} within 10 %"


if __name__ == "__main__":
    main()
