"""One operation of a graph, as the operators see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from onnx import NodeProto, helper

from onnx_models.errors import ModelError
from onnx_models.to_torch.graph import tensor_of
from onnx_models.to_torch.value import Size, Value

Compute = Callable[..., Any]
"""Takes the batch and the tensors, and returns a tensor, or a tuple of them."""


class NotCoveredError(Exception):
    """An operation, or a way of using it, that has no counterpart here; the message says which."""


@dataclass(frozen=True, slots=True)
class Lowered:
    """An operation in torch.

    Attributes:
        compute: what it computes, from the batch and its inputs.
        inputs: the tensors that it takes while it runs.
    """

    compute: Compute
    inputs: tuple[Value, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """An operation with its inputs.

    Attributes:
        graph_name: of the file, for messages.
        proto: as the file has it.
        inputs: None for what is left out.
        batches: with which the graph is followed.
        opset: the version of the operators.
    """

    graph_name: str
    proto: NodeProto
    inputs: tuple[Value | None, ...]
    batches: tuple[int, ...]
    opset: int
    _attributes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for attribute in self.proto.attribute:
            self._attributes[attribute.name] = helper.get_attribute_value(attribute)

    @property
    def operator(self) -> str:
        """The name of the ONNX operator."""
        return self.proto.op_type

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute; texts as `str`, tensors as torch's, lists as lists."""
        value = self._attributes.get(name, default)
        if isinstance(value, bytes):
            return value.decode("utf-8", errors="replace")
        if hasattr(value, "data_type") and hasattr(value, "dims"):
            return tensor_of(self.graph_name, value)
        return value

    def has(self, index: int) -> bool:
        """Return whether that input is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def value(self, index: int) -> Value:
        """Return an input that has to be there.

        Raises:
            NotCoveredError: it is not.
        """
        found = self.inputs[index] if index < len(self.inputs) else None
        if found is None:
            raise NotCoveredError(f"its input {index} is missing")
        return found

    def given(self) -> tuple[Value, ...]:
        """Return all inputs that are given."""
        return tuple(value for value in self.inputs if value is not None)

    def constant(self, index: int) -> torch.Tensor:
        """Return an input that has to be the same for all images.

        Raises:
            NotCoveredError: it depends on the images or their number.
        """
        value = self.value(index)
        if not value.is_constant:
            raise NotCoveredError(f"its input {value.name!r} is computed from the images, expected a constant")
        return value.lanes[0]

    def ints(self, index: int, attribute: str, default: Sequence[int] | None = None) -> list[int] | None:
        """Return constant integers that newer operators take as an input, older ones as an attribute."""
        if self.has(index):
            return [int(number) for number in self.constant(index).reshape(-1).tolist()]
        found = self.attribute(attribute, default)
        return None if found is None else [int(number) for number in found]

    def sizes(self, index: int) -> tuple[Size, ...]:
        """Return an input that holds sizes, which may grow with the batch.

        Raises:
            NotCoveredError: it depends on the pixels.
        """
        try:
            return self.value(index).sizes(self.batches)
        except ValueError as error:
            raise NotCoveredError(str(error)) from error

    def error(self, reason: str) -> ModelError:
        """Return the error that names the operation, what is wrong with it, and what to do."""
        name = self.proto.name or (self.proto.output[0] if self.proto.output else "")
        return ModelError(
            f"{self.graph_name}: the node {name!r} ({self.operator}) cannot be taken over: {reason}; bring the network "
            "as ./file.py:function, or export it without this operation"
        )


def lowered(function: Callable[..., Any], *inputs: Value) -> Lowered:
    """Return an operation that does not need to know the batch."""
    return Lowered(lambda _, *tensors: function(*tensors), inputs)
