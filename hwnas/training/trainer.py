"""The training loop of supernets and of single networks alike. N images, C channels, H x W pixels."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, astuple, dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hwnas.config import TrainingConfig
from hwnas.dataflow.batches import TrainingBatches
from hwnas.errors import RequestError, RunError
from hwnas.progress import Reporter, Work
from hwnas.records import as_record
from hwnas.training.checkpoint import load_checkpoint, load_record, save_checkpoint
from hwnas.training.depth import set_stochastic_depth
from hwnas.training.divergence import diverged, is_finite, mark, marker
from hwnas.training.group import ALONE, Group
from hwnas.training.memory import keep_freed_memory
from hwnas.training.mixing import Batch, mixed
from hwnas.training.optimizer import STATES, kept_state, make_optimizer, restore_state, set_learning_rate
from hwnas.training.precision import pays, step_times_s
from hwnas.training.randomness import numpy_rng, seed_torch, torch_rng
from hwnas.training.schedule import learning_rate
from hwnas.training.strategy import Moment
from hwnas.training.weight_average import WeightAverage

Accumulate = Callable[[Batch, np.random.Generator, Moment], torch.Tensor]
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
    batches: TrainingBatches
    accumulate: Accumulate
    checkpoint: Path
    name: str
    seed: int
    settings: str = "supernet"
    reporter: Reporter = field(default_factory=Reporter)
    group: Group = ALONE
    scorer: Scorer | None = None
    _is_mixed: bool | None = field(default=None, init=False)
    """Whether steps compute in bfloat16; None before it is chosen."""

    def fit(self) -> list[EpochRecord]:
        """Train what is left to be trained; the module then has its final (averaged, where asked for) weights.

        Without a scorer those are the last epoch's, else the best one's.

        Raises:
            DivergedError: a loss, weight or statistic is no longer finite; the checkpoint before that is kept.
        """
        device = training_device(self.config)
        keep_freed_memory()
        self.module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = make_optimizer(self.module, self.config)
        average = WeightAverage(self.module, self.config.ema_decay) if self.config.ema_decay else None
        best: dict[str, torch.Tensor] = {}
        records = self._restore(optimizer, average, best)
        num_kept = len(records)
        if len(records) < self.config.epochs:
            self._prepare(device)
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
        set_stochastic_depth(self.module, 0.0)  # statistics are taken in training mode
        return records

    def _prepare(self, device: torch.device) -> None:
        """Set what the configuration says of the steps to come."""
        can_leave_out = set_stochastic_depth(self.module, self.config.stochastic_depth)
        if self.config.stochastic_depth and not can_leave_out:
            self.reporter.line(f"{self.name}: stochastic_depth has no effect: no block has a branch to leave out")
        if self.config.mixed_precision != "auto":
            self._is_mixed = self.config.mixed_precision
        elif self._is_mixed is None:
            times_s = torch.tensor(self._step_times_s(device))
            self.group.average([times_s])
            float_ms, mixed_ms = (times_s * 1e3).tolist()
            self._is_mixed = pays(float_ms, mixed_ms)
            self.reporter.line(
                f"{self.name}: a step takes {float_ms:.1f} ms in float32, {mixed_ms:.1f} ms in bfloat16: computing in "
                f"{'bfloat16' if self._is_mixed else 'float32'}"
            )

    def _step_times_s(self, device: torch.device) -> tuple[float, float]:
        """Return the seconds of a step in float32 and in bfloat16; what is trained stays as it was."""
        place = (self.seed, self.name, "precision")
        kept = {name: tensor.clone() for name, tensor in self.module.state_dict().items()}
        batch = self._share(next(self.batches.shuffled(torch_rng(*place))))
        moment = Moment(step=0, num_steps=self.config.epochs * self.batches.num_shuffled)
        self.module.train()

        def step(is_mixed: bool) -> None:
            self._is_mixed = is_mixed
            self.module.zero_grad(set_to_none=True)
            self._gradients(batch, numpy_rng(*place), moment)

        times_s = step_times_s(step, device)
        self.module.zero_grad(set_to_none=True)
        self.module.load_state_dict(kept)
        return times_s

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
            set_learning_rate(optimizer, learning_rate(self.config, step / num_steps))
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
        is_to_be_mixed = self.config.mixup or self.config.cutmix
        images = mixed(batch, self.config, rng) if is_to_be_mixed else batch
        with torch.autocast(self.config.accelerator, dtype=torch.bfloat16, enabled=bool(self._is_mixed)):
            return self._accumulated(images, rng, moment)

    def _accumulated(self, batch: Batch, rng: np.random.Generator, moment: Moment) -> torch.Tensor:
        num = min(self.config.gradient_accumulation, len(batch[0]))
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
        metrics = {name: value for name, value in asdict(record).items() if name != "epoch" and value is not None}
        self.reporter.callbacks.on_epoch(self.name, record.epoch + 1, metrics)

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
        record = {"epochs": [astuple(r) for r in records], "mixed_precision": self._is_mixed}
        save_checkpoint(self.checkpoint, tensors, record)
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
        if isinstance(chosen := record.get("mixed_precision"), bool):
            self._is_mixed = chosen  # another choice would end in other weights
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


def with_criterion(network: nn.Module, criterion: object) -> nn.Module:
    """Return what is to be trained: the network, and the criterion too where it has weights of its own."""
    if isinstance(criterion, nn.Module) and any(True for _ in criterion.parameters()):
        return nn.ModuleDict({"network": network, "criterion": criterion})
    return network
