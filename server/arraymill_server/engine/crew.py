"""What the supervisor tells of its workers."""

from __future__ import annotations

from typing import Protocol

from arraymill_server.engine.base import EngineStartError
from arraymill_server.engine.death import Death
from arraymill_server.engine.link import Link
from arraymill_server.engine.messages import Reply
from arraymill_server.engine.turns import Entry


class Crew(Protocol):
    """Who gives the workers their tasks."""

    def worker_idle(self) -> None:
        """A worker can take a task."""
        ...

    def worker_replied(self, entry: Entry, reply: Reply) -> None:
        """A task is answered."""
        ...

    def worker_fenced(self, link: Link, death: Death, waiting: list[Entry]) -> None:
        """A worker cannot be killed; see `LinkOwner.link_fenced`."""
        ...

    def worker_died(self, link: Link, death: Death, suspect: Entry | None) -> None:
        """A worker touches no memory any more; see `LinkOwner.link_died`."""
        ...

    def workers_failed(self, error: EngineStartError) -> None:
        """No worker is left and none can be started for now."""
        ...
