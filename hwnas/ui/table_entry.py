"""A latency table as its file tells it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from hwnas.config import TrustConfig
from hwnas.pipeline.table_space import space_of
from hwnas.quantities import format_ms
from hwnas.report.facts import network_latencies
from hwnas.run_folder import RunFolder
from hwnas.trust import contradictions, describe_certificate, describe_tail, doubts
from hwnas.ui.folder import MAX_TABLE_BYTES, Cache, require_own, signature
from lut import LatencyTable, LaterTableError, TableError, load_table
from lut.certificate import Certificate
from lut.machine import describe_machine
from lut.overview import extreme_networks
from lut.tails import tails_of
from safe_files import FileError
from safe_files.code_trust import UntrustedCodeError
from search_spaces import SearchSpace, SpaceError
from search_spaces.importing import ImportReferenceError

NUM_SLOWEST = 10
"""Blocks that are listed."""

KEPT_VIEWS = 16
"""Tables of which everything that a page shows is kept: a view is a hundred times as large as an entry."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TableEntry:
    """A table of the folder.

    Attributes:
        key: its path from the folder on.
        fault: why it cannot be read; everything else but the key is empty then.
        doubt: why it is not certified, as what follows its name; None where it is good enough to search by.
        made_s: when it was made, in seconds since 1970.
    """

    key: str
    fault: str | None = None
    space: str = ""
    space_name: str = ""
    device: str = ""
    runtime: str = ""
    threads: int = 1
    precision: str = ""
    num_blocks: int = 0
    num_failed: int = 0
    made_s: float = 0.0
    certificate: Certificate | None = None
    doubt: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TableView:
    """Everything that a table's page shows besides its entry.

    Attributes:
        certificate: on how far its predictions are off, in a line.
        warnings: what it says that cannot be.
        sentences: on the machine, its networks and their tails.
        networks: measured and predicted milliseconds, by role.
        slowest: milliseconds of the blocks that take longest, by key.
        failures: errors of blocks, by key.
        missing_space: why nothing can be predicted; None where something can.
    """

    certificate: str
    warnings: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()
    networks: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    slowest: dict[str, float] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    missing_space: str | None = None


class Tables:
    """The tables of a folder, read once and again when they have changed.

    Args:
        root: the folder, without links in its path.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._entries: Cache[TableEntry] = Cache()
        self._views: Cache[TableView] = Cache(KEPT_VIEWS)

    def entry(self, key: str, path: Path) -> TableEntry:
        """Return a table, whatever is wrong with it."""
        return self._entries.get(path, signature([path]), lambda: self._read_entry(key, path))

    def view(self, path: Path) -> TableView:
        """Return what the page of a table shows.

        Raises:
            FileError: it leads out of the folder, or is too large.
            TableError: it cannot be read.
        """
        beside = RunFolder(path.parent).network
        return self._views.get(path, signature([path, beside]), lambda: self._read_view(path, beside))

    def _read_entry(self, key: str, path: Path) -> TableEntry:
        try:
            return _entry(key, self._load(path))
        except (FileError, TableError, LaterTableError, OSError) as error:
            return TableEntry(key=key, fault=str(error))

    def _read_view(self, path: Path, beside: Path) -> TableView:
        table = self._load(path)
        try:
            if beside.exists():
                require_own(beside, self._root, max_bytes=MAX_TABLE_BYTES)
            return _view(table, space_of(table, path))
        except (SpaceError, ImportReferenceError, UntrustedCodeError, FileError, TableError, OSError) as error:
            return _view(table, None, missing_space=str(error))

    def _load(self, path: Path) -> LatencyTable:
        require_own(path, self._root, max_bytes=MAX_TABLE_BYTES)
        return load_table(path)


def _entry(key: str, table: LatencyTable) -> TableEntry:
    made, device = table.provenance, table.provenance.device
    return TableEntry(
        key=key,
        space=str(table.space),
        space_name=table.space.name,
        device=str(device["name"]),
        runtime=" ".join(filter(None, (device["runtime"], str(made.worker.get(device["runtime"], ""))))),
        threads=device["threads"],
        precision=made.precision,
        num_blocks=len(table.entries) + len(table.reported),
        num_failed=len(table.failures),
        made_s=datetime.fromisoformat(made.date).timestamp(),
        certificate=table.certificate,
        doubt=doubts(table, TrustConfig()),
    )


def _view(table: LatencyTable, space: SearchSpace | None, *, missing_space: str | None = None) -> TableView:
    ranked = sorted(table.latency_ms.items(), key=lambda item: -item[1])[:NUM_SLOWEST]
    return TableView(
        certificate=describe_certificate(table).partition(": ")[2],
        warnings=() if space is None else tuple(contradictions(table, space)),
        sentences=() if space is None else tuple(_sentences(table, space)),
        networks={} if space is None else network_latencies(table, space),
        slowest=dict(ranked),
        failures={m.key: str(m.error) for m in table.failures},
        missing_space=missing_space,
    )


def _sentences(table: LatencyTable, space: SearchSpace) -> Iterator[str]:
    if (extremes := extreme_networks(table, space)) is not None:
        fastest, slowest = (format_ms(extremes[name]["predicted_ms"]) for name in ("fastest", "slowest"))
        yield f"networks of this space are predicted to take {fastest} (the fastest) to {slowest} (the slowest)"
    yield from describe_machine(table, space)
    yield from map(describe_tail, tails_of(table, space).values())
