"""`hwnas spaces`."""

from __future__ import annotations

from typing import Annotated, Any

from hwnas.cli.arguments import Channels, Head, InputSize, Json, Width
from hwnas.cli.printing import print_json, print_table
from hwnas.cli.ranges import ranged


def spaces(
    input_size: InputSize = 224,
    classes: Annotated[int, ranged("classes", "Number of classes.")] = 1000,
    channels: Channels = 3,
    width: Width = 1.0,
    head: Head = "classifier",
    as_json: Json = False,
) -> None:
    """List the search spaces, how many networks each has, and how small and large they get.

    With another head than a classifier it lists those that can have it.
    """
    from search_spaces import SPACES, SpaceError, SpaceSpec, make_space
    from search_spaces.overview import describe_space
    from search_spaces.space import known_head

    numbers: dict[str, Any] = {"input_size": input_size, "in_channels": channels, "num_classes": classes}
    rows, remarks = [], []
    for name in sorted(SPACES):
        spec = SpaceSpec(name=name, width=width, head=known_head(head), **numbers)
        try:
            rows.append(describe_space(make_space(spec)))
        except SpaceError as error:
            if spec.head == "classifier":
                raise
            remarks.append(str(error))
    if as_json:
        print_json(rows)
        return
    ending = "" if head == "classifier" else f", {head} head"
    print_table(
        f"search spaces at {channels}x{input_size}x{input_size}, {classes} classes, width {width:g}{ending}",
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
    for remark in remarks:
        print(remark)
