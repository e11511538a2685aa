"""The events that a worker may say: one schema for every event.

Nothing of an event is used before it is validated here; `WorkerClient` compares it with what was asked. Text and true
are no numbers, numbers are finite and in their range, and there are no other fields than these, but for `started`,
whose further fields are facts about the worker and its machine.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from profilers.errors import WorkerLostError
from profilers.measurement import DAY_NS
from profilers.quoting import printable, quoted
from safe_files import FileError
from safe_files.reading import parse_json

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

WallNs = Annotated[int, Field(ge=1, lt=DAY_NS)]
CpuNs = Annotated[int, Field(ge=0, lt=DAY_NS)]
"""Clocks of threads may stand still during a short run."""

Index = Annotated[int, Field(ge=0, le=10**9)]
Text = Annotated[str, Field(max_length=10_000), AfterValidator(printable)]
Output = Annotated[tuple[float | None, ...], Field(max_length=1024)]
"""Some values of an output; None for what is not finite."""

Operations = Annotated[tuple[Annotated[str, Field(max_length=200)], ...], Field(max_length=100_000)]
"""Operations by what the runtime calls them."""

_Number = Annotated[int, Field(ge=-(2**53), le=2**53)]
_Fact = Text | bool | _Number | float | None
_Facts = _Fact | Annotated[list[_Fact], Field(max_length=4096)]


@dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="ignore", allow_inf_nan=False))
class Health:
    """The state of the machine when the worker started, None where it does not tell."""

    temperature_c: Annotated[float, Field(ge=-273.15, le=10_000)] | None = None
    free_mb: Annotated[float, Field(ge=0, le=1e12)] | None = None


class Started(BaseModel):
    """The worker is there; further fields are facts about it."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, frozen=True)
    __pydantic_extra__: dict[str, _Facts]

    event: Literal["started"]
    health: Health = Health()

    @model_validator(mode="after")
    def _names_are_words(self) -> Started:
        if wrong := [name for name in self.__pydantic_extra__ if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name)]:
            raise ValueError(f"expected names of letters, digits, _, . and -, found {printable(wrong[0])!r}")
        return self

    @property
    def facts(self) -> dict[str, object]:
        """The facts that the worker tells about itself and its machine."""
        return dict(self.__pydantic_extra__)


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class Failed:
    """The answer that what was asked cannot be done; about a model where it has an index."""

    event: Literal["failed"]
    message: Annotated[Text, Field(min_length=1)]
    index: Index | None = None


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class Opened:
    """A model is ready to run, and what it computed from random inputs where that is to be compared."""

    event: Literal["opened"]
    index: Index
    outputs: Annotated[tuple[Output, ...], Field(max_length=1024)] = ()


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class Inspected:
    """The result of inspecting a model: what the runtime makes of it, what it leaves to the CPU, and the microseconds
    that each operation takes, where it tells those for all of them."""

    event: Literal["inspected"]
    operations: Operations
    fallbacks: Operations = ()
    operation_us: Annotated[tuple[Annotated[float, Field(ge=0, le=1e12)], ...], Field(max_length=100_000)] = ()
    energy_mj: Annotated[float, Field(gt=0, le=1e9)] | None = None

    @model_validator(mode="after")
    def _all_operations_are_timed(self) -> Inspected:
        if self.operation_us and len(self.operation_us) != len(self.operations):
            raise ValueError(f"expected times of {len(self.operations)} operations, found {len(self.operation_us)}")
        return self


TensorShape = Annotated[
    dict[
        Annotated[str, Field(max_length=64)],
        Annotated[tuple[Annotated[int, Field(ge=0, lt=2**40)], ...], Field(max_length=32)],
    ],
    Field(min_length=1, max_length=1),
]
"""The sizes of a tensor by its element type, such as {"float": [1, 3, 32, 32]}."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class RunNode:
    """A node of an optimised graph as it ran: what executed it, the tensors that it was given and gave, and the
    microseconds that it took at each visit by the runtime's profiler."""

    name: Annotated[Text, Field(max_length=2000)]
    operation: Annotated[Text, Field(min_length=1, max_length=200)]
    provider: Annotated[Text, Field(max_length=200)]
    inputs: Annotated[tuple[TensorShape, ...], Field(max_length=4096)]
    outputs: Annotated[tuple[TensorShape, ...], Field(max_length=4096)]
    us: Annotated[tuple[Annotated[int, Field(ge=0, lt=DAY_NS // 1000)], ...], Field(min_length=1)]


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class RunTimes:
    """Wall-clock nanoseconds of a whole model's run at each visit, and CPU nanoseconds of the thread."""

    wall_ns: Annotated[tuple[WallNs, ...], Field(min_length=1)]
    cpu_ns: tuple[CpuNs, ...]


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class Dissected:
    """A model taken apart: its optimised graph, and the nodes in the order that they ran.

    Attributes:
        graph: an ONNX file without its larger weights, compressed by zlib, in base64; None where the runtime cannot
            write the graph.
        plain, profiled: what the whole took without the profiler and with it, at visits that alternate.
    """

    event: Literal["dissected"]
    graph: Annotated[str, Field(pattern=r"^[A-Za-z0-9+/=]+$")] | None
    nodes: Annotated[tuple[RunNode, ...], Field(min_length=1, max_length=100_000)]
    plain: RunTimes
    profiled: RunTimes

    @model_validator(mode="after")
    def _visits_agree(self) -> Dissected:
        columns = [t for times in (self.plain, self.profiled) for t in (times.wall_ns, times.cpu_ns)]
        if len({len(column) for column in (*columns, *(node.us for node in self.nodes))}) != 1:
            raise ValueError("expected as many times of each node and of the whole, one for each visit")
        return self


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class Computed:
    """A model was run on all that was asked for."""

    event: Literal["computed"]
    index: Index


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class Visiting:
    """The next visit of an announced round begins."""

    event: Literal["visiting"]
    index: Index


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class Round:
    """One visit to each model, and the pace before them where the worker tells it."""

    event: Literal["round"]
    order: tuple[Index, ...]
    wall_ns: tuple[WallNs, ...]
    cpu_ns: tuple[CpuNs, ...]
    first_ns: tuple[WallNs, ...] | None = None
    throttled: bool = False
    pace: tuple[WallNs, CpuNs] | None = None

    @model_validator(mode="after")
    def _columns_are_equally_long(self) -> Round:
        lengths = [
            len(column) for column in (self.order, self.wall_ns, self.cpu_ns, self.first_ns) if column is not None
        ]
        if len(set(lengths)) != 1:
            raise ValueError(f"expected columns as long as the order, found {lengths} values")
        return self


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class Paced:
    """The nanoseconds that the fixed piece of work took, again and again."""

    event: Literal["pace"]
    wall_ns: tuple[WallNs, ...]
    cpu_ns: tuple[CpuNs, ...]


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class Tuned:
    """The tuner is done with a model, or could not tune it."""

    event: Literal["tuned"]
    key: str
    number: Annotated[int, Field(ge=1)]
    seconds: Annotated[float, Field(ge=0, le=1e9)]
    error: Text | None = None


Event = Started | Failed | Opened | Inspected | Dissected | Computed | Visiting | Round | Paced | Tuned
EventT = TypeVar("EventT", Started, Opened, Inspected, Dissected, Computed, Round, Paced, Tuned)

_EVENTS: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def parse_event(line: bytes) -> Event:
    """Return what a line of a worker says.

    Raises:
        WorkerLostError: it is no JSON, or no event as they are described here.
    """
    try:
        event = _EVENTS.validate_json(line, strict=True)
        parse_json(line)  # which takes no field twice
    except ValidationError as error:
        raise WorkerLostError(f"expected an event, found {quoted(line)}: {first_error(error)}") from error
    except FileError as error:
        raise WorkerLostError(f"expected an event, found {quoted(line)}: {printable(str(error))}") from error
    return event


def first_error(error: ValidationError) -> str:
    """Return where the first thing is that does not fit, and why."""
    first: Any = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(printable(str(part)) for part in first["loc"])
    return f"{where}: {printable(first['msg'])}" if where else printable(first["msg"])
