"""A signal that ends a command."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

AGAIN_S = 0.05
"""How long after it was lost a signal is sent again: what lost it is done by then, and nobody has noticed."""


class Interruption(BaseException):
    """Ctrl-C or a request to end; unlike KeyboardInterrupt, the command-line library does not answer it itself."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def sent_again() -> Iterator[None]:
    """Send a signal again if it arrives where Python prints an exception and goes on, as in a destructor or a fork."""
    before = sys.unraisablehook

    def hook(unraisable: UnraisableHookArgs) -> None:
        if not isinstance(unraisable.exc_value, Interruption):
            return before(unraisable)
        from threading import Timer, main_thread

        again = Timer(AGAIN_S, signal.pthread_kill, (main_thread().ident, unraisable.exc_value.number))
        again.daemon = True
        again.start()
        return None

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
