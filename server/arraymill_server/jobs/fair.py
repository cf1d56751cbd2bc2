"""Fair turns: who is next when clients take turns, weighted by what they ask for. No I/O.

Theory of operation (self-clocked fair queueing). Everything that waits belongs to a flow, as a rule a client, and gets
a tag when it comes; the least tag is served first::

    tag   = max(clock, tag of the flow's last that waits) + cost
    clock = the latest tag that was served

So flows take turns weighted by cost, a flow keeps its order, and a newcomer stands beside the first of the others and
not behind their backlog. A flow that was idle has saved up nothing; one that has nothing waiting leaves no trace.

`Tags` is this rule alone: the waiting line for memory, which serves out of order as well, keeps its tickets itself.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

Flow = TypeVar("Flow", bound=Hashable)
T = TypeVar("T")


class Tags(Generic[Flow]):
    """The clock, and the last tag of each flow that has something waiting."""

    def __init__(self) -> None:
        self._clock = 0
        self._last: dict[Flow, int] = {}
        self._waiting: Counter[Flow] = Counter()

    def __repr__(self) -> str:
        return f"<Tags at {self._clock:,} | {len(self._last)} flows>"

    def join(self, flow: Flow, cost: int) -> int:
        """Return the tag of something that comes, and waits until its flow is told to `leave`.

        Args:
            flow: Among which it keeps its order.
            cost: What it counts, above 0.
        """
        tag = self._last[flow] = max(self._clock, self._last.get(flow, 0)) + cost
        self._waiting[flow] += 1
        return tag

    def leave(self, flow: Flow) -> None:
        """One of a flow waits no more, whether it was served or not."""
        self._waiting[flow] -= 1
        if not self._waiting[flow]:
            del self._waiting[flow], self._last[flow]

    def served(self, tag: int) -> None:
        """Set the clock: one with this tag was served."""
        self._clock = max(self._clock, tag)


class Entry(NamedTuple, Generic[T]):
    """Something in a queue. Entries sort by their first two fields: no two have the same."""

    tag: int
    number: int
    """Order of arrival."""
    client: str
    item: T


class FairQueue(Generic[T]):
    """What waits, whoever is next first. Sorted: thousands that wait are moved in a microsecond."""

    def __init__(self) -> None:
        self._tags: Tags[str] = Tags()
        self._entries: list[Entry[T]] = []
        self._pushed = 0

    def __repr__(self) -> str:
        return f"<FairQueue {len(self)} waiting: {self._tags!r}>"

    def __len__(self) -> int:
        return len(self._entries)

    def push(self, client: str, cost: int, item: T) -> Entry[T]:
        """Queue an item.

        Args:
            client: Whose turn it takes.
            cost: What it counts, above 0.
            item: What `pop` returns.
        """
        self._pushed += 1
        entry = Entry(self._tags.join(client, cost), self._pushed, client, item)
        insort(self._entries, entry)
        return entry

    def pop(self) -> T:
        """Take the next item. The queue is not empty."""
        entry = self._entries.pop(0)
        self._tags.leave(entry.client)
        self._tags.served(entry.tag)
        return entry.item

    def discard(self, entry: Entry[T]) -> None:
        """Take an entry out wherever it stands; does nothing if it is out already."""
        index = bisect_left(self._entries, entry)
        if index < len(self._entries) and self._entries[index] is entry:
            del self._entries[index]
            self._tags.leave(entry.client)
