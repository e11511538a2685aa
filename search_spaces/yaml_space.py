"""Search spaces written as YAML, without code.

    description: my first space
    stem:
      - {conv: {kernel: 3, act: relu}, out: 16, stride: 2}
    layers:                     # each entry stands for `repeat` layers; only the first has the stride
      - {out: 24, stride: 2, repeat: 2, choices: [{mbconv: {kernel: 3, expansion: 3}}, skip]}
      - {out: 40, stride: 2, repeat: 3, choices: [{mbconv: {kernel: 3, expansion: 3}}, skip]}
    head:
      - {conv: {kernel: 1, act: relu}, out: 640}
      - classifier

A block is a family with its own fields, or the family alone where it needs none. Channels are before the width
multiplier; `early_stride: 2` marks a stride that small inputs do without. Entries whose names begin with `x-` are there
for YAML anchors and say nothing else.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from safe_files import FileError, expanded, first_fault, read_yaml
from search_spaces.block import MapBlock
from search_spaces.blocks.attention import SelfAttention
from search_spaces.blocks.conv import ConvBnAct
from search_spaces.blocks.embedding import Embedding, GlobalDepthwise
from search_spaces.blocks.head import Classifier, GlobalPool, Head
from search_spaces.blocks.layers import make_divisible
from search_spaces.blocks.mbconv import MBConv
from search_spaces.blocks.mixconv import MixConv
from search_spaces.blocks.mlp import Mlp
from search_spaces.blocks.mobilevit import MobileVit
from search_spaces.blocks.patch_embedding import PatchEmbedding
from search_spaces.blocks.separable import SeparableConv
from search_spaces.blocks.shuffle import ShuffleUnit, ShuffleXceptionUnit
from search_spaces.blocks.skip import Skip
from search_spaces.blocks.tokens import TokenHead, TokenSkip
from search_spaces.chain import ChainSpace
from search_spaces.errors import SpaceError
from search_spaces.importing import ComponentKind, ImportReferenceError, find_component, is_reference
from search_spaces.space import SpaceSpec

FAMILIES: dict[str, type[MapBlock]] = {
    "conv": ConvBnAct,
    "mbconv": MBConv,
    "mixconv": MixConv,
    "sepconv": SeparableConv,
    "shuffle": ShuffleUnit,
    "shuffle-xception": ShuffleXceptionUnit,
    "skip": Skip,
    "pool": GlobalPool,
    "head": Head,
    "classifier": Classifier,
    "global-depthwise": GlobalDepthwise,
    "embedding": Embedding,
    "mobilevit": MobileVit,
    "patch-embedding": PatchEmbedding,
    "attention": SelfAttention,
    "mlp": Mlp,
    "token-skip": TokenSkip,
    "token-head": TokenHead,
}
"""Block families by the name that YAML uses; `./file.py:Class` names one's own."""

BLOCK = ComponentKind(
    name="block family",
    expected="a class that derives from MapBlock, a dataclass",
    base=MapBlock,
    members=("__dataclass_fields__",),
    keywords=("in_channels", "out_channels", "input_size", "stride"),
    by_function=False,
    has_own_arguments=True,
)
"""The requirements on a block family of one's own; its other fields are the YAML's."""

GIVES_CLASSES = ("head", "classifier", "embedding", "token-head")
KEEPS_CHANNELS = ("pool", "global-depthwise", "mobilevit", "attention", "mlp", "token-skip")

MAX_LAYERS = 1000
"""The most layers of a space, repeats counted; the deepest of the built-in spaces has 22."""

_Choice = str | dict[str, Any]
_Count = Annotated[int, Field(ge=1, le=4096)]
_Stride = Annotated[int, Field(ge=1, le=32)]
_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class _Shape:
    """The effect of a fixed block on the shape, beside its family and that one's fields."""

    out: _Count | None = None
    stride: _Stride = 1
    early_stride: _Stride = 1


_SHAPE = tuple(f.name for f in dataclasses.fields(_Shape))


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class _Layers:
    """`repeat` layers; the strides are the first one's."""

    out: _Count
    choices: Annotated[list[_Choice], Field(min_length=1)]
    stride: _Stride = 1
    early_stride: _Stride = 1
    repeat: Annotated[int, Field(ge=1, le=256)] = 1


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class _File:
    layers: Annotated[list[_Layers], Field(min_length=1)]
    stem: list[_Choice] = dataclasses.field(default_factory=list)
    head: list[_Choice] = dataclasses.field(default_factory=list)
    description: str = ""


_Record = TypeVar("_Record")


def is_yaml_space(name: str) -> bool:
    """Return whether a space's name is a YAML file's."""
    return name.endswith((".yaml", ".yml"))


def yaml_space(spec: SpaceSpec) -> ChainSpace:
    """Read the space that the file named by the spec describes.

    Raises:
        SpaceError: the file cannot be read, or does not describe a space.
    """
    try:
        path = expanded(Path(spec.name))
        raw = read_yaml(path)
        if isinstance(raw, dict):
            raw = {name: value for name, value in raw.items() if not str(name).startswith("x-")}
    except FileError as error:
        raise SpaceError(str(error)) from error
    try:
        return _Reader(spec).space(_strictly(_File, raw, "the file"))
    except SpaceError as error:
        raise SpaceError(f"{path}: {error}") from error


def _strictly(record: type[_Record], content: object, name: str) -> _Record:
    """Return the record that a mapping describes.

    Raises:
        SpaceError: it describes another.
    """
    try:
        # As JSON: there true is no number and "1" neither.
        return TypeAdapter(record).validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        fault, found = first_fault(error, whole=name)
        raise SpaceError(f"{fault}, got {str(found)[:200]!r}") from error


class _Reader:
    """Walks through a file from the input on, with the channels and pixels so far."""

    def __init__(self, spec: SpaceSpec) -> None:
        self._spec = spec
        self._channels = spec.in_channels
        self._size = spec.side

    def space(self, file: _File) -> ChainSpace:
        if (depth := sum(entry.repeat for entry in file.layers)) > MAX_LAYERS:
            raise SpaceError(f"expected at most {MAX_LAYERS} layers, found {depth}")
        stem = [self._fixed(entry) for entry in file.stem]
        layers = [layer for entry in file.layers for layer in self._layers(entry)]
        head = [self._fixed(entry) for entry in file.head]
        _require_classes(file.head)
        names = max((names for _, names in layers), key=len)
        if any(names[: len(own)] != own for _, own in layers):
            # Choices go by number where layers differ in more than the last ones.
            names = [f"choice{i}" for i in range(len(names))]
        return ChainSpace(self._spec, stem=stem, layers=[blocks for blocks, _ in layers], choice_names=names, head=head)

    def _fixed(self, entry: _Choice) -> MapBlock:
        outer = {} if isinstance(entry, str) else dict(entry)
        shape = _strictly(_Shape, {name: outer.pop(name) for name in _SHAPE if name in outer}, "a block")
        stride = max(shape.stride, min(shape.early_stride, self._spec.early_stride))
        block = self._block(entry if isinstance(entry, str) else outer, shape.out, stride)
        self._channels, self._size = block.out_channels, block.output_size
        return block

    def _layers(self, entry: _Layers) -> list[tuple[list[MapBlock], list[str]]]:
        found = []
        for position in range(entry.repeat):
            stride = max(entry.stride, min(entry.early_stride, self._spec.early_stride)) if position == 0 else 1
            blocks = [self._block(choice, entry.out, stride) for choice in entry.choices]
            found.append((blocks, [_choice_name(choice) for choice in entry.choices]))
            self._channels, self._size = blocks[0].out_channels, blocks[0].output_size
        return found

    def _block(self, choice: _Choice, out: int | None, stride: int) -> MapBlock:
        family, fields = _family_and_fields(choice)
        try:
            made = find_component(BLOCK, family, FAMILIES)
        except ImportReferenceError as error:
            raise SpaceError(str(error)) from error
        own = {f.name for f in dataclasses.fields(made)} - {f.name for f in dataclasses.fields(MapBlock)}
        if unknown := set(fields) - own:
            raise SpaceError(f"{family} has no {sorted(unknown)[0]!r}; its fields: {', '.join(sorted(own)) or 'none'}")
        if family in GIVES_CLASSES:
            channels = self._spec.num_classes
        elif out is None:
            if family not in KEEPS_CHANNELS and not is_reference(family):
                raise SpaceError(f"{family} needs its output channels: out: 32")
            channels = self._channels
        else:
            channels = make_divisible(out * self._spec.width)
        lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
        try:
            block = made(
                in_channels=self._channels,
                out_channels=channels,
                input_size=self._size,
                stride=stride,
                **{**fields, **lists},
            )
        except TypeError as error:
            raise SpaceError(f"{family}: {error}") from error
        assert isinstance(block, MapBlock)
        return block


def _require_classes(head: list[_Choice]) -> None:
    """Raise SpaceError unless the last block gives the classes, as far as can be told: one's own may."""
    last = _family_and_fields(_without_shape(head[-1]))[0] if head else "none"
    if last not in GIVES_CLASSES and not is_reference(last):
        raise SpaceError(
            f"head: expected a block that gives the classes as the last one ({', '.join(GIVES_CLASSES)}), found {last}"
        )


def _without_shape(entry: _Choice) -> _Choice:
    return entry if isinstance(entry, str) else {name: value for name, value in entry.items() if name not in _SHAPE}


def _family_and_fields(choice: _Choice) -> tuple[str, dict[str, Any]]:
    if isinstance(choice, str):
        return choice, {}
    if len(choice) != 1 or not isinstance(fields := next(iter(choice.values())), dict):
        raise SpaceError(f"a block is its family with its fields, such as {{mbconv: {{kernel: 3}}}}; got {choice!r}")
    return next(iter(choice)), fields


def _choice_name(choice: _Choice) -> str:
    family, fields = _family_and_fields(choice)
    return "_".join([family, *(f"{name[0]}{value}" for name, value in fields.items())]).replace(" ", "")
