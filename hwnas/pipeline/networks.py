"""The stages that train, find and export networks: what each is given of a run, and where its result is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hwnas.artifacts import ORIGINAL, REFERENCES, WINNER, Exported, FoundNetwork, RetrainedNetwork, TrainedSupernet
from hwnas.components import find
from hwnas.config import SHORT_TRAINING
from hwnas.constraint import HardLimits
from hwnas.errors import RequestError, RunError
from hwnas.evaluators import Evaluator, make_evaluator
from hwnas.evaluators.short_training import ShortTraining
from hwnas.export.contents import kind_of
from hwnas.pipeline.run import Run
from hwnas.records import MAKE_AGAIN
from hwnas.search import SearchAgent
from hwnas.search.objectives import objective_arguments
from hwnas.search.proxy_features import proxy_features
from hwnas.stages.attempts import missed_winners, replace_missed
from hwnas.stages.export import Exporter, export_networks
from hwnas.stages.finalists import Selection
from hwnas.stages.halving import ShortTrainings
from hwnas.stages.latency import Latency
from hwnas.stages.limits import CostLimits, hard_limits
from hwnas.stages.predictions import predictions_of
from hwnas.stages.proxies import compute_proxies
from hwnas.stages.retrain import RetrainInputs, retrain_networks, teacher_of
from hwnas.stages.search import find_networks, winner_names
from hwnas.stages.supernet import train_supernet, untrained_supernet
from hwnas.stages.table import num_finalists
from hwnas.training.group import ALONE, Group
from search_spaces import Architecture, SpaceError
from search_spaces.cost import GraphCosts


def cost_limits(run: Run) -> CostLimits:
    """Return the limits of costs other than latency."""
    config = run.config
    return CostLimits(
        max_params=config.max_params,
        max_macs=config.max_macs,
        max_memory=config.max_memory,
        max_energy=config.max_energy,
    )


def hard_limits_of(run: Run, latency: Latency) -> HardLimits:
    """Return everything that the configuration limits, and the sizes of networks for the record."""
    return hard_limits(run.space, latency, cost_limits(run), batch=run.device.batch)


def supernet_of(run: Run, constraint: HardLimits, group: Group = ALONE) -> TrainedSupernet:
    """Return the run's supernet, trained by a group of processes; left untrained where nothing needs it.

    Raises:
        RequestError: the run began with another's supernet, and that is not there.
    """
    config = run.config.supernet
    if not run.needs_supernet:
        return untrained_supernet(run.space, constraint, config.strategy, seed=run.config.seed)
    if run.origin is not None and not run.files.supernet.exists():
        raise RequestError(
            f"{run.folder} began with the supernet of {run.origin.run} and has no copy of it: expected "
            f"{run.files.supernet}; restore it, or give the command with --from again"
        )
    return train_supernet(
        run.space,
        constraint,
        run.learning,
        run.splits.train,
        config,
        checkpoint=run.files.supernet,
        reporter=run.reporter,
        group=group,
    )


def selection_of(
    run: Run, latency: Latency, constraint: HardLimits, supernet: TrainedSupernet | None = None
) -> Selection:
    """Return how winners are selected.

    Args:
        supernet: None where no network is to be trained.
    """
    trainings = None if supernet is None else _short_trainings_of(run, supernet)
    return Selection(
        setup=run.setup,
        latency=latency,
        constraint=constraint,
        files=run.files.search,
        group_size=max(
            num_finalists(run.config.search.finalists, latency.doubt), 0 if trainings is None else trainings.num
        ),
        trainings=trainings,
    )


def _short_trainings_of(run: Run, supernet: TrainedSupernet) -> ShortTrainings | None:
    """Return the trainings of finalists; None where the settings want none."""
    config = run.config.search
    if not config.trained_finalists:
        return None

    def train(architecture: Architecture, epochs: int) -> float:
        inputs = run.evaluator_inputs(supernet.module)
        return ShortTraining(replace(inputs, training=replace(inputs.training, epochs=epochs))).score(architecture)

    return ShortTrainings(
        num=config.trained_finalists,
        epochs=config.short_epochs,
        most_epochs=run.config.retrain.epochs,
        train=train,
        costs=GraphCosts(run.space),
        path=run.files.search.short_trainings,
        reporter=run.reporter,
        are_begun=config.evaluator == SHORT_TRAINING,
    )


def found_networks(run: Run, selection: Selection, supernet: TrainedSupernet) -> dict[str, FoundNetwork]:
    """Return the networks that the search finds, sought where they have not been found yet.

    Raises:
        RunError: no network keeps the budget as measured, or the record is damaged.
    """
    config, files = run.config.search, run.files.search
    outcome = files.kept_outcome(
        lambda: find_networks(
            selection,
            config,
            make_evaluator(config.evaluator, run.evaluator_inputs(supernet.module)),
            _known_to_agents(run, selection.constraint, supernet),
        )
    )
    require_of_space(run, [n.architecture for n in outcome.networks.values()], files.outcome)
    return dict(outcome.networks)


def _known_to_agents(run: Run, constraint: HardLimits, supernet: TrainedSupernet) -> dict[str, object]:
    """Return what the run's search agent is made with besides what all are, by keyword: most know only scores."""
    config, files = run.config.search, run.files.search
    agent: type[SearchAgent] = find("search-agent", config.agent)
    known: dict[str, object] = {**objective_arguments(config.agent, agent, config.objective)}
    if agent.reads_supernet:
        known["supernet"] = supernet.module
    if config.proxies:
        inputs = run.evaluator_inputs(supernet.module)
        evaluators: dict[str, Evaluator] = {name: make_evaluator(name, inputs) for name in config.proxies}
        computed = files.kept_proxies(lambda: compute_proxies(run.setup, constraint, evaluators))
        require_of_space(run, computed.architectures, files.proxies)
        known["features"] = proxy_features(computed.architectures, computed.values)
    return known


def current_networks(run: Run, found: Mapping[str, FoundNetwork]) -> dict[str, FoundNetwork]:
    """Return the networks of the attempt that the run is at: those found, with the winners that missed replaced."""
    networks, files = dict(found), run.files
    decisions, pending = files.decisions(), files.export.read_decision()
    for path, decision in {**decisions, **({files.export.decision: pending} if pending else {})}.items():
        require_of_space(run, [n.architecture for n in decision.networks.values()], path)
    for decision in decisions.values():
        networks |= decision.networks
    if pending is not None and pending.networks:
        staying = {name: n.architecture for name, n in networks.items() if name not in pending.networks}
        staying |= {name: n.architecture for name, n in files.search.read_further().items()}
        heirs = {
            name: next((other for other, a in staying.items() if a == networks[name].architecture), None)
            for name in pending.networks
        }
        files.set_aside(heirs)
        networks |= pending.networks
    return networks


def retrained_networks(
    run: Run, found: Mapping[str, FoundNetwork], supernet: TrainedSupernet
) -> dict[str, RetrainedNetwork]:
    """Return the networks trained on their own; references only where they are wanted."""
    config = run.config
    teacher = None
    if config.retrain.distillation:
        teacher = teacher_of(
            run.setup,
            supernet,
            run.learning,
            run.splits.train,
            batch_size=config.supernet.batch_size,
            num_batches=config.search.recalibration_batches,
        )
    inputs = RetrainInputs(
        task=run.learning, splits=run.splits, config=config.retrain, supernet=supernet, teacher=teacher
    )
    return retrain_networks(run.setup, wanted_networks(run, found), inputs, run.files.retrain)


def wanted_networks(run: Run, found: Mapping[str, FoundNetwork]) -> dict[str, FoundNetwork]:
    """Return the networks that are to be retrained: references only where they are wanted."""
    return {name: n for name, n in found.items() if name not in REFERENCES or run.config.retrain.references}


def names_to_be(run: Run) -> list[str]:
    """Return the names of the networks that a run which is not finished will have retrained, as far as it is known."""
    files, config = run.files.search, run.config
    if files.outcome.exists():
        own = [*wanted_networks(run, files.read_outcome().networks)]
    else:
        of_space = ("largest", "random") if run.space.original is None else (ORIGINAL, "scaled", "random")
        references = of_space if config.retrain.references else ()
        own = [WINNER, *winner_names(dict.fromkeys(config.budgets, 0.0)), *references]
    return [*own, *files.read_further()]


def exporter_of(run: Run, latency: Latency) -> Exporter:
    """Return how networks are exported."""
    return Exporter(
        setup=run.setup,
        latency=latency,
        task=run.learning,
        task_name=run.config.task,
        batch_size=run.config.retrain.batch_size,
        files=run.files.export,
    )


def exported_networks(
    run: Run,
    latency: Latency,
    found: Mapping[str, FoundNetwork],
    retrained: Mapping[str, RetrainedNetwork],
) -> Exported:
    """Return what became of the networks as exported; done where it was not yet.

    Raises:
        ExportError: the network cannot be expressed in ONNX.
        RunError: ONNX Runtime computes something else than torch, or the record is damaged.
    """
    attempts = run.files.attempts()
    exporter = exporter_of(run, latency)
    before = attempts[-1].export.read_result() if attempts else None
    return run.files.export.kept_result(lambda: export_networks(exporter, found, retrained, before))


def predict_test_images(run: Run, winner: Architecture) -> None:
    """Keep what the winner says of test images, where it is of a kind that people can look at.

    Raises:
        RunError: the record is damaged.
    """
    kind = kind_of(run.task, run.config.task)
    if kind is not None:
        files, task = run.files.export, run.learning.at(run.space.input_size(winner))
        files.kept_predictions(lambda: predictions_of(files.model(WINNER), task, kind, run.space))


def has_replaced_missed(run: Run, selection: Selection, found: Mapping[str, FoundNetwork], exported: Exported) -> bool:
    """Return whether there is another attempt, the next finalist in place of a winner that missed its budget."""
    if not missed_winners(found, exported):
        return False
    before = list(run.files.decisions().values())
    decision = run.files.export.kept_decision(lambda: replace_missed(selection, found, exported, before))
    return bool(decision.networks)


def require_of_space(run: Run, architectures: Sequence[Architecture], path: Path) -> None:
    """Raise RunError unless the architectures that a file tells of are of the run's space."""
    try:
        for architecture in architectures:
            run.space.validated(architecture)
    except SpaceError as error:
        raise RunError(f"{path} is damaged: {error}; {MAKE_AGAIN}") from error
