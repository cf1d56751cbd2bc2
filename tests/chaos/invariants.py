"""What must hold after every run, whatever has happened in it. Each check returns its complaints."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from chaos.figures import Figures
from chaos.ledger import Call, Outcome

MOST_COMPLAINTS: Final = 5
"""Of one kind; the number of the others is told."""

LATE_SECONDS: Final = 1.0
"""What a call may take beyond its time."""

_ADDRESS: Final = re.compile(r"unix:/\S+|\b[\w.\[\]:]+:\d{2,5}\b")
"""Where the client's own server is: it may be told."""

_PEER: Final = re.compile(r"\bipv[46]:(\S*\w)")
"""As gRPC names who is at the other end of a connection: may be told where it is the client's own server."""

_FORBIDDEN: Final[Mapping[str, re.Pattern[str]]] = {
    "a path": re.compile(r"(?<![\w/.])(?:/[\w.-]+){2,}"),
    "a process": re.compile(r"\b(?:pid|process) ?=? ?\d+", re.IGNORECASE),
    "a traceback": re.compile(r"Traceback|File \"|line \d+, in "),
}

_ID: Final = re.compile(r"\b[0-9a-f]{16}\b")
"""Of a job or an array: digits in it that are also those of a process tell nothing."""

_KEY: Final = re.compile(r"chaos-\d+-\d+")


class InvariantError(AssertionError):
    """What should hold does not.

    Attributes:
        complaints: What, one line each.
        figures: What was measured nevertheless.
    """

    def __init__(self, complaints: Collection[str], figures: Figures | None = None) -> None:
        super().__init__("\n".join(complaints))
        self.complaints = tuple(complaints)
        self.figures = figures or {}


@dataclass(frozen=True, slots=True)
class Belongings:
    """What a server and its family hold."""

    processes: int
    descriptors: int
    threads: int
    tasks: int
    """Of asyncio."""
    leases: int
    arena_used_bytes: int
    shared_files: frozenset[str]
    """In /dev/shm."""
    temporary_files: int
    """Folders of multiprocess: each server has one."""

    def beyond(self, before: Belongings) -> list[str]:
        """Tell what is more than it was."""
        told: list[str] = []
        for name in self.__slots__:
            now, then = getattr(self, name), getattr(before, name)
            if isinstance(now, frozenset) and now - then:
                told.append(f"left behind: {name.replace('_', ' ')} {sorted(now - then)}")
            elif isinstance(now, int) and now > then:
                told.append(f"left behind: {now - then:,} {name.replace('_', ' ')} ({then:,} before, {now:,} now)")
        return told


def of_calls(calls: Iterable[Call], pids: Collection[int] = (), late_seconds: float = LATE_SECONDS) -> list[str]:
    """Check a ledger: all calls have ended, rightly and in time, and their errors tell nothing that they must not."""
    known = list(calls)
    return [
        *_some("no end", [_told(call) for call in known if call.end is None]),
        *_some("a wrong result", [_told(call) for call in known if call.outcome is Outcome.WRONG]),
        *_some("an undeclared exception", [_told(call) for call in known if call.outcome is Outcome.BROKEN]),
        *_some("a job lost", [_told(call) for call in known if call.outcome is Outcome.FAILED]),
        *_some("late", [_told(call) for call in known if _is_late(call, late_seconds)]),
        *_some("an error tells", [f"{secret} in: {call.text}" for call in known for secret in secrets_in(call, pids)]),
    ]


def of_stories(stories: Mapping[str, Sequence[str]]) -> list[str]:
    """Check that the job of no key was executed twice."""
    return _some("executed twice", [f"{key}: {', '.join(story)}" for key, story in stories.items() if runs(story) > 1])


def runs(story: Iterable[str]) -> int:
    """Return how often a job was executed; one that failed for want of input may be submitted anew."""
    return sum(event.endswith(" succeeded") for event in story)


def secrets_in(call: Call, pids: Collection[int]) -> list[str]:
    """Return what the text of an error tells of the server or of other clients."""
    unnamed = _PEER.sub("", call.text)
    text = _ADDRESS.sub("", unnamed)
    found = [name for name, pattern in _FORBIDDEN.items() if pattern.search(text)]
    found += [f"the peer {peer}" for peer in set(_PEER.findall(call.text)) - set(_ADDRESS.findall(unnamed))]
    nameless = _ID.sub("", text)
    found += [f"pid {pid}" for pid in pids if re.search(rf"(?<![\d,.]){pid}(?![\d,.])", nameless)]
    return found + [f"the key {key}" for key in _KEY.findall(text) if key != call.key]


def _is_late(call: Call, late_seconds: float) -> bool:
    return call.end is not None and call.seconds > call.timeout + late_seconds


def _told(call: Call) -> str:
    took = "" if call.end is None else f" after {call.seconds:.2f} s of {call.timeout:g} s"
    what = f"{call.what} {call.key}".strip()
    return f"call {call.number} ({what}){took} {call.text}".strip()


def _some(kind: str, complaints: list[str]) -> list[str]:
    told = [f"{kind}: {complaint}" for complaint in complaints[:MOST_COMPLAINTS]]
    left = len(complaints) - len(told)
    return [*told, f"{kind}: {left} more"] if left > 0 else told
