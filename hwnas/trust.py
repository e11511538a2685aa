"""Whether a latency table is good enough to search by."""

from __future__ import annotations

from hwnas.config import TrustConfig
from hwnas.errors import RequestError
from lut import LatencyModel, LatencyTable, TableError
from lut.build import FEWEST_NETWORKS, certificate_of
from lut.certificate import Certificate
from lut.tails import LEAST_RUNS_IN_TABLES, Tail, tail_of
from profilers.tails import LEAST_RUNS
from search_spaces import SearchSpace, SpaceError

OVERRIDE = "give --accept-table to take it all the same"


def require_trust(table: LatencyTable, trust: TrustConfig, *, name: str) -> None:
    """Raise RequestError for a given table that is not good enough to search by, unless any is accepted."""
    if not trust.accept_any and (doubt := doubts(table, trust)) is not None:
        raise RequestError(f"{name} {doubt}; {_remedy(table)}, or {OVERRIDE}")


def require_own_certificate(table: LatencyTable, space: SearchSpace, *, name: str) -> None:
    """Raise RequestError for a table whose certificate its own samples do not bear out, or whose predictions cannot be.

    A checksum tells that nothing was changed by accident; this, that the figures are what they claim to be.
    """
    if not table.space.has_networks_of(space.spec):
        return
    if table.certificate is not None and not _is_own(table.certificate, own := certificate_of(table, space)):
        raise RequestError(
            f"{name} has a certificate that is not of its samples: it says {describe(table.certificate)}; they say "
            f"{'nothing' if own is None else describe(own)}. Make it anew: hwnas lut refit {name}, or {OVERRIDE}"
        )
    if (doubt := doubtful_prediction(table, space)) is not None:
        raise RequestError(f"{name}: {doubt}; {_remedy(table)}, or {OVERRIDE}")


def contradictions(table: LatencyTable, space: SearchSpace) -> list[str]:
    """Return what a table says that cannot be, a line each."""
    lines = []
    try:
        if table.certificate is not None and not _is_own(table.certificate, certificate_of(table, space)):
            lines.append("the certificate is not that of the table's samples: hwnas lut refit makes it anew")
    except SpaceError as error:
        lines.append(f"a network of the table is none of its space ({error}): profile it again with --fresh")
    found = (doubtful_factors(table), doubtful_prediction(table, space))
    return lines + [f"{doubt}; {_remedy(table)}" for doubt in found if doubt is not None]


def doubtful_factors(table: LatencyTable) -> str | None:
    """Return what is wrong with the factors that blocks count with in networks; None where all are above zero."""
    factors = {} if table.calibration is None else table.calibration.factors
    if not (wrong := {key: factor for key, factor in factors.items() if factor <= 0}):
        return None
    key, factor = next(iter(wrong.items()))
    return (
        f"{len(wrong)} of {len(factors)} blocks count with a factor of zero or less, such as {key} with {factor:.3f}, "
        "as if slower blocks made networks faster"
    )


def doubtful_prediction(table: LatencyTable, space: SearchSpace) -> str | None:
    """Return that networks are predicted to take no time; None where none is, or none can be predicted."""
    try:
        fastest_ms = LatencyModel(space, table).extreme()[1]
    except TableError:
        return None
    if fastest_ms > 0:
        return None
    return f"the fastest network is predicted to take {fastest_ms:.3g} ms, expected more than nothing"


def _is_own(certificate: Certificate, own: Certificate | None) -> bool:
    return own is not None and certificate.is_close_to(own)


def doubts(table: LatencyTable, trust: TrustConfig) -> str | None:
    """Return why a table is not good enough to search by, as what follows its name; None where it is.

    It was made under an emulator, its milliseconds are not to be believed, it has no certificate, or one below the
    threshold, or counts blocks with factors below zero.
    """
    certificate = table.certificate
    if table.provenance.is_emulated:
        return "was made under an emulator: its numbers are no latencies of a device"
    if not table.slowdown.is_believed:
        return (
            f"was made while the machine was slowed by {table.slowdown.by:.0%}: its milliseconds are not to be "
            "believed, and budgets in milliseconds mean nothing by it"
        )
    if certificate is None:
        return "has no certificate: nobody knows how wrong its predictions are, and whether a budget will be kept"
    if certificate.within_10pct < trust.min_within_10pct:
        return (
            f"predicts {certificate.within_10pct:.0%} of held-out networks within 10 %, expected at least "
            f"{trust.min_within_10pct:.0%}: a network that is to keep a budget may well miss it"
        )
    doubt = doubtful_factors(table)
    return None if doubt is None else f"is not to be believed: {doubt}"


def shortfall(table: LatencyTable, space: SearchSpace, *, name: str, may_lack_certificate: bool = False) -> str | None:
    """Return in one line what is wrong with a table that was just made and what to do; None where it is usable.

    Args:
        name: of the table's file.
        may_lack_certificate: none was asked for. Neither is anything said of a device that is emulated knowingly.
    """
    try:
        LatencyModel(space, table, name=name)
    except TableError as error:
        return f"not usable: {error}"
    doubt = None if table.provenance.is_emulated else doubts(table, TrustConfig())
    if (sign := doubtful_prediction(table, space)) is not None:
        return f"not usable: {name}: {sign}; {_remedy(table)}"
    if table.certificate is None and 0 < (num := len({n.architecture for n in table.networks})) < FEWEST_NETWORKS:
        doubt = f"has no certificate, since its space has only {num} networks that differ"
        return f"not usable: {name} {doubt}: search without --lut, which measures them, or {OVERRIDE}"
    if doubt is None or (may_lack_certificate and table.certificate is None and table.slowdown.is_believed):
        return None
    return f"not usable: {name} {doubt}; {_remedy(table)}"


def _remedy(table: LatencyTable) -> str:
    if table.provenance.is_emulated:
        return "profile the device itself"
    if table.is_imported:
        return "hwnas lut adapt makes a table with one from it, for a device that is here"
    again = "adapt again" if table.is_adapted else "profile again with --fresh"
    if not table.slowdown.is_believed:
        return f"{again} when nothing else runs on the device"
    if table.certificate is None and table.networks:
        return "hwnas lut refit makes one from its samples, where an older version made the table"
    if table.certificate is None:
        return f"{again} and --networks 50"
    if table.is_adapted:
        return "profile this device whole, with hwnas profile"
    return f"{again} when less runs beside it, with more to learn from: --networks 100 --rounds 160"


def describe_uncertified(table: LatencyTable, *, name: str) -> str:
    """Return in one line that a table that another is made from has no certificate, and what to do about it."""
    remedy = "" if table.is_imported else f"; {_remedy(table)}"  # nobody else can certify what others measured
    return f"{name} has no certificate: nobody knows how wrong its predictions are{remedy}"


def describe_certificate(table: LatencyTable) -> str:
    """Return one line on how far a table's predictions are off, or why that says nothing."""
    figures = describe(table.certificate) if table.certificate else "no certificate"
    if not table.slowdown.is_believed:
        return f"latency table: not certified: {table.slowdown.sentence()} (among themselves: {figures})"
    return f"latency table: {figures}"


def required_tail(table: LatencyTable, space: SearchSpace, percentile: int, trust: TrustConfig, *, name: str) -> Tail:
    """Return how a percentile of networks follows from a table.

    Raises:
        RequestError: it does not tell that, or nobody knows how well and not any table is accepted.
    """
    tail = tail_of(table, space, percentile)
    if tail is not None and (tail.certificate is not None or trust.accept_any):
        return tail
    found = f"p{percentile} of networks"
    if table.is_imported:
        raise RequestError(
            f"{name} tells no {found}: expected samples of whole networks, found those of none; hwnas lut adapt makes "
            "a table with some from it, for a device that is here"
        )
    remedy = f"profile again with --percentile {percentile} and --fresh, or hold the budget on a lower percentile"
    if tail is None:
        raise RequestError(
            f"{name} tells no {found}: expected a certificate, and {LEAST_RUNS[percentile]} runs of networks for "
            f"calibration and as many of held-out ones; {remedy}"
        )
    raise RequestError(
        f"{name} has no certificate of {found}: expected {LEAST_RUNS_IN_TABLES[percentile]} runs of each network, "
        f"found {table.provenance.rounds} rounds; {remedy}, or {OVERRIDE}"
    )


def tail_doubt(tail: Tail, trust: TrustConfig) -> str | None:
    """Return why a table is poor at predicting a percentile, as what follows its name; None where it is not."""
    certificate = tail.certificate
    if trust.accept_any or certificate is None or certificate.within_10pct >= trust.min_within_10pct:
        return None
    return (
        f"predicts {tail.name} of {certificate.within_10pct:.0%} of held-out networks within 10 %, expected at least "
        f"{trust.min_within_10pct:.0%}, as far as measured ones repeat ({certificate.repeatability_mape:.1%})"
    )


def describe_tail(tail: Tail) -> str:
    """Return one line on how a tail percentile of networks follows from their medians, and how well."""
    figures = (
        f"no certificate, which takes {LEAST_RUNS_IN_TABLES[tail.percentile]} runs of each network"
        if tail.certificate is None
        else describe(tail.certificate)
    )
    extra = f"{tail.extra_ms:.3g} ms" if tail.extra_ms >= 1 else f"{1e3 * tail.extra_ms:.3g} us"
    return (
        f"{tail.name} of networks: {tail.scale:.3f} times the median + {extra}, which "
        f"{tail.covered:.1%} of the held-out networks' runs keep; {figures}"
    )


def describe(certificate: Certificate) -> str:
    """Return a certificate in one line."""
    duplicates = "" if certificate.duplicates_mape is None else f", duplicates {certificate.duplicates_mape:.1%}"
    return (
        f"{certificate.num_networks} held-out networks predicted with {certificate.mape:.1%} mean error "
        f"(bias {certificate.bias:+.1%}), {certificate.within_5pct:.0%} within 5 %, {certificate.within_10pct:.0%} "
        f"within 10 %, Kendall tau {certificate.kendall_tau:.2f}; "
        f"repeatability {certificate.repeatability_mape:.1%}{duplicates}"
    )
