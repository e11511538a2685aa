"""Tables of the report: the networks that were trained, the bundles, and the settings."""

from __future__ import annotations

from html import escape

from hwnas.artifacts import ORIGINAL, Deployment, NetworkSummary, duplicate_names
from hwnas.quantities import MEDIAN, budget_text, ms_column
from hwnas.report.facts import Facts
from hwnas.report.markup import Column, Html, badge, definitions, meanings, table

NETWORK = Column(
    name="network",
    meaning="winner: the best that keeps the budget; winner-60pct and the like: of further budgets; largest: the one "
    "with the most work that keeps it; random: any that keeps it; original: the network that was brought; scaled: that "
    "with all its widths scaled alike.",
    is_text=True,
)
TEST = Column(name="test", meaning="The score on test images, which no training has seen.")
KEPT = Column(name="verdict", meaning="Whether the latency as measured is within the budget.", is_text=True)
P50, P95, P99 = (
    Column(name=f"p{p} ms", meaning=f"{p} % of single forward passes take no longer, in milliseconds.")
    for p in (50, 95, 99)
)


def networks(facts: Facts) -> Html | None:
    """Return the figures of every network that was trained; None of a run that is not finished."""
    if facts.summary is None:
        return None
    rows, ms = {**facts.summary.networks, **facts.further}, ms_column(facts.summary.percentile)
    same = duplicate_names({name: n.architecture for name, n in rows.items()})
    names = {name: f"{name} = {same[name]}" if name in same else name for name in rows}
    measured = Column(name=f"measured {ms}", meaning=_measured(facts.summary.percentile))
    budget = Column(name=f"budget {ms}", meaning="The latency that the network had to stay within.")
    short = (NETWORK, TEST, measured, budget, KEPT)
    all_columns = (
        *(NETWORK, TEST, measured),
        Column(
            name="at the table's speed", meaning="The same, had the machine run as fast as when the table was made."
        ),
        *(P50, P95, P99),
        Column(name=f"predicted {ms}", meaning="What the latency table said before the network was measured."),
        Column(name="supernet score", meaning="What the search went by: the score with the supernet's shared weights."),
        Column(name="params", meaning="Weights of the network."),
        Column(name="MACs", meaning="Multiply-accumulates of one forward pass."),
    )
    every = table("All figures", all_columns, (_all(names[name], n) for name, n in rows.items()), is_wide=True)
    return Html(
        table("Networks that were trained", short, (_short(name, names[name], n) for name, n in rows.items()))
        + f"<details><summary>All figures of these networks</summary>{every}</details>"
        + meanings([*short, *all_columns])
    )


def _measured(percentile: int) -> str:
    what = "Median" if percentile == MEDIAN else f"{percentile}th percentile"
    return f"{what} time of one forward pass of the exported model on the device."


def _short(key: str, name: str, network: NetworkSummary) -> tuple[str, ...]:
    is_free = key == ORIGINAL or network.max_latency_ms is None
    same = name.removeprefix(key)
    return (
        Html(f"{escape(key)}<br><small>{escape(same)}</small>") if same else key,
        f"{network.test_accuracy:.2%}",
        _ms(network.measured_ms, "not measured"),
        "" if key == ORIGINAL else budget_text(network.max_latency_ms),
        "" if is_free else badge(network.budget_kept),
    )


def _all(name: str, network: NetworkSummary) -> tuple[str, ...]:
    return (
        name,
        f"{network.test_accuracy:.2%}",
        _ms(network.measured_ms, "not measured"),
        *map(_ms, (network.measured_table_ms, network.p50_ms, network.p95_ms, network.p99_ms)),
        f"{network.predicted_ms:.4g}",
        f"{network.supernet_score:.2%}",
        f"{network.params:,}",
        f"{network.macs:,}",
    )


def _ms(value: float | None, otherwise: str = "") -> str:
    return otherwise if value is None else f"{value:.4g}"


def bundle(deployment: Deployment) -> Html:
    """Return a table of the models of a bundle."""
    columns = (
        Column(name="model", meaning="The file's name in the bundle.", is_text=True),
        TEST,
        Column(name=f"measured {ms_column(deployment.percentile)}", meaning=_measured(deployment.percentile)),
        *(P50, P95, P99),
        Column(name="KiB", meaning="Size of the file."),
        Column(name="what for", meaning="When to take this file.", is_text=True),
        Column(name="sha256", meaning="The first digits of the file's hash, to tell it by.", is_text=True),
    )
    rows = [
        (
            name,
            f"{model.score:.2%}",
            _ms(model.measured_ms, "not measured"),
            *map(_ms, (model.p50_ms, model.p95_ms, model.p99_ms)),
            f"{model.size_bytes / 1024:,.0f}",
            model.purpose,
            model.sha256[:12],
        )
        for name, model in deployment.models.items()
    ]
    recommended = deployment.recommended
    advice = "" if recommended is None else f"<p>{escape(f'Deploy {recommended.file}: {recommended.reason}.')}</p>"
    title = "Bundle" if deployment.network is None else f"Bundle of {deployment.network}"
    models = table(title, columns, rows, is_wide=True)
    return Html(f"<section><h3>{escape(title)}</h3>{advice}{models}{meanings(columns)}</section>")


def settings(facts: Facts) -> Html:
    """Return everything that the numbers depend on."""
    told = {"data": facts.subject.data, "search space": str(facts.subject.space.spec), **facts.subject.settings}
    if facts.table is not None:
        provenance = facts.table.provenance
        told |= {"table": f"{provenance.date}, {provenance.rounds} rounds, {provenance.precision}"}
        told |= {k: str(v) for k, v in provenance.worker.items() if not (v is None or isinstance(v, dict | list))}
    if facts.summary is not None:
        parity = facts.summary.parity
        told["ONNX against torch"] = (
            f"largest difference {parity.max_abs_difference:.1e}, "
            f"{parity.equal_predictions:.2%} equal predictions on {parity.num_images} images"
        )
    return Html(definitions(told, "meanings"))
