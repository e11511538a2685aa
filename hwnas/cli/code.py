"""The flag of commands that read names of code from files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Annotated

import typer

from hwnas.cli.parameters import keyword, parameters_of, taking

TrustCode = Annotated[
    bool,
    typer.Option(
        "--trust-code",
        envvar="HWNAS_TRUST_CODE",
        help="Run the code that tables, spaces, configurations and runs name in files of their own.",
    ),
]


def may_run_code(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with the flag --trust-code; without it only files that its user named are run."""

    @taking([*parameters_of(command), keyword("trust_code", TrustCode, default=False)], command)
    def trusting(*, trust_code: bool = False, **arguments: object) -> None:
        from safe_files.code_trust import code_limited_to

        with nullcontext() if trust_code else code_limited_to(sys.argv[1:]):
            command(**arguments)

    return trusting
