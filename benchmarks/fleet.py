"""One network for the devices of several latency tables: is any network over any budget ever evaluated?

Searches for the most multiply-accumulates, which need no training, under a budget on every table at once. Every network
that was evaluated is looked up in every table again; with --measure the best is measured on each device that is here,
among networks of the table that tell whether the machine is as fast as when the table was made.

    hwnas lut import proxylessnas PUBLISHED.yaml -o phone.json --accept-table
    hwnas profile --space proxylessnas --threads 1 -o one.json
    hwnas profile --space proxylessnas --threads 2 -o two.json
    python benchmarks/fleet.py one.json=60% two.json=60% phone.json=60% --seeds 3 --measure
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import arguments
import numpy as np

from hwnas.config import RunConfig
from hwnas.pipeline.device import device_of
from hwnas.profiling import describe_drift, onnx_cache
from hwnas.progress import Reporter
from hwnas.quantities import Budget
from hwnas.search import AGENTS, Evaluation, HardLimits, Limit
from hwnas.stages.setup import Setup
from hwnas.table_flag import table_settings
from hwnas.trust import describe_certificate
from lut import LatencyModel, LatencyTable, TableError, load_table
from lut.references import choose_references
from search_spaces import Architecture, SearchSpace, make_space
from search_spaces.cost import GraphCosts

GENERATION = 5


def main() -> None:
    """Search, count what is over a budget, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", type=Path, metavar="FILE=BUDGET")
    parser.add_argument("--agent", choices=[n for n, a in AGENTS.items() if not a.reads_supernet], default="predictor")
    parser.add_argument("--evaluations", type=arguments.whole(), default=200)
    parser.add_argument("--seeds", type=arguments.whole(), default=3)
    parser.add_argument("--measure", action="store_true")
    options = parser.parse_args()
    given = table_settings(options.tables, {})
    if "max_latency" not in given:
        parser.error(f"expected a budget behind the table, such as {given['lut']}=60%")
    budgets = {str(given["lut"]): given["max_latency"], **{d["lut"]: d["max_latency"] for d in given.get("fleet", ())}}
    tables = {file: load_table(file) for file in budgets}
    for file, table in tables.items():
        print(f"{file}: {describe_certificate(table)}")
    space = make_space(next(iter(tables.values())).space)
    for file, table in tables.items():
        if not table.space.has_networks_of(space.spec):
            raise TableError(f"expected tables of one search space, found {space.spec} and in {file} {table.space}")
    models = {file: LatencyModel(space, table, name=file) for file, table in tables.items()}
    most_ms = {f: Budget.parse(budgets[f]).resolve_ms(m.extreme(slowest=True)[1]) for f, m in models.items()}
    limits = HardLimits(
        limits=tuple(Limit(name=file, cost=m.predict_ms, maximum=most_ms[file]) for file, m in models.items())
    )
    sample = space.sample_many(10_000, np.random.default_rng(0))
    kept = limits.shares(sample) <= 1.0
    for file, share in zip(models, kept.mean(axis=0), strict=True):
        print(f"{file}: a budget of {most_ms[file]:.4g} ms, which {share:.1%} of random networks keep")
    print(f"all of them: {kept.all(axis=1).mean():.1%} of random networks")
    for seed in range(options.seeds):
        evaluated = _search(options.agent, options.evaluations, seed, space, limits)
        rows = np.array(list(evaluated))
        over = {file: int((m.predict_ms(rows) > most_ms[file]).sum()) for file, m in models.items()}
        best = max(evaluated, key=evaluated.__getitem__)
        at = ", ".join(f"{m.predict_one_ms(best):.4g} of {most_ms[file]:.4g} ms" for file, m in models.items())
        print(f"seed {seed}: {len(rows)} networks, over a budget: {over}; best {evaluated[best]:.4g} MACs at {at}")
        if options.measure:
            for file, table in tables.items():
                config = RunConfig(max_latency=budgets[file], lut=Path(file))
                setup = Setup(
                    space=space,
                    device=device_of(config, table),
                    precision=table.provenance.precision,
                    seed=seed,
                    reporter=Reporter(),
                )
                _measure(file, table, setup, best, most_ms[file])


def _search(name: str, num: int, seed: int, space: SearchSpace, limits: HardLimits) -> dict[Architecture, float]:
    """Return the multiply-accumulates of the networks that an agent asked for."""
    agent, costs = AGENTS[name](space, limits, np.random.default_rng(seed)), GraphCosts(space)
    found: dict[Architecture, float] = {}
    while len(found) < num and (asked := agent.ask(min(GENERATION, num - len(found)))):
        macs = costs.macs(np.array(asked))
        found |= {a: float(m) for a, m in zip(asked, macs, strict=True)}
        agent.tell([Evaluation(architecture=a, score=found[a], costs=limits.costs(a)) for a in asked])
    return found


def _measure(file: str, table: LatencyTable, setup: Setup, best: Architecture, max_ms: float) -> None:
    if not setup.device.is_measurable:
        print(f"  {file}: {setup.device.name} cannot be measured, by prediction alone")
        return
    references = choose_references(table, setup.space, onnx_cache(), near_ms=max_ms)
    with TemporaryDirectory() as scratch:
        found = setup.measured({"best": setup.model_of(best)}, Path(scratch) / "fleet.journal", references=references)[
            "best"
        ]
    print(f"  {file}: {found.latency_ms:.4g} ms measured on {setup.device.name}, {_words(found.latency_ms, max_ms)}")
    if found.drift is not None and found.table_ms is not None:
        print(
            f"    the machine is {describe_drift(found.drift)} than when the table was made: on its terms "
            f"{found.table_ms:.4g} ms (repeats differ by {found.repeatability:.1%}), {_words(found.table_ms, max_ms)}"
        )


def _words(latency_ms: float, max_ms: float) -> str:
    return f"{abs(latency_ms / max_ms - 1):.1%} {'below' if latency_ms <= max_ms else 'over'}"


if __name__ == "__main__":
    with arguments.errors_in_a_line():
        main()
