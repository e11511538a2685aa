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

from hwnas.agents import TrainingAgent
from hwnas.config import TABULAR, RunConfig, TrainingConfig, config_as_yaml, differing_settings, load_config
from hwnas.criteria import Criterion, CriterionSpec, SmoothedCrossEntropy
from hwnas.dataflow import Batches, Dataset, Split, load_dataset
from hwnas.errors import RequestError
from hwnas.file_settings import file_of, may_have_moved, with_absolute_paths
from hwnas.inputs import Inputs, file_hashes, fingerprint_of, read_inputs, write_inputs
from hwnas.parts import find
from hwnas.progress import Reporter
from hwnas.records import read_record
from hwnas.run_lock import alone_in
from hwnas.search import SearchAgent
from hwnas.training.divergence import changeable_settings
from hwnas.training.randomness import numpy_rng, seed_torch
from lut import LatencyTable, load_table
from profilers import Device
from profilers.device import UNKNOWN, adjusted, find_device
from safe_files import copy_whole, forget_all_drafts, write_text
from search_spaces import SearchSpace, SpaceSpec, make_space
from search_spaces.yaml_space import is_yaml_space

CONFIG_FILE = "config.yaml"

OWN_SPACE = "space.yaml"
"""The run's copy of a search space that is a YAML file."""

OWN_TABLE = "lut.json"
"""The latency table that a run makes for itself, or its copy of the one that was given."""

HELD_OUT_CLASSES = 0.2
"""Share of the classes that the test is on, where a task is judged on classes not trained on."""

TRAIN_PORTION = 0.8
"""Share of the training images that train the supernet, where the data bring no others to judge it."""


class Run:
    """The state of a run is its folder; this object only knows how to get at it.

    Attributes:
        folder: everything the run keeps.
        config: the resolved configuration, with absolute paths.
        reporter: where progress goes.
    """

    def __init__(self, config: RunConfig, reporter: Reporter) -> None:
        self.folder = config.out
        self.config = with_absolute_paths(config)
        self.reporter = reporter
        self._asked_space = config.space.name
        self._is_resumed = False

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        reporter: Reporter,
        overrides: Mapping[str, Any] | None = None,
        *,
        moved: Mapping[str, Path | str | None] | None = None,
    ) -> Run:
        """Return the run that a folder holds, with other settings laid over its own; `opened` says which may differ.

        Args:
            overrides: values by dotted name.
            moved: where files are now, by dotted name; None where they are as the run says.

        Raises:
            RequestError: it holds none, or such settings cannot be.
        """
        path = folder / CONFIG_FILE
        places = {name: place for name, place in (moved or {}).items() if place is not None}
        for name, place in places.items():
            if isinstance(place, Path) and not place.exists():
                raise RequestError(f"{name} of {folder}: expected a file or folder, found none at {place}")
        given = {**(overrides or {}), **places}
        if not path.is_file():
            raise RequestError(f"no run in {folder}: expected {CONFIG_FILE} there; start one with hwnas search")
        run = cls(replace(load_config(path, given), out=folder), reporter)
        run._is_resumed = True
        if (inputs := run.inputs) is not None:
            inputs.require_same_files(run.config, given, run=folder)
        return run

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Make the folder, or check that it holds this very run; no other process may work in it meanwhile.

        What a process that was killed left unfinished in there is removed. Of a run that never began
        nothing stays but a table that was made for it.

        Raises:
            RequestError: the folder cannot be written to, is in use, or holds a run of another configuration.
            WriteError: there is no room.
        """
        with alone_in(self.folder, is_kept=lambda: self.has_begun):
            forget_all_drafts(self.folder)
            self.require_same_settings()
            yield

    def keep_settings(self) -> None:
        """Write the settings down, once they have proved to be possible: from now on the folder is theirs.

        What they name is kept too, a table and a space, or what it is recognised by.
        """
        if self.inputs is None:
            if self.config.lut is not None:
                copy_whole(self.config.lut, self.folder / OWN_TABLE)
            if (space := file_of(self.config.space.name)) is not None and is_yaml_space(space.name):
                copy_whole(space, self.folder / OWN_SPACE)
            made = Inputs(
                space=self.spec.as_dict(),
                device=self.device.name,
                files=file_hashes(self.config),
                data=fingerprint_of(self._whole_dataset),
            )
            write_inputs(made, self.folder)
        write_text(self.folder / CONFIG_FILE, config_as_yaml(self.config))

    @property
    def inputs(self) -> Inputs | None:
        """The inputs that the run was begun with; None before it has begun, and where an earlier version wrote none."""
        return read_inputs(self.folder) if self.has_begun else None

    @property
    def has_begun(self) -> bool:
        """Whether the folder holds a run: its settings proved to be possible."""
        return (self.folder / CONFIG_FILE).is_file()

    def stored(self, name: str, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """Return the JSON object in a file of the run, made and written first where it is not there yet."""
        path = self.folder / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(make(), indent=1) + "\n")
        return read_record(dict[str, Any], path)

    @cached_property
    def _whole_dataset(self) -> Dataset:
        """The data as they were read; of a run that has begun, those that it was begun with."""
        config, inputs = self.config.data, self.inputs
        try:
            dataset = load_dataset(
                config.name,
                config.root,
                input_size=self.config.space.input_size,
                skip_broken_images=config.skip_broken_images,
            )
        except RequestError as error:
            if inputs is None or config.root.exists():
                raise
            raise RequestError(f"{error}; where the data of {self.folder} have moved, give --data-root") from error
        if inputs is not None:
            inputs.require_same_data(dataset, where=config.root, run=self.folder)
        for remark in dataset.remarks:
            self.reporter.line(remark)
        return dataset

    @cached_property
    def dataset(self) -> Dataset:
        """All data; images limited to `train_images` where asked for, classes held out where the task wants it."""
        config, dataset = self.config.data, self._whole_dataset
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
        """The images that train the supernet, and those that drive the search."""
        rng = numpy_rng(self.config.seed, "train_portion")
        train, validation = self.dataset.train, self.dataset.validation
        if validation is None:
            train, validation = self._divided(self.config.data.train_portion or TRAIN_PORTION, rng)
        return train, validation.limited(self.config.data.validation_images, rng)

    @cached_property
    def retrain_splits(self) -> tuple[Split, Split | None]:
        """The images that the found networks learn from, and those that choose their best epoch, if any do."""
        portion = self.config.retrain.validation_portion
        if portion is None:
            return self.dataset.train, self.dataset.validation
        return self._divided(1.0 - portion, numpy_rng(self.config.seed, "retrain_validation"))

    def require_enough_images(self) -> None:
        """Raise RequestError where the images are too few to be divided, or a class is left with none to be learnt."""
        given = self.config.data.train_images
        remedy = "add images" if given is None else f"give more than {given} with --train-images"
        try:
            splits = {"train the supernet": self.search_splits[0], "retrain": self.retrain_splits[0]}
        except RequestError as error:
            raise RequestError(str(error) if given is None else f"{error}; {remedy}") from error
        num_classes = len(self._whole_dataset.train.targets_N.unique())
        for purpose, split in splits.items():
            if len(split) < num_classes and not self.task.holds_out_classes:
                raise RequestError(
                    f"{len(split)} images are left to {purpose}, fewer than the {num_classes} classes; {remedy}"
                )

    def _divided(self, first_portion: float, rng: np.random.Generator) -> tuple[Split, Split]:
        """Return the training images in two parts, of different classes where the task is judged on unseen ones."""
        whole = self.dataset.train
        return (whole.divided_by_class if self.task.holds_out_classes else whole.divided)(first_portion, rng)

    @cached_property
    def spec(self) -> SpaceSpec:
        """The spec of the search space, fitted to the data, under the name that its table has for it."""
        if (inputs := self.inputs) is not None:
            return inputs.spec
        return SpaceSpec(
            name=self._asked_space,
            input_size=self.dataset.input_size,
            in_channels=self.dataset.in_channels,
            num_classes=self.config.space.outputs or self.task.num_outputs(self.dataset),
            width=self.config.space.width,
        )

    @cached_property
    def space(self) -> SearchSpace:
        """The search space, fitted to the data."""
        name, kept = self.config.space.name, self.folder / OWN_SPACE
        if self.inputs is not None and kept.is_file():
            name = str(kept)
        space = make_space(replace(self.spec, name=name))
        space.spec = self.spec
        return space

    @cached_property
    def given_table(self) -> LatencyTable | None:
        """The table that the configuration names, if it names one: once the run has begun, its own copy of it.

        Raises:
            TableError: it cannot be read.
            RequestError: it is another than the run was begun with.
        """
        return None if self.config.lut is None else load_table(self._place_of_given_table)

    @cached_property
    def _place_of_given_table(self) -> Path:
        assert self.config.lut is not None
        inputs, kept = self.inputs, self.folder / OWN_TABLE
        if inputs is None:
            return self.config.lut
        path = kept if kept.is_file() else self.config.lut
        inputs.require_same_table(path, run=self.folder)
        return path

    @property
    def table_name(self) -> str:
        """The table's name in messages: where it is read from."""
        return str(self.folder / OWN_TABLE if self.config.lut is None else self._place_of_given_table)

    @cached_property
    def device(self) -> Device:
        """The device that latencies are about: the configuration's, else the table's, else this machine's CPU.

        That of an imported table is not at hand: nothing is measured on it.

        Raises:
            RequestError: the table was measured on another device.
        """
        if self.given_table is None:
            return find_device(self.config.device or "cpu", self.config.devices)
        settings, is_imported = self.given_table.provenance.device, self.given_table.is_imported
        if is_imported and self.config.device is None:
            return Device(name=settings["name"], runtime=UNKNOWN, batch=settings["batch"])
        device = find_device(self.config.device or settings["name"], self.config.devices)
        if is_imported:  # whoever names a device knows that it is such a one
            return adjusted(device, batch=settings["batch"])
        if device.name != settings["name"]:
            raise RequestError(
                f"{self.config.lut} was measured on {settings['name']!r}, but --device is {device.name!r}"
            )
        # Networks are measured as the table's blocks were, whatever the devices file says by now.
        return adjusted(device, threads=settings["threads"], batch=settings["batch"], tuning=settings.get("tuning"))

    @property
    def device_name(self) -> str:
        """The device's name, which needs no devices file once the run has begun."""
        inputs = self.inputs
        return self.device.name if inputs is None else inputs.device

    @property
    def needs_supernet(self) -> bool:
        """Whether the search judges by the supernet's weights, or reads what it learnt."""
        config = self.config
        agent: type[SearchAgent] = find("search-agent", config.search.agent)
        needed_later = config.retrain.inherit or config.retrain.distillation > 0
        return config.search.evaluator == "supernet" or agent.reads_supernet or needed_later

    @property
    def tabular_path(self) -> Path:
        """The benchmark's file, where accuracies are looked up."""
        return Path(self.config.search.evaluator.removeprefix(TABULAR))

    @cached_property
    def task(self) -> type[TrainingAgent]:
        """The training agent's class."""
        task = find("task", self.config.task)
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
        return self.agent if pairs is None else self.agent.judging_pairs(pairs)

    def training(self, config: TrainingConfig, split: Split) -> tuple[TrainingAgent, Criterion, Batches]:
        """Return what trains on a split: the agent, its criterion, and batches; classes are numbered without gaps."""
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

    def require_same_settings(self) -> None:
        """Make sure that the folder's run has these settings, but for the pace of a training that diverged.

        Files and folders may have moved: what is in them tells whether they are the same.

        Raises:
            RequestError: others.
        """
        path = self.folder / CONFIG_FILE
        if not path.exists():
            return
        begun = with_absolute_paths(load_config(path, {}))
        differing = set(differing_settings(begun, self.config)) - changeable_settings(self.folder)
        if (inputs := self.inputs) is not None:
            moved = {name for name in differing if may_have_moved(begun, self.config, name)}
            differing -= moved
            # What is resumed has its own copies, whatever became of the files.
            named = moved if self._is_resumed else {*moved, "space.name", "lut"}
            inputs.require_same_files(self.config, named, run=self.folder)
        if differing:
            raise RequestError(
                f"{self.folder} holds a run with other settings ({', '.join(sorted(differing))}); "
                "give another --out, or --resume alone to continue that run"
            )
