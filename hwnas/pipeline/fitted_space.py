"""The search space that a run's settings ask for, fitted to its data and its task."""

from __future__ import annotations

from hwnas.agents import TrainingAgent
from hwnas.config import RunConfig, SpaceConfig
from hwnas.dataflow import Dataset
from hwnas.errors import RequestError
from hwnas.quantities import parse_image_size
from onnx_models.image_size import ImageSize
from search_spaces import SpaceSpec


def asked_size(config: SpaceConfig) -> ImageSize | None:
    """Return the size that images are brought to for a built-in space or one's own; None for their own."""
    size = next(iter(config.resolutions), None) if config.input_size is None else config.input_size
    return None if size is None else parse_image_size(size)


def fitted_spec(config: RunConfig, dataset: Dataset, task: type[TrainingAgent], *, name: str) -> SpaceSpec:
    """Return the spec of the search space for some data.

    Args:
        name: of the space, as its table has it.

    Raises:
        RequestError: fewer outputs are asked for than there are classes.
        SpaceError: the resolutions that are asked for are none of the data's images.
    """
    return SpaceSpec(
        name=name,
        input_size=dataset.input_size,
        in_channels=dataset.in_channels,
        num_classes=_num_outputs(config, dataset, task),
        width=config.space.width,
        head=task.head,
        resolutions=tuple(map(parse_image_size, config.space.resolutions)),
    )


def _num_outputs(config: RunConfig, dataset: Dataset, task: type[TrainingAgent]) -> int:
    """Return the outputs of a network: as many as the task needs, or more."""
    needed, given = task.num_outputs(dataset), config.space.outputs
    if given is not None and given < needed and not task.holds_out_classes:
        raise RequestError(
            f"space.outputs is {given}, but {config.task} of {config.data.name} needs {needed}: give {needed} or more, "
            "or leave it out"
        )
    return given or needed


def require_classifier(name: str, task: type[TrainingAgent]) -> None:
    """Make sure that a task can be learnt by networks that somebody brings.

    Args:
        name: of the task.

    Raises:
        RequestError: it wants networks with another head.
    """
    if task.head != "classifier":
        raise RequestError(
            f"{name} makes networks with a {task.head} head, and networks that are brought tell classes apart: give "
            "--task classification, or a search space with --space"
        )
