"""The values of zero-cost proxies for a sample of a space."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, model_validator
from pydantic.dataclasses import dataclass

from search_spaces import Architecture


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="ignore"))
class ProxyValues:
    """The values that cheap evaluators give the architectures of a sample; infinities are among them.

    Raises:
        ValueError: a proxy has another number of values than there are architectures.
    """

    architectures: tuple[Architecture, ...]
    values: dict[str, tuple[float, ...]]
    version: Literal[1] = 1

    @model_validator(mode="after")
    def _one_value_each(self) -> ProxyValues:
        for name, values in self.values.items():
            if len(values) != len(self.architectures):
                raise ValueError(f"expected {len(self.architectures)} values of {name}, got {len(values)}")
        return self

    def as_dict(self) -> dict[str, object]:
        """Return the fields as they are written to files."""
        return {"architectures": self.architectures, "values": self.values, "version": self.version}
