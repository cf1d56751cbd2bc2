"""The server's side of one worker: its process, its pipe, the tasks it holds, and how long it may take.

Theory of operation. Nothing here blocks, whatever the worker does: the pipe is read and written without waiting, half
messages stay in the inbox, requests that the socket does not take in the outbox. A worker's end is seen twice:

    the pipe is at end of file     the kernel has closed its only other end, so the worker's memory is unmapped:
                                   from here on it cannot touch the arena
    the sentinel is readable       the fork server tells the exit code

The link is dead when both were seen; only then do its tasks go elsewhere and its memory come free. One without the
other is settled with SIGKILL: a sentinel without an exit code means that the fork server died (the worker lives as long
as its pipe does); end of file without a sentinel for EXIT_SECONDS, that the worker closed its pipe and stayed.

A worker that is not dead FENCE_SECONDS after SIGKILL is *fenced*: it waits in the kernel for a disk, a driver or a
frozen control group, and cannot be killed. It will never run an instruction of its own again, but the kernel may still
write for it. So the task that it was running keeps its memory until both ends are seen after all, which may take for
ever; whoever owns the link is told, gets back what the worker had not begun, and replaces it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections import deque
from contextlib import suppress
from typing import Final, Protocol

from arraymill_server.arena.segments import Segment
from arraymill_server.cgroup import oom_kills
from arraymill_server.engine.alarm import Alarm
from arraymill_server.engine.death import Death, Ending
from arraymill_server.engine.messages import (
    Hello,
    Inbox,
    MapSegment,
    MessageError,
    Reply,
    UnmapSegment,
    decode_message,
    encode,
    frame,
)
from arraymill_server.engine.outbox import Outbox
from arraymill_server.engine.processes import Process, fork_server
from arraymill_server.engine.turns import Entry

EXIT_SECONDS: Final = 2.0
"""From a closed pipe, or from being told to leave, to the exit code. It takes 0.1 ms; a loaded machine may take
longer."""

FENCE_SECONDS: Final = 3.0
"""From SIGKILL to the confirmed end. It takes 1 ms; giving back a GiB of private memory takes 0.2 s."""

OOM_LOOK_SECONDS: Final = 1.0
"""How often, at most, the kernel's counter is read while a worker answers; reading takes 25 to 40 µs."""

READ_BYTES: Final = 64 << 10
"""One read takes all replies that can be waiting: two in flight of at most 16 KiB."""

UNKNOWN_EXIT: Final = 255
"""What multiprocess makes of a sentinel that closes without an exit code."""


class LinkOwner(Protocol):
    """Who hears what becomes of a worker; all calls come from the event loop."""

    def link_ready(self, link: Link) -> None:
        """The worker said hello."""
        ...

    def link_replied(self, link: Link, entry: Entry, reply: Reply) -> None:
        """The worker answered the oldest of its tasks, and no longer holds it."""
        ...

    def link_fenced(self, link: Link, death: Death, waiting: list[Entry]) -> None:
        """The worker cannot be killed.

        Args:
            link: The worker; `link.entries` are the tasks whose memory it may still touch.
            death: Why it was to be killed.
            waiting: The tasks that it had not begun. It holds them no longer.
        """
        ...

    def link_died(self, link: Link, death: Death, suspect: Entry | None) -> None:
        """The worker has ended and touches no memory any more.

        Args:
            link: The worker; `link.entries` are the tasks it held.
            death: How it ended.
            suspect: The task that it was running.
        """
        ...


class Link:
    """One worker, from its start to its confirmed end.

    Args:
        process: A process that was just started.
        pipe: The server's end of its socket pair.
        owner: Who hears what becomes of it.
        seat: Its place in the pool.
        start_seconds: What it may take from its start to its hello.
    """

    def __init__(
        self, process: Process, pipe: socket.socket, owner: LinkOwner, *, seat: int, start_seconds: float
    ) -> None:
        self.pid: Final = process.pid
        self.seat: Final = seat
        self.entries: Final[deque[Entry]] = deque()
        """The tasks it holds, the one that it runs first."""
        self.is_ready = False
        self.is_retiring = False
        """True when it takes no more tasks and leaves after the last."""
        self.answered = 0
        """Tasks answered so far."""
        self.grown_bytes = 0
        """Private memory that it has taken since its hello, as far as it has told."""
        self._process = process
        self._sentinel = process.sentinel
        self._pipe = pipe
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._inbox = Inbox()
        self._death: Death | None = None
        self._suspect: Entry | None = None
        self._is_deaf = False
        self._is_at_eof = False
        self._has_exited = False
        self._has_left = False
        self._is_fenced = False
        self._is_finished = False
        self._alarm = Alarm(self._on_alarm)
        self._oom_kills = oom_kills()
        self._oom_looked = self._loop.time()
        pipe.setblocking(False)
        self._outbox = Outbox(pipe)
        self._loop.add_reader(pipe, self._on_readable)
        self._loop.add_reader(self._sentinel, self._on_exit)
        self._alarm.set(start_seconds)

    def __repr__(self) -> str:
        state = "ready" if self.is_ready else "starting"
        if self._is_fenced:
            state = "fenced"
        elif self._death is not None:
            state = "ending"
        elif self.is_retiring:
            state = "retiring"
        return f"<Link to worker {self.pid}: {state}, {len(self.entries)} tasks, {self.answered} answered>"

    @property
    def is_usable(self) -> bool:
        """True when it takes tasks: ready, and not known to be on its way out."""
        return self.is_ready and self._death is None and not self._is_at_eof and not self.is_retiring

    def send(self, entry: Entry) -> None:
        """Give the worker one more task; it may take `entry.limit_seconds`."""
        self.entries.append(entry)
        if len(self.entries) == 1:
            self._alarm.set(entry.limit_seconds)
        self._outbox.send(frame(entry.payload))

    def map_segment(self, segment: Segment) -> None:
        """Let the worker map a segment, before any task that is sent from now on."""
        self._outbox.send(frame(encode(MapSegment(segment.number, segment.size))), segment.fd)

    def unmap_segment(self, segment: Segment) -> None:
        """Let the worker forget a segment, after all tasks that were sent before."""
        self._outbox.send(frame(encode(UnmapSegment(segment.number))))

    def retire(self) -> None:
        """Give the worker no more tasks, and let it leave when it has done what it holds."""
        self.is_retiring = True
        self._leave_when_done()

    def hang_up(self) -> None:
        """Let the worker finish what it holds and leave."""
        with suppress(OSError):  # it has left already
            self._pipe.shutdown(socket.SHUT_WR)

    def kill(self, ending: Ending, cause: str) -> None:
        """End the worker now; `link_died` or `link_fenced` follows. The first cause is the one that is told."""
        if self._death is None:
            self._death = Death(ending, cause)
            self._suspect = self._running()
            self._alarm.set(FENCE_SECONDS)
        code = self._process.exitcode
        if code is None or (code == UNKNOWN_EXIT and not self._is_at_eof):
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def abandon(self) -> None:
        """Stop watching a worker that cannot be killed: the event loop ends. Nobody hears of its end."""
        self._alarm.stop()
        self._loop.remove_reader(self._sentinel)
        self._close_pipe()
        self._pipe.close()

    def _leave_when_done(self) -> None:
        if self.is_retiring and not self.entries and not self._has_left:
            self._has_left = True
            self.hang_up()
            self._alarm.set(EXIT_SECONDS)

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
            self.kill(Ending.BROKEN, f"sent {exc}")

    def _on_message(self, message: Hello | Reply) -> None:
        if isinstance(message, Hello):
            if self._death is None:
                self._alarm.stop()
            self.is_ready = True
            self._owner.link_ready(self)
            return
        if not self.entries:
            return
        entry = self.entries[0]
        if (message.task_id, message.generation) != (entry.task_id, entry.generation):
            return
        self.entries.popleft()
        self._on_answer(message)
        self._owner.link_replied(self, entry, message)
        self._leave_when_done()

    def _on_answer(self, reply: Reply) -> None:
        self.answered += 1
        self.grown_bytes = reply.grown_bytes or self.grown_bytes
        if self._death is None:
            self._alarm.clear()
            if self.entries:
                self._alarm.set(self.entries[0].limit_seconds)
        if self._loop.time() - self._oom_looked > OOM_LOOK_SECONDS:
            self._oom_looked = self._loop.time()
            self._oom_kills = oom_kills()

    def _on_eof(self) -> None:
        self._close_pipe()
        if self._has_exited:
            self._finish()
            return
        fork_server.wake()
        if self._death is None:
            self._alarm.set(EXIT_SECONDS)

    def _on_exit(self) -> None:
        self._has_exited = True
        self._loop.remove_reader(self._sentinel)
        self._drain()
        if self._is_finished:
            return
        if self._process.exitcode == UNKNOWN_EXIT and not self._is_at_eof:
            self.kill(Ending.ORPHANED, "lost its fork server")
        else:
            self._finish()

    def _close_pipe(self) -> None:
        self._is_at_eof = True
        self._loop.remove_reader(self._pipe)
        self._outbox.close()

    def _finish(self) -> None:
        self._is_finished = True
        self._alarm.stop()
        self._close_pipe()
        self._process.join()
        code = self._process.exitcode
        death = self._death
        if death is None and self._has_left and not self.entries:
            death = Death(Ending.RECYCLED, "was recycled")
        elif death is None:
            death = Death.by_itself(code, is_out_of_memory=oom_kills() > self._oom_kills)
            self._suspect = self._running()
        if self._inbox.pending_bytes:
            death = Death(death.ending, f"{death.cause} in the middle of an answer")
        self._process.close()
        self._pipe.close()
        suspect = self._suspect if self._suspect in self.entries else None
        self._owner.link_died(self, death, suspect)

    def _fence(self, death: Death) -> None:
        """Give up waiting for the end, but not for its news."""
        self._alarm.clear()
        self._is_fenced = True
        waiting: list[Entry] = []
        while len(self.entries) > 1 and not self._is_deaf:  # what a deaf link holds may all be begun
            waiting.append(self.entries.pop())
        self._owner.link_fenced(self, death, waiting[::-1])

    def _running(self) -> Entry | None:
        return self.entries[0] if self.entries else None

    def _on_alarm(self) -> None:
        self._drain()  # an answer that is there already counts
        if not self._alarm.is_due:
            return
        if self._death is not None:
            self._fence(self._death)
        elif self._has_left:
            self.kill(Ending.RECYCLED, "stayed when it was told to leave")
        elif self._is_at_eof:
            self.kill(Ending.BROKEN, "closed its pipe and stayed")
        elif self.is_ready:
            self.kill(Ending.OVERRAN, f"ran longer than {self._alarm.seconds:.3g} s")
        else:
            self.kill(Ending.UNREADY, f"was not ready within {self._alarm.seconds:g} s")
