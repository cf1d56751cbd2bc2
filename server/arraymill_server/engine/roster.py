"""Who runs which task: the tasks that wait for a worker, and the rules by which workers get them. No I/O.

1. Clients take turns, and so do the jobs of a client (`turns`). The worker that holds fewest tasks gets the next one.
2. A worker holds `in_flight` tasks, so that the next one is there when it has done one, but none behind a task that is
   expected to take longer than LONG_SECONDS: that one would wait there while other workers are free, and could not be
   dropped when its job is cancelled.
3. A *suspect*, a task that may be the reason of a worker's death, goes before the others, to a worker in another seat
   than those in which it struck, as long as there is one. Seats are numbered; a replacement sits where the dead worker
   sat. So what is wrong with one place is not held against a task.
4. The last attempt of a suspect is made alone: its worker is emptied first and gets nothing behind it. If that worker
   dies, there was no other task that could have been the reason.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from typing import Final, Protocol, TypeVar

from arraymill_server.engine.turns import Entry, Turns

LONG_SECONDS: Final = 0.02
"""A task that is expected to take longer has nobody behind it. To send the next one only when it is answered costs 60
to 100 µs, half a hundredth of this. With 0.1 s the jobs of seven light clients waited 3.5 times as long beside a client
with hundreds of 50 ms as they did when all was quiet, with this 2.6 times."""


class Holder(Protocol):
    """A worker as the roster sees it: a `Link`."""

    @property
    def seat(self) -> int:
        """0 … workers - 1; nobody else who takes tasks has the same."""
        ...

    @property
    def entries(self) -> deque[Entry]:
        """The tasks that it holds."""
        ...


HolderT = TypeVar("HolderT", bound=Holder)


class Roster:
    """The tasks of a pool that no worker holds.

    Args:
        in_flight: Tasks that a worker holds: the one that it runs and those that wait in its pipe.
    """

    def __init__(self, in_flight: int) -> None:
        self._in_flight = in_flight
        self._turns = Turns()
        self._suspects: list[Entry] = []

    def __len__(self) -> int:
        """Entries that wait, cancelled ones among them until their turn comes."""
        return len(self._turns) + len(self._suspects)

    def push(self, entry: Entry) -> None:
        """Queue a new entry."""
        self._turns.push(entry)

    def push_back(self, entry: Entry) -> None:
        """Queue an entry that has lost its worker: it has its turn already."""
        if entry.strikes:
            self._suspects.append(entry)
        else:
            self._turns.push_front(entry)

    def drop(self, job: str) -> list[Entry]:
        """Take all entries of a job."""
        dropped = [entry for entry in self._suspects if entry.job == job]
        self._suspects = [entry for entry in self._suspects if entry.job != job]
        return dropped + self._turns.drop(job)

    def clear(self) -> list[Entry]:
        """Take everything."""
        suspects, self._suspects = self._suspects, []
        return suspects + self._turns.clear()

    def assign(self, links: Sequence[HolderT]) -> Iterator[tuple[HolderT, Entry]]:
        """Take entries for workers, as many as have room.

        Args:
            links: The workers that take tasks. Whoever iterates adds each entry to its worker's before the next step.
        """
        if self._suspects:
            links = yield from self._assign_suspects(links)
        in_flight = self._in_flight  # this is asked with every task, so the common no costs no call
        open_links = [link for link in links if len(link.entries) < in_flight and self._has_room(link)]
        while open_links and (entry := self._turns.pop()) is not None:
            link = min(open_links, key=_load)
            yield link, entry
            if not self._has_room(link):
                open_links.remove(link)

    def _assign_suspects(self, links: Sequence[HolderT]) -> Generator[tuple[HolderT, Entry], None, list[HolderT]]:
        """Place what can be placed; returns the workers that no other entry may wait for."""
        usable = list(links)
        for entry in tuple(self._suspects):
            if entry.future.cancelled():
                self._suspects.remove(entry)
                continue
            elsewhere = [link for link in links if link.seat not in entry.seats] or links
            others = [link for link in elsewhere if link in usable]
            roomy = [link for link in others if not link.entries or (not entry.is_solo and self._has_room(link))]
            if roomy:
                self._suspects.remove(entry)
                yield min(roomy, key=_load), entry
            elif entry.is_solo and others:
                usable.remove(min(others, key=_load))  # it gets no more until it is empty
        return usable

    def _has_room(self, link: Holder) -> bool:
        if len(link.entries) >= self._in_flight:
            return False
        for entry in link.entries:  # noqa: SIM110  with every task: half the time of all()
            if entry.is_solo or entry.expected_seconds > LONG_SECONDS:
                return False
        return True


def _load(link: Holder) -> tuple[int, int]:
    return len(link.entries), link.seat
