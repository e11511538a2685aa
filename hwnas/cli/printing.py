"""Results on standard output: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.quantities import BUDGET_KEPT, budget_text
from onnx_models.image_size import size_text

if TYPE_CHECKING:
    from hwnas.artifacts import Deployment, NetworkSummary, Summary

WORTH_A_ROW = 0.01
"""Measured latencies are told at the table's speed too where the machine has become faster or slower by more."""


def print_json(content: object) -> None:
    """Print one JSON object."""
    print(json.dumps(content, indent=1))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, is_prose: bool = False) -> None:
    """Print a table; on anything but a terminal as wide as it needs to be.

    Args:
        is_prose: its columns are words, not numbers.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 or is_prose else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else 160
    Console(highlight=False, markup=False, emoji=False, width=width).print(table)


def print_summary(summary: Summary, model: Path, *, offer: str | None = None) -> None:
    """Print the winner beside its references, where its model is, and what may be shipped in its place.

    The network as it was brought has no budget to keep.
    """
    from hwnas.artifacts import ORIGINAL

    networks, same = summary.networks, summary.duplicates
    columns = ["", *(f"{name} = {same[name]}" if name in same else name for name in networks)]
    rows = [
        ["architecture", *("-".join(map(str, n.architecture)) for n in networks.values())],
        *_resolutions(summary),
        ["params", *(f"{n.params:,}" for n in networks.values())],
        ["MACs", *(f"{n.macs:,}" for n in networks.values())],
        ["supernet score", *(f"{n.supernet_score:.2%}" for n in networks.values())],
        ["test accuracy", *(f"{n.test_accuracy:.2%}" for n in networks.values())],
        ["predicted ms", *(f"{n.predicted_ms:.4g}" for n in networks.values())],
        ["measured ms", *("" if n.measured_ms is None else f"{n.measured_ms:.4g}" for n in networks.values())],
        *_at_the_tables_speed(networks.values()),
        ["budget ms", *("" if name == ORIGINAL else budget_text(n.max_latency_ms) for name, n in networks.items())],
        ["kept", *("" if name == ORIGINAL else BUDGET_KEPT[n.budget_kept] for name, n in networks.items())],
    ]
    space, size = summary.space, summary.space["input_size"]
    print_table(f"{space['name']} at {_pixels(size)} px on {summary.device}", columns, rows)
    parity = summary.parity
    print(f"{model}: differs from torch by at most {parity.max_abs_difference:.1e},")
    print(f"{parity.equal_predictions:.2%} equal predictions on {parity.num_images} test images")
    if offer is not None:
        print(offer)


def _resolutions(summary: Summary) -> list[list[str]]:
    """Return a row of the sizes of images that networks take; there is none where all take the space's."""
    sizes = [n.input_size for n in summary.networks.values()]
    if not any(sizes):
        return []
    own = summary.space["input_size"]
    return [["pixels", *(_pixels(own if size is None else size) for size in sizes)]]


def _pixels(size: object) -> str:
    return size_text(size) if isinstance(size, int | tuple) else str(size)


def print_retrained(title: str, networks: Mapping[str, NetworkSummary], same: Mapping[str, str]) -> None:
    """Print networks that were trained besides the winner and its references.

    Args:
        same: the names of networks that are the same as others, and the names of those.
    """
    print_table(
        title,
        ["network", "architecture", "params", "test accuracy", "predicted ms", "measured ms", "budget ms", "kept"],
        [
            [
                f"{name} = {same[name]}" if name in same else name,
                "-".join(map(str, n.architecture)),
                f"{n.params:,}",
                f"{n.test_accuracy:.2%}",
                f"{n.predicted_ms:.4g}",
                "" if n.measured_ms is None else f"{n.measured_ms:.4g}",
                f"{n.max_latency_ms:.4g}",
                BUDGET_KEPT[n.budget_kept],
            ]
            for name, n in networks.items()
        ],
    )


def _at_the_tables_speed(networks: Iterable[NetworkSummary]) -> list[list[str]]:
    """Return a row of latencies at the speed that the machine had when the table was made.

    There is none where it is the same.
    """
    pairs = [(n.measured_ms, n.measured_table_ms) for n in networks]
    if not any(now and then and abs(now / then - 1) > WORTH_A_ROW for now, then in pairs):
        return []
    return [["ms at the table's speed", *("" if then is None else f"{then:.4g}" for _, then in pairs)]]


def print_models(folder: object, deployment: Deployment) -> None:
    """Print the models of a bundle side by side, and what int8 cost."""
    print_table(
        str(folder),
        ["model", "score", "measured ms", "KiB", "what for"],
        [
            [
                name,
                f"{model.score:.2%}",
                "" if model.measured_ms is None else f"{model.measured_ms:.4g}",
                f"{model.size_bytes / 1024:.0f}",
                model.purpose,
            ]
            for name, model in deployment.models.items()
        ],
    )
    if (int8 := deployment.int8) is not None:
        kept = f"{len(int8.float_nodes)} layers in float" if int8.float_nodes else "every layer in int8"
        words = "" if int8.kept else "; its accuracy drops by more than was allowed, whatever stays in float"
        print(f"int8: {int8.method} calibration, {kept}{words}")
