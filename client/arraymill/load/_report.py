"""What a load test tells: one document, as JSON, from which the terminal's summary and the HTML report are made.

All durations are seconds, all sizes bytes, all rates per second. Times within a run count from the first intended send
after the warm-up. `FORMAT` grows when a reader of the last one could no longer read it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from arraymill._text.errors import InputError
from arraymill.load._document import plain, read

FORMAT: Final = 1
"""Version of this document."""

QUANTILES: Final = (0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
"""Those that every `Distribution` tells."""

PHASES: Final = ("queued", "received", "computed", "merged", "sent", "elsewhere")
"""Of a job's time: as the server tells them (`JobTimes`), and what is left of the time from sending to the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Durations of many jobs, from an HdrHistogram of three significant figures."""

    count: int
    mean: float
    deviation: float
    minimum: float
    maximum: float
    quantiles: dict[str, float]
    """By the quantile's text: `0.999` → seconds; those of `QUANTILES`."""
    curve: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    """Quantile and seconds, in ascending order, close enough to draw; empty where nobody draws it."""
    histogram: str = ""
    """The histogram itself: HdrHistogram's compressed encoding, of microseconds; empty for parts of jobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Second:
    """One interval of the plot over time."""

    at: float
    """Its begin."""
    seconds: float
    jobs: int
    """Ended well, by the time of their intended send."""
    errors: int
    bytes: int
    p50: float | None
    """None: no job ended well."""
    p99: float | None
    maximum: float | None
    server: dict[str, float] = field(default_factory=dict[str, float])
    """What the server said of itself at the end: `running_jobs`, `waiting_jobs`, `arena_used_bytes`, `connections`,
    `shared_bytes`, and more where its metrics can be read; empty where it did not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The jobs of one entry of the mix."""

    name: str
    """As in the mix: `sum 1MiB float64 auto`."""
    jobs: int
    errors: dict[str, int]
    """By reason: the class of the error, without its package; `WrongAnswer`, and `Unfinished` for those that had no
    answer when the run was over."""
    bytes: int
    """Sent to the server and fetched from it, as elements of arrays."""
    latency: Distribution | None
    """None: no job ended well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generator:
    """Whether the load tester itself was the limit."""

    processes: int
    cpu_share: float
    """CPU time of the busiest process, as a part of the time that passed."""
    sent_per_second: float | None
    """What of the asked rate was sent in time: the rate itself where every job was; None where none was asked for."""
    late: Distribution | None
    """From the intended send to the real one; None where no rate was asked for."""
    is_limit: bool
    reason: str
    """Why it is the limit, with the numbers and what to do; empty where it is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One load that was held for some time: a run has one, or one for each rate."""

    rate: float | None
    """Jobs per second that were meant to be sent; None: closed loop."""
    clients: int
    """Clients, each with connections of its own; those of an open loop share the rate."""
    seconds: float
    jobs: int
    """Meant to be sent within the time, and ended well, if later."""
    errors: dict[str, int]
    """As those of a `Part`."""
    checked: int
    """Answers that were compared with NumPy's."""
    wrong: int
    """Of these, those that differed; counted as errors too."""
    bytes: int
    jobs_per_second: float
    """Those that ended well within the time, whenever they were sent."""
    bytes_per_second: float
    kept_up: float | None = None
    """Part of the jobs that were meant to be sent whose answers kept up with the rate: they came before the end or not
    much later. None where no rate was asked for, and in reports of early versions."""
    latency: Distribution | None
    """From the intended send to the answer: a stall of the server counts for all who had to wait for it."""
    service: Distribution | None
    """From the real send to the answer."""
    phases: dict[str, Distribution]
    """By the names of `PHASES`; those that were not told are left out."""
    series: list[Second]
    parts: list[Part]
    generator: Generator


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One condition of `--fail-if`."""

    condition: str
    """As it was given: `p99>50ms`."""
    value: float | None
    """What was measured, in base units; None: nothing was."""
    is_met: bool
    """The condition holds, so the run has failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A load test, whole."""

    format: int
    arraymill: str
    """Version of the load tester."""
    title: str
    began: str
    """ISO 8601, UTC."""
    server: dict[str, Any]
    """`address`, and of its information: version, workers, arena_bytes, numpy_version, …."""
    machine: dict[str, Any]
    """Of the load tester: cpus, python, numpy."""
    plan: dict[str, Any]
    """What was asked for: the keys of the TOML file, with the defaults."""
    steps: list[Step]
    knee: float | None
    """Largest rate of the steps that the server held (`docs/load-testing.md` tells what that means); None without."""
    verdicts: list[Verdict]
    ended: str
    """Why it ended before its time: the server was lost, Ctrl-C; empty where it did not."""


def to_json(report: Report) -> str:
    """Return the document."""
    return json.dumps(plain(report), allow_nan=False, indent=1)


def from_json(text: str | bytes) -> Report:
    """Read a document.

    Raises:
        InputError: It is no report, or one of a later format.
    """
    try:
        told = cast("object", json.loads(text))
    except (ValueError, RecursionError) as exc:
        raise InputError(f"no report of a load test: {exc}") from exc
    if not isinstance(told, dict) or "format" not in told:
        raise InputError("no report of a load test: it has no format")
    format = cast("dict[str, object]", told)["format"]
    if format != FORMAT:
        raise InputError(f"a report of format {str(format)[:20]}; this arraymill reads format {FORMAT}")
    return read(Report, cast("object", told))


def read_report(path: Path) -> Report:
    """Read a document from a file.

    Raises:
        InputError: It cannot be read, or is no report; the line begins with the path.
    """
    try:
        return from_json(path.read_bytes())
    except OSError as exc:
        raise InputError(f"{path}: {exc.strerror or exc}") from exc
    except InputError as exc:
        raise InputError(f"{path}: {exc}") from exc
