"""What a load test is asked to do: one table of keys, for the options of the command and for a TOML file alike."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, cast

from arraymill._text.errors import InputError
from arraymill._text.quantities import nearest, read_seconds, split_quantity
from arraymill.load._conditions import read_condition
from arraymill.load._mix import Entry, read_mix
from arraymill.load._schedule import Arrival

CLIENTS: Final = 8
SECONDS: Final = 10.0
WARM_UP_SECONDS: Final = 2.0
"""Enough for connections, shared memory and the server's own caches."""

CHECK: Final = 100
TIMEOUT_SECONDS: Final = 30.0

MAX_CLIENTS: Final = 4096
"""Each has a connection of its own, and descriptors on both sides."""

MAX_STEPS: Final = 200
MAX_PROCESSES: Final = 64
MAX_RATE: Final = 1e5
"""A process sends some thousand jobs per second."""

_PROCESSES: Final = max(1, min(4, (os.cpu_count() or 1) // 2))
"""Half of the cores: the server may need the others. More must be asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A load test. The names of the fields are the keys of a TOML file, and with hyphens the options."""

    mix: tuple[Entry, ...]
    rate: float | None = None
    """Jobs per second; None: a closed loop."""
    arrival: Arrival = Arrival.UNIFORM
    step_rate: tuple[float, ...] = ()
    """Rates that are held one after the other."""
    clients: int = CLIENTS
    in_flight: int = 1
    """Jobs that each client has under way in a closed loop."""
    processes: int = _PROCESSES
    """Generators, each with its part of the clients."""
    duration: float = SECONDS
    """Of each step, in seconds."""
    count: int | None = None
    """Jobs, instead of a duration."""
    warm_up: float = WARM_UP_SECONDS
    """Seconds before the first step in which nothing counts."""
    check: int = CHECK
    """Every so-manieth answer is compared with NumPy's; 0: none."""
    timeout: float = TIMEOUT_SECONDS
    """Seconds that a job may take."""
    seed: int = 0
    fail_if: tuple[str, ...] = ()
    title: str = ""

    @property
    def rates(self) -> tuple[float | None, ...]:
        """The rate of each step; None: closed loop."""
        return self.step_rate or (self.rate,)

    @property
    def is_open(self) -> bool:
        """Whether jobs are sent at given times, however the server is doing."""
        return self.rates != (None,)

    def document(self) -> dict[str, Any]:
        """Return it as a TOML file would say it, with all that counts."""
        told = {each.name: getattr(self, each.name) for each in fields(self)}
        without = {"in_flight"} if self.is_open else {"arrival"}
        without |= {"duration"} if self.count is not None else {"count"}
        without |= {"rate"} if self.rate is None else set()
        without |= set() if self.step_rate else {"step_rate"}
        mix = [entry.table() for entry in self.mix]
        told |= {
            "mix": mix,
            "arrival": str(self.arrival),
            "step_rate": list(self.step_rate),
            "fail_if": [*self.fail_if],
        }
        return {key: value for key, value in told.items() if key not in without}


def read_plan(file: Mapping[str, object], options: Mapping[str, object]) -> Plan:
    """Make a plan of what a TOML file says and of the options, which go before: also before what excludes them.

    Raises:
        InputError: A key or a value has no meaning, or two contradict each other.
    """
    given = dict[str, Any]()
    excluded = {key for pair in _REPLACES for key, other in (pair, pair[::-1]) if other in options}
    kept = {key: value for key, value in file.items() if key not in excluded}
    for key, value in {**kept, **options}.items():
        reader = _READERS.get(key)
        if reader is None:
            raise InputError(f"there is no key {key[:40]!r}: {nearest(key, _READERS)}")
        try:
            given[key] = reader(value)
        except InputError as exc:
            raise InputError(f"{key}: {exc}") from exc
    if "mix" not in given:
        raise InputError("nothing says what to send: give --mix 'sum:1MiB, sqrt:64KiB' or a file with a mix")
    for one, other in _EITHER:
        if one in given and other in given:
            raise InputError(f"{one} and {other} exclude each other")
    plan = Plan(**given)
    if "arrival" in given and not plan.is_open:
        raise InputError("arrival is for an open loop: give a rate too")
    if not plan.step_rate and any(read_condition(text).name == "knee" for text in plan.fail_if):
        raise InputError("fail_if: a knee is found only where rates grow: give a step_rate too")
    if plan.processes > plan.clients and "processes" in given:
        raise InputError(f"processes: {plan.processes} processes cannot share {plan.clients} clients")
    return replace(plan, processes=min(plan.processes, plan.clients))


def read_file(path: Path) -> dict[str, object]:
    """Read a TOML file.

    Raises:
        InputError: It cannot be read, or is none.
    """
    try:
        return tomllib.loads(path.read_text())
    except OSError as exc:
        raise InputError(f"{path}: {exc.strerror or exc}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise InputError(f"{path} is no TOML: {exc}") from exc


_REPLACES: Final = (("rate", "step_rate"), ("count", "duration"), ("count", "step_rate"))
"""Keys that exclude each other, and of which an option replaces the other one of a file."""

_EITHER: Final = (
    *_REPLACES,
    ("in_flight", "rate"),
    ("in_flight", "step_rate"),
    ("in_flight", "arrival"),
)


# ------------------------------------------------------------------ values, as options and as TOML have them


def _whole(least: int, most: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        try:
            number = int(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else None
        except ValueError:
            number = None
        if number is None or not least <= number <= most:
            raise InputError(f"{str(value)[:40]!r} is not a whole number from {least:,} to {most:,}")
        return number

    return read


def _rate(value: object) -> float:
    found = split_quantity(str(value)) if isinstance(value, (str, int, float)) else None
    if found is None or found[1] not in ("", "/s") or not 0 < found[0] <= MAX_RATE:
        raise InputError(f"{str(value)[:40]!r} is no rate: a number of jobs per second, at most {MAX_RATE:,.0f}")
    return found[0]


def _rates(value: object) -> tuple[float, ...]:
    """Read 100:1000:100, 100:1600:x2, or a list of rates."""
    given = str(value)[:40]
    if isinstance(value, list):
        rates = tuple(map(_rate, cast("list[object]", value)))
    else:
        first, last, step, *more = [*str(value).split(":"), "", "", ""]
        is_factor = step.startswith("x")
        if any(more) or not step:
            raise InputError(f"{given!r} is not FIRST:LAST:STEP, as 100:1000:100 or 100:1600:x2")
        rates = _ladder(_rate(first), _rate(last), _rate(step.removeprefix("x")), is_factor=is_factor)
    if not rates or len(rates) > MAX_STEPS or any(two <= one for one, two in pairwise(rates)):
        raise InputError(f"{given!r} gives no {MAX_STEPS} growing rates or fewer")
    return rates


def _ladder(first: float, last: float, step: float, *, is_factor: bool) -> tuple[float, ...]:
    if is_factor and step <= 1:
        raise InputError(f"the factor x{step:g} must be more than 1")
    rates = list[float]()
    while (rate := first * step ** len(rates) if is_factor else first + step * len(rates)) <= last * (1 + 1e-9):
        rates.append(rate)
        if len(rates) > MAX_STEPS:
            break
    return tuple(rates)


def _duration(*, least: float = 0.0) -> Callable[[object], float]:
    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise InputError(f"{str(value)[:40]!r} is no duration")
        seconds = read_seconds(str(value))
        if not least <= seconds <= 7 * 86_400 or math.isnan(seconds):
            raise InputError(f"{str(value)[:40]!r} is not from {least:g} s to a week")
        return seconds

    return read


def _arrival(value: object) -> Arrival:
    if value not in list(Arrival):
        raise InputError(f"{str(value)[:40]!r} is no arrival: {nearest(str(value), (*Arrival,))}")
    return Arrival(str(value))


def _conditions(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (read_condition(value).text,)
    if not isinstance(value, (list, tuple)):
        raise InputError("it is neither a condition nor a list of them")
    return tuple(read_condition(str(text)).text for text in cast("list[object]", value))


def _text(value: object) -> str:
    return " ".join(str(value).split())[:200]


_READERS: Final[Mapping[str, Callable[[object], Any]]] = {
    "mix": read_mix,
    "rate": _rate,
    "arrival": _arrival,
    "step_rate": _rates,
    "clients": _whole(1, MAX_CLIENTS),
    "in_flight": _whole(1, 256),
    "processes": _whole(1, MAX_PROCESSES),
    "duration": _duration(least=0.1),
    "count": _whole(1, 10**9),
    "warm_up": _duration(),
    "check": _whole(0, 10**9),
    "timeout": _duration(least=1e-3),
    "seed": _whole(0, 2**63),
    "fail_if": _conditions,
    "title": _text,
}
