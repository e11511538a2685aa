"""The stages of a run, in order. Each keeps its result in the run's folder and is not redone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext

from hwnas.artifacts import Exported, FoundNetwork, RetrainedNetwork, Summary, TrainedSupernet
from hwnas.components import find
from hwnas.config import TABULAR
from hwnas.config_file import flat_settings
from hwnas.constraint import HardLimits
from hwnas.errors import RequestError, RunError
from hwnas.evaluators import tabular_evaluator
from hwnas.pipeline.fleet import require_fleet
from hwnas.pipeline.forecast import foretell
from hwnas.pipeline.keeping import keep_settings, opened, requested, require_same_settings
from hwnas.pipeline.latency import prepare_latency
from hwnas.pipeline.networks import (
    cost_limits,
    current_networks,
    exported_networks,
    found_networks,
    hard_limits_of,
    has_replaced_missed,
    predict_test_images,
    retrained_networks,
    selection_of,
    supernet_of,
)
from hwnas.pipeline.own_network import described_original
from hwnas.pipeline.reporting import write_report
from hwnas.pipeline.run import Run
from hwnas.pipeline.run_times import keep_end, timed
from hwnas.pipeline.tracking import require_tracker, tracked
from hwnas.progress import Reporter
from hwnas.search import SearchAgent
from hwnas.search.objectives import objective_arguments
from hwnas.stages.attempts import advice, missed_winners
from hwnas.stages.data import require_enough_images
from hwnas.stages.feasibility import require_feasible, require_small_enough_graphs
from hwnas.stages.finalists import Selection
from hwnas.stages.latency import Latency
from hwnas.stages.summary import summarise
from hwnas.training.group import Group, started_group
from hwnas.training.task import require_trainable
from hwnas.training.trainer import training_device
from search_spaces.traced.space import TracedSpace

STAGES = ("train", "search", "retrain", "export")


def require_possible(run: Run) -> None:
    """Raise what is wrong with a request before any work is done for it."""
    config = run.config
    agent: type[SearchAgent] = find("search-agent", config.search.agent)
    if config.search.proxies and not agent.reads_features:
        raise RequestError(
            f"agent {config.search.agent} makes no use of proxies; take the predictor, or no search.proxies"
        )
    objective_arguments(config.search.agent, agent, config.search.objective)
    if config.search.evaluator.startswith(TABULAR):
        tabular_evaluator(config.search.evaluator, run.space)
    else:
        find("evaluator", config.search.evaluator)
    require_tracker(run)
    for training in (config.supernet, config.retrain):
        require_trainable(training, run.task, task_name=config.task)
        training_device(training)
        if training.mixup or training.cutmix:
            run.learning.training_inputs(training, run.splits.train)
    if config.supernet.epochs == 0 and run.needs_supernet and not run.space.has_weights:
        raise RequestError(
            f"supernet.epochs is 0, and the weights of {run.space.spec.name} are random before they are trained: "
            "give 1 or more, or a space that brings weights"
        )
    if config.retrain.epochs == 0 and not config.retrain.inherit:
        raise RequestError("retrain.epochs is 0, and the networks inherit no weights: give 1 or more, or --inherit")
    require_fleet(run)
    if not run.has_begun and isinstance(run.space, TracedSpace):
        run.reporter.line(described_original(run.space, run.learning))
    strategy = find("training-strategy", config.supernet.strategy)(run.space, HardLimits(limits=()))
    strategy.prepare(run.space.supernet())
    _ = run.device
    if not run.has_begun:
        require_enough_images(
            lambda: run.splits,
            num_classes=len(run.whole_dataset.classes_of(run.whole_dataset.train)),
            train_images=config.data.train_images,
            holds_out_classes=run.task.holds_out_classes,
        )
        require_small_enough_graphs(run.space, cost_limits(run), batch=run.device.batch)


def run_stages(run: Run, *, last: str = "export") -> Summary | None:
    """Work through the stages up to the last one asked for; stages already done are only read.

    Of a finished run nothing but its folder is needed.

    Under torchrun all processes train the supernet together; the first does everything else.

    Returns:
        The summary of a complete run, else None.
    """
    assert last in STAGES
    require_same_settings(run)
    if last == "export" and is_finished(run):
        return run.files.read_summary() if os.environ.get("RANK", "0") == "0" else None
    require_possible(run)
    with started_group(run.config.supernet.accelerator) as group:
        if group.rank:
            _assist(run, group)
            return None
        with opened(run), tracked(run):
            try:
                return _told(run, last, group)
            finally:
                if not run.has_begun:
                    run.files.speed.unlink(missing_ok=True)  # the machine's when the run begins is another
                    run.files.fleet.forget(speeds_only=True)


def is_finished(run: Run) -> bool:
    """Return whether nothing is left to be done; the report is written last."""
    files = run.files
    if not (files.search.outcome.exists() and files.report.exists() and files.export.result.exists()):
        return False
    try:
        _ = files.search.read_outcome(), files.export.read_result()
        pending = files.export.read_decision()
        return (pending is None or not pending.networks) and files.read_summary() is not None
    except RunError:
        return False  # a damaged summary is written again; of other records their stage says what is wrong


def _told(run: Run, last: str, group: Group) -> Summary | None:
    """Work through the stages, and tell callbacks how the run begins and ends."""
    callbacks = run.reporter.callbacks
    try:
        callbacks.on_run_start(flat_settings(run.config))
        # Of a finished run it stays written when that ended, whatever is asked of it later.
        with nullcontext() if is_finished(run) else timed(run):
            summary = _work_through(run, last, group)
        callbacks.on_run_end(run.folder, None if summary is None else run.files.described(summary))
    except BaseException as error:
        callbacks.on_run_error(run.folder, error)
        raise
    return summary


def _work_through(run: Run, last: str, group: Group) -> Summary | None:
    stage = run.reporter.stage
    if not run.has_begun:
        foretell(run, last, num_processes=group.size)
    with stage("latency"), requested(run):
        latency = prepare_latency(run)
        constraint = hard_limits_of(run, latency)
        if not run.has_begun:
            require_feasible(run.setup, latency, constraint, confidence=run.config.search.confidence)
    keep_settings(run)
    group.barrier()
    with stage("train"):
        supernet = supernet_of(run, constraint, group)
    if last == "train":
        return None
    selection = selection_of(run, latency, constraint, supernet)
    with stage("search"):
        found = found_networks(run, selection, supernet)
    return None if last == "search" else _completed(run, selection, found, supernet, last)


def _completed(
    run: Run, selection: Selection, found: Mapping[str, FoundNetwork], supernet: TrainedSupernet, last: str
) -> Summary | None:
    """Retrain and export the networks, with others in place of winners that miss their budgets, as long as any do."""
    while True:
        found = current_networks(run, found)
        with run.reporter.stage("retrain"):
            retrained = retrained_networks(run, found, supernet)
        if last == "retrain":
            return None
        with run.reporter.stage("export"):
            exported = exported_networks(run, selection.latency, found, retrained)
        if not has_replaced_missed(run, selection, found, exported):
            break
    run.files.report.unlink(missing_ok=True)  # of the run as it was before
    summary = _summary(run, selection.latency, found, retrained, exported)
    run.files.write_summary(summary)
    predict_test_images(run, summary.architecture)
    keep_end(run.files)  # the report says it, and is made again from the folder alone
    write_report(run)
    return summary


def _summary(
    run: Run,
    latency: Latency,
    found: Mapping[str, FoundNetwork],
    retrained: Mapping[str, RetrainedNetwork],
    exported: Exported,
) -> Summary:
    missed = missed_winners(found, exported)
    decision = run.files.export.read_decision() if missed else None
    nearest = {} if decision is None else decision.nearest
    flags = {"": latency.flag, **{member.name: member.latency.flag for member in latency.fleet}}
    texts = {
        name: advice(
            name,
            found[name],
            exported.networks[name],
            nearest.get(name),
            percentile=run.config.percentile,
            flags=flags if latency.fleet else {},
        )
        for name in missed
    }
    return summarise(run.setup, run.dataset, found, retrained, exported, advice=texts, files=run.files.export)


def _assist(run: Run, group: Group) -> None:
    """Train the supernet with the first process, which has made the table by then and does the rest alone."""
    quiet = Run(run.config, Reporter(is_quiet=True))
    group.barrier()
    supernet_of(quiet, hard_limits_of(quiet, prepare_latency(quiet)), group)
