"""Whether a machine can be reached by its name, told in a second or two."""

from __future__ import annotations

import socket
import subprocess
import threading

RESOLVE_TIMEOUT_S = 2.0
"""Resolvers retry for many seconds where no server answers; one that does takes milliseconds."""


def require_resolved(host: str, *, timeout_s: float = RESOLVE_TIMEOUT_S) -> None:
    """Raise OSError unless a host's name is known, or is an address."""
    failures: list[OSError] = []

    def resolve() -> None:
        try:
            socket.getaddrinfo(host, None)
        except (OSError, UnicodeError) as error:  # a name that cannot be encoded is none
            failures.append(error if isinstance(error, OSError) else OSError(str(error)))

    # Nothing can interrupt the resolver: a thread that still waits when the program ends is left behind.
    waiting = threading.Thread(target=resolve, daemon=True)
    waiting.start()
    waiting.join(timeout_s)
    if waiting.is_alive():
        raise OSError(f"the host name {host!r} was not resolved within {timeout_s:g} s")
    if failures:
        raise OSError(f"the host name {host!r} is not known ({failures[0].strerror or failures[0]})")


def ssh_host(host: str, options: tuple[str, ...]) -> str | None:
    """Return the name that ssh will look up for a host of the user's configuration.

    None where another machine or program does that, or ssh does not tell.
    """
    try:
        done = subprocess.run(
            ["ssh", "-G", *options, host],  # noqa: S607 - the ssh that measures
            capture_output=True,
            text=True,
            check=False,
            timeout=5,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    settings = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    goes_through = {settings.get(name, "none") for name in ("proxyjump", "proxycommand")} - {"none"}
    return None if goes_through else settings.get("hostname")
