"""Programs of torch.export as modules, without running anything that the file says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from search_spaces.errors import SourceError
from search_spaces.traced.program_archive import checked
from search_spaces.traced.quiet import quiet

EXPORTED_SO = 'torch.export.export(net.eval(), (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))'

_TRAINED = {"aten.batch_norm.default": 5, "aten.dropout.default": 2, "aten.instance_norm.default": 5}
"""Operators, and which of their arguments says that they are training."""


def module_of_program(path: Path) -> tuple[nn.Module, tuple[int | None, ...]]:
    """Return the module of a program that torch.export.save wrote, and the sizes of its images, None for free ones.

    Raises:
        SourceError: it is no such program, needs trust, takes something else than one tensor of images in any number,
            or was exported while training.
        FileError: the file cannot be opened.
    """
    archive = checked(path)
    try:
        with quiet():
            program = torch.export.load(archive)
            exported = program.module(check_guards=False)
    except Exception as error:  # a damaged program makes torch raise almost anything
        reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        raise SourceError(
            f"{path} cannot be loaded by torch {torch.__version__}: {reason}; save it again with this version"
        ) from error
    shape = _image_shape(path, program)
    _require_evaluation(path, exported)
    module = torch.fx.GraphModule(exported, exported.graph)  # a plain one, which can be told to evaluate
    for name, constant in program.constants.items():
        _hide(module, name, constant)
    module.eval()
    return module, shape


def _hide(module: nn.Module, name: str, constant: object) -> None:
    """Keep a constant that the program's own state dict lacks out of the module's."""
    where, _, last = name.rpartition(".")
    owner = module.get_submodule(where)
    if isinstance(constant, torch.Tensor) and last in owner._buffers:
        owner.register_buffer(last, owner.get_buffer(last), persistent=False)


def _image_shape(path: Path, program: torch.export.ExportedProgram) -> tuple[int | None, ...]:
    inputs = set(program.graph_signature.user_inputs)
    values = [node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder" and node.name in inputs]
    outputs = program.graph_signature.user_outputs
    if len(inputs) != 1 or len(outputs) != 1 or not isinstance(values[0], torch.Tensor):
        raise SourceError(
            f"{path} has {len(inputs)} inputs and {len(outputs)} outputs, expected one tensor of images and one of "
            "scores: export the classifier alone"
        )
    image = values[0]
    if image.dtype != torch.float32 or image.ndim < 2:
        words = f"{image.ndim} axes of {str(image.dtype).removeprefix('torch.')}"
        raise SourceError(f"{path} takes {words}, expected a batch of images in float32")
    sizes = [_fixed(size) for size in image.shape]
    if sizes[0] is not None:
        raise SourceError(
            f"{path} takes {sizes[0]} image{'s' if sizes[0] != 1 else ''} at a time, expected any number: export it as "
            f"{EXPORTED_SO}"
        )
    return tuple(sizes[1:])


def _fixed(size: Any) -> int | None:
    return size if isinstance(size, int) else None


def _require_evaluation(path: Path, module: torch.fx.GraphModule) -> None:
    for node in module.graph.nodes:
        place = _TRAINED.get(str(node.target))
        if place is not None and len(node.args) > place and node.args[place] is True:
            raise SourceError(
                f"{path} was exported while training: {node.name} ({node.target}) behaves differently there; export it "
                f"as {EXPORTED_SO}"
            )
