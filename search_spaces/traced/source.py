"""Networks that people bring: from their own code, a program of torch.export, or an ONNX file."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from onnx_models.errors import ModelError
from onnx_models.to_torch import module_of_onnx
from safe_files import FileError, expanded
from search_spaces.errors import SourceError
from search_spaces.importing import ComponentKind, ImportReferenceError, find_component, is_reference
from search_spaces.traced.program import module_of_program
from search_spaces.traced.weights import load_weights

Shape = tuple[int, ...]
Asked = tuple[int | None, ...]
"""Sizes that somebody asks for, None where those of the network are wanted."""

MODEL = ComponentKind(
    name="model", expected="a function without arguments that returns a torch.nn.Module", base=nn.Module
)
"""What `./file.py:function` has to name."""

FORMS = "./file.py:function, a program of torch.export (.pt2) or an ONNX file (.onnx)"


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceNetwork:
    """A network to begin with.

    Attributes:
        module: in evaluation mode, float32, on the CPU.
        name: for messages and names of folders.
        input_shape: C, H, W; None where neither the source nor its user says.
    """

    module: nn.Module
    name: str
    input_shape: Shape | None


def load_network(reference: str, *, weights: Path | None = None, input_shape: Asked | None = None) -> SourceNetwork:
    """Return the network that a reference names, with weights from a file where there is one.

    Code is run only where a reference names it, and only as components of one's own are; programs and weights are
    read without unpickling code.

    Args:
        reference: `./file.py:function`, a `.pt2` file of torch.export, or an `.onnx` file.
        weights: a safetensors file, or a state dict that torch.save made.
        input_shape: C, H, W, for what the source leaves free; None for those that it has to say itself.

    Raises:
        SourceError: there is no such network, it cannot be a start, or the weights are not its own.
    """
    if input_shape is not None and min((size for size in input_shape if size is not None), default=0) < 1:
        raise SourceError(f"an input of {_times(input_shape)} is none: expected sizes above zero, as in 3x224x224")
    try:
        module, shape, name = _reader(reference)(reference, input_shape)
    except (ModelError, FileError, ImportReferenceError) as error:
        raise SourceError(str(error)) from error
    _require_usable(reference, module)
    _require_one_input(reference, module)
    if weights is not None:
        load_weights(module, weights)
    module = module.to(device="cpu", dtype=torch.float32).eval()
    _require_finite(reference if weights is None else str(weights), module)
    return SourceNetwork(module=module, name=name, input_shape=shape)


def network_of(module: nn.Module, *, input_shape: Shape | None = None) -> SourceNetwork:
    """Return a network that a program hands over; it is copied, and stays as it is.

    Args:
        input_shape: C, H, W, where that is known.

    Raises:
        SourceError: it cannot be a start.
    """
    name = type(module).__name__
    _require_usable(name, module)
    _require_one_input(name, module)
    copied = deepcopy(module).to(device="cpu", dtype=torch.float32).eval()
    _require_finite(name, copied)
    return SourceNetwork(module=copied, name=name, input_shape=input_shape)


_Read = tuple[nn.Module, Shape | None, str]
_Reader = Callable[[str, Asked | None], _Read]


def _reader(reference: str) -> _Reader:
    suffix = Path(reference).suffix.lower()
    if suffix in _READERS:
        return _READERS[suffix]
    if is_reference(reference):
        return _from_code
    if suffix == ".py":
        raise SourceError(f"{reference} does not say which function makes the network: write {reference}:function")
    raise SourceError(f"{reference!r} names no network: expected {FORMS}")


def _from_code(reference: str, input_shape: Asked | None) -> _Read:
    maker = find_component(MODEL, reference, {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the same random weights every time, where none are given
        module = maker()
    return module, _known(input_shape), reference.rpartition(":")[2]


def _from_program(reference: str, input_shape: Asked | None) -> _Read:
    path = expanded(Path(reference))
    module, shape = module_of_program(path)
    if input_shape is not None and not _fits(input_shape, shape):
        raise SourceError(
            f"{path} takes images of {_times(shape)}, found {_times(input_shape)}: export the program with that size, "
            "or use its own"
        )
    asked = input_shape or (None,) * len(shape)
    return module, _known(tuple(own or size for own, size in zip(shape, asked, strict=True))), path.stem


def _from_onnx(reference: str, input_shape: Asked | None) -> _Read:
    path = expanded(Path(reference))
    module = module_of_onnx(path, input_shape=input_shape)
    return module, module.input_shape, path.stem


_READERS: dict[str, _Reader] = {".pt2": _from_program, ".onnx": _from_onnx}


def _fits(given: Asked, shape: tuple[int | None, ...]) -> bool:
    return len(given) == len(shape) and all(
        size is None or own in (None, size) for size, own in zip(given, shape, strict=True)
    )


def _known(shape: Asked | None) -> Shape | None:
    """Return a shape of which all sizes are known; None of others."""
    if shape is None or None in shape:
        return None
    return tuple(size for size in shape if size is not None)


def _require_usable(reference: str, module: nn.Module) -> None:
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, tensor in tensors.items():
        if is_lazy(tensor):
            raise SourceError(
                f"{reference}: the parameter {name} is lazy, its shape is not known before the first image; run the "
                "network once in the function that makes it"
            )
        if tensor.is_meta:
            raise SourceError(
                f"{reference}: the parameter {name} is on the meta device and has no numbers; make the network on the "
                "CPU"
            )
        if tensor.is_quantized:
            raise SourceError(f"{reference}: {name} is quantised; bring the float32 network that it was made from")
    if not any(True for _ in module.parameters()):
        raise SourceError(f"{reference}: the network has no weights, expected one that can be trained")


def _require_one_input(reference: str, module: nn.Module) -> None:
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):  # not written in Python: seen when it is traced
        return
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    free = (*positional, inspect.Parameter.KEYWORD_ONLY)
    needed = [p.name for p in parameters if p.kind in free and p.default is inspect.Parameter.empty]
    takes_any = any(p.kind in (*positional, inspect.Parameter.VAR_POSITIONAL) for p in parameters)
    if len(needed) > 1 or not takes_any:
        names = ", ".join(needed) or "nothing"
        raise SourceError(
            f"{reference}: forward takes {names}, expected one tensor of images; wrap the network in a module that "
            "gives it the rest"
        )


def _require_finite(where: str, module: nn.Module) -> None:
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    wrong = [n for n, tensor in tensors.items() if tensor.is_floating_point() and not torch.isfinite(tensor).all()]
    parameters = dict(module.named_parameters())
    weights = [name for name in wrong if name in parameters or name.rpartition(".")[2].startswith("running_")]
    if weights:
        raise SourceError(
            f"{where}: {len(weights)} of {len(tensors)} tensors hold NaN or infinity, such as {weights[0]}; expected "
            "numbers: give the weights of a training that did not diverge"
        )


def _times(shape: tuple[int | None, ...]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape)
