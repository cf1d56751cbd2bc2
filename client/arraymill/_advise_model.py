"""When it is worth sending an expression to the server: a small model, and what it says.

Theory of operation. The time of an expression grows with the bytes n of its inputs, in three ways: computed *here* by
NumPy, with its inputs *sent* each time, or with its inputs *kept* on the server beforehand (`put`). With

    t      bytes that NumPy would touch: of the inputs and of the value of every operation; in proportion to n
    m      bytes of the result; a straight line through its size for n and for half of the longest axis
    b      start of a job: a round trip for what fits one message, else the start of a stream; less than that where the
           inputs go through memory of this machine and the result fits one message (or is left in such memory)
    p      passes over inputs that do not fit the arena and are sent again, else 1
    w(u,d) the wire: max(u/up, d/down) + (1 - overlap) · min(u/up, d/down), by the lane that this size takes

    here(n) = overhead + t · NumPy's seconds per byte (+ b + w(0, bytes on the server) to fetch these before)
    sent(n) = b + max(w(p · bytes that have to travel, m), t · a worker's seconds per byte / workers at work)
    kept(n) = b + max(w(0, m), t · a worker's seconds per byte / workers at work)

where arrays on the server, and those in memory shared with it (`empty`), do not travel; one worker is at work for each
4 MiB of input, at most all, and max is + where the server is on this machine and leaves no cores to its clients. Every
figure is measured: see `_advise_link` for the wire and `_advise_sample` for both computers. Limits: a quiet server is
assumed, and a client that does nothing else; samples are smaller than memory, so arrays far beyond them are slower for
NumPy than is said here, rather than faster. Within a factor of two of break-even only trying tells.

Rejected: timing whole jobs of several sizes and fitting lines. It takes seconds on slow wires, and cannot be told apart
into what a faster wire, or more workers, would change.
"""

from __future__ import annotations

from asyncio import Lock
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Final, Literal, TypeAlias

from arraymill._quantities import bytes_text, counted

Way: TypeAlias = Literal["local", "sent", "kept"]
"""By NumPy here; on the server, with the inputs sent; on the server, with the inputs kept there."""

AGE_SECONDS: Final = 300.0
"""How long figures of the wire count as known: machines and networks change their load, rarely their kind."""

BLOCK_BYTES: Final = 4 << 20
"""What one worker takes at a time, about."""

_STEPS: Final = tuple(int(2 ** (step / 8)) for step in range(80, 321))
"""The sizes that are looked at for break-even, 9 % apart: 1 KiB to 1 TiB."""


@dataclass(frozen=True, slots=True)
class LaneRate:
    """How fast arrays travel between this client and its server."""

    name: str
    """shared: memory of the machine; bulk: a socket beside gRPC; frames: through gRPC."""
    least_bytes: int
    """Jobs whose inputs or results have at least so many bytes go like this."""
    up_bytes_per_second: float
    """From client to server."""
    down_bytes_per_second: float
    """From server to client."""


@dataclass(frozen=True, slots=True)
class LinkFigures:
    """What was measured of the way between a client and its server, and what the server has."""

    round_trip_seconds: float
    """Median time of a job of some numbers."""
    stream_seconds: float
    """What a job that is streamed takes beside its bytes."""
    small_bytes: int
    """Inputs and results up to here go in one message each."""
    lanes: tuple[LaneRate, ...]
    """By size, smallest first."""
    overlap: float
    """How much of the shorter of two transfers hides behind the longer one, where inputs and results are large: 0
    nothing, 1 all of it."""
    workers: int
    arena_bytes: int
    resident_budget_bytes: int
    """What kept arrays may take on the server."""
    shares_cores: bool
    """Whether the workers compute on cores that the wire needs: the server is on this machine, which has no more."""
    shared_seconds: float | None = None
    """What a job in shared memory takes beside its bytes whose result is small: it needs no stream. None: none is."""

    @property
    def is_shared(self) -> bool:
        """Whether large arrays lie in memory that client and server share, or go through it."""
        return self.shared_seconds is not None or self.lanes[-1].name == "shared"

    def lane(self, nbytes: float) -> LaneRate:
        """Return how a job goes whose inputs, or results, have so many bytes."""
        return next((lane for lane in reversed(self.lanes) if nbytes >= lane.least_bytes), self.lanes[0])

    def start_seconds(self, up: float, down: float) -> float:
        """Return what a job of such inputs and results takes beside their bytes and its work."""
        if max(up, down) <= self.small_bytes:
            return self.round_trip_seconds
        needs_stream = self.shared_seconds is None or down > self.small_bytes or self.lane(up).name != "shared"
        return self.stream_seconds if needs_stream or self.shared_seconds is None else self.shared_seconds

    def wire_seconds(self, up: float, down: float) -> float:
        """Return how long so many bytes of inputs and of results are on their way."""
        lane = self.lane(max(up, down))
        times = up / lane.up_bytes_per_second, down / lane.down_bytes_per_second
        return max(times) + (1 - self.overlap) * min(times)

    def together(self, wire: float, computed: float) -> float:
        """Return the seconds of a wire and of workers that are busy side by side, or in turn where they share cores."""
        return wire + computed if self.shares_cores else max(wire, computed)


@dataclass(frozen=True, slots=True)
class WorkFigures:
    """What was measured of an expression, at its own size."""

    input_bytes: int
    stored_bytes: int
    """Of these, bytes that lie on the server already."""
    result_bytes: int
    result_growth: float
    """Bytes by which the result grows for each byte by which the inputs do."""
    touched_bytes: int
    """Of the inputs, and of the value of every operation."""
    passes: int
    """How often the server reads the inputs."""
    overhead_seconds: float
    """What NumPy takes for the expression of next to nothing."""
    local_seconds_per_byte: float
    """NumPy here, for each byte touched."""
    server_seconds_per_byte: float
    """One worker, for each byte touched."""
    sample_bytes: int
    """Bytes touched of the sample that NumPy was measured on."""
    placed_bytes: int = 0
    """Of the inputs, bytes in memory that is shared with the server (`empty`)."""

    def scaled(self, input_bytes: float) -> tuple[float, float, float, float]:
        """Return the bytes touched, on the server, shared with it, and of the result, for inputs of another size."""
        scale = input_bytes / self.input_bytes if self.input_bytes else 1.0
        result = self.result_bytes + self.result_growth * (input_bytes - self.input_bytes)
        return self.touched_bytes * scale, self.stored_bytes * scale, self.placed_bytes * scale, max(result, 0.0)


@dataclass(frozen=True, slots=True)
class Prediction:
    """How long an expression takes, in three ways."""

    input_bytes: int
    local_seconds: float
    """By NumPy in this process, after fetching what lies on the server."""
    sent_seconds: float
    """On the server, with all inputs sent that are not there, and the result sent back."""
    kept_seconds: float | None
    """On the server, with all inputs kept there, and the result sent back; None: they are too large to be kept."""

    @property
    def best(self) -> Way:
        """The fastest way."""
        kept = inf if self.kept_seconds is None else self.kept_seconds
        seconds: dict[Way, float] = {"local": self.local_seconds, "sent": self.sent_seconds, "kept": kept}
        return min(seconds, key=seconds.__getitem__)


@dataclass(frozen=True, slots=True)
class Sizes:
    """A range of sizes of inputs, in bytes."""

    least_bytes: int
    most_bytes: int | None
    """None: no end was found."""

    def __str__(self) -> str:
        end = "" if self.most_bytes is None else f" to {bytes_text(self.most_bytes)}"
        return f"from {bytes_text(self.least_bytes)}{end}"


@dataclass(frozen=True, slots=True)
class Advice:
    """Whether it is worth sending an expression to the server, and the numbers behind it. `str` tells it in words."""

    link: LinkFigures
    work: WorkFigures

    @property
    def now(self) -> Prediction:
        """The expression as it is."""
        return self.at(self.work.input_bytes)

    @property
    def worth_sending(self) -> Sizes | None:
        """Sizes of the inputs for which sending them is faster than NumPy here; None: never."""
        return _range(lambda told: told.sent_seconds < told.local_seconds, self)

    @property
    def worth_keeping(self) -> Sizes | None:
        """Sizes of the inputs for which arrays on the server are computed faster there than arrays here by NumPy.

        None: never. Where the expression reads arrays on the server, NumPy here has to fetch these before.
        """
        return _range(lambda told: told.kept_seconds is not None and told.kept_seconds < told.local_seconds, self)

    def at(self, input_bytes: int) -> Prediction:
        """Predict the same expression of inputs of another size, in bytes."""
        link, work = self.link, self.work
        touched, stored, placed, result = work.scaled(input_bytes)
        fetched = link.start_seconds(0, stored) + link.wire_seconds(0, stored) if stored else 0.0
        workers = min(max(input_bytes / BLOCK_BYTES, 1.0), max(link.workers, 1))
        computed = touched * work.server_seconds_per_byte / workers
        own = input_bytes - stored
        up = own - placed
        again = work.passes if input_bytes > link.arena_bytes else 1
        sent = link.start_seconds(own, result) + link.together(link.wire_seconds(up * again, result), computed)
        kept = link.start_seconds(0, result) + link.together(link.wire_seconds(0, result), computed)
        return Prediction(
            input_bytes=input_bytes,
            local_seconds=fetched + work.overhead_seconds + touched * work.local_seconds_per_byte,
            sent_seconds=sent,
            kept_seconds=kept if stored == input_bytes or input_bytes <= link.resident_budget_bytes else None,
        )

    def __str__(self) -> str:
        return "\n".join((self._prediction_text(), self._verdict_text(), self._figures_text()))

    def _prediction_text(self) -> str:
        now, work = self.now, self.work
        kept = "cannot be kept there" if now.kept_seconds is None else f"kept there {duration_text(now.kept_seconds)}"
        placed = f" ({bytes_text(work.placed_bytes)} are shared with it and do not travel)" if work.placed_bytes else ""
        fetch = f", of which it would have to fetch {bytes_text(work.stored_bytes)}" if work.stored_bytes else ""
        return (
            f"NumPy here takes about {duration_text(now.local_seconds)} for {bytes_text(now.input_bytes)} of input"
            f"{fetch}; sent to the server they take {duration_text(now.sent_seconds)}{placed}, {kept}."
        )

    def _verdict_text(self) -> str:
        sent, kept = self.worth_sending, self.worth_keeping
        return (
            f"Sending is worth it {sent or f'at no size{self._reason_text()}'}; "
            f"arrays that are kept on the server are worth it {kept or 'at no size'}."
        )

    def _reason_text(self) -> str:
        """Tell whether the wire alone takes longer than NumPy."""
        now, work = self.now, self.work
        wire = self.link.wire_seconds(work.input_bytes - work.stored_bytes - work.placed_bytes, work.result_bytes)
        if wire <= now.local_seconds:
            return ""
        return f" (the wire alone takes {duration_text(wire)}, NumPy here {duration_text(now.local_seconds)})"

    def _figures_text(self) -> str:
        link, work = self.link, self.work
        lane = link.lane(work.input_bytes)
        stand_ins = ", with stand-ins for arrays on the server" if work.stored_bytes else ""
        return (
            f"Measured: round trip {duration_text(link.round_trip_seconds)}, "
            f"{rate_text(lane.up_bytes_per_second)} up and {rate_text(lane.down_bytes_per_second)} down ({lane.name}); "
            f"{rate_text(self.local_rate)} by NumPy here on a sample{stand_ins}, {rate_text(self.server_rate)} by "
            f"{counted(link.workers, 'worker')}."
        )

    @property
    def local_rate(self) -> float:
        """Bytes of input that NumPy here computes in a second, beside its overhead."""
        return self._rate(self.work.local_seconds_per_byte)

    @property
    def server_rate(self) -> float:
        """Bytes of input that all workers together compute in a second."""
        return self._rate(self.work.server_seconds_per_byte / max(self.link.workers, 1))

    def _rate(self, seconds_per_byte: float) -> float:
        seconds = self.work.touched_bytes * seconds_per_byte
        return self.work.input_bytes / seconds if seconds else inf


class LinkMemory:
    """What a client remembers of its link, and the lock that lets measurements not disturb each other."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.link: LinkFigures | None = None
        self.measured_at = -inf
        """On the monotonic clock."""


def _range(is_worth: Callable[[Prediction], bool], advice: Advice) -> Sizes | None:
    """Return the longest range of sizes that are worth it, on the scale of `_STEPS`."""
    best: list[int] = []
    run: list[int] = []
    for size in _STEPS:
        run = [*run, size] if is_worth(advice.at(size)) else []
        best = max(best, run, key=len)
    if not best:
        return None
    return Sizes(best[0], None if best[-1] == _STEPS[-1] else best[-1])


def duration_text(seconds: float) -> str:
    """Return a duration for people, to two digits or whole seconds: 85 µs, 1.2 ms, 3.4 s, 95 s."""
    for unit, factor in (("µs", 1e6), ("ms", 1e3)):
        if seconds * factor < 999.5:
            return f"{_two_digits(seconds * factor)} {unit}"
    return f"{_two_digits(seconds)} s"


def rate_text(bytes_per_second: float) -> str:
    """Return a rate for people: 120 kB/s, 85 MB/s, 1.2 GB/s."""
    for unit, size in (("kB/s", 1e3), ("MB/s", 1e6), ("GB/s", 1e9)):
        if bytes_per_second < 999.5 * size:
            return f"{_two_digits(bytes_per_second / size)} {unit}"
    return "> 1 TB/s"


def _two_digits(number: float) -> str:
    return f"{number:.1f}" if number < 9.95 else f"{number:,.0f}"
