"""`hwnas spaces`."""

from __future__ import annotations

from typing import Annotated

from hwnas.cli.arguments import Channels, InputSize, Json, Width
from hwnas.cli.printing import print_json, print_table
from hwnas.cli.ranges import ranged


def spaces(
    input_size: InputSize = 224,
    classes: Annotated[int, ranged("classes", "Number of classes.")] = 1000,
    channels: Channels = 3,
    width: Width = 1.0,
    as_json: Json = False,
) -> None:
    """List the search spaces, how many networks each has, and how small and large they get."""
    from search_spaces import SPACES, SpaceSpec, make_space
    from search_spaces.overview import describe_space

    rows = [
        describe_space(
            make_space(
                SpaceSpec(name=name, input_size=input_size, num_classes=classes, in_channels=channels, width=width)
            )
        )
        for name in sorted(SPACES)
    ]
    if as_json:
        print_json(rows)
        return
    print_table(
        f"search spaces at {channels}x{input_size}x{input_size}, {classes} classes, width {width:g}",
        ["space", "layers", "architectures", "MACs (M)", "params (M)", "distinct blocks"],
        [
            [
                row["name"],
                str(row["num_decisions"]),
                f"{row['num_architectures']:.3g}",
                f"{row['min_macs'] / 1e6:.1f} to {row['max_macs'] / 1e6:.1f}",
                f"{row['min_params'] / 1e6:.2f} to {row['max_params'] / 1e6:.2f}",
                str(row["num_blocks"]),
            ]
            for row in rows
        ],
    )
