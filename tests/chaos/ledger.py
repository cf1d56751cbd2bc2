"""What a client did, written down before and after each call, so that it outlives the client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Self

import arraymill as am


class Outcome(StrEnum):
    """How a call ended."""

    RIGHT = "right"
    """With the answer that is known, or with none to check."""
    WRONG = "wrong"
    """With another answer."""
    EXPECTED = "expected"
    """With an error that the fault makes right."""
    FAILED = "failed"
    """With another error of arraymill."""
    CANCELLED = "cancelled"
    """The harness ended it."""
    BROKEN = "broken"
    """With an exception that is none of arraymill's."""


@dataclass(slots=True)
class Call:
    """One call."""

    number: int
    what: str
    begin: float
    """time.monotonic(), which all processes of a machine share."""
    timeout: float
    """Seconds that it may take."""
    key: str = ""
    end: float | None = None
    """None: it has not ended, or its client has died."""
    outcome: Outcome | None = None
    reason: str = ""
    text: str = ""
    """Of the error."""
    nbytes: int = 0
    """Of its input."""
    again: int = 0
    """How often the server had forgotten the job, so that it was submitted anew."""

    def check(self, is_right: bool) -> None:
        """Note whether the answer is right."""
        self.outcome = Outcome.RIGHT if is_right else Outcome.WRONG

    @property
    def seconds(self) -> float:
        """What it took; to be asked when it has ended."""
        assert self.end is not None
        return self.end - self.begin


class Ledger:
    """The calls of one client.

    Args:
        path: Where each begin and each end becomes a line at once; None: in this process only.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.calls: list[Call] = []
        self._file = None if path is None else path.open("a", buffering=1)
        self._numbers = count()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    @contextmanager
    def call(
        self,
        what: str,
        *,
        timeout: float,
        begin: float | None = None,
        key: str = "",
        nbytes: int = 0,
        expects: type[Exception] | tuple[type[Exception], ...] | None = None,
    ) -> Generator[Call]:
        """Note a call; errors of arraymill end it and go no further, an exception of any other kind likewise.

        Args:
            what: For people.
            timeout: Seconds that it may take.
            begin: When it was to begin; None: now.
            key: Of the job.
            nbytes: Of its input.
            expects: An error that it may end with, or some.
        """
        begin = monotonic() if begin is None else begin
        call = Call(next(self._numbers), what, begin, timeout, key, nbytes=nbytes)
        self.calls.append(call)
        self._write(call)
        try:
            yield call
            call.outcome = call.outcome or Outcome.RIGHT
        except am.ArraymillError as error:
            is_expected = expects is not None and isinstance(error, expects)
            call.outcome = Outcome.EXPECTED if is_expected else Outcome.FAILED
            call.reason, call.text = error.reason, f"{type(error).__name__}: {error}"
        except asyncio.CancelledError:
            call.outcome = Outcome.CANCELLED
            raise
        except Exception as error:  # what no call may raise: the invariants speak of it
            call.outcome, call.text = Outcome.BROKEN, repr(error)
        finally:
            call.end = monotonic()
            self._write(call)

    def of(self, *outcomes: Outcome) -> list[Call]:
        """Return the calls that ended so."""
        return [call for call in self.calls if call.outcome in outcomes]

    def _write(self, call: Call) -> None:
        if self._file is not None:
            self._file.write(json.dumps(asdict(call)) + "\n")


def read_calls(path: Path) -> Iterable[Call]:
    """Read the calls of a client that may have died: each as it was written last."""
    calls: dict[int, Call] = {}
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            call = Call(**json.loads(line))
            call.outcome = None if call.outcome is None else Outcome(call.outcome)
            calls[call.number] = call
    return calls.values()
