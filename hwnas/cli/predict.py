"""`hwnas predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.arguments import DevicesFile, Json
from hwnas.cli.explain import FreeSize
from hwnas.cli.printing import print_json, print_table
from hwnas.cli.ranges import ranged

if TYPE_CHECKING:
    from lut.kernel_model import Prediction
    from lut.kernel_table import KernelTable

NUM_LISTED = 10
"""The slowest kernels that are listed unless another number is given."""


def predict(
    model: Annotated[Path, typer.Argument(help="An ONNX file; RUN or RUN:NAME for a network of a run.")],
    *,
    kernels: Annotated[Path, typer.Option("--lut", help="A table of kernels, of hwnas profile --kernels.")],
    devices: DevicesFile = None,
    input_size: FreeSize = None,
    most: Annotated[int | None, ranged("listed", "How many of the slowest kernels to list [10].")] = None,
    as_json: Json = False,
) -> None:
    """Predict the latency of any ONNX model from a table of kernels; the model is not timed.

    The device fuses the model's operators, since only its own runtime knows which kernels come of it.
    """
    from hwnas.api import tools
    from hwnas.cli.idle_flags import refuse_beside
    from hwnas.quantities import parse_image_size
    from lut.kernel_file import load_kernels

    if as_json:
        refuse_beside("--json, which has them all", most=most)
    table = load_kernels(kernels)
    size = None if input_size is None else parse_image_size(input_size)
    prediction = tools.predict(model, kernels, devices=devices, input_size=size)
    if as_json:
        print_json(_as_dict(prediction, table))
        return
    _print(prediction, table, str(model), NUM_LISTED if most is None else most)


def _print(prediction: Prediction, table: KernelTable, model: str, most: int) -> None:
    from hwnas.quantities import format_ms

    latency_ms = prediction.latency_ms
    ranked = sorted(prediction.kernels, key=lambda predicted: -predicted.ms)[:most]
    if ranked:
        print_table(
            f"the {len(ranked)} slowest of {len(prediction.kernels)} kernels",
            ["kernel", "ms", "share", "from"],
            [
                [p.kernel.key, f"{p.ms:.4f}", f"{p.ms / latency_ms:.1%}", "table" if p.is_known else "regression"]
                for p in ranked
            ],
        )
    print(
        f"{model}: {format_ms(latency_ms)} predicted on {table.device['name']}, {prediction.known_share:.0%} of it in "
        f"kernels that were measured"
    )
    if strange := [kind for kind in prediction.strange_kinds if kind not in {k.kind for k in table.kernels}]:
        print(f"warning: no kernel of these kinds was measured: {', '.join(strange)}; the prediction may be far off")
    print(f"  {describe_kernels(table)}")


def describe_kernels(table: KernelTable) -> str:
    """Return how far predictions from a table of kernels are off, in words."""
    sizes = f"{len(table.kernels)} kernels of {len(table.models)} models"
    certificate = table.certificate
    if certificate is None:
        return f"{sizes}: not certified, which takes three models or more, each predicted by the others"
    return (
        f"{sizes}: each model predicted by the others with {certificate.mape:.1%} mean error (bias "
        f"{certificate.bias:+.1%}), {certificate.within_5pct:.0%} within 5 %, {certificate.within_10pct:.0%} within "
        f"10 %, Kendall tau {certificate.kendall_tau:.2f}; repeatability {certificate.repeatability_mape:.1%}"
    )


def _as_dict(prediction: Prediction, table: KernelTable) -> dict[str, object]:
    from dataclasses import asdict

    return {
        "latency_ms": prediction.latency_ms,
        "known_share": prediction.known_share,
        "certificate": None if table.certificate is None else asdict(table.certificate),
        "kernels": [{"kernel": p.kernel.key, "ms": p.ms, "is_known": p.is_known} for p in prediction.kernels],
    }
