"""The classes of all commands: help that shows its brackets, and flags that are made when they are asked for."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


class Command(TyperCommand):
    """A command in whose help brackets are no markup."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        _escape(self)


class Group(TyperGroup):
    """A group of commands in whose help brackets are no markup."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        _escape(self)


class RunCommand(Command):
    """A command that has a flag for every common setting of a run, made from the configuration when it is called.

    Until then, as in the list of all commands, the configuration and what it needs are not imported.
    """

    def whole(self) -> Any:
        """Return the command with all its flags."""
        from hwnas.cli.setting_flags import with_setting_flags

        assert self.callback is not None
        alone = typer.Typer(add_completion=False)
        made = with_setting_flags(self.callback.__wrapped__)  # type: ignore[attr-defined]
        alone.command(self.name, cls=Command)(made)
        whole = typer.main.get_command(alone)
        whole.help = self.help
        return whole

    def make_context(self, *arguments: Any, **settings: Any) -> Any:
        """Return the context of the whole command, which parses, helps, completes and runs."""
        return self.whole().make_context(*arguments, **settings)


def _escape(command: TyperCommand | TyperGroup) -> None:
    """Have help texts shown as they are written: rich takes what is in brackets for a style."""
    from rich.markup import escape

    command.help = escape(command.help or "")
    for parameter in command.params:
        if (text := getattr(parameter, "help", None)) is not None:
            parameter.help = escape(text)  # type: ignore[attr-defined]
