"""A signal that ends a command."""

from __future__ import annotations


class Interruption(BaseException):
    """Ctrl-C or a request to end; unlike KeyboardInterrupt, the command-line library does not answer it itself."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
