"""Phone latencies by block, as the authors of ProxylessNAS and Once-for-All publish them (han-cai/files).

YAML of block names, such as `expanded_conv-input:14x14x80-output:14x14x96-expand:3-kernel:5-stride:1-idskip:0`, to the
mean of its samples in milliseconds, their standard deviation or variance, and their number. ProxylessNAS writes the
expansion as a ratio, Once-for-All as a number of channels; only the latter has squeeze-excite and h-swish.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import (
    Any,
    NotRequired,  # pydantic reads Python's own from 3.12 on only
)

from pydantic import TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from lut.errors import TableError
from lut.provenance import IMPORTED, STRICT, Count, Latency, NotNegative, Provenance
from lut.table import LatencyTable, ReportedLatency
from profilers.device import UNKNOWN
from safe_files import FileError, first_fault, read_yaml, sha256_of
from search_spaces import Block, SpaceError, SpaceSpec, make_space
from search_spaces.blocks.conv import ConvBnAct
from search_spaces.blocks.head import Classifier, GlobalPool
from search_spaces.blocks.mbconv import MBConv
from search_spaces.blocks.separable import SeparableConv
from search_spaces.proxylessnas import ACT as PROXYLESS_ACT

MAX_INPUT_SIZE = 4096

WIDTHS = (1.0, 1.2, 1.3, 1.4, 0.75, 0.5, 0.35)
"""Width multipliers tried: the space that most of the blocks are of is the table's."""


EXAMPLE = "expanded_conv-input:14x14x80-output:14x14x96-expand:3-kernel:5-stride:1-idskip:0"

NN_METER_KERNELS = {
    *("conv-bn-relu", "dwconv-bn-relu", "conv-relu", "conv-bn", "conv-block", "dwconv-block"),
    *("maxpool", "avgpool", "global-avgpool", "channelshuffle", "addrelu"),
}
"""Names that nn-Meter (Zhang et al. 2021) gives to kernels, whose latencies it publishes and predicts."""


def read_once_for_all(path: Path) -> LatencyTable:
    """Read a table of Once-for-All's, for `ofa-mobilenetv3` of the width that its channels tell.

    Raises:
        TableError: the file is not such a table.
    """
    return _read(path, "ofa-mobilenetv3", _once_for_all_block)


def read_proxylessnas(path: Path) -> LatencyTable:
    """Read a table of ProxylessNAS's, for `proxylessnas`.

    Raises:
        TableError: the file is not such a table.
    """
    return _read(path, "proxylessnas", _proxyless_block)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Name:
    """A block's name taken apart."""

    kind: str
    fields: Mapping[str, str]

    @property
    def input_size(self) -> int:
        return self._shape("input")[0]

    @property
    def in_channels(self) -> int:
        return self._shape("input")[-1]

    @property
    def out_channels(self) -> int:
        return self._shape("output")[-1]

    def number(self, name: str) -> int:
        return int(self.fields[name])

    def _shape(self, name: str) -> list[int]:
        return [int(n) for n in self.fields[name].split("x")]

    def shape(self) -> dict[str, Any]:
        """Return channels and input size, as blocks take them."""
        return {"in_channels": self.in_channels, "out_channels": self.out_channels, "input_size": self.input_size}

    def conv_shape(self) -> dict[str, Any]:
        """Return what convolutions take: the stride and the kernel too."""
        return {**self.shape(), "stride": self.number("stride"), "kernel": self.number("kernel")}


def _once_for_all_block(name: _Name) -> Block:
    if name.kind == "expanded_conv":
        act = "hswish" if name.number("hs") else "relu"
        if name.number("expand") == name.in_channels:
            return SeparableConv(**name.conv_shape(), act=act)
        expansion, left = divmod(name.number("expand"), name.in_channels)
        if left:  # 4 x 32 channels and the like; never between whole multiples in the published tables
            raise ValueError(f"{name.number('expand')} is no multiple of {name.in_channels} channels")
        se_ratio = 0.25 if name.number("se") else 0.0
        return MBConv(**name.conv_shape(), expansion=expansion, act=act, se_ratio=se_ratio)
    if name.kind == "Conv":
        return ConvBnAct(**name.shape(), kernel=3, stride=2, act="hswish")
    if name.kind == "Conv_1":
        return ConvBnAct(**name.shape(), kernel=1, act="hswish")
    if name.kind == "AvgPool2D":
        return GlobalPool(**name.shape())
    if name.kind == "Conv_2":
        return ConvBnAct(**name.shape(), kernel=1, act="hswish", norm=False)
    return _classifier(name)


def _proxyless_block(name: _Name) -> Block:
    if name.kind == "expanded_conv":
        if name.number("expand") == 1:
            return SeparableConv(**name.conv_shape(), act=PROXYLESS_ACT)
        return MBConv(**name.conv_shape(), expansion=name.number("expand"), act=PROXYLESS_ACT)
    if name.kind == "Conv":
        return ConvBnAct(**name.shape(), kernel=3, stride=2, act=PROXYLESS_ACT)
    if name.kind == "Conv_1":
        return ConvBnAct(**name.shape(), kernel=1, act=PROXYLESS_ACT)
    return _classifier(name)


def _classifier(name: _Name) -> Block:
    if name.kind != "Logits":
        raise ValueError(f"unknown kind of block {name.kind!r}")
    return Classifier(**name.shape())


def _read(path: Path, space_name: str, to_block: Callable[[_Name], Block]) -> LatencyTable:
    content = _load_yaml(path)
    _require_blocks(content, path)
    reported, blocks = [], []
    for text, row in content.items():
        try:
            name = _parse(text)
            block = to_block(name)
            reported.append(_reported(block.key, row))
        except (ValueError, KeyError, IndexError, TypeError, SpaceError) as error:
            raise TableError(f"{path} is no published {space_name} table: {text[:200]!r}: {error}") from error
        blocks.append((name, block))
    if twice := [key for key, num in Counter(r.key for r in reported).items() if num > 1]:
        raise TableError(f"{path} has {twice[0]} under two names")
    return LatencyTable(
        space=_matching_space(path, space_name, blocks),
        provenance=Provenance(
            device={"name": path.stem, "runtime": UNKNOWN, "threads": 1, "cores": None, "batch": 1},
            worker={"source": path.name, "source_sha256": sha256_of(path)},
            precision="fp32",
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            rounds=0,
            stopped_by=IMPORTED,
            onnx_sha256={},
        ),
        entries=(),
        reported=tuple(reported),
    )


def _load_yaml(path: Path) -> dict[str, Any]:
    try:
        content = read_yaml(path)
    except FileError as error:
        raise TableError(str(error)) from error
    if not isinstance(content, dict) or not content:
        raise TableError(f"{path} must map block names to latencies, got {type(content).__name__}")
    return {str(key): row for key, row in content.items()}


def _require_blocks(content: Mapping[str, Any], path: Path) -> None:
    """Raise TableError for what people take for such a table."""
    inner = [name for row in content.values() if isinstance(row, dict) for name in row]  # where devices come first
    if NN_METER_KERNELS & {str(name).lower().replace("_", "-") for name in (*content, *inner)}:
        raise TableError(
            f"{path} holds nn-Meter's latencies: of single kernels, by their sizes, and so none of a space's blocks; "
            "expected a table of blocks by name. Measure the device with hwnas profile instead"
        )
    first = next(iter(content))
    if "-input:" not in first:
        raise TableError(f"{path} is no published table: expected names of blocks such as {EXAMPLE}, found {first!r}")


def _parse(text: str) -> _Name:
    kind, _, rest = text.partition("-")
    fields = dict(part.split(":", 1) for part in rest.split("-") if part)
    if not re.fullmatch(r"\d{1,6}(x\d{1,6}){2}", fields["input"]) or not re.fullmatch(
        r"\d{1,6}(x\d{1,6}){0,2}", fields["output"]
    ):
        raise ValueError("expected input:HxWxC and output:HxWxC")
    return _Name(kind=kind, fields=fields)


@with_config(STRICT)
class _Row(TypedDict):
    """The record of a block, in milliseconds; the spread is either `std` or `var`."""

    mean: Latency
    count: Count
    std: NotRequired[NotNegative]
    var: NotRequired[NotNegative]


def _reported(key: str, content: object) -> ReportedLatency:
    try:
        row = TypeAdapter(_Row).validate_python(content, strict=True)
    except ValidationError as error:
        fault, found = first_fault(error, whole="the block")
        raise ValueError(f"{fault}, got {str(found)[:80]}") from error
    std_ms = math.sqrt(row["var"]) if "var" in row else row["std"]
    return ReportedLatency(key=key, mean_ms=row["mean"], std_ms=std_ms, count=row["count"])


def _matching_space(path: Path, space_name: str, blocks: list[tuple[_Name, Block]]) -> SpaceSpec:
    """Return the space that most of the blocks belong to."""
    keys = {block.key for _, block in blocks}
    try:
        first = next(name for name, _ in blocks if name.kind == "Conv")
        num_classes = next(name.out_channels for name, _ in blocks if name.kind == "Logits")
    except StopIteration:
        raise TableError(f"{path} lacks the first convolution or the classifier: it is no whole table") from None
    if first.input_size > MAX_INPUT_SIZE:
        raise TableError(f"{path} is for inputs of {first.input_size} pixels, expected at most {MAX_INPUT_SIZE}")
    specs = [
        SpaceSpec(
            name=space_name,
            input_size=first.input_size,
            in_channels=first.in_channels,
            num_classes=num_classes,
            width=width,
        )
        for width in WIDTHS
    ]

    def missing(spec: SpaceSpec) -> int:
        return len({b.key for b in make_space(spec).candidates if not b.is_identity} - keys)

    return min(specs, key=missing)
