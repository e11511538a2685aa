"""Results on standard output: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.quantities import BUDGET_KEPT, MEDIAN, budget_text, ms_column
from onnx_models.image_size import size_text

if TYPE_CHECKING:
    from hwnas.artifacts import DeployedModel, Deployment, DeviceSummary, MixedPrecision, NetworkSummary, Summary
    from lut import LatencyTable

WORTH_A_ROW = 0.01
"""Measured latencies are told at the table's speed too where the machine has become faster or slower by more."""

NUM_LISTED_NETWORKS = 5
"""Whole networks of a table whose percentiles are listed."""


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
        table.add_column(
            column,
            justify="left" if number == 0 or is_prose else "right",
            overflow="fold",
            no_wrap=number == 0 and is_prose,
        )
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else 160
    Console(highlight=False, markup=False, emoji=False, width=width).print(table)


def print_networks(table: LatencyTable) -> None:
    """Print percentiles of some whole networks, from the fastest to the slowest."""
    import numpy as np

    from lut.networks import DUPLICATE
    from lut.tails import network_tails_ms

    networks = [n for n in table.networks if n.role != DUPLICATE and n.measurement.error is None]
    ranked = sorted(networks, key=lambda n: table.estimates_ms[n.measurement.key])
    places = sorted({int(p) for p in np.linspace(0, len(ranked) - 1, NUM_LISTED_NETWORKS).round()}) if ranked else []
    rows = [
        [
            "-".join(map(str, network.architecture)),
            network.role.replace("_", " "),
            f"{table.estimates_ms[network.measurement.key]:.4g}",
            *("" if ms is None else f"{ms:.4g}" for ms in network_tails_ms(network.measurement).values()),
            str(network.measurement.num_samples),
        ]
        for network in (ranked[place] for place in places)
    ]
    if rows:
        title = f"{len(rows)} of {len(ranked)} whole networks (--json has all)"
        print_table(title, ["architecture", "for", "p50 ms", "p95 ms", "p99 ms", "runs"], rows)


def print_summary(summary: Summary, model: Path, *, offer: str | None = None) -> None:
    """Print the winner beside its references, where its model is, and what may be shipped in its place.

    The network as it was brought has no budget to keep.
    """
    from hwnas.artifacts import ORIGINAL

    networks, same, ms = summary.networks, summary.duplicates, ms_column(summary.percentile)
    columns = ["", *(f"{name} = {same[name]}" if name in same else name for name in networks)]
    rows = [
        ["architecture", *("-".join(map(str, n.architecture)) for n in networks.values())],
        *_resolutions(summary),
        ["params", *(f"{n.params:,}" for n in networks.values())],
        ["MACs", *(f"{n.macs:,}" for n in networks.values())],
        ["supernet score", *(f"{n.supernet_score:.2%}" for n in networks.values())],
        [f"test {summary.metric}", *(f"{n.test_accuracy:.2%}" for n in networks.values())],
        [f"predicted {ms}", *(f"{n.predicted_ms:.4g}" for n in networks.values())],
        [f"measured {ms}", *("" if n.measured_ms is None else f"{n.measured_ms:.4g}" for n in networks.values())],
        *_other_percentiles(networks.values(), summary.percentile),
        *_in_float(networks.values(), ms),
        *_at_the_tables_speed(networks.values()),
        [f"budget {ms}", *("" if name == ORIGINAL else budget_text(n.max_latency_ms) for name, n in networks.items())],
        ["kept", *("" if name == ORIGINAL else BUDGET_KEPT[n.budget_kept] for name, n in networks.items())],
    ]
    space, size = summary.space, summary.space["input_size"]
    print_table(f"{space['name']} at {_pixels(size)} px on {summary.device}", columns, rows)
    if summary.fleet:
        columns = ["device", f"budget {ms}", f"predicted {ms}", f"measured {ms}", "kept"]
        print_table("the winner on each device", columns, [list(row) for row in summary.device_rows])
    parity = summary.parity
    print(f"{model}: differs from torch by at most {parity.max_abs_difference:.1e},")
    print(f"{parity.equal_predictions:.2%} equal predictions on {parity.num_images} test images")
    for line in (*summary.slower_in_int8, *([] if offer is None else [offer])):
        print(line)


def _in_float(networks: Collection[NetworkSummary], ms: str) -> list[list[str]]:
    """Return a row of latencies in float, where others are in int8."""
    if all(n.float_ms is None for n in networks):
        return []
    return [[f"{ms} in float", *("" if n.float_ms is None else f"{n.float_ms:.4g}" for n in networks)]]


def _other_percentiles(networks: Collection[NetworkSummary | DeployedModel], percentile: int) -> list[list[str]]:
    """Return a row for each percentile of single runs that is known of a network, besides the one of its budget."""
    known = {"p50 ms": [n.p50_ms for n in networks]} if percentile != MEDIAN else {}
    known |= {"p95 ms": [n.p95_ms for n in networks], "p99 ms": [n.p99_ms for n in networks]}
    return [
        [name, *("" if ms is None else f"{ms:.4g}" for ms in row)]
        for name, row in known.items()
        if any(row) and name != ms_column(percentile)
    ]


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
    ms = ms_column(next((n.percentile for n in networks.values()), MEDIAN))
    metric = next((n.metric for n in networks.values()), "accuracy")
    print_table(
        title,
        [
            *("network", "architecture", "params", f"test {metric}"),
            *(f"predicted {ms}", f"measured {ms}", f"budget {ms}", "kept"),
        ],
        [
            [
                f"{name} = {same[name]}" if name in same else name,
                "-".join(map(str, n.architecture)),
                f"{n.params:,}",
                f"{n.test_accuracy:.2%}",
                f"{n.predicted_ms:.4g}",
                "" if n.measured_ms is None else f"{n.measured_ms:.4g}",
                budget_text(n.max_latency_ms),
                BUDGET_KEPT[n.budget_kept],
            ]
            for name, n in networks.items()
        ],
    )
    for name, n in networks.items():
        if n.fleet:
            print(f"{name}: {'; '.join(device_line(device, row) for device, row in n.fleet.items())}")


def device_line(device: str, row: DeviceSummary) -> str:
    """Return what a network takes on a further device of a fleet, in words."""
    measured = "not measured" if row.measured_ms is None else f"{row.measured_ms:.4g} measured"
    return (
        f"on {device} {row.predicted_ms:.4g} ms predicted, {measured}, budget {budget_text(row.max_latency_ms)}, "
        f"kept: {BUDGET_KEPT[row.budget_kept]}"
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
    models, percentile = deployment.models.values(), deployment.percentile
    others = {row[0]: row[1:] for row in _other_percentiles(models, percentile)}
    print_table(
        str(folder),
        ["model", "score", f"measured {ms_column(percentile)}", *others, "KiB", "what for"],
        [
            [
                name,
                f"{model.score:.2%}",
                "" if model.measured_ms is None else f"{model.measured_ms:.4g}",
                *(column[number] for column in others.values()),
                f"{model.size_bytes / 1024:.0f}",
                model.purpose,
            ]
            for number, (name, model) in enumerate(deployment.models.items())
        ],
    )
    if (int8 := deployment.int8) is not None:
        kept = f"{len(int8.float_nodes)} layers in float" if int8.float_nodes else "every layer in int8"
        words = "" if int8.kept else "; its accuracy drops by more than was allowed, whatever stays in float"
        change = "" if deployment.int8_change is None else f"; accuracy {deployment.int8_change}"
        print(f"int8: {int8.method} calibration, {kept}{words}{change}")
    if (mixed := deployment.mixed) is not None:
        _print_mixed(mixed, deployment)
    if (suppression := deployment.suppression) is not None:
        for name, parity in suppression.parity.items():
            print(f"{name}: finds the {parity.num_boxes} boxes that torch finds on {parity.num_images} test images")
    if (recommended := deployment.recommended) is not None:
        print(f"deploy {recommended.file}: {recommended.reason}")


def _print_mixed(mixed: MixedPrecision, deployment: Deployment) -> None:
    """Print the front of mixed precision beside float and int8, and what was chosen."""
    known = {point.precisions: point for point in (mixed.in_float, mixed.in_int8)}
    names = {mixed.in_float.precisions: "float", mixed.in_int8.precisions: "int8"}
    points = {**known, **{point.precisions: point for point in mixed.front if point.measured_ms or point.score}}
    print_table(
        f"mixed precision of {len(mixed.blocks)} blocks: f in float, i in int8",
        ["blocks", "predicted ms", f"measured {ms_column(deployment.percentile)}", "expected drop", "score", ""],
        [
            [
                point.precisions,
                f"{point.predicted_ms:.4g}",
                "" if point.measured_ms is None else f"{point.measured_ms:.4g}",
                f"{100 * point.expected_drop:.2f}",
                "" if point.score is None else f"{point.score:.2%}",
                ", ".join(
                    [*([names[letters]] if letters in names else []), *(["chosen"] if letters == mixed.chosen else [])]
                ),
            ]
            for letters, point in points.items()
        ],
    )
    print(f"mixed precision: {mixed.certificate}")
    change = "" if deployment.mixed_change is None else f"; accuracy {deployment.mixed_change}"
    print(f"mixed precision: {mixed.reason}{change}")
