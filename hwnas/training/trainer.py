"""The training loop of supernets and of single networks alike. N images, C channels, H x W pixels."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import astuple, dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hwnas.config import TrainingConfig
from hwnas.dataflow import Batches
from hwnas.errors import RequestError, RunError
from hwnas.progress import Reporter, Work
from hwnas.records import as_record
from hwnas.training.checkpoint import load_checkpoint, load_record, save_checkpoint
from hwnas.training.divergence import diverged, is_finite, mark, marker
from hwnas.training.group import ALONE, Group
from hwnas.training.optimizer import STATES, kept_state, make_optimizer, restore_state
from hwnas.training.randomness import numpy_rng, seed_torch, torch_rng
from hwnas.training.strategy import Moment
from hwnas.training.weight_average import WeightAverage

Accumulate = Callable[[tuple[torch.Tensor, torch.Tensor], np.random.Generator, Moment], torch.Tensor]
"""Forward and backward on a batch of x_NCHW and targets_N; gives the detached loss."""

Scorer = Callable[[], float]
"""A function that scores the module, in evaluation mode by then, on images not trained on; draws no random numbers."""

SAVING_SHARE = 0.1
"""Checkpoints are spaced so that writing them takes at most this share of the time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochRecord:
    """The results of an epoch; the score is of images held out, where there are any."""

    epoch: int
    loss: float
    learning_rate: float
    images_per_s: float
    score: float | None = None


@dataclass(kw_only=True, slots=True)
class Trainer:
    """Trains a module for a number of epochs; continues its checkpoint where there is one.

    Same seed, same result, however often it was interrupted: every epoch's generators are made from the seed, and
    checkpoints are written between epochs, as often as they are cheap beside the training.

    Attributes:
        module: trained in place.
        accumulate: what one step does with a batch.
        name: of the work, for progress and for the generators.
        settings: where the configuration has those of this training: "supernet" or "retrain".
        group: processes that train together: each takes its share of every batch; the first one writes.
        scorer: asked after every epoch, of the averaged weights where there are any; the module ends with the weights
            of the best epoch, the first of equals. The checkpoint holds those and the last ones.
    """

    module: nn.Module
    config: TrainingConfig
    batches: Batches
    accumulate: Accumulate
    checkpoint: Path
    name: str
    seed: int
    settings: str = "supernet"
    reporter: Reporter = field(default_factory=Reporter)
    group: Group = ALONE
    scorer: Scorer | None = None

    def fit(self) -> list[EpochRecord]:
        """Train what is left to be trained; the module then has its final (averaged, where asked for) weights.

        Without a scorer those are the last epoch's, else the best one's.

        Raises:
            DivergedError: a loss, weight or statistic is no longer finite; the checkpoint before that is kept.
        """
        device = training_device(self.config)
        self.module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = make_optimizer(self.module, self.config)
        average = WeightAverage(self.module, self.config.ema_decay) if self.config.ema_decay else None
        best: dict[str, torch.Tensor] = {}
        records = self._restore(optimizer, average, best)
        num_kept = len(records)
        if len(records) < self.config.epochs:
            steps = self.config.epochs * self.batches.num_shuffled
            next_save = 0.0
            with self.reporter.task(self.name, steps) as task:
                for epoch in range(len(records), self.config.epochs):
                    record = self._epoch(epoch, optimizer, average, task)
                    self._require_finite(record, num_kept)
                    records.append(self._scored(record, best_epoch(records), average, best))
                    started = time.monotonic()
                    if started >= next_save or len(records) == self.config.epochs:
                        self._save(optimizer, average, best, records)
                        num_kept = len(records)
                        ended = time.monotonic()
                        next_save = ended + (ended - started) / SAVING_SHARE
                    self._log(records[-1])
        elif not self.config.epochs and not self.checkpoint.exists():
            self._save(optimizer, average, best, records)
        self.group.barrier()
        if best:
            self.module.load_state_dict(best)
        elif average:
            average.apply()
        self.module.cpu()  # where everything else is done
        return records

    def _epoch(
        self, epoch: int, optimizer: torch.optim.Optimizer, average: WeightAverage | None, task: Work
    ) -> EpochRecord:
        place = (self.seed, self.name, epoch)
        generator, rng = torch_rng(*place), numpy_rng(*place)
        seed_torch(*place, "dropout")  # layers draw from torch's global generator
        started, num_images, losses = time.monotonic(), 0, []
        self.module.train()
        num_steps = self.batches.num_shuffled
        for step, batch in enumerate(self.batches.shuffled(generator), start=epoch * num_steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(self.config, step / num_steps)
            optimizer.zero_grad(set_to_none=True)
            moment = Moment(step=step, num_steps=self.config.epochs * num_steps)
            losses.append(self._gradients(self._share(batch), rng, moment))
            self.group.average(p.grad for p in self.module.parameters() if p.grad is not None)
            self._step(optimizer)
            if average:
                average.update()
            num_images += len(batch[1])
            task.update(step + 1, f"epoch {epoch + 1}/{self.config.epochs}")
        loss = torch.stack(losses).mean()
        self.group.average([loss])
        self.group.average(self._statistics())
        return EpochRecord(
            epoch=epoch,
            loss=float(loss),
            learning_rate=learning_rate(self.config, float(epoch)),
            images_per_s=num_images / (time.monotonic() - started),
        )

    def _require_finite(self, record: EpochRecord, num_kept: int) -> None:
        """Raise DivergedError in all processes of a group alike: they have the same losses and weights by now."""
        if not is_finite(record.loss, self.module):
            error = diverged(
                name=self.name,
                settings=self.settings,
                epoch=record.epoch + 1,
                loss=record.loss,
                num_kept=num_kept,
                config=self.config,
            )
            mark(self.checkpoint, error)
            raise error

    def _scored(
        self,
        record: EpochRecord,
        best_before: EpochRecord | None,
        average: WeightAverage | None,
        best: dict[str, torch.Tensor],
    ) -> EpochRecord:
        """Return the epoch with its score; keep its weights where it is better than those before."""
        if self.scorer is None:
            return record
        with average.applied() if average else nullcontext():
            self.module.eval()
            score = self.scorer()
            if best_before is None or score > (best_before.score or 0.0):
                best |= {name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()}
        return replace(record, score=score)

    def _gradients(
        self, batch: tuple[torch.Tensor, torch.Tensor], rng: np.random.Generator, moment: Moment
    ) -> torch.Tensor:
        """Compute the whole batch's gradients, part by part where asked for; every part takes the same paths."""
        with torch.autocast(self.config.accelerator, dtype=torch.bfloat16, enabled=self.config.mixed_precision):
            return self._accumulated(batch, rng, moment)

    def _accumulated(
        self, batch: tuple[torch.Tensor, torch.Tensor], rng: np.random.Generator, moment: Moment
    ) -> torch.Tensor:
        num = min(self.config.gradient_accumulation, len(batch[1]))
        if num == 1:
            return self.accumulate(batch, rng, moment)
        state = rng.bit_generator.state
        losses = []
        for part in zip(*(tensor.tensor_split(num) for tensor in batch), strict=True):
            rng.bit_generator.state = state
            losses.append(self.accumulate(part, rng, moment))
        gradients = [p.grad for p in self.module.parameters() if p.grad is not None]
        torch._foreach_div_(gradients, num)
        return torch.stack(losses).mean()

    def _share(self, batch: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return this process's part of a batch, on the device that trains."""
        x_NCHW, targets_N = batch
        if self.group.size > 1:
            x_NCHW, targets_N = (part[self.group.rank :: self.group.size] for part in batch)
            x_NCHW = x_NCHW.contiguous(memory_format=torch.channels_last)
        device = self.config.accelerator
        return x_NCHW.to(device, non_blocking=True), targets_N.to(device, non_blocking=True)

    def _statistics(self) -> list[torch.Tensor]:
        """Return the statistics of BatchNorm, which are of each process's own share of the images."""
        return [b for name, b in self.module.named_buffers() if name.endswith(("running_mean", "running_var"))]

    def _step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.config.clip_norm is not None:
            # A path's gradients only: the others have none.
            touched = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            nn.utils.clip_grad_norm_(touched, self.config.clip_norm, foreach=True)
        optimizer.step()

    def _log(self, record: EpochRecord) -> None:
        score = "" if record.score is None else f"validation {record.score:.4f}, "
        self.reporter.log_line(
            f"{self.name}: epoch {record.epoch + 1}/{self.config.epochs}, loss {record.loss:.4f}, {score}"
            f"{record.images_per_s:.0f} images/s"
        )

    def _save(
        self,
        optimizer: torch.optim.Optimizer,
        average: WeightAverage | None,
        best: Mapping[str, torch.Tensor],
        records: list[EpochRecord],
    ) -> None:
        if self.group.rank:
            return
        tensors = {f"module.{name}": tensor for name, tensor in self.module.state_dict().items()}
        tensors |= kept_state(optimizer, self.module, self.config.optimizer)
        if average:
            tensors |= {f"average.{name}": tensor for name, tensor in average.averages.items()}
        tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(self.checkpoint, tensors, {"epochs": [astuple(r) for r in records]})
        if len(records) == self.config.epochs:
            marker(self.checkpoint).unlink(missing_ok=True)

    def _restore(
        self, optimizer: torch.optim.Optimizer, average: WeightAverage | None, best: dict[str, torch.Tensor]
    ) -> list[EpochRecord]:
        if not self.checkpoint.exists():
            return []
        tensors, record = load_checkpoint(self.checkpoint)
        records = epoch_records(record, self.checkpoint)
        if not all(bool(torch.isfinite(t).all()) for t in tensors.values() if t.is_floating_point()):
            raise RunError(
                f"the checkpoint {self.checkpoint} has weights that are not finite; remove it to train again"
            )
        kind = self.config.optimizer
        parts: dict[str, dict[str, torch.Tensor]] = {n: {} for n in ("module", "average", "best", *STATES[kind])}
        try:
            for name, tensor in tensors.items():
                part, _, inner = name.partition(".")
                parts[part][inner] = tensor
            self.module.load_state_dict(parts["module"])
            restore_state(optimizer, self.module, kind, parts)
            if average:
                for name, tensor in parts["average"].items():
                    average.averages[name].copy_(tensor)
        except (KeyError, RuntimeError) as error:  # torch's own for shapes and names that do not fit
            raise RunError(
                f"the checkpoint {self.checkpoint} is of another network: {error}; remove it to train again"
            ) from error
        best |= {name: tensor.to(training_device(self.config)) for name, tensor in parts["best"].items()}
        return records


def epochs_of(checkpoint: Path) -> list[EpochRecord]:
    """Return the epochs that a checkpoint tells of.

    Raises:
        RunError: the file is damaged.
    """
    return epoch_records(load_record(checkpoint), checkpoint)


def epoch_records(record: Mapping[str, object], checkpoint: Path) -> list[EpochRecord]:
    """Return the epochs that a checkpoint's record tells of.

    Raises:
        RunError: it tells of something else.
    """
    names = [f.name for f in fields(EpochRecord)]
    rows = as_record(
        list[list[int | float | None]], record.get("epochs"), checkpoint, remedy="remove it to train again"
    )
    named = [dict(zip(names, row, strict=False)) for row in rows]
    epochs: list[EpochRecord] = as_record(list[EpochRecord], named, checkpoint, remedy="remove it to train again")
    return epochs


def best_epoch(records: Sequence[EpochRecord]) -> EpochRecord | None:
    """Return the epoch whose weights are kept: the best score, the first of equals; the last where none was scored."""
    scored = [r for r in records if r.score is not None]
    return max(scored, key=lambda r: r.score or 0.0) if scored else (records[-1] if records else None)


def training_device(config: TrainingConfig) -> torch.device:
    """Return the device that a training runs on.

    Raises:
        RequestError: there is no such device here.
    """
    if config.accelerator == "cuda" and not torch.cuda.is_available():
        raise RequestError(
            "accelerator cuda: no GPU that this torch can use; train on the cpu, or install torch for CUDA"
        )
    return torch.device(config.accelerator)


def learning_rate(config: TrainingConfig, epoch: float) -> float:
    """Return the rate by linear warm-up, then half a cosine to zero (Loshchilov and Hutter 2017).

    Args:
        epoch: may be between two.
    """
    warmup = min(config.warmup_epochs, config.epochs / 2)
    if epoch < warmup:
        return config.learning_rate * (epoch + 1e-2) / (warmup + 1e-2)
    progress = (epoch - warmup) / (config.epochs - warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def with_criterion(network: nn.Module, criterion: object) -> nn.Module:
    """Return what is to be trained: the network, and the criterion too where it has weights of its own."""
    if isinstance(criterion, nn.Module) and any(True for _ in criterion.parameters()):
        return nn.ModuleDict({"network": network, "criterion": criterion})
    return network
