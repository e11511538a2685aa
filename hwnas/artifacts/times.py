"""The times of a run."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime
from pydantic.dataclasses import dataclass

from hwnas.records import READ_IN_PART


@dataclass(frozen=True, kw_only=True, slots=True, config=READ_IN_PART)
class RunTimes:
    """When a run began, and how the last command ended that worked on it.

    Attributes:
        began: None of a run that an earlier version began, which did not write it.
        ended: None while a command works on the run, and after one that was interrupted or killed.
        failure: what the error said that ended it; None where none did.
    """

    began: AwareDatetime | None
    ended: AwareDatetime | None = None
    failure: str | None = None
    version: Literal[1] = 1

    def as_dict(self) -> dict[str, object]:
        """Return the fields as they are written to files, dates as ISO 8601 has them."""
        dates = {"began": self.began, "ended": self.ended}
        written = {name: None if date is None else date.isoformat(timespec="seconds") for name, date in dates.items()}
        return {**written, "failure": self.failure, "version": self.version}
