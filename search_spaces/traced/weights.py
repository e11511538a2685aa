"""Weights from files, for a network that is there; nothing is unpickled but tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from safe_files import FileError, expanded, open_regular
from search_spaces.errors import SourceError

WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module")
"""Names under which checkpoints of trainings keep a network's state dict."""

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
"""What wrappers of modules, such as DataParallel and torch.compile, put before every name."""

COUNTERS = "num_batches_tracked"
"""Ends the names of what BatchNorm counts; older files lack it, and it changes nothing in evaluation mode."""

State = dict[str, torch.Tensor]


def load_weights(module: nn.Module, path: Path) -> None:
    """Load weights from a safetensors file or a state dict of torch.save.

    State dicts in the usual wrappers, and names with the usual prefixes, are taken as what they wrap.

    Raises:
        SourceError: the file cannot be read, holds no state dict, or that of another network.
    """
    path = expanded(path)
    wanted = module.state_dict()
    found = fitting_names(read_state(path), wanted)
    tied = _tied(module)
    missing = [name for name in wanted if name not in found and not name.endswith(COUNTERS)]
    missing = [name for name in missing if not tied.get(name, set()) & found.keys()]
    unexpected = [name for name in found if name not in wanted and not name.endswith(COUNTERS)]
    misshapen = [n for n, tensor in found.items() if n in wanted and tensor.shape != wanted[n].shape]
    if missing or unexpected or misshapen:
        raise SourceError(_unlike(path, found, wanted, missing, unexpected, misshapen))
    module.load_state_dict({name: tensor for name, tensor in found.items() if name in wanted}, strict=False)


def read_state(path: Path) -> State:
    """Return the tensors of a file by name, out of whatever wraps them.

    Raises:
        SourceError: the file cannot be read, or holds no state dict.
    """
    try:
        open_regular(path).close()
    except FileError as error:
        raise SourceError(str(error)) from error
    return _of_safetensors(path) if path.suffix == ".safetensors" else _of_torch(path)


def fitting_names(state: State, wanted: Mapping[str, object]) -> State:
    """Return a state dict without a prefix that all of its names have and none of the wanted does."""
    for prefix in PREFIXES:
        is_common = bool(state) and all(name.startswith(prefix) for name in state)
        if is_common and not any(name.startswith(prefix) for name in wanted):
            shorter = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
            return fitting_names(shorter, wanted)
    return state


def unwrapped(content: object) -> State | None:
    """Return the state dict in what a file holds; None where there is none."""
    for _ in range(len(WRAPPERS)):
        if not isinstance(content, Mapping):
            return None
        if content and all(isinstance(value, torch.Tensor) for value in content.values()):
            return {str(name): tensor for name, tensor in content.items()}
        content = next((content[name] for name in WRAPPERS if isinstance(content.get(name), Mapping)), None)
    return None


def _of_safetensors(path: Path) -> State:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, safetensors.SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise SourceError(f"{path} is no safetensors file that can be read: {error}; save it again") from error


def _of_torch(path: Path) -> State:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes torch raise almost anything
        reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        raise SourceError(
            f"{path} holds no weights that can be read without running code: {reason}; save the network's "
            "state_dict(), best as safetensors"
        ) from error
    if isinstance(content, Mapping) and isinstance(getattr(content, "_metadata", None), Mapping) and not content:
        raise SourceError(f"{path} holds an empty state dict")
    if (state := unwrapped(content)) is None:
        raise SourceError(
            f"{path} holds {_in_words(content)}, expected a state dict, alone or as one of {', '.join(WRAPPERS)}; save "
            "the network's state_dict()"
        )
    return state


def _in_words(content: object) -> str:
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    names = ", ".join(repr(str(name)[:40]) for name in list(content)[:3])
    return f"a mapping of {names or 'nothing'}{', ...' if len(content) > 3 else ''}"


def _tied(module: nn.Module) -> dict[str, set[str]]:
    """Return names that stand for the same tensor; files often keep it once."""
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    names: dict[int, set[str]] = {}
    for name, tensor in named:
        names.setdefault(id(tensor), set()).add(name)
    return {name: names[id(tensor)] for name, tensor in named}


def _unlike(
    path: Path,
    found: State,
    wanted: Mapping[str, torch.Tensor],
    missing: list[str],
    unexpected: list[str],
    misshapen: list[str],
) -> str:
    parts = [f"{len(missing)} of {len(wanted)} tensors are missing, first {missing[0]}"] if missing else []
    if unexpected:
        parts.append(f"{len(unexpected)} of {len(found)} are not expected, first {unexpected[0]}")
    if misshapen:
        name = misshapen[0]
        shapes = f"{_times(found[name])} in the file, expected {_times(wanted[name])}"
        parts.append(f"{len(misshapen)} have another shape, first {name}: {shapes}")
    return f"{path} holds the weights of another network: {'; '.join(parts)}; give the weights that belong to it"


def _times(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
