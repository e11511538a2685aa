"""Networks made to keep a latency by a program's own training step, score and loaders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Required, TypedDict, Unpack

import torch
from torch import nn
from torch.nn import functional

from hwnas.agents.agent import Batch, Forward
from hwnas.agents.classification import ClassificationAgent
from hwnas.api import checks
from hwnas.api.checks import File
from hwnas.api.result import Result
from hwnas.api.scores import finite_score, require_callable
from hwnas.api.searching import Begun
from hwnas.api.settings import require_known
from hwnas.api.spaces import convert
from hwnas.api.table import LatencyTable
from hwnas.augmentation import Augmentation
from hwnas.callbacks import Callback
from hwnas.dataflow import Dataset, Split
from hwnas.dataflow.loader import Loader, images_and_targets
from hwnas.errors import RequestError
from hwnas.progress import Reporter
from onnx_models.image_size import ImageSize

TrainStep = Callable[[Any, Batch], torch.Tensor]
"""Takes a network, called with images, and a batch of (images, targets); returns the loss."""

ScoreNetwork = Callable[[Any, Any], float]
"""Takes a network and the validation loader; returns how good it is, higher is better."""

NUM_KEPT = 2048
"""Training images that are kept in memory, which give networks BatchNorm statistics and calibrate int8."""


class OptimizeArguments(TypedDict, total=False):
    """Arguments of `optimize` that are named; all but `table`, `settings` and `quiet` are flags of `hwnas search`."""

    max_latency: Required[str]
    out: File
    epochs: int
    retrain_epochs: int
    evaluations: int
    seed: int
    budgets: Sequence[str]
    freeze: Sequence[str]
    table: LatencyTable | File
    settings: Mapping[str, object]
    quiet: bool


def optimize(
    model: nn.Module,
    train_loader: Loader,
    val_loader: Loader,
    device: str = "cpu",
    *,
    train_step: TrainStep | None = None,
    score: ScoreNetwork | None = None,
    callbacks: Sequence[Callback] = (),
    **arguments: Unpack[OptimizeArguments],
) -> Result:
    """Return the best slice of your trained network that keeps a latency on a device, with a verified ONNX model.

    The network's widths, depth and kernels are searched; slices begin with its weights and are trained on by your step
    with your loader, whose batches and augmentation are used as they come. The network itself stays as it is.

    Images of the loaders are kept rounded to 8 bits too: a part of the training images for BatchNorm statistics and
    int8, those for validation to compare the exported model with torch on. Your step and your score never see those.
    The score on `val_loader` chooses the network, and is what is told of it.

    Args:
        model: a trained network that tells classes apart: images [N, C, H, W] to a score for each class.
        train_loader, val_loader: give batches of (images, classes), as torch's DataLoader does.
        train_step: `train_step(network, batch)` returns the loss of a batch [cross entropy].
        score: `score(network, val_loader)` is to be maximised [the share of images told right].
        arguments: max_latency, such as "5ms" or "60%" of what the network takes now, and others.

    Raises:
        RequestError: the network or the loaders are of no use for this, or the request is wrong.
        RunError: the work failed, such as where no network keeps the budget as measured.
    """
    require_known(arguments, OptimizeArguments)
    require_callable(train_step, "train_step")
    require_callable(score, "score")
    if not isinstance(model, nn.Module):
        raise RequestError(f"expected a network, a torch.nn.Module, got {model!r}; load_network and torch have some")
    images, targets = _collected(val_loader, None)
    kept, classes = _collected(train_loader, NUM_KEPT)
    num_classes = _num_classes(model, images)
    for found in (classes, targets):
        _require_classes(found, num_classes)
    dataset = _dataset(kept, classes, images, targets, num_classes, train_loader)
    own = _Own(train_step or _cross_entropy, score or _accuracy, val_loader)

    class Task(OwnTask):
        """The training step and the score of the program."""

        functions = own

    def load(_root: Path, _input_size: ImageSize | None) -> Dataset:
        return dataset

    space = convert(model, dataset.input_shape, freeze=checks.texts("freeze", arguments.get("freeze", ())))
    named = ("max_latency", "out", "epochs", "retrain_epochs", "evaluations", "seed", "budgets")
    begun = Begun(space=space, table=arguments.get("table"), settings=arguments.get("settings"))
    begun.give("task", "task", Task)
    begun.give("data.name", "loaders", load)
    reporter = Reporter(is_quiet=arguments.get("quiet", False), callbacks=callbacks)
    flags = {"device": device, **{name: value for name, value in arguments.items() if name in named}}
    return begun.worked(reporter, flags, last="export")


@dataclass(frozen=True, slots=True)
class _Own:
    """The functions of the program, and what its score looks at."""

    train_step: TrainStep
    score: ScoreNetwork
    val_loader: Loader


class OwnTask(ClassificationAgent):
    """Trains by a program's own step, and scores by its own function on its own loader.

    Attributes:
        functions: of the program.
    """

    search_metric: ClassVar[str | None] = None
    scores_images_alone: ClassVar[bool] = False
    functions: ClassVar[_Own]

    def step(
        self, network: Forward, x_NCHW: torch.Tensor, targets_N: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the outputs that the step saw, and its loss.

        Raises:
            RequestError: the step returned no scalar, or did not call the network.
        """
        watched = _Watched(network)
        loss = self.functions.train_step(watched, (x_NCHW, targets_N))
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1 or watched.outputs is None:
            raise RequestError(
                f"train_step(network, batch) returned {type(loss).__name__}: expected the loss of network(images), a "
                "tensor of one number"
            )
        return watched.outputs, loss

    def metrics(self, forward: Forward, _batches: Iterable[Batch]) -> dict[str, float]:
        """Return the score of a network.

        Raises:
            RunError: it is no finite number.
        """
        with torch.no_grad():
            return {"score": finite_score(self.functions.score(forward, self.functions.val_loader), "a network")}


class _Watched:
    """A network that keeps what it gave last."""

    def __init__(self, network: Forward) -> None:
        self._network = network
        self.outputs: torch.Tensor | None = None

    def __call__(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        self.outputs = self._network(x_NCHW)
        return self.outputs


def _cross_entropy(network: Forward, batch: Batch) -> torch.Tensor:
    images, classes = batch
    return functional.cross_entropy(network(images), classes)


def _accuracy(network: Forward, loader: Loader) -> float:
    right = total = 0
    for batch in loader:
        images, classes = images_and_targets(batch)
        right += int((network(images).argmax(dim=1) == classes).sum())
        total += len(classes)
    return right / total


def _collected(loader: Loader, most: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the images and the classes of a loader's batches, about so many at most.

    Raises:
        RequestError: it gives something else, or nothing, or can be gone through but once.
    """
    images: list[torch.Tensor] = []
    targets: list[torch.Tensor] = []
    num = 0
    _require_loader(loader)
    for batch in loader:
        x_NCHW, classes_N = images_and_targets(batch)
        if classes_N.ndim != 1 or classes_N.is_floating_point():
            raise RequestError(
                f"a loader gave targets of shape {tuple(classes_N.shape)} and type {classes_N.dtype}: expected the "
                "index of a class for each image"
            )
        if len(classes_N) != len(x_NCHW) or (images and x_NCHW.shape[1:] != images[0].shape[1:]):
            raise RequestError(
                f"a loader gave images {[*x_NCHW.shape]} with {len(classes_N)} targets: expected a target for each, "
                "and images of one size"
            )
        if not torch.isfinite(x_NCHW).all():
            raise RequestError("a loader gave images with NaN or infinity: expected finite numbers; leave these out")
        images.append(x_NCHW.float())
        targets.append(classes_N.long())
        num += len(classes_N)
        if most is not None and num >= most:
            break
    if not images:
        raise RequestError("a loader gave no batches: expected images and their classes")
    return torch.cat(images), torch.cat(targets)


def _num_classes(model: nn.Module, images_NCHW: torch.Tensor) -> int:
    """Return how many classes a network tells apart; it stays in the mode that it is in."""
    modes = {module: module.training for module in model.modules()}  # parts may be in other modes than the whole
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    try:
        with torch.no_grad():
            outputs = model.eval()(images_NCHW[:2].to(device))
    except (RuntimeError, TypeError, ValueError) as error:
        raise RequestError(
            f"the network does not take what the loader gives, images {[*images_NCHW.shape[1:]]}: {error}"
        ) from error
    finally:
        for module, is_training in modes.items():
            module.training = is_training
    if not isinstance(outputs, torch.Tensor) or outputs.ndim != 2:
        raise RequestError("the network gives something else than a score for each class [N, classes]")
    return int(outputs.shape[1])


def _require_loader(loader: object) -> None:
    """Raise RequestError for what cannot be gone through again, or does not say how many batches it gives."""
    try:
        is_loader = len(loader) >= 0 and isinstance(loader, Iterable) and not isinstance(loader, Iterator)  # type: ignore[arg-type]
    except TypeError:
        is_loader = False
    if not is_loader:
        raise RequestError(
            f"expected a loader that gives an epoch of batches each time, with a length, such as torch's DataLoader; "
            f"got {type(loader).__name__}"
        )


def _require_classes(classes_N: torch.Tensor, num_classes: int) -> None:
    """Raise RequestError for targets that the network has no output for."""
    low, high = int(classes_N.min()), int(classes_N.max())
    if low < 0 or high >= num_classes:
        raise RequestError(
            f"the network has {num_classes} outputs: expected targets from 0 to {num_classes - 1}, found {low} to "
            f"{high}"
        )


def _dataset(
    train_NCHW: torch.Tensor,
    train_N: torch.Tensor,
    val_NCHW: torch.Tensor,
    val_N: torch.Tensor,
    num_classes: int,
    loader: Loader,
) -> Dataset:
    """Return the images rounded to 8 bits, with the normalisation that undoes it, and the loader that trains."""
    planes = [torch.cat([x[:, c].flatten() for x in (train_NCHW, val_NCHW)]) for c in range(train_NCHW.shape[1])]
    low = torch.stack([plane.min() for plane in planes])
    scale = torch.stack([plane.max() for plane in planes]) - low
    scale[scale == 0] = 1.0

    def split(x_NCHW: torch.Tensor, classes_N: torch.Tensor) -> Split:
        levels = (x_NCHW - low[:, None, None]) / scale[:, None, None] * 255
        return Split(images_NCHW=levels.round_().clamp_(0, 255).to(torch.uint8), targets_N=classes_N)

    names = getattr(getattr(loader, "dataset", None), "classes", None)
    known = tuple(map(str, names)) if names is not None and len(names) == num_classes else None
    held_out = split(val_NCHW, val_N)
    return Dataset(
        name="loaders",
        classes=known or tuple(map(str, range(num_classes))),
        train=split(train_NCHW, train_N),
        validation=held_out,
        test=held_out,
        augmentation=Augmentation(),
        normalisation=(tuple((-low / scale).tolist()), tuple((1.0 / scale).tolist())),
        loader=loader,
    )
