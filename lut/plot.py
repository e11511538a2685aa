"""Predicted against measured, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lut.errors import TableError
from lut.model import predict_ms
from lut.networks import NetworkMeasurement
from lut.table import LatencyTable
from safe_files import WriteError, replacing
from search_spaces import SearchSpace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LABELS = {"held_out": "held out", "calibration": "used for calibration"}


def _sum_of_blocks(table: LatencyTable, space: SearchSpace, network: NetworkMeasurement) -> float:
    blocks = space.blocks(network.architecture)
    return sum(table.latency_ms.get(b.key, float("nan")) for b in blocks if not b.is_identity)


def plot_table(table: LatencyTable, space: SearchSpace, path: Path) -> None:
    """Write a picture of predicted against measured latencies of the table's networks, with the 5 % band.

    Plain sums of what blocks take alone are shown beside, where blocks were measured.

    Raises:
        TableError: the table has no networks, or a block that the space no longer has, or the picture cannot be of
            that kind.
        WriteError: there is no room for the picture, or nothing may be written there.
    """
    from matplotlib.figure import Figure

    if table.certificate is None:
        raise TableError("the table has no measured networks to plot; profile with --networks 50")
    table.require_blocks_of(space)
    figure = Figure(figsize=(6.5, 6.0), layout="constrained")
    axes = figure.subplots()
    largest = 0.0
    held_out = [n for n in table.networks if n.role == "held_out" and n.measurement.error is None]
    if table.latency_ms and not table.reported:
        sums_ms = [_sum_of_blocks(table, space, n) for n in held_out]
        measured_ms = [table.estimates_ms[n.measurement.key] for n in held_out]
        axes.scatter(
            measured_ms, sums_ms, s=18, marker="x", linewidth=0.8, color="#d1742f", label="sum of blocks alone"
        )
        largest = max(largest, *sums_ms)
    for (role, label), colour in zip(_LABELS.items(), ("#1f6feb", "#b0b7c3"), strict=True):
        networks = [n for n in table.networks if n.role == role and n.measurement.error is None]
        measured = [table.estimates_ms[n.measurement.key] for n in networks]
        predicted = predict_ms(table, space, np.array([n.architecture for n in networks])).tolist() if networks else []
        axes.scatter(measured, predicted, s=22, color=colour, label=label, zorder=3 if role == "held_out" else 2)
        largest = max([largest, *measured, *predicted])
    line = np.array([0.0, 1.05 * largest])
    axes.fill_between(line, 0.95 * line, 1.05 * line, color="#2da44e", alpha=0.15, label="within 5 %")
    axes.plot(line, line, color="#2da44e", linewidth=1)
    axes.set(xlim=line, ylim=line, xlabel="measured, ms", ylabel="predicted, ms")
    certificate = table.certificate
    axes.set_title(
        f"{table.space}\n{table.provenance.device['name']}, {table.provenance.precision}: {certificate.num_networks} "
        f"held out, mean error {certificate.mape:.1%}, {certificate.within_5pct:.0%} within 5 %",
        fontsize=10,
    )
    axes.legend(loc="upper left")
    save_picture(figure, path)


def save_picture(figure: Figure, path: Path) -> None:
    """Write a figure as a picture of the kind that the file's name ends in, a PNG where it ends in none.

    Raises:
        TableError: there is no such kind, the folder is not there, or something else than a file is in the way.
        WriteError: there is no room for the picture, or nothing may be written there.
    """
    if path.name and path.exists() and not path.is_file():
        raise TableError(f"cannot write the picture {path}: expected a regular file or none, found something else")
    try:
        with replacing(path) as draft:
            figure.savefig(draft, dpi=120, format=path.suffix.removeprefix(".") or "png")
    except WriteError:
        raise
    except (OSError, ValueError) as error:
        raise TableError(f"cannot write the picture {path}: {getattr(error, 'strerror', None) or error}") from error
