"""`hwnas explain`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli.arguments import Json, Quiet
from hwnas.cli.compare import MeasuringDevice
from hwnas.cli.printing import print_json, print_table
from hwnas.cli.ranges import ranged

if TYPE_CHECKING:
    from lut.explain import Explanation, Operator

NUM_EXPENSIVE = 10
"""The most expensive operators are so many unless another number is given."""

NOTABLE_REMAINDER = 0.05
"""Share of the whole run that may be left over before a warning."""

COLUMNS = ("", "operator", "ms", "share", "MB moved", "GB/s", "GFLOP/s")

FreeSize = Annotated[
    str | None,
    typer.Option("--input-size", help="Pixels a side, or height and width as 128x256, of models that take any."),
]


def explain(
    model: Annotated[Path, typer.Argument(help="An ONNX file; RUN or RUN:NAME for a network of a run.")],
    *,
    on: MeasuringDevice,
    input_size: FreeSize = None,
    rounds: Annotated[int, ranged("rounds", "Visits with the runtime's profiler and without, each.")] = 40,
    most: Annotated[int | None, ranged("listed", "How many of the most expensive operators to list [10].")] = None,
    seed: Annotated[int, ranged("seed", "For the order of measurement.")] = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Tell where the time of an ONNX model goes: its fused operators, which sum to the whole run."""
    from hwnas.api import tools
    from hwnas.cli.idle_flags import refuse_beside
    from hwnas.quantities import parse_image_size

    if as_json:
        refuse_beside("--json, which has them all", most=most)
    device = tools.device_of(on.device, devices=on.devices, threads=on.threads, runtime=on.runtime)
    size = None if input_size is None else parse_image_size(input_size)
    explanation = tools.explain(model, device, input_size=size, rounds=rounds, seed=seed, quiet=quiet)
    if as_json:
        print_json(_as_dict(explanation))
        return
    _print(explanation, f"{model} on {device.name}", NUM_EXPENSIVE if most is None else most)


def _print(explanation: Explanation, title: str, most: int) -> None:
    operators = explanation.operators
    rows = [_row(explanation, number, operator) for number, operator in enumerate(operators)]
    rows.append(["", "not explained", *_time(explanation.remainder_ms, explanation), "", "", ""])
    rows.append(["", "the whole run", *_time(explanation.whole_ms, explanation), "", "", ""])
    print_table(f"{title}: {len(operators)} operators in the order that they run", COLUMNS, rows)
    ranked = sorted(range(len(operators)), key=lambda number: -operators[number].ms)[:most]
    if ranked:
        share = explanation.share([operators[number] for number in ranked])
        title = f"the {len(ranked)} most expensive: {share:.0%} of the run"
        print_table(title, COLUMNS, [_row(explanation, number, operators[number]) for number in ranked])
    for line in _remarks(explanation):
        print(line)


def _row(explanation: Explanation, number: int, operator: Operator) -> list[str]:
    rates = (operator.gb_per_s, operator.gflop_per_s)
    return [
        str(number),
        operator.operation if operator.kernel is None else operator.kernel.key,
        *_time(operator.ms, explanation),
        f"{operator.moved_bytes / 1e6:.3g}",
        *("" if not rate else f"{rate:.3g}" for rate in rates),
    ]


def _time(ms: float, explanation: Explanation) -> tuple[str, str]:
    return f"{ms:.4f}", f"{ms / explanation.whole_ms:.1%}"


def _remarks(explanation: Explanation) -> Iterator[str]:
    """Yield what the operators come to together, what fell back, and how far the sum may be trusted."""
    operators = explanation.operators
    moved_mb = sum(operator.moved_bytes for operator in operators) / 1e6
    yield f"moved: {moved_mb:.4g} MB of weights and activations, {moved_mb / explanation.whole_ms:.3g} GB/s on average"
    if (share := explanation.memory_share()) is not None and explanation.roofline is not None:
        fixed = len(operators) * explanation.roofline.fixed_ms
        total = explanation.roofline.total_ms([o.kernel for o in operators if o.kernel is not None])
        yield (
            f"by what the operators have in common, {share:.0%} of their time goes with the bytes that they move, "
            f"{fixed / total:.0%} with their number, the rest with multiply-accumulates"
        )
    yield _fallback(explanation)
    errors = explanation.part_errors
    worst = f", halves and quarters of it by at most {max(map(abs, errors)):.1%}" if errors else ""
    yield f"operators sum to {1 - explanation.remainder_ms / explanation.whole_ms:.1%} of the whole run{worst}"
    if abs(explanation.remainder_ms) > NOTABLE_REMAINDER * explanation.whole_ms:
        yield "warning: they do not add up; the machine may have been disturbed: give more --rounds, or a quiet machine"


def _fallback(explanation: Explanation) -> str:
    providers = sorted({operator.provider for operator in explanation.operators})
    fallen: Sequence[Operator] = explanation.fallen_back
    if not fallen:
        return f"all operators ran on {', '.join(providers)}"
    kinds = ", ".join(sorted({operator.operation for operator in fallen}))
    count = f"{len(fallen)} of {len(explanation.operators)} operators"
    return f"{count} fell back to the CPU, {explanation.share(fallen):.0%} of the run: {kinds}"


def _as_dict(explanation: Explanation) -> dict[str, object]:
    return {
        "whole_ms": explanation.whole_ms,
        "not_explained_ms": explanation.remainder_ms,
        "memory_share": explanation.memory_share(),
        "part_errors": list(explanation.part_errors),
        "fallen_back": [operator.name for operator in explanation.fallen_back],
        "operators": [
            {
                "name": operator.name,
                "operation": operator.operation,
                "kernel": None if operator.kernel is None else operator.kernel.key,
                "provider": operator.provider,
                "ms": operator.ms,
                "macs": operator.macs,
                "moved_bytes": operator.moved_bytes,
                "gb_per_s": operator.gb_per_s,
                "gflop_per_s": operator.gflop_per_s,
            }
            for operator in explanation.operators
        ],
    }
