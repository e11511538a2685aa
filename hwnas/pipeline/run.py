"""One run: its folder, its configuration, and what its stages are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from hwnas.agents import TrainingAgent
from hwnas.components import find
from hwnas.config import RunConfig
from hwnas.config_file import load_config
from hwnas.dataflow import Dataset, load_dataset
from hwnas.dataflow.splits import Portions, Splits, divide
from hwnas.errors import RequestError
from hwnas.evaluators import EvaluatorInputs
from hwnas.pipeline.device import device_of
from hwnas.pipeline.file_settings import with_absolute_paths
from hwnas.pipeline.fitted_space import asked_size, fitted_spec, require_classifier
from hwnas.pipeline.inputs import Inputs, Origin, read_inputs
from hwnas.pipeline.origin import brings_table
from hwnas.pipeline.own_network import OwnNetwork
from hwnas.progress import Reporter
from hwnas.recipes import brings_network
from hwnas.run_folder import RunFolder
from hwnas.search import SearchAgent
from hwnas.stages.data import ResizedData, prepare_data, require_no_portions
from hwnas.stages.setup import Setup
from hwnas.training.randomness import numpy_rng
from hwnas.training.task import LearningTask
from lut import LatencyTable, load_table
from onnx_models.image_size import ImageSize
from profilers import Device
from safe_files import sha256_of
from search_spaces import SearchSpace, SpaceSpec, make_space
from search_spaces.supernet import Supernet


class Run:
    """The configuration and the folder of a run, and what its stages are given: they know neither.

    Attributes:
        files: everything the run keeps.
        config: the resolved configuration, with absolute paths.
        reporter: where progress goes.
        is_resumed: whether its settings are from its folder.
        source: the folder of the run that it begins with, and what it begins with; None of one that makes all itself.
    """

    def __init__(self, config: RunConfig, reporter: Reporter) -> None:
        self.files = RunFolder(config.out)
        self.config = with_absolute_paths(config)
        self.reporter = reporter
        self._asked_space = config.space.name
        self.is_resumed = False
        self.source: tuple[RunFolder, Inputs] | None = None

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        reporter: Reporter,
        overrides: Mapping[str, object] | None = None,
        *,
        moved: Mapping[str, Path | str | None] | None = None,
        has_begun: bool = True,
    ) -> Run:
        """Return the run that a folder holds, with other settings laid over its own; `keeping` says which may differ.

        Args:
            overrides: values by dotted name.
            moved: where files are now, by dotted name; None where they are as the run says.
            has_begun: whether it must have begun; else its table may still be unfinished.

        Raises:
            RequestError: it holds none, or such settings cannot be.
            LaterVersionError: a later version of hwnas wrote one of its records.
        """
        files = RunFolder(folder)
        path = files.config if has_begun or files.has_begun else files.request
        places = {name: place for name, place in (moved or {}).items() if place is not None}
        for name, place in places.items():
            if isinstance(place, Path) and not place.exists():
                raise RequestError(f"{name} of {folder}: expected a file or folder, found none at {place}")
        given = {**(overrides or {}), **places}
        if not path.is_file():
            begin = f"continue it with hwnas search --resume --out {folder}"
            remedy = begin if files.request.is_file() else "start one with hwnas search"
            raise RequestError(f"no run in {folder}: expected {files.config.name} there; {remedy}")
        files.refuse_later_versions()
        run = cls(replace(load_config(path, given), out=folder), reporter)
        run.is_resumed = True
        if (inputs := run.inputs) is not None:
            inputs.require_same_files(run.config, given, run=folder)
        return run

    @property
    def folder(self) -> Path:
        """The run's folder, as messages name it."""
        return self.files.root

    @property
    def inputs(self) -> Inputs | None:
        """The inputs that the run was begun with; None before it has begun, and where an earlier version wrote none.

        A run that begins with another's supernet has them before, and so has one that is resumed.
        """
        if self.source is not None and not self.has_begun:
            return self.source[1]
        return read_inputs(self.files.inputs) if self.has_begun or self.is_resumed else None

    @property
    def origin(self) -> Origin | None:
        """Where the run's supernet and its table are from; None where they are its own."""
        return None if (inputs := self.inputs) is None else inputs.origin

    @property
    def kept(self) -> RunFolder:
        """The folder with the copies that the run begins with: another's before it has begun with that."""
        return self.files if self.source is None or self.has_begun else self.source[0]

    @property
    def has_begun(self) -> bool:
        """Whether the folder holds a run: its settings proved to be possible."""
        return self.files.has_begun

    @cached_property
    def whole_dataset(self) -> Dataset:
        """The data as they were read; of a run that has begun, those that it was begun with."""
        config, inputs = self.config.data, self.inputs
        try:
            dataset = load_dataset(
                config.name,
                config.root,
                input_size=self._asked_size,
                skip_broken_images=config.skip_broken_images,
                is_grey=self._takes_grey,
                reporter=self.reporter,
            )
        except RequestError as error:
            if inputs is None or config.root.exists():
                raise
            raise RequestError(f"{error}; where the data of {self.folder} have moved, give --data-root") from error
        if inputs is not None:
            inputs.require_same_data(dataset, where=config.root, run=self.kept.root)
        for remark in dataset.remarks:
            self.reporter.line(remark)
        return dataset

    @property
    def _asked_size(self) -> ImageSize | None:
        """The size that images are brought to; None for their own."""
        return asked_size(self.config.space) if self.own_network is None else self.own_network.input_size

    @cached_property
    def own_network(self) -> OwnNetwork | None:
        """The network that a person brings, by the settings that name it; None where networks are a space's own."""
        space = self.config.space
        if not brings_network(model=space.model, space=space.name):
            return None
        has_copy = self.inputs is not None and self.kept.network.is_file()
        return OwnNetwork(config=space, copy=self.kept.network if has_copy else None)

    @cached_property
    def _takes_grey(self) -> bool:
        """Whether images are read in one channel: the network that a person brings takes no other."""
        return self.own_network is not None and self.own_network.takes_grey

    def rng(self, name: str) -> np.random.Generator:
        """Return the generator of that name."""
        return numpy_rng(self.config.seed, name)

    @property
    def _images_seed(self) -> int:
        """The seed of what divides the images."""
        origin = self.origin
        return self.config.seed if origin is None else origin.images_seed

    def _images_rng(self, name: str) -> np.random.Generator:
        """Return the generator of that name for what divides the images."""
        return numpy_rng(self._images_seed, name)

    @cached_property
    def dataset(self) -> Dataset:
        """All data; images limited to `train_images` where asked for, classes held out where the task wants it."""
        config = self.config
        dataset = prepare_data(self.whole_dataset, config.data, self.task, self._images_rng, task_name=config.task)
        require_no_portions(dataset, config.data, config.retrain.validation_portion)
        return dataset

    @cached_property
    def splits(self) -> Splits:
        """The images by what the run uses them for."""
        portions = Portions(
            train=self.config.data.train_portion,
            validation_images=self.config.data.validation_images,
            retrain_validation=self.config.retrain.validation_portion,
            by_class=self.task.holds_out_classes,
        )
        return divide(self.dataset, portions, self._images_rng)

    @cached_property
    def spec(self) -> SpaceSpec:
        """The spec of the search space, fitted to the data, under the name that its table has for it.

        Raises:
            SpaceError: the resolutions that are asked for are none of the data's images.
        """
        if (inputs := self.inputs) is not None:
            return inputs.spec
        if self.own_network is not None:
            return self.space.spec
        return fitted_spec(self.config, self.dataset, self.task, name=self._asked_space)

    @cached_property
    def space(self) -> SearchSpace:
        """The search space, fitted to the data.

        Raises:
            RequestError: a network was brought, and the task wants another head than it has.
        """
        if self.own_network is not None:
            require_classifier(self.config.task, self.task)
            return self.own_network.kept_space or self.own_network.space(self.dataset)
        name, kept = self.config.space.name, self.kept.space
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
        inputs, kept = self.inputs, self.kept.table
        if inputs is None or (self.source and not self.has_begun and brings_table(self.source[0], self.config)):
            return self.config.lut
        path = kept if kept.is_file() else self.config.lut
        inputs.require_same_table(path, run=self.kept.root)
        return path

    def fleet_table_place(self, number: int) -> Path:
        """Return where the table of a further device of the fleet is: once the run has begun, its own copy of it.

        Raises:
            RequestError: it is another than the run was begun with.
        """
        given, kept, inputs = self.config.fleet[number].lut, self.kept.fleet.table(number), self.inputs
        if inputs is None:
            return given
        setting = f"fleet.{number}.lut"
        is_that = kept.is_file() and (self.has_begun or sha256_of(kept) == inputs.files.get(setting))
        path = kept if is_that else given
        inputs.require_same_table(path, run=self.kept.root, setting=setting)
        return path

    @cached_property
    def fleet_tables(self) -> tuple[LatencyTable, ...]:
        """The tables of the further devices of the fleet: once the run has begun, its own copies of them.

        Raises:
            TableError: one cannot be read.
            RequestError: one is another than the run was begun with.
        """
        return tuple(load_table(self.fleet_table_place(number)) for number in range(len(self.config.fleet)))

    @property
    def table_name(self) -> str:
        """The table's name in messages: where it is read from."""
        return str(self.kept.table if self.config.lut is None else self._place_of_given_table)

    @cached_property
    def device(self) -> Device:
        """The device that latencies are about: the configuration's, else the table's, else this machine's CPU.

        That of an imported table is not at hand: nothing is measured on it.

        Raises:
            RequestError: the table was measured on another device.
        """
        return device_of(self.config, self.given_table)

    @property
    def device_name(self) -> str:
        """The device's name, which needs no devices file once the run has begun."""
        inputs = self.inputs
        return self.device.name if inputs is None else inputs.device

    @property
    def needs_supernet(self) -> bool:
        """Whether the search scores by the supernet's weights, or reads what it learnt."""
        config = self.config
        agent: type[SearchAgent] = find("search-agent", config.search.agent)
        needed_later = config.retrain.inherit or config.retrain.distillation > 0
        return config.search.evaluator == "supernet" or agent.reads_supernet or needed_later

    @cached_property
    def task(self) -> type[TrainingAgent]:
        """The training agent's class."""
        task = find("task", self.config.task)
        assert isinstance(task, type), "agents are classes"
        return task

    @cached_property
    def learning(self) -> LearningTask:
        """The task that networks are to learn."""
        return LearningTask(
            agent_class=self.task,
            space=self.space,
            dataset=self.dataset,
            seed=self.config.seed,
            at_size=ResizedData(
                dataset=self.dataset,
                config=self.config.data,
                task=self.task,
                task_name=self.config.task,
                seed=self._images_seed,
                is_grey=self._takes_grey,
            ),
        )

    @cached_property
    def setup(self) -> Setup:
        """The networks that the run is about, and the device that they are for."""
        return Setup(
            space=self.space,
            device=self.device,
            precision=self.config.precision,
            seed=self.config.seed,
            reporter=self.reporter,
            percentile=self.config.percentile,
        )

    def evaluator_inputs(self, supernet: Supernet) -> EvaluatorInputs:
        """Return what evaluators may use."""
        config = self.config
        return EvaluatorInputs(
            space=self.space,
            supernet=supernet,
            task=self.learning,
            splits=self.splits,
            training=replace(config.retrain, epochs=config.search.short_epochs),
            batch_size=config.supernet.batch_size,
            recalibration_batches=config.search.recalibration_batches,
            seed=config.seed,
        )
