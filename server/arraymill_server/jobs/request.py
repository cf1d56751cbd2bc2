"""A job as it comes in, and how it went."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from arraymill_proto.graph import Graph
from arraymill_proto.limits import DEFAULT_PRIORITY
from arraymill_server.jobs.residents import ResidentArray
from arraymill_server.jobs.run import Times
from arraymill_server.plan.model import ResidentView


def nothing() -> None:
    """Give back what was not held."""


@dataclass(frozen=True, slots=True)
class Keep:
    """The wish to keep a result on the server."""

    name: str = ""
    ttl_seconds: float | None = None
    is_patient: bool = False
    """Wait for room, however long that takes; else a server that has none refuses the job."""


class Workspace(Protocol):
    """Memory of a job that is not the arena's."""

    @property
    def address(self) -> int: ...

    @property
    def size(self) -> int: ...

    def release(self) -> None:
        """Give it back: no worker may touch it any more."""
        ...


class Room(Protocol):
    """Where a job may have its workspace beside the arena, without waiting for its turn."""

    def lease(self, least: int, most: int, owner: str) -> Workspace | None:
        """Lease a workspace if there is one now.

        Args:
            least: Bytes with which the job can make progress.
            most: Bytes of which it can make use.
            owner: The job, for messages.
        """
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """Memory for an output, in C order."""

    address: int
    room_bytes: int
    """Bytes from there on that may be written."""


@dataclass(frozen=True, slots=True)
class Request:
    """A job as it comes in."""

    graph: Graph
    client: str
    """Whose turn it takes."""
    keep: Keep | None = None
    """Leave the value of each output on the server."""
    result_limit: int | None = None
    """Most bytes that all results together may have; None: any number."""
    priority: int = DEFAULT_PRIORITY
    """0 to 9."""
    job_id: str = field(default_factory=lambda: secrets.token_hex(8))
    times: Times = field(default_factory=Times)
    """Filled while the job runs: they are there as well if it fails."""
    room: Room | None = None
    """Where a workspace may be had beside the arena."""
    views: Mapping[int, ResidentView] = field(default_factory=dict[int, ResidentView])
    """Where inputs lie that are in memory already, by node: they are not asked for."""
    targets: tuple[Target, ...] = ()
    """Where each output is to be left, if it can; else they are all sent."""
    hold: Callable[[], Callable[[], None]] = lambda: nothing
    """Called when the job begins to use views and targets; returns what is called once when no worker touches them."""


@dataclass(slots=True)
class Report:
    """How a job went."""

    job_id: str
    times: Times = field(default_factory=Times)
    received_bytes: int = 0
    sent_bytes: int = 0
    blocks: int = 0
    passes: int = 0
    arrays: tuple[ResidentArray, ...] = ()
    """The results that were kept, one per output."""
