"""Winners that miss their budget once they are exported, and the finalists that take their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from hwnas.artifacts import (
    WINNER,
    Decision,
    Exported,
    ExportedNetwork,
    FoundNetwork,
    MissedWinner,
    NearestNetwork,
)
from hwnas.measured import Measured
from hwnas.quantities import MEDIAN, ceil_ms, format_ms
from hwnas.search import RandomAgent
from hwnas.stages.finalists import Finalist, Selection
from hwnas.stages.search import described
from search_spaces.cost import GraphCosts

NUM_SAMPLED = 200
"""Networks among which the one nearest to a budget is sought; each costs a table look-up only."""


def missed_winners(found: Mapping[str, FoundNetwork], exported: Exported) -> list[str]:
    """Return the names of the winners that take longer than their budgets as exported, on whatever device."""
    return [
        name
        for name, network in found.items()
        if network.finalist is not None
        and (exported.networks[name].latency_ms > network.max_ms or network.missed_on(exported.networks[name].fleet))
    ]


def replace_missed(
    selection: Selection, found: Mapping[str, FoundNetwork], exported: Exported, before: Sequence[Decision]
) -> Decision:
    """Return the next finalist in place of each winner that missed its budget, or the nearest network where none is.

    Args:
        before: decisions about earlier attempts.
    """
    missed: dict[str, MissedWinner] = {}
    for name in missed_winners(found, exported):
        finalist, now = found[name].finalist, exported.networks[name]
        assert finalist is not None
        missed[name] = MissedWinner(architecture=found[name].architecture, exported=_plain(now), finalist=finalist)
    networks: dict[str, FoundNetwork] = {}
    nearest: dict[str, NearestNetwork | None] = {}
    for name, winner in missed.items():
        all_missed = [*(d.missed[name] for d in before if name in d.missed), winner]
        chosen = _next(selection, name, found[name].max_ms, all_missed)
        if chosen is None:
            slow_down = winner.exported.latency_ms / found[name].predicted_ms
            nearest[name] = _nearest(selection, found[name].max_ms, slow_down)
            continue
        instead = "-".join(map(str, chosen.architecture))
        over = over_budget(name, found[name], exported.networks[name], percentile=selection.setup.percentile)
        selection.setup.reporter.line(f"{over}: the next finalist, {instead}, is retrained")
        networks[name] = described(
            chosen.architecture,
            GraphCosts(selection.setup.space),
            chosen.evaluation.score,
            selection.latency,
            found[name].max_ms,
            finalist=chosen.measured,
            elsewhere=chosen.elsewhere,
        )
    return Decision(missed=missed, networks=networks, nearest=nearest)


def advice(
    name: str,
    found: FoundNetwork,
    exported: ExportedNetwork,
    nearest: NearestNetwork | None,
    *,
    percentile: int = MEDIAN,
    flags: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Return one line on a winner that missed a budget when nothing was left to be tried.

    Args:
        percentile: that budgets are held on.
        nearest: the network that should keep the budget of the first device; None where none does.
        flags: that give the budgets of several devices, by their names, with that of the first under "".
    """
    over = over_budget(name, found, exported, percentile=percentile)
    more = [
        flags[device].replace("BUDGET", _enough(exported.fleet[device])) for device in found.missed_on(exported.fleet)
    ]
    if exported.latency_ms <= found.max_ms:
        return f"{over}, and no other finalist is left; give {' '.join(more)}"
    own = flags.get("", "--max-latency BUDGET") if name == WINNER else "--budgets BUDGET"
    flag = own.replace("BUDGET", _enough(exported))
    condition = " and the other budgets" if found.fleet else ""
    known = (
        f"no network of this space keeps it{condition} on a machine as slow as it is now"
        if nearest is None
        else f"the nearest network that should keep it takes about {format_ms(nearest.now_ms, percentile)}: "
        + "-".join(map(str, nearest.architecture))
    )
    return f"{over}, and no other finalist is left; {known}; give {' '.join([flag, *more])}"


def _enough(measured: Measured) -> str:
    """Return a budget that a network keeps even where it is measured at its worst."""
    return f"{ceil_ms(measured.at_worst_ms):g}ms"


def _plain(measured: Measured) -> Measured:
    """Return a measurement without what else is known of the network."""
    return Measured(**measured.figures)


def over_budget(name: str, found: FoundNetwork, exported: ExportedNetwork, *, percentile: int) -> str:
    """Return the words on a winner that takes longer than its budget as exported, on each device where it does."""
    takes = [("", exported.latency_ms, found.max_ms)] if exported.latency_ms > found.max_ms else []
    takes += [
        (f" on {device}", exported.fleet[device].latency_ms, found.fleet[device].max_ms)
        for device in found.missed_on(exported.fleet)
    ]
    return " and ".join(
        f"{name} takes {format_ms(ms, percentile)}{where} as exported, more than its budget of "
        f"{format_ms(most_ms, percentile)}"
        for where, ms, most_ms in takes
    )


def _next(selection: Selection, name: str, max_ms: float, missed: Sequence[MissedWinner]) -> Finalist | None:
    """Return the best finalist that keeps the budget even if it takes as much longer once exported as those did."""
    return selection.finalists(name, max_ms).best(
        now=missed[-1].exported,
        room=max(winner.room for winner in missed),
        without={winner.architecture for winner in missed},
    )


def _nearest(selection: Selection, max_ms: float, slow_down: float) -> NearestNetwork | None:
    """Return the slowest of a sample of the space that keeps the budget on a machine slowed by `slow_down`."""
    model, setup = selection.latency.model, selection.setup
    limits = selection.constraint.with_maximum("latency_ms", max_ms / slow_down)
    if not limits.is_met(model.extreme()[0]):
        return None
    sample = RandomAgent(setup.space, limits, setup.rng("nearest")).ask(NUM_SAMPLED)
    nearest = max(sample, key=model.predict_one_ms)
    return NearestNetwork(architecture=nearest, now_ms=slow_down * model.predict_one_ms(nearest))
