"""Wants against a model, in every mixture and order of frames, records and breaks.

The right bytes in the right place, each token once and not before all is there, every byte counted once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from arraymill_proto.bulk import Record
from arraymill_proto.errors import FrameError
from arraymill_proto.frames import FrameView
from arraymill_server.jobs.wants import Wants
from arraymill_server.plan.model import Wanted

INPUTS = tuple(
    bytes((17 * number + place) % 251 + 1 for place in range(nbytes)) for number, nbytes in ((0, 40), (1, 9))
)
"""No byte is 0, which stands for nothing."""


@dataclass(slots=True)
class Known:
    """What the model knows of a want."""

    wanted: Wanted
    target: memoryview
    token: int
    came: set[int] = field(default_factory=set[int])
    """Bytes of the input that are there."""
    arriving: list[Record] = field(default_factory=list[Record])
    is_done: bool = False
    is_void: bool = False
    """What was missing of it was opened anew, under another number."""

    @property
    def is_open(self) -> bool:
        return not (self.is_done or self.is_void)

    @property
    def range(self) -> range:
        return range(self.wanted.offset, self.wanted.offset + self.wanted.nbytes)

    @property
    def claimed(self) -> set[int]:
        return self.came.union(*(range(record.offset, record.end) for record in self.arriving))


class WantsMachine(RuleBasedStateMachine):
    """One job's wants; the numbers of `known` are theirs, from 1."""

    def __init__(self) -> None:
        super().__init__()
        self.wants = Wants(tuple(map(len, INPUTS)))
        self.known: list[Known] = []
        self.places: dict[Record, memoryview] = {}

    # ------------------------------------------------------------------ what the job does

    @precondition(lambda self: len(self.owed()) < 3)
    @rule(data=st.data())
    def open(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, len(INPUTS) - 1))
        offset = data.draw(st.integers(0, len(INPUTS[number]) - 1))
        nbytes = data.draw(st.integers(1, len(INPUTS[number]) - offset))
        known = Known(Wanted(number, offset, nbytes, ()), memoryview(bytearray(nbytes)), 100 + len(self.known))
        self.known.append(known)
        assert self.wants.open(known.wanted, known.target, known.token) == len(self.known)

    # ------------------------------------------------------------------ what the client sends

    def record(self, data: st.DataObject) -> Record:
        """Draw a range of some want's input: often a half of one that is open, seldom beyond the ends of the want."""
        want = data.draw(st.sampled_from(self.owed() or [1]) | st.integers(1, len(self.known)))
        known = self.known[want - 1]
        first, half, end = known.range.start, known.range.start + known.wanted.nbytes // 2, known.range.stop
        halves = st.sampled_from([(first, half), (half, end)])
        within = st.tuples(st.integers(first, end), st.integers(first, end))
        anywhere = st.tuples(st.integers(0, end), st.integers(first, len(INPUTS[known.wanted.number])))
        low, high = sorted(data.draw(halves | halves | within | anywhere))
        return Record(want, known.wanted.number, low, high - low)

    def expected(self, record: Record) -> bool | None:
        """True: the range is new; False: nobody needs it; None: it is an error."""
        known = self.known[record.want - 1]
        covers = set(range(record.offset, record.end))
        if not known.is_open:
            return False
        if record.offset < known.range.start or record.end > known.range.stop:
            return None
        if covers & known.claimed:
            return False if covers <= known.claimed else None
        return bool(covers)

    @precondition(lambda self: bool(self.known))
    @rule(data=st.data())
    def frame(self, data: st.DataObject) -> None:
        record = self.record(data)
        known = self.known[record.want - 1]
        view = memoryview(INPUTS[record.index][record.offset : record.end])
        self.judge(record, lambda: self.check_token(record, self.wants.accept(FrameView(*key(record), view)), known))

    @precondition(lambda self: bool(self.known))
    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        record = self.record(data)

        def claim() -> None:
            place = self.wants.claim(record)
            if self.expected(record):
                assert place is not None
                self.known[record.want - 1].arriving.append(record)
                self.places[record] = place
            else:
                assert place is None

        self.judge(record, claim)

    def judge(self, record: Record, take: Callable[[], None]) -> None:
        if self.expected(record) is None:
            with pytest.raises(FrameError):
                take()
        else:
            take()

    @precondition(lambda self: bool(self.places))
    @rule(data=st.data())
    def half_arrive(self, data: st.DataObject) -> None:
        """Bytes of a record are there, and do not count yet."""
        record = data.draw(st.sampled_from(list(self.places)))
        half = record.length // 2
        self.places[record][:half] = INPUTS[record.index][record.offset : record.offset + half]

    @precondition(lambda self: bool(self.places))
    @rule(data=st.data())
    def arrive(self, data: st.DataObject) -> None:
        record = data.draw(st.sampled_from(list(self.places)))
        self.places.pop(record)[:] = INPUTS[record.index][record.offset : record.end]
        known = self.known[record.want - 1]
        known.arriving.remove(record)
        self.check_token(record, self.wants.arrived(record), known, is_new=True)

    def check_token(self, record: Record, token: int | None, known: Known, *, is_new: bool = False) -> None:
        """Note a range that is there; the token comes with the last one."""
        if is_new or self.expected(record):
            known.came |= set(range(record.offset, record.end))
            known.is_done = not known.arriving and known.came == set(known.range)
            assert token == (known.token if known.is_done else None)
        else:
            assert token is None

    # ------------------------------------------------------------------ connections that break

    @rule()
    def reopen(self) -> None:
        """The bulk connection, or the stream, has ended: nothing that is arriving ever will.

        What came from the start of a want on, without a gap, stays.
        """
        self.places.clear()
        lost = [known for known in self.known if known.is_open]
        first = len(self.known) + 1
        for known in lost:
            known.is_void = True
            head = next(place for place in known.range if place not in known.came) - known.range.start
            known.came = set(known.range[:head])
            known.arriving.clear()
            rest = replace(known.wanted, offset=known.wanted.offset + head, nbytes=known.wanted.nbytes - head)
            self.known.append(Known(rest, known.target[head:], known.token))
        assert self.wants.reopen() == [(n, known.wanted) for n, known in enumerate(self.known[first - 1 :], first)]

    def numbered(self) -> list[tuple[int, Known]]:
        return list(enumerate(self.known, 1))

    def owed(self) -> list[int]:
        return [number for number, known in self.numbered() if known.is_open]

    # ------------------------------------------------------------------ what always holds

    @invariant()
    def every_byte_counts_once(self) -> None:
        assert self.wants.received_bytes == sum(len(known.came) for known in self.known)

    @invariant()
    def what_is_there_is_right(self) -> None:
        for known in self.known:
            data = INPUTS[known.wanted.number]
            assert all(known.target[place - known.wanted.offset] == data[place] for place in known.came)
            assert all(byte in (0, data[place]) for place, byte in zip(known.range, known.target, strict=True))

    @invariant()
    def the_oldest_open_one_is_told(self) -> None:
        owed = self.owed()
        oldest, missing = self.wants.oldest(), self.wants.missing()
        if not owed:
            assert (oldest, missing) == (None, None)
        else:
            came = len(self.known[owed[0] - 1].came)
            assert str(oldest).startswith(f"has sent {came} of ")
            assert str(oldest).endswith(f"(want {owed[0]})")
            assert missing is not None
            assert (missing.details["want"], missing.details["received_bytes"]) == (str(owed[0]), str(came))


def key(record: Record) -> tuple[int, int, int]:
    return record.want, record.index, record.offset


TestWants = WantsMachine.TestCase
TestWants.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
