"""How long to go on, and what was tried."""

from __future__ import annotations

from collections import Counter

import pytest

SECONDS = 300
"""Of the slow run."""

TRIED: Counter[tuple[str, str]] = Counter()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz-seconds", type=float, default=SECONDS, help="how long the slow run goes on")


@pytest.fixture(scope="session")
def fuzz_seconds(pytestconfig: pytest.Config) -> float:
    """How long the slow run goes on; the option is known where this folder is named."""
    return float(pytestconfig.getoption("--fuzz-seconds", default=SECONDS))


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
