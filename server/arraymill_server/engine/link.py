"""The server's side of one worker: its process, its pipe, the tasks it holds, and how long it may take.

Theory of operation. Nothing here blocks, whatever the worker does: the pipe is read and written without waiting, half
messages stay in the inbox, requests that the socket does not take stay in a buffer. A worker's end is seen twice:

    the pipe is at end of file     the kernel has closed its only other end, so the worker's memory is unmapped:
                                   from here on it cannot touch the arena
    the sentinel is readable       the fork server tells the exit code

The link is dead when both were seen; only then do its tasks go elsewhere and its memory come free. One without the
other is settled with SIGKILL: a sentinel without an exit code means that the fork server died (the worker lives as long
as its pipe does); end of file without a sentinel for EXIT_SECONDS, that the worker closed its pipe and stayed.

One timer per link, set anew only when it fires: the common case, an answer in time, costs a look at the clock.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from arraymill_server.engine.messages import Hello, Inbox, MessageError, Reply, decode_message, frame
from arraymill_server.engine.processes import Process
from arraymill_server.engine.turns import Entry

EXIT_SECONDS: Final = 2.0
"""From a closed pipe to the exit code. It takes 0.1 ms; a loaded machine may take longer."""

READ_BYTES: Final = 64 << 10
"""One read takes all replies that can be waiting: two in flight of at most 16 KiB."""

UNKNOWN_EXIT: Final = 255
"""What multiprocess makes of a sentinel that closes without an exit code."""

LOST: Final = "lost its fork server"

FOREIGN_SIGNALS: Final = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
"""Signals that a worker gets from others only: no kernel raises them. SIGKILL may also be the kernel's answer to too
little memory, which /proc/vmstat tells."""


@dataclass(frozen=True, slots=True)
class Death:
    """How a worker ended."""

    cause: str
    """Completes “the worker …”: was ended by SIGKILL, exited with code 3, ran longer than 30 s."""
    suspect: Entry | None
    """The task that the worker was running."""
    is_foreign: bool = False
    """True when the task can hardly be the reason: somebody killed the worker, or the fork server died."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a worker may take."""

    start_seconds: float
    """From its start to its hello."""
    task_seconds: float
    """For one task."""


class LinkOwner(Protocol):
    """Who hears what becomes of a worker; all calls come from the event loop."""

    def link_ready(self, link: Link) -> None:
        """The worker said hello."""
        ...

    def link_replied(self, link: Link, entry: Entry, reply: Reply) -> None:
        """The worker answered the oldest of its tasks, and no longer holds it."""
        ...

    def link_died(self, link: Link, death: Death) -> None:
        """The worker has ended and touches no memory any more; `link.entries` are the tasks it held."""
        ...


class Link:
    """One worker, from its start to its confirmed end."""

    def __init__(self, process: Process, pipe: socket.socket, owner: LinkOwner, bounds: Bounds) -> None:
        """Watch a process that was just started; `pipe` is the server's end of its socket pair."""
        self.pid: Final = process.pid
        self.entries: deque[Entry] = deque()
        """The tasks it holds, the one that it runs first."""
        self.is_ready = False
        self.answered = 0
        """Tasks answered so far."""
        self._process = process
        self._sentinel = process.sentinel
        self._pipe = pipe
        self._owner = owner
        self._bounds = bounds
        self._oom_kills = oom_kills()
        self._loop = asyncio.get_running_loop()
        self._inbox = Inbox()
        self._unsent = bytearray()
        self._cause = ""
        self._suspect: Entry | None = None
        self._is_deaf = False
        self._is_at_eof = False
        self._has_exited = False
        self._is_finished = False
        self._timer: asyncio.TimerHandle | None = None
        self._since = 0.0
        self._limit: float | None = None
        pipe.setblocking(False)
        self._loop.add_reader(pipe, self._on_readable)
        self._loop.add_reader(self._sentinel, self._on_exit)
        self._watch(bounds.start_seconds)

    def __repr__(self) -> str:
        state = "ready" if self.is_ready else "starting"
        if self._cause:
            state = "ending"
        return f"<Link to worker {self.pid}: {state}, {len(self.entries)} tasks, {self.answered} answered>"

    @property
    def is_usable(self) -> bool:
        """True when it takes tasks: ready, and not known to be on its way out."""
        return self.is_ready and not self._cause and not self._is_at_eof

    def send(self, entry: Entry) -> None:
        """Give the worker one more task."""
        self.entries.append(entry)
        if len(self.entries) == 1:
            self._watch(self._bounds.task_seconds)
        self._write(frame(entry.payload))

    def hang_up(self) -> None:
        """Let the worker finish what it holds and leave."""
        with suppress(OSError):  # it has left already
            self._pipe.shutdown(socket.SHUT_WR)

    def kill(self, cause: str) -> None:
        """End the worker now; `link_died` follows. The first cause is the one that is told."""
        if not self._cause:
            self._cause = cause
            self._suspect = self._running()
        self._disarm()
        code = self._process.exitcode
        if code is None or (code == UNKNOWN_EXIT and not self._is_at_eof):
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def _write(self, data: bytes) -> None:
        if self._unsent:
            self._unsent += data
            return
        rest = data[self._push(data) :]
        if rest:
            self._unsent += rest
            self._loop.add_writer(self._pipe, self._on_writable)

    def _on_writable(self) -> None:
        del self._unsent[: self._push(self._unsent)]
        if not self._unsent:
            self._loop.remove_writer(self._pipe)

    def _push(self, data: bytes | bytearray) -> int:
        """Write what the socket takes. To a worker that is gone everything can be written: its end is on the way."""
        try:
            return self._pipe.send(data)
        except BlockingIOError:
            return 0
        except (BrokenPipeError, ConnectionResetError):
            return len(data)

    def _on_readable(self) -> bool:
        """Read once; False when there is nothing more."""
        try:
            data = self._pipe.recv(READ_BYTES)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            data = b""
        if not data:
            self._on_eof()
        elif not self._is_deaf:
            self._on_data(data)
        return not self._is_at_eof

    def _drain(self) -> None:
        while not self._is_at_eof and self._on_readable():
            pass

    def _on_data(self, data: bytes) -> None:
        try:
            for payload in self._inbox.feed(data):
                self._on_message(decode_message(payload))
        except MessageError as exc:
            self._is_deaf = True
            self.kill(f"sent {exc}")

    def _on_message(self, message: Hello | Reply) -> None:
        if isinstance(message, Hello):
            self._disarm()
            self.is_ready = True
            self._owner.link_ready(self)
            return
        if not self.entries:
            return
        entry = self.entries[0]
        if (message.task_id, message.generation) != (entry.task_id, entry.generation):
            return
        self.entries.popleft()
        self.answered += 1
        if self.entries:
            self._watch(self._bounds.task_seconds)
        else:
            self._limit = None
        self._owner.link_replied(self, entry, message)

    def _on_eof(self) -> None:
        self._close_pipe()
        if self._has_exited:
            self._finish()
        else:
            self._disarm()
            self._watch(EXIT_SECONDS)

    def _on_exit(self) -> None:
        self._has_exited = True
        self._loop.remove_reader(self._sentinel)
        self._drain()
        if self._is_finished:
            return
        if self._process.exitcode == UNKNOWN_EXIT and not self._is_at_eof:
            self.kill(LOST)
        else:
            self._finish()

    def _close_pipe(self) -> None:
        self._is_at_eof = True
        self._loop.remove_reader(self._pipe)
        self._loop.remove_writer(self._pipe)

    def _finish(self) -> None:
        self._is_finished = True
        self._disarm()
        self._close_pipe()
        self._process.join()
        code = self._process.exitcode
        is_foreign = self._cause == LOST or (not self._cause and self._is_foreign(code))
        if not self._cause:
            self._cause = _cause_of(code)
            self._suspect = self._running()
        cut = " in the middle of an answer" if self._inbox.pending_bytes else ""
        self._process.close()
        self._pipe.close()
        suspect = self._suspect if self._suspect in self.entries else None
        self._owner.link_died(self, Death(self._cause + cut, suspect, is_foreign))

    def _is_foreign(self, code: int | None) -> bool:
        return code is not None and -code in FOREIGN_SIGNALS and oom_kills() == self._oom_kills

    def _running(self) -> Entry | None:
        return self.entries[0] if self.entries else None

    def _watch(self, limit: float) -> None:
        self._since = self._loop.time()
        self._limit = limit
        if self._timer is None:
            self._timer = self._loop.call_at(self._since + limit, self._on_timer)

    def _disarm(self) -> None:
        self._limit = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        self._drain()  # an answer that is there already counts
        if self._limit is None or self._timer is not None:
            return
        end = self._since + self._limit
        if self._loop.time() < end:
            self._timer = self._loop.call_at(end, self._on_timer)
        elif self._is_at_eof:
            self.kill("closed its pipe and stayed")
        elif self.is_ready:
            self.kill(f"ran longer than {self._limit:g} s")
        else:
            self.kill(f"was not ready within {self._limit:g} s")


def oom_kills() -> int:
    """Return how many processes the kernel has killed for want of memory; 0 where it does not tell."""
    with suppress(OSError), Path("/proc/vmstat").open() as file:
        for line in file:
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _cause_of(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exited with code {code}"
    return f"was ended by {signal.Signals(-code).name}"
