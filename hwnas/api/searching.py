"""Runs from Python: the settings of `hwnas search`, with objects of a program in the place of what flags name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, TypeGuard, Unpack

from torch import nn

from hwnas.api import checks
from hwnas.api.checks import File
from hwnas.api.data import NO_DATA, loader_of, no_data
from hwnas.api.given import giving, reference
from hwnas.api.result import Result
from hwnas.api.scores import OwnScore, Score, require_callable
from hwnas.api.settings import RunArguments, overrides
from hwnas.api.spaces import convert
from hwnas.api.table import LatencyTable, is_network, load_table
from hwnas.callbacks import Callback
from hwnas.cli.idle_flags import refuse_idle
from hwnas.config_file import load_config
from hwnas.dataflow import Dataset, load_dataset
from hwnas.errors import RequestError
from hwnas.evaluators import EvaluatorInputs
from hwnas.flags import with_settings
from hwnas.pipeline.from_supernet import run_from_supernet
from hwnas.pipeline.order import STAGES, run_stages
from hwnas.pipeline.run import Run
from hwnas.progress import Reporter
from onnx_models.image_size import ImageSize, size_text
from search_spaces import SearchSpace
from search_spaces.registry import NETWORK_SUFFIX
from search_spaces.traced.file import save_space
from search_spaces.traced.space import TracedSpace

SpaceLike = SearchSpace | nn.Module | str | None
"""A search space, its name or file; a network, or its .onnx or .pt2 file; None where `settings` name one."""

DEFAULT_OUT, DEFAULT_ROOT = "runs/default", "data"
"""Where a run and its data are unless arguments say so."""


def search(
    space: SpaceLike = None,
    data: object = "digits",
    *,
    table: LatencyTable | File | None = None,
    score: Score | None = None,
    settings: Mapping[str, object] | None = None,
    callbacks: Sequence[Callback] = (),
    quiet: bool = False,
    **arguments: Unpack[RunArguments],
) -> Result:
    """Find, retrain and export the best network under a latency budget, as `hwnas search` does.

    The same call continues a run that was interrupted; one that is finished is only read. A budget that was missed is
    no error: see `Result.missed_budgets`.

    Args:
        space: the networks to search among, or the network whose slices they are.
        data: a data set's name; a Dataset; map-style data sets of (image, class), alone or as (train, test) or (train,
            validation, test). None for no data: then `score` tells what networks are worth, and nothing is trained.
        table: made first where none is given.
        score: scores architectures in the place of the supernet.
        settings: any of `hwnas settings`, by dotted name.
        callbacks: told of stages, epochs and evaluated architectures.
        arguments: as the flags of `hwnas search`.

    Raises:
        RequestError: the request is wrong.
        RunError: the work failed, such as where no network keeps the budget as measured.
    """
    if data is None and score is None:
        raise RequestError("a search without data needs a score for architectures: give score=")
    begun = Begun(space=space, table=table, settings=settings)
    begun.give_data(data)
    if score is not None:
        begun.give_score(score)
    reporter = Reporter(is_quiet=quiet, callbacks=callbacks)
    return begun.worked(reporter, arguments, last="search" if data is None else "export")


def train(
    space: SpaceLike = None,
    data: object = "digits",
    *,
    table: LatencyTable | File | None = None,
    settings: Mapping[str, object] | None = None,
    callbacks: Sequence[Callback] = (),
    quiet: bool = False,
    **arguments: Unpack[RunArguments],
) -> Result:
    """Train the supernet of a run, as `hwnas train` does; `search` with the same arguments goes on.

    Raises:
        RequestError: the request is wrong.
        RunError: the work failed.
    """
    begun = Begun(space=space, table=table, settings=settings)
    begun.give_data(data)
    return begun.worked(Reporter(is_quiet=quiet, callbacks=callbacks), arguments, last="train")


def resume(folder: File, *, last: str = "export", callbacks: Sequence[Callback] = (), quiet: bool = False) -> Result:
    """Work on the run in a folder with the settings it was begun with, up to a stage: search, retrain or export.

    Raises:
        RequestError: there is no run or no such stage, or the run needs objects of the program that began it.
        RunError: the work failed.
    """
    if checks.text("last", last, "search") not in STAGES:
        raise RequestError(f"expected one of {', '.join(STAGES)} as the last stage, got {last!r}")
    run = Run.from_folder(checks.file("folder", folder), Reporter(is_quiet=quiet, callbacks=callbacks), has_begun=False)
    run_stages(run, last=last)
    return Result(run, {})


def open_run(folder: File) -> Result:
    """Return the run in a folder as far as it is; nothing is worked on.

    Raises:
        RequestError: there is none.
    """
    return Result(Run.from_folder(checks.file("folder", folder), Reporter(is_quiet=True)), {})


def search_from(
    source: File,
    *,
    settings: Mapping[str, object] | None = None,
    callbacks: Sequence[Callback] = (),
    quiet: bool = False,
    **arguments: Any,
) -> Result:
    """Search anew, in a new folder `out`, with the supernet, the table and the settings of another run.

    Args:
        arguments: those of `search` that are to be others; `max_latency` need not be given.

    Raises:
        RequestError: that run cannot serve, or no folder is given.
        RunError: the work failed.
    """
    if "out" not in arguments:
        raise RequestError(f"a search from {source} needs a folder for the new run: give out=")
    given = overrides(arguments, settings)
    run = run_from_supernet(checks.file("source", source), Reporter(is_quiet=quiet, callbacks=callbacks), given)
    refuse_idle(run, given)
    run_stages(run)
    return Result(run, {})


class Begun:
    """A run that is to begin: the objects that it is given, and the settings that stand for them.

    Args:
        settings: any others, by dotted name.

    Raises:
        RequestError: the space or the table is something else.
    """

    def __init__(
        self,
        *,
        space: SpaceLike,
        table: LatencyTable | File | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        if not isinstance(space, SearchSpace | nn.Module | str | None):
            raise RequestError(f"expected a search space, a network, or the name of one, got {space!r}")
        if not isinstance(table, LatencyTable | str | PathLike | None):
            raise RequestError(f"expected a latency table or its file, got {table!r}")
        self._table = load_table(table) if space is None and _is_file(table) else table
        if space is None and isinstance(self._table, LatencyTable):
            space = self._table.space
        self.space = space
        self._settings = settings
        self._given: dict[str, object] = {}
        self._named: dict[str, object] = {}
        if self._table is not None:
            self._named["lut"] = self._table.path if isinstance(self._table, LatencyTable) else Path(self._table)

    def give(self, setting: str, name: str, component: object) -> None:
        """Give the run an object under a name, in the place of what a setting names."""
        self._given[name] = component
        self._named[setting] = reference(name)

    def give_data(self, data: object) -> None:
        """Give the run its data: the name of a data set, objects, or None for a search without any.

        Raises:
            RequestError: there are none, and nothing says which networks are searched.
        """
        if isinstance(data, str):
            self._named["data.name"] = data
            return
        if data is not None:
            self.give("data.name", "data", loader_of(data))
            return
        space = self.space
        if not isinstance(space, SearchSpace):
            raise RequestError(
                "a search without data needs to know which networks: give a search space such as "
                "hwnas.space('fbnet-s', input_size=224), or a table"
            )
        empty = no_data(space)

        def load(_root: Path, _input_size: ImageSize | None) -> Dataset:
            return empty

        self.give("data.name", NO_DATA, load)

    def give_score(self, score: Score) -> None:
        """Give the run what scores architectures.

        Raises:
            RequestError: it is no function.
        """
        require_callable(score, "score")
        own = OwnScore(score)

        def made(_inputs: EvaluatorInputs) -> OwnScore:
            return own

        self.give("search.evaluator", "score", made)

    def worked(self, reporter: Reporter, arguments: Mapping[str, object], *, last: str) -> Result:
        """Work through the stages of what is asked for, on the path that the commands take."""
        given = overrides(arguments, self._settings)
        named = with_settings(self._named, self._space(arguments))
        with giving(self._given):
            run = Run(load_config(None, with_settings(named, given)), reporter)
            refuse_idle(run, given)
            run_stages(run, last=last)
        result = Result(run, self._given)
        for line in result.missed_budgets:
            reporter.warn(line)
        return result

    def _space(self, arguments: Mapping[str, object]) -> dict[str, object]:
        """Return the settings that name the space; that of a network is written beside the run's folder."""
        space = self.space
        if space is None or "model" in arguments:
            return {}
        if isinstance(space, str):
            return {"space.model" if is_network(space) else "space.name": space}
        if isinstance(space, nn.Module):
            space = convert(space, self._image_shape(Path(str(arguments.get("data_root", DEFAULT_ROOT)))))
        if isinstance(space, TracedSpace):
            out = Path(str(arguments.get("out", DEFAULT_OUT)))
            path = out.with_name(f"{out.name}{NETWORK_SUFFIX}")
            path.parent.mkdir(parents=True, exist_ok=True)
            save_space(space, path)
            return {"space.name": str(path)}
        named: dict[str, object] = {"space.name": space.spec.name}
        if space.spec.width != 1.0:
            named["space.width"] = space.spec.width
        if space.spec.resolutions:
            named["space.resolutions"] = list(map(size_text, space.spec.resolutions))
        return named

    def _image_shape(self, root: Path) -> tuple[int, int, int]:
        """Return channels, height and width of the images that a network is given."""
        name = str(self._named["data.name"])
        with giving(self._given):
            return load_dataset(name, root).input_shape


def _is_file(table: object) -> TypeGuard[File]:
    return table is not None and not isinstance(table, LatencyTable)
