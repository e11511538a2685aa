"""Signals that end a command."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

ENDED_BY = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
"""Signals that end a command in good order, drafts removed and workers ended, and the word for each."""

AGAIN_S = 0.05
"""How long after it was lost a signal is sent again: what lost it is done by then, and nobody has noticed."""

_to_be_sent: list[threading.Timer] = []


class Interruption(BaseException):
    """Ctrl-C or a request to end; unlike KeyboardInterrupt, the command-line library does not answer it itself."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def interrupt(number: int, _frame: FrameType | None) -> None:
    """Raise an Interruption: what a signal is answered by. One that was lost before is not sent again."""
    for timer in _to_be_sent:
        timer.cancel()
    raise Interruption(number)


@contextlib.contextmanager
def sent_again() -> Iterator[None]:
    """Send a signal again if it arrives where Python prints an exception and goes on, as in a destructor or a fork."""
    before = sys.unraisablehook

    def hook(unraisable: UnraisableHookArgs) -> None:
        error = unraisable.exc_value
        if not isinstance(error, Interruption):
            before(unraisable)
        while error is not None and not isinstance(error, Interruption):
            error = error.__context__
        if error is not None:
            timer = threading.Timer(AGAIN_S, signal.pthread_kill, (threading.main_thread().ident, error.number))
            timer.daemon = True
            _to_be_sent.append(timer)
            timer.start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        try:
            _end_timers()  # one that is sending arrives here, and not once nobody answers it
        finally:
            sys.unraisablehook = before


def _end_timers() -> None:
    while _to_be_sent:
        timer = _to_be_sent.pop()
        timer.cancel()
        timer.join()


def leave(code: int) -> NoReturn:
    """End the process with an exit code, once libraries have done what they do at the end.

    What Python does after that crashes now and then where threads of compiled code, such as Ray's, were interrupted.
    """
    for number in ENDED_BY:
        signal.signal(number, signal.SIG_DFL)  # given again, it ends what libraries wait for
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
