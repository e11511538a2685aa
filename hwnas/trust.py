"""Whether a latency table is good enough to search by."""

from __future__ import annotations

from hwnas.config import TrustConfig
from hwnas.errors import RequestError
from lut import LatencyTable
from lut.certificate import Certificate

OVERRIDE = "give --accept-table to take it all the same"


def require_trust(table: LatencyTable, trust: TrustConfig, *, name: str) -> None:
    """Raise RequestError for a table that is emulated, uncertified or below the threshold, unless any is accepted."""
    if trust.accept_any:
        return
    if table.provenance.is_emulated:
        raise RequestError(f"{name} was made under an emulator: its numbers are no latencies of a device; {OVERRIDE}")
    certificate = table.certificate
    if certificate is None:
        raise RequestError(
            f"{name} has no certificate: nobody knows how wrong it is; profile again with --networks 50, or {OVERRIDE}"
        )
    if certificate.within_10pct < trust.min_within_10pct:
        raise RequestError(
            f"{name} predicts {certificate.within_10pct:.0%} of held-out networks within 10 %, expected at least "
            f"{trust.min_within_10pct:.0%}; profile again on a quieter machine, or {OVERRIDE}"
        )


def describe_certificate(table: LatencyTable) -> str:
    """One line on how far a table's predictions are off."""
    return f"latency table: {describe(table.certificate) if table.certificate else 'no certificate'}"


def describe(certificate: Certificate) -> str:
    """A certificate in one line."""
    twins = "" if certificate.twins_mape is None else f", twins {certificate.twins_mape:.1%}"
    return (
        f"{certificate.num_networks} held-out networks predicted with {certificate.mape:.1%} mean error "
        f"(bias {certificate.bias:+.1%}), {certificate.within_5pct:.0%} within 5 %, {certificate.within_10pct:.0%} "
        f"within 10 %, Kendall tau {certificate.kendall_tau:.2f}; "
        f"repeatability {certificate.repeatability_mape:.1%}{twins}"
    )
