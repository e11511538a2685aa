"""How long to go on, and what was tried."""

from __future__ import annotations

from collections import Counter

import pytest

TRIED: Counter[tuple[str, str]] = Counter()


@pytest.fixture(scope="session")
def fuzz_seconds(pytestconfig: pytest.Config) -> float:
    """How long the slow run goes on."""
    return float(pytestconfig.getoption("--fuzz-seconds"))


@pytest.fixture(scope="session")
def tried() -> Counter[tuple[str, str]]:
    """Cases so far by kind of file and by how they ended."""
    return TRIED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for kind in sorted({kind for kind, _ in TRIED}):
        ends = {end: num for (own, end), num in sorted(TRIED.items()) if own == kind}
        words = ", ".join(f"{num} {end}" for end, num in ends.items())
        terminalreporter.write_line(f"fuzz: {kind:12s} {sum(ends.values()):6d} cases: {words}")
    if TRIED:
        terminalreporter.write_line(f"fuzz: {sum(TRIED.values())} cases in all")
