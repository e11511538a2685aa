"""One run: its folder, its configuration, and what all stages need."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from hwnas.agents import TrainingAgent
from hwnas.config import RunConfig, TrainingConfig, config_as_yaml, differing_settings, load_config
from hwnas.criteria import Criterion, CriterionSpec, SmoothedCrossEntropy
from hwnas.dataflow import Batches, Dataset, Split, load_dataset
from hwnas.errors import RequestError
from hwnas.parts import find
from hwnas.progress import Reporter
from hwnas.training.divergence import changeable_settings
from hwnas.training.randomness import numpy_rng, seed_torch
from lut import LatencyTable, load_table
from profilers import Device
from profilers.device import adjusted, find_device
from safe_files import forget_all_drafts, is_full, refusal, write_text
from search_spaces import SearchSpace, SpaceSpec, make_space

CONFIG_FILE = "config.yaml"

OWN_TABLE = "lut.json"
"""The latency table that a run makes for itself where none is given."""

DEPLOYMENT = "export/deployment.json"
"""What the last bundle says of itself."""

HELD_OUT_CLASSES = 0.2
"""Share of the classes that the test is on, where a task is judged on classes not trained on."""

TRAIN_PORTION = 0.8
"""Share of the training images that train the supernet, where the data bring no others to judge it."""


class Run:
    """The state of a run is its folder; this object only knows how to get at it.

    Attributes:
        folder: everything the run keeps.
        config: the resolved configuration.
        reporter: where progress goes.
    """

    def __init__(self, config: RunConfig, reporter: Reporter) -> None:
        self.folder = config.out
        self.config = config
        self.reporter = reporter

    @classmethod
    def from_folder(cls, folder: Path, reporter: Reporter, overrides: Mapping[str, Any] | None = None) -> Run:
        """The run that a folder holds, with other settings laid over its own; `opened` says which may differ.

        Raises:
            RequestError: it holds none, or such settings cannot be.
        """
        path = folder / CONFIG_FILE
        if not path.is_file():
            raise RequestError(f"no run in {folder}: expected {CONFIG_FILE} there; start one with hwnas search")
        return cls(replace(load_config(path, overrides or {}), out=folder), reporter)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Make the folder, or check that it holds this very run; no other process may work in it meanwhile.

        What a process that was killed left unfinished in there is removed.

        Raises:
            RequestError: the folder cannot be written to, is in use, or holds a run of another configuration.
            WriteError: there is no room.
        """
        lock_path = self.folder / ".lock"
        lock = FileLock(lock_path, timeout=0)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout as error:
            raise RequestError(f"another process works on {self.folder}; wait for it or give another --out") from error
        except OSError as error:
            if is_full(error):
                raise refusal(error, lock_path) or error from error
            raise RequestError(f"cannot write to {self.folder}: {error.strerror}; give another --out") from error
        try:
            forget_all_drafts(self.folder)
            self._require_same_settings()
            yield
        finally:
            lock.release()

    def keep_settings(self) -> None:
        """Write the settings down, once they have proved to be possible: from now on the folder is theirs."""
        write_text(self.folder / CONFIG_FILE, config_as_yaml(self.config))

    def stored(self, name: str, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """The JSON object in a file of the run, made and written first where it is not there yet."""
        path = self.folder / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(make(), indent=1) + "\n")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RequestError(f"{path} is damaged: {error}; remove it to make it again") from error
        assert isinstance(content, dict)
        return content

    @cached_property
    def dataset(self) -> Dataset:
        """All data; images limited to `train_images` where asked for, classes held out where the task wants it."""
        config = self.config.data
        dataset = load_dataset(
            config.name,
            config.root,
            input_size=self.config.space.input_size,
            skip_broken_images=config.skip_broken_images,
        )
        for remark in dataset.remarks:
            self.reporter.line(remark)
        if config.augmentation is not None:
            dataset = replace(dataset, augmentation=config.augmentation)
        for split in (dataset.test, dataset.validation):
            is_known = split is None or torch.isin(split.targets_N, dataset.train.targets_N).any()
            if not (is_known or self.task.holds_out_classes):
                raise RequestError(
                    f"{config.name} tests classes none of which is trained on; {self.config.task} needs those"
                )
        if self.task.holds_out_classes:
            dataset = dataset.holding_out_classes(HELD_OUT_CLASSES, numpy_rng(self.config.seed, "held_out_classes"))
        if dataset.validation is not None:
            self._require_no_portions()
        limited = dataset.train.limited(config.train_images, numpy_rng(self.config.seed, "train_images"))
        return replace(dataset, train=limited)

    @cached_property
    def search_splits(self) -> tuple[Split, Split]:
        """What trains the supernet, and what drives the search."""
        rng = numpy_rng(self.config.seed, "train_portion")
        train, validation = self.dataset.train, self.dataset.validation
        if validation is None:
            train, validation = self._divided(self.config.data.train_portion or TRAIN_PORTION, rng)
        return train, validation.limited(self.config.data.validation_images, rng)

    @cached_property
    def retrain_splits(self) -> tuple[Split, Split | None]:
        """What the found networks learn from, and what chooses their best epoch, where anything does."""
        portion = self.config.retrain.validation_portion
        if portion is None:
            return self.dataset.train, self.dataset.validation
        return self._divided(1.0 - portion, numpy_rng(self.config.seed, "retrain_validation"))

    def _divided(self, first_portion: float, rng: np.random.Generator) -> tuple[Split, Split]:
        """The training images in two parts: of different classes where the task is judged on unseen ones."""
        whole = self.dataset.train
        return (whole.divided_by_class if self.task.holds_out_classes else whole.divided)(first_portion, rng)

    @cached_property
    def space(self) -> SearchSpace:
        """The search space, fitted to the data."""
        return make_space(
            SpaceSpec(
                name=self.config.space.name,
                input_size=self.dataset.input_size,
                in_channels=self.dataset.in_channels,
                num_classes=self.config.space.outputs or self.task.num_outputs(self.dataset),
                width=self.config.space.width,
            )
        )

    @cached_property
    def given_table(self) -> LatencyTable | None:
        """The table that the configuration names, if it names one."""
        return load_table(self.config.lut) if self.config.lut else None

    @cached_property
    def device(self) -> Device:
        """The device that latencies are about: the configuration's, else the table's, else this machine's CPU.

        Raises:
            RequestError: the table was measured on another device.
        """
        if self.given_table is None:
            return find_device(self.config.device or "cpu", self.config.devices)
        settings = self.given_table.provenance.device
        device = find_device(self.config.device or settings["name"], self.config.devices)
        if device.name != settings["name"]:
            raise RequestError(
                f"{self.config.lut} was measured on {settings['name']!r}, but --device is {device.name!r}"
            )
        # Networks are measured as the table's blocks were, whatever the devices file says by now.
        return adjusted(device, threads=settings["threads"], batch=settings["batch"], tuning=settings.get("tuning"))

    @property
    def needs_supernet(self) -> bool:
        """Whether the search judges by the supernet's weights, or reads what it learnt."""
        config = self.config
        reads = getattr(find("search-agent", config.search.agent), "reads_supernet", False)
        needed_later = config.retrain.inherit or config.retrain.distillation > 0
        return config.search.evaluator == "supernet" or reads or needed_later

    @property
    def tabular_path(self) -> Path:
        """The benchmark's file, where accuracies are looked up."""
        return Path(self.config.search.evaluator.partition(":")[2])

    @cached_property
    def task(self) -> type[TrainingAgent]:
        """The training agent's class."""
        task = find("agent", self.config.task)
        assert isinstance(task, type), "agents are classes"
        return task

    @cached_property
    def agent(self) -> TrainingAgent:
        """The training agent for scores; training makes its own."""
        return self.task(criterion=SmoothedCrossEntropy())

    @cached_property
    def test_agent(self) -> TrainingAgent:
        """The training agent for scores on the test images, by the pairs that the data name where they do."""
        pairs = self.dataset.test_pairs
        judging: Callable[[torch.Tensor], TrainingAgent] | None = getattr(self.agent, "judging_pairs", None)
        return self.agent if pairs is None or judging is None else judging(pairs)

    def training(self, config: TrainingConfig, split: Split) -> tuple[TrainingAgent, Criterion, Batches]:
        """What trains on a split: the agent with its criterion, and batches; classes are numbered without gaps."""
        if self.task.holds_out_classes:
            split = split.numbered_anew()
        spec = CriterionSpec(
            num_outputs=self.space.spec.num_classes,
            num_classes=int(split.targets_N.max()) + 1,
            label_smoothing=config.label_smoothing,
        )
        with torch.random.fork_rng(devices=[]):
            seed_torch(self.config.seed, "criterion")
            criterion = find("criterion", config.criterion or self.task.default_criterion)(spec)
        batches = Batches.of(self.dataset, split, config.batch_size, images_per_class=config.images_per_class)
        return self.task(criterion=criterion), criterion, batches

    def _require_no_portions(self) -> None:
        """Raise where parts of the training images should judge, and the data bring others that do."""
        config = self.config
        portions = {
            "data.train_portion": config.data.train_portion,
            "retrain.validation_portion": config.retrain.validation_portion,
        }
        if given := [name for name, portion in portions.items() if portion is not None]:
            raise RequestError(
                f"{config.data.name} in {config.data.root} brings validation images, which drive the search and choose "
                f"the epoch of the retraining; leave out {' and '.join(given)}"
            )

    def _require_same_settings(self) -> None:
        """The settings that the folder's run was begun with, but for the pace of a training that diverged."""
        path = self.folder / CONFIG_FILE
        if not path.exists():
            return
        changeable = changeable_settings(self.folder)
        differing = [n for n in differing_settings(load_config(path, {}), self.config) if n not in changeable]
        if differing:
            raise RequestError(
                f"{self.folder} holds a run with other settings ({', '.join(differing)}); "
                "give another --out, or --resume alone to continue that run"
            )
