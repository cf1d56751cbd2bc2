"""The configuration of a server: one frozen, validated value, its units, and how text becomes it.

The same names serve as flags, in the environment and as keys of a TOML file: the field without its unit. `arena_bytes`
is ``--arena 256MiB``, ``ARRAYMILL_ARENA=256MiB`` and ``arena = "256MiB"``. `settings` tells the command line all of it;
the command line merges the sources and hands one mapping to `ServerConfig.from_mapping`.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Final, Self

from arraymill_server.cgroup import Machine
from arraymill_server.listen import Address, parse_address, parse_metrics_address
from arraymill_server.quantities import GIB, MIB, TIB, format_bytes, parse_bytes, parse_seconds

DEFAULT_ARENA_LIMIT: Final = 512 * MIB
"""Largest arena that is made unasked. Every page is written at start, which took 0.9 to 2 s per GiB: this keeps the
start below 2 s. Arrays larger than the arena stream through it all the same."""

SMALLEST_DEFAULT_ARENA: Final = 64 * MIB
"""Smallest arena that is made unasked: below, only one or two jobs of 4 MiB blocks run at a time. It is also all that
Docker gives /dev/shm by default."""

JOB_ROOM_BYTES: Final = 48 * MIB
"""Part of the arena that residents leave to jobs, and so the smallest arena. One block of a job takes up to 16 MiB
(`SLOT_BYTES` of the planner), its partials and results as much again; the largest that was found of float64 is
``var`` along a short axis, with 47.98 MiB. Jobs of less run as well, but those of the widest blocks never could."""

STAGING_BYTES: Final = 64 * MIB
"""Shared memory of each client through which arrays travel that lie elsewhere: six blocks of 4 MiB in and out, with
their partials. Two jobs at a time that transform large arrays fit."""

WORKER_TASKS: Final = 100_000
"""Tasks after which a worker is replaced unasked. The smallest take 60 µs with their dispatch, so a worker lives for
6 s at least; its successor costs 13 ms of one core, 0.2 % of that."""

MAX_TTL_SECONDS: Final = 30 * 86400
"""Longest time to live of a resident array. The arena is memory that ends with the server: who needs an array for
longer than a month needs a file."""

MOST_BYTES: Final = 64 * TIB
"""Upper bound of all sizes: more than any machine has, small enough that sums stay below 2**63."""

OFF: Final = -1
"""Of a port: none."""

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("auto", "console", "json")

_YES: Final = ("true", "yes", "on", "1")
_NO: Final = ("false", "no", "off", "0")


class ConfigError(ValueError):
    """The server cannot start like this. One line that says what is wrong, with the numbers, and what to change."""


def _parse_count(text: str | int) -> int:
    if isinstance(text, int) and not isinstance(text, bool):
        return text
    if isinstance(text, str) and re.fullmatch(r"\s*-?\d+\s*", text):
        return int(text)
    raise ConfigError(f"{text!r} is not a whole number")


def _parse_port(text: str | int) -> int:
    if text == "off":
        return OFF
    port = _parse_count(text)
    if port < 0:
        raise ConfigError(f"{text!r} is not a port; write a number up to 65535, 0 for any free one, or off")
    return port


def _format_port(port: int) -> str:
    return "off" if port == OFF else str(port)


def _parse_listen(value: str | Iterable[str]) -> tuple[str, ...]:
    texts = value.replace(",", " ").split() if isinstance(value, str) else value
    return tuple(str(parse_address(text)) for text in texts)


def _parse_metrics_listen(value: str | int) -> str:
    text = str(value).strip()
    return "off" if text.lower() == "off" else str(parse_metrics_address(text))


def _parse_switch(value: str | bool) -> bool:
    word = str(value).strip().lower()
    if word not in (*_YES, *_NO):
        raise ConfigError(f"{value!r} is neither true nor false")
    return word in _YES


def _format_switch(value: bool) -> str:
    return "on" if value else "off"


def _parse_word(value: str) -> str:
    return value.strip().lower()


@dataclass(frozen=True, slots=True)
class _Kind:
    """How the values of a field are read, written and bounded."""

    parse: Callable[[Any], Any]
    format: Callable[[Any], str] = str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    is_switch: bool = False
    """True when the flag alone means yes."""


def _kind(kind: _Kind) -> dict[str, _Kind]:
    return {"kind": kind}


def _size(low: int) -> dict[str, _Kind]:
    return _kind(_Kind(parse_bytes, format_bytes, low, MOST_BYTES))


def _count(low: int, high: int) -> dict[str, _Kind]:
    return _kind(_Kind(_parse_count, str, low, high))


def _time(low: float, high: float) -> dict[str, _Kind]:
    return _kind(_Kind(parse_seconds, "{:g} s".format, low, high))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """All that a server can be told. `from_mapping` fills what depends on the machine.

    Raises:
        ConfigError: A value is out of bounds; the message names the field, the value and the bound.
    """

    listen: tuple[str, ...] = field(default=("127.0.0.1:50051",), metadata=_kind(_Kind(_parse_listen, " ".join)))
    """Addresses to listen on: host:port, [v6]:port or unix:/path. Port 0 picks a free one."""
    bulk_port: int = field(default=0, metadata=_kind(_Kind(_parse_port, _format_port, OFF, 65535)))
    """Port at which large arrays travel on plain sockets beside gRPC, on the hosts of --listen: 0 picks a free one, off
    does without. A client that cannot reach it sends everything through gRPC."""
    take_over: bool = field(default=False, metadata=_kind(_Kind(_parse_switch, _format_switch, is_switch=True)))
    """Listen where another arraymill server of the same user does, and get all new connections from then on: for a
    restart without a gap. That server goes on with what it has until it is stopped."""
    workers: int = field(metadata=_count(1, 512))
    """Worker processes. Default: the CPUs that the control group allows."""
    arena_bytes: int = field(metadata=_size(JOB_ROOM_BYTES))
    """Shared memory for all arrays, in bytes, at least 48 MiB. Default: a quarter of the memory limit, at most half of
    /dev/shm's free space and 512 MiB, at least 64 MiB."""
    shared_memory_bytes: int = field(metadata=_size(0))
    """Memory that may be shared with clients on this machine, so that their arrays need not travel, in bytes: beside
    the arena, and taken only while clients use it; at least 64 MiB, which each client needs, or 0 for none. Default: a
    quarter of the memory limit."""
    resident_budget_bytes: int = field(metadata=_size(0))
    """Part of the arena that resident arrays may hold, in bytes: at most the arena without 48 MiB, which stay for jobs.
    Default: half of the arena, or that if it is less."""
    resident_ttl_seconds: float = field(default=3600.0, metadata=_time(1, MAX_TTL_SECONDS))
    """Seconds after its last use until a resident array is deleted, unless its client asks for another time."""
    worker_memory_bytes: int = field(metadata=_size(128 * MIB))
    """Private memory of one worker (RLIMIT_DATA; the arena does not count), in bytes. Default: its share of the memory
    limit beside the arena, 256 MiB to 1 GiB."""
    task_timeout_seconds: float = field(default=60.0, metadata=_time(0.1, 86400))
    """Most seconds that one block of work may take before its worker is killed and replaced. Most blocks may take less:
    ten times what the slowest of their kind took lately, and 5 seconds at least; the last attempt has all of it."""
    worker_tasks: int = field(default=WORKER_TASKS, metadata=_count(0, 1_000_000_000))
    """Blocks of work after which a worker is replaced by a fresh one, without a gap; 0: never. A worker that holds half
    of its private memory is replaced as well."""
    max_waiting_jobs: int = field(default=2048, metadata=_count(1, 100_000))
    """Jobs that may wait for memory; one more is told to try again later, and so is a client that has more of them than
    places are free."""
    max_client_jobs: int = field(default=1024, metadata=_count(1, 100_000))
    """Submitted jobs of one client that may wait or run; one more is told to try again later."""
    max_streams: int = field(default=2048, metadata=_count(1, 100_000))
    """Calls that may be open at once; one more is told to try again later."""
    stall_seconds: float = field(default=45.0, metadata=_time(1, 3600))
    """Seconds that a client may neither feed nor read while its job waits for it; then the job ends with an error."""
    drain_seconds: float = field(default=30.0, metadata=_time(0, 3600))
    """Seconds that running jobs get to end after SIGTERM."""
    metrics_listen: str = field(default="off", metadata=_kind(_Kind(_parse_metrics_listen)))
    """Where Prometheus may ask for metrics: host:port or [v6]:port, path /metrics; port 0 picks a free one, off does
    without. Whoever reaches it can read them."""
    log_level: str = field(default="info", metadata=_kind(_Kind(_parse_word, choices=LOG_LEVELS)))
    """Least severe level that is logged: debug, info, warning or error."""
    log_format: str = field(default="auto", metadata=_kind(_Kind(_parse_word, choices=LOG_FORMATS)))
    """json: a JSON object per line; console: for people; auto: console when stderr is a terminal, else json."""

    def __post_init__(self) -> None:
        for item in fields(self):
            _check_bounds(item, getattr(self, item.name))
        if not self.listen:
            raise ConfigError("listen is empty; give at least one address, for example 127.0.0.1:50051")
        for text in self.listen:
            _parsed("listen", parse_address, text)
        _parsed("metrics_listen", _parse_metrics_listen, self.metrics_listen)
        if 0 < self.shared_memory_bytes < STAGING_BYTES:
            raise ConfigError(
                f"shared_memory_bytes is {format_bytes(self.shared_memory_bytes)}, below its bound of "
                f"{format_bytes(STAGING_BYTES)}: each client needs so much; give more, or 0 to share none"
            )
        if self.resident_budget_bytes > self.arena_bytes - JOB_ROOM_BYTES:
            raise ConfigError(
                f"resident_budget_bytes is {format_bytes(self.resident_budget_bytes)}, above its bound of "
                f"{format_bytes(self.arena_bytes - JOB_ROOM_BYTES)}: of the arena's {format_bytes(self.arena_bytes)}, "
                f"{format_bytes(JOB_ROOM_BYTES)} stay for jobs; give a larger --arena or a smaller --resident-budget"
            )

    @property
    def metrics_address(self) -> Address | None:
        """`metrics_listen`, parsed; None: nowhere."""
        return None if self.metrics_listen == "off" else parse_address(self.metrics_listen)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """`listen`, parsed."""
        return tuple(parse_address(text) for text in self.listen)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, object], *, machine: Machine | None = None) -> Self:
        """Return the configuration that a mapping of settings means.

        Args:
            mapping: Keys as in `settings`, with - or _; values as text or as numbers. None means not given.
            machine: For the defaults; None looks at this machine.

        Raises:
            ConfigError: A key is unknown, a value cannot be read or is out of bounds, or the arena is larger than the
                memory limit.
        """
        known = {_key(item): item for item in fields(cls)}
        given: dict[str, Any] = {}
        for key, value in mapping.items():
            item = known.get(key.replace("-", "_"))
            if item is None:
                raise ConfigError(_unknown_key(key, known))
            if value is not None:
                given[item.name] = _parsed(key, _kind_of(item).parse, value)
        machine = machine or Machine.detect()
        config = cls(**{**_machine_defaults(machine, given), **given})
        if config.arena_bytes >= machine.memory_bytes:
            raise ConfigError(
                f"arena_bytes is {format_bytes(config.arena_bytes)}, but this process may use only "
                f"{format_bytes(machine.memory_bytes)} of memory in all; give a smaller --arena or raise the limit"
            )
        return config


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as a command line sees it."""

    key: str
    """Name in the environment (after ARRAYMILL_) and in a TOML file."""
    parse: Callable[[Any], Any]
    """Turns text into the field's value; raises ValueError."""
    default: str
    """As text; empty when it depends on the machine (the help says how)."""
    choices: tuple[str, ...]
    """Words that may be given; empty: anything that `parse` reads."""
    is_switch: bool
    """True when the flag has no value."""
    help: str
    """What it is and its unit."""

    @property
    def flag(self) -> str:
        return "--" + self.key.replace("_", "-")


def settings() -> tuple[Setting, ...]:
    """Return every setting in the order of the fields; the help is the string under the field."""
    docs = _field_docs(ServerConfig)
    return tuple(_setting(item, docs[item.name]) for item in fields(ServerConfig))


def _setting(item: Field[Any], text: str) -> Setting:
    kind = _kind_of(item)
    default = "" if item.default is MISSING else kind.format(item.default)
    return Setting(_key(item), kind.parse, default, kind.choices, kind.is_switch, text)


def _field_docs(cls: type) -> dict[str, str]:
    tree = ast.parse(inspect.getsource(cls)).body[0]
    assert isinstance(tree, ast.ClassDef)
    docs: dict[str, str] = {}
    for item, text in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and isinstance(text, ast.Expr):
            docs[item.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return docs


def _key(item: Field[Any]) -> str:
    return item.name.removesuffix("_bytes").removesuffix("_seconds")


def _kind_of(item: Field[Any]) -> _Kind:
    kind: _Kind = item.metadata["kind"]
    return kind


def _parsed(key: str, parse: Callable[[Any], Any], value: object) -> Any:
    try:
        return parse(value)
    except (ValueError, TypeError, AttributeError) as exc:
        raise ConfigError(f"{key}: {exc}") from exc


def _check_bounds(item: Field[Any], value: Any) -> None:
    kind = _kind_of(item)
    if kind.choices and value not in kind.choices:
        raise ConfigError(f"{item.name} is {value!r}, not one of {', '.join(kind.choices)}")
    if kind.low is not None and not value >= kind.low:
        raise ConfigError(f"{item.name} is {kind.format(value)}, below its bound of {kind.format(kind.low)}")
    if kind.high is not None and not value <= kind.high:
        raise ConfigError(f"{item.name} is {kind.format(value)}, above its bound of {kind.format(kind.high)}")


def _unknown_key(key: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = get_close_matches(key.replace("-", "_"), names, n=1, cutoff=0)
    return f"unknown setting {key!r}: did you mean {near[0]!r}? There are {', '.join(names)}"


def _machine_defaults(machine: Machine, given: Mapping[str, Any]) -> dict[str, Any]:
    share = min(machine.memory_bytes // 4, machine.shm_free_bytes // 2, DEFAULT_ARENA_LIMIT)
    arena: int = given.get("arena_bytes", max(share, SMALLEST_DEFAULT_ARENA))
    workers: int = given.get("workers", machine.workers)
    shared = machine.memory_bytes // 4
    private = (machine.memory_bytes - arena) // max(workers, 1)
    return {
        "workers": workers,
        "arena_bytes": arena,
        "shared_memory_bytes": shared if shared >= STAGING_BYTES else 0,
        "resident_budget_bytes": max(0, min(arena // 2, arena - JOB_ROOM_BYTES)),
        "worker_memory_bytes": min(max(private, 256 * MIB), GIB),
    }
