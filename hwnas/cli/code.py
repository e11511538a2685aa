"""The flag of commands that read names of code from files."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Annotated

import typer

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
    signature = inspect.signature(command, eval_str=True)
    flag = inspect.Parameter("trust_code", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=TrustCode)

    @functools.wraps(command)
    def trusting(*, trust_code: bool = False, **arguments: object) -> None:
        from safe_files.code_trust import code_limited_to

        with nullcontext() if trust_code else code_limited_to(sys.argv[1:]):
            command(**arguments)

    trusting.__signature__ = signature.replace(parameters=[*signature.parameters.values(), flag])  # type: ignore[attr-defined]
    trusting.__annotations__ = {**inspect.get_annotations(command, eval_str=True), "trust_code": TrustCode}
    return trusting
