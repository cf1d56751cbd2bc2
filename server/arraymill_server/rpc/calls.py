"""The calls that are open: counted, shared out among clients, and told when the server shuts down.

Calls that run jobs, calls that wait for something and calls that feed submitted jobs have places of their own, so that
none keeps the others out; what is answered at once has none and is never refused. A client may hold as many places as
are still free. So one that asks for more than there are gets half, two get a third each, and whoever comes next always
finds one; no limit per client needs to be chosen. The same holds for the bytes of their messages, which lie in the
server's own memory, and of their plans.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, Protocol

from arraymill_proto.errors import BusyError, ConnectionFailedError, Reason
from arraymill_proto.identity import CLIENT_KEY, is_client_name
from arraymill_proto.limits import MAX_NODES
from arraymill_server.metrics.counts import Counts
from arraymill_server.quantities import MIB, format_bytes
from arraymill_server.rpc.tally import Tally

RETRY_SECONDS: Final = 1.0
"""What a client is told to wait for a place."""

MAX_WAITS: Final = 4096
"""Calls that wait, for their client or for a job, which may be open: some 20 KB each."""

MESSAGES_BYTES: Final = 64 * MIB
"""What the messages of calls that run jobs may have together: each has up to 2 MiB, and lies in the server's memory,
not in the arena. Jobs of this library bring at most 64 KiB in a message: there is room for a thousand of them."""

SUBMITTED_BYTES: Final = 256 * MIB
"""The same for submitted jobs, which may wait for long, and bring up to 1 MiB."""

NODE_BYTES: Final = 3 << 10
"""What a node of a graph is reckoned at while its job waits or runs, as Python objects of graph, plan and layouts.
Measured: 0.5 KB for an elementwise one, 1.7 for a reduction, 2.0 for a scan, 2.5 for one with a pass of its own.
Only where many passes evaluate the same nodes again it is more, at most 6 MB in a job."""

MAX_SUBMITTED: Final = 100_000
"""Submitted jobs that may wait or run: the waiting line is shorter (--max-waiting-jobs)."""

READ_BYTES: Final = 64 << 10
"""Largest message that may ask for resident arrays while the server shuts down; larger ones are refused unread."""


def job_bytes(message_bytes: int, nodes: int) -> int:
    """Return what a job holds of the server's own memory, beside the arena.

    Args:
        message_bytes: Of the message that brought it.
        nodes: Of its graph; one of too many is refused before it is planned.
    """
    return message_bytes + NODE_BYTES * min(nodes, MAX_NODES)


class Caller(Protocol):
    """What a call tells of its client."""

    def peer(self) -> str: ...

    def invocation_metadata(self) -> Any: ...


def client_of(context: Caller) -> str:
    """Return whose call it is: the name that the client gives itself, within its host; else its connection."""
    peer = context.peer()
    for key, value in context.invocation_metadata() or ():
        if key == CLIENT_KEY and isinstance(value, str) and is_client_name(value):
            return f"{_host(peer)} {value}"
    return peer


def _host(peer: str) -> str:
    return "unix" if peer.startswith("unix") else peer.rpartition(":")[0]


@dataclass(slots=True)
class _Share:
    """What one client holds, or all of them do."""

    calls: int = 0
    nbytes: int = 0

    def add(self, calls: int, nbytes: int) -> None:
        self.calls += calls
        self.nbytes += nbytes


class Places:
    """Places for calls, shared by all clients.

    Args:
        limit: How many there are.
        purpose: What the calls do, for the message.
        option: What sets the limit, likewise; empty: nothing.
        budget_bytes: What their messages may have together.
    """

    def __init__(self, limit: int, purpose: str, option: str = "", *, budget_bytes: int = MESSAGES_BYTES) -> None:
        self._purpose = purpose
        self._option = f" ({option} {limit})" if option else ""
        self._budget = budget_bytes
        self._all = _Share()
        self._clients: dict[str, _Share] = {}
        self._free = asyncio.Event()
        self._free.set()
        self._refusals = Tally("calls refused", purpose=purpose, limit=limit)
        self.limit: Final = limit
        self.refused = 0
        """Calls that found no place."""

    def __repr__(self) -> str:
        return f"<Places of calls that {self._purpose}: {self.held} of {self.limit} held>"

    @property
    def held(self) -> int:
        """Calls that have a place."""
        return self._all.calls

    def check(self, client: str, nbytes: int = 0) -> None:
        """Check that there is a place for a call.

        Args:
            client: Whose.
            nbytes: Of its message.

        Raises:
            BusyError: There is none.
        """
        own = self._clients.get(client, _NOTHING)
        if self.held >= self.limit or own.calls > self.limit - self.held:
            raise self._busy(own)
        if nbytes and own.nbytes > self._budget - self._all.nbytes - nbytes:
            raise self._too_many_bytes(own, nbytes)

    @contextmanager
    def taken(self, client: str, nbytes: int = 0, *, is_bounded: bool = True) -> Generator[None]:
        """Hold a place.

        Args:
            client: Whose.
            nbytes: Of its message.
            is_bounded: False for a call that is counted but never refused.

        Raises:
            BusyError: On entering: there is no place.
        """
        if is_bounded:
            self.check(client, nbytes)
        own = self._clients.setdefault(client, _Share())
        own.add(1, nbytes)
        self._all.add(1, nbytes)
        self._free.clear()
        try:
            yield
        finally:
            own.add(-1, -nbytes)
            self._all.add(-1, -nbytes)
            if not own.calls:
                del self._clients[client]
            if not self.held:
                self._free.set()

    async def wait_free(self) -> None:
        """Return when nobody holds a place."""
        await self._free.wait()

    def _busy(self, own: _Share) -> BusyError:
        self._refuse()
        return BusyError(
            f"{self.held:,} of {self.limit:,} calls that {self._purpose} are open{self._option}, {own.calls:,} of "
            f"them this client's, which may have as many as are free; try again in {RETRY_SECONDS:g} s",
            retry_after=RETRY_SECONDS,
            calls=self.held,
            client_calls=own.calls,
            limit=self.limit,
        )

    def _refuse(self) -> None:
        self.refused += 1
        self._refusals.add()

    def _too_many_bytes(self, own: _Share, nbytes: int) -> BusyError:
        self._refuse()
        held, budget = self._all.nbytes, self._budget
        return BusyError(
            f"{format_bytes(nbytes)} for the message and the plan of a job, but those of calls that {self._purpose} "
            f"hold {format_bytes(held)} of {format_bytes(budget)}, {format_bytes(own.nbytes)} of them this client's, "
            f"which may have as much as is free; try again in {RETRY_SECONDS:g} s, stream the arrays on Run, or make "
            "the graph smaller",
            retry_after=RETRY_SECONDS,
            message_bytes=nbytes,
            messages_bytes=held,
            client_bytes=own.nbytes,
            limit_bytes=budget,
        )


_NOTHING: Final = _Share()


class Calls:
    """All open calls of a server. Make it in a running event loop.

    Args:
        limit: Calls that run jobs which may be open.
    """

    def __init__(self, limit: int) -> None:
        self.jobs = Places(limit, "run jobs", "--max-streams")
        self.waits = Places(MAX_WAITS, "wait")
        self.feeds = Places(MAX_SUBMITTED, "feed submitted jobs")
        """Counted, and never refused: their jobs were accepted, and a job has one that is not about to end."""
        self.ends = Places(MAX_WAITS, "have failed")
        """Counted, and never refused: their clients are being told why."""
        self.submitted = Places(MAX_SUBMITTED, "have submitted jobs", budget_bytes=SUBMITTED_BYTES)
        """Not calls any more: what they have brought."""
        self.counts: Final = Counts()
        """What was counted since the start."""
        self.is_closed = False
        """True when no new work is taken."""
        self.is_ended = False
        """True when nothing is waited for any more."""
        self.last_read = float("-inf")
        """When the last call that only read resident arrays ended."""
        self._tasks: set[asyncio.Task[Any]] = set()

    def __repr__(self) -> str:
        return f"<Calls: {len(self._tasks)} open, {self.jobs.held} run jobs, {self.waits.held} wait>"

    @property
    def refused(self) -> int:
        """Calls that found no place since the start."""
        return self.jobs.refused + self.waits.refused + self.submitted.refused

    @contextmanager
    def open(self) -> Generator[None]:
        """Note the current task as one that answers a call.

        Raises:
            ConnectionFailedError: On entering: calls have been ended.
        """
        if self.is_ended:
            raise shutting_down()
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)

    def check_open(self) -> None:
        """Refuse new work while the server shuts down.

        Raises:
            ConnectionFailedError: It does.
        """
        if self.is_closed:
            raise shutting_down()

    def check(self, client: str, nbytes: int) -> None:
        """Refuse a job before its message is unfolded.

        Args:
            client: Whose.
            nbytes: Of the message.

        Raises:
            BusyError: There is no place for it.
            ConnectionFailedError: The server is shutting down, and the message is no small question.
        """
        if self.is_closed and nbytes > READ_BYTES:
            raise shutting_down()
        self.jobs.check(client, nbytes)

    @contextmanager
    def job(self, client: str, nbytes: int, *, is_read: bool) -> Generator[None]:
        """Hold the place of a job.

        Args:
            client: Whose.
            nbytes: Of its message.
            is_read: True when it only reads resident arrays.

        Raises:
            BusyError: On entering: there is no place.
            ConnectionFailedError: On entering: the server is shutting down, and it is new work.
        """
        if not is_read:
            self.check_open()
        try:
            with self.jobs.taken(client, nbytes):
                yield
        finally:
            if is_read:
                self.last_read = monotonic()

    def close(self) -> None:
        """Take no new work. Whoever only reads is still answered."""
        self.is_closed = True

    def end(self) -> None:
        """End all calls that are still open: their clients are told that the server shuts down."""
        self.is_closed = self.is_ended = True
        for task in self._tasks:
            task.cancel()


def shutting_down() -> ConnectionFailedError:
    """Return the error of a call that comes too late."""
    return ConnectionFailedError(
        "the server is shutting down and takes no new work; try again on a new connection, where another server may "
        "answer already",
        reason=Reason.SHUTTING_DOWN,
    )
