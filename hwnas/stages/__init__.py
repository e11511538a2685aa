"""The stages of a run, in order. Each keeps its result in the run's folder and is not redone."""

from __future__ import annotations

import os

from hwnas.config import TABULAR
from hwnas.errors import RequestError, RunError
from hwnas.kept_table import SPEED
from hwnas.parts import find
from hwnas.progress import Reporter
from hwnas.report import write_report
from hwnas.report.page import REPORT
from hwnas.run import Run
from hwnas.search import HardLimits, SearchAgent
from hwnas.search.tabular import load_tabular
from hwnas.stages.attempts import current_networks, exported_before, is_settled, replace_missed
from hwnas.stages.export import export_networks
from hwnas.stages.forecast import foretell
from hwnas.stages.limits import require_feasible, require_small_enough_graphs
from hwnas.stages.retrain import retrain_networks
from hwnas.stages.search import find_networks, hard_limits
from hwnas.stages.summary import summarise
from hwnas.stages.supernet import train_supernet
from hwnas.stages.table import prepare_latency
from hwnas.summary_file import read_summary
from hwnas.training.group import Group, started_group
from hwnas.training.trainer import training_device

STAGES = ("train", "search", "retrain", "export")


def require_possible(run: Run) -> None:
    """Raise what is wrong with a request before any work is done for it."""
    config = run.config
    agent: type[SearchAgent] = find("search-agent", config.search.agent)
    if config.search.proxies and not agent.reads_features:
        raise RequestError(
            f"agent {config.search.agent} makes no use of proxies; take the predictor, or no search.proxies"
        )
    if config.search.evaluator.startswith(TABULAR):
        load_tabular(run.tabular_path).of_space(run.space)
    else:
        find("evaluator", config.search.evaluator)
    for training in (config.supernet, config.retrain):
        find("criterion", training.criterion or run.task.default_criterion)
        training_device(training)
    strategy = find("training-strategy", config.supernet.strategy)(run.space, HardLimits(limits=()))
    strategy.prepare(run.space.supernet())
    _ = run.device
    if not run.has_begun:
        run.require_enough_images()
        require_small_enough_graphs(run)


def run_stages(run: Run, *, last: str = "export") -> dict[str, object] | None:
    """Work through the stages up to the last one asked for; stages already done are only read.

    Of a finished run nothing but its folder is needed.

    Under torchrun all processes train the supernet together; the first does everything else.

    Returns:
        The summary of a complete run, else None.
    """
    assert last in STAGES
    run.require_same_settings()
    if last == "export" and is_finished(run):
        return read_summary(run) if os.environ.get("RANK", "0") == "0" else None
    require_possible(run)
    with started_group(run.config.supernet.accelerator) as group:
        if group.rank:
            _assist(run, group)
            return None
        with run.opened():
            try:
                return _work_through(run, last, group)
            finally:
                if not run.has_begun:
                    (run.folder / SPEED).unlink(missing_ok=True)  # the machine's when the run begins is another


def is_finished(run: Run) -> bool:
    """Return whether nothing is left to be done; the report is written last."""
    has_all = all((run.folder / name).exists() for name in ("search/result.json", REPORT))
    try:
        return has_all and is_settled(run) and read_summary(run) is not None
    except RunError:
        return False  # a damaged summary is written again


def _work_through(run: Run, last: str, group: Group) -> dict[str, object] | None:
    if not run.has_begun:
        foretell(run, last, num_processes=group.size)
    latency = prepare_latency(run)
    constraint = hard_limits(run, latency)
    if not run.has_begun:
        require_feasible(run, latency, constraint)
    run.keep_settings()
    group.barrier()
    supernet = train_supernet(run, constraint, group)
    if last == "train":
        return None
    found = find_networks(run, latency, constraint, supernet)
    if last == "search":
        return None
    while True:
        found = current_networks(run, found)
        retrained = retrain_networks(run, found, supernet)
        if last == "retrain":
            return None
        exported = export_networks(run, latency, found, retrained, exported_before(run))
        if not replace_missed(run, latency, constraint, found, exported):
            break
    (run.folder / REPORT).unlink(missing_ok=True)  # of the run as it was before
    summary = summarise(run, found, retrained, exported)
    write_report(run)
    return summary


def _assist(run: Run, group: Group) -> None:
    """Train the supernet with the first process, which has made the table by then and does the rest alone."""
    quiet = Run(run.config, Reporter(is_quiet=True))
    group.barrier()
    train_supernet(quiet, hard_limits(quiet, prepare_latency(quiet)), group)


__all__ = ["STAGES", "is_finished", "run_stages"]
