"""Units, bounds, defaults and the reading of mappings."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest

from arraymill_proto.graph import Graph, Input, Operation, Params, Shape
from arraymill_proto.validate import infer_graph
from arraymill_server.cgroup import Machine
from arraymill_server.config import JOB_ROOM_BYTES, ConfigError, ServerConfig, settings
from arraymill_server.plan.planner import PlanLimits, plan_job
from arraymill_server.plan.workspace import JobLayout
from arraymill_server.quantities import GIB, MIB

MACHINE = Machine(cpus=4, memory_bytes=8 * GIB, shm_free_bytes=4 * GIB)


def make(**mapping: object) -> ServerConfig:
    return ServerConfig.from_mapping(mapping, machine=MACHINE)


@pytest.mark.parametrize(
    ("text", "value"), [(True, True), (False, False), ("on", True), ("YES", True), ("0", False), ("false", False)]
)
def test_switches(text: str | bool, value: bool) -> None:
    assert make(take_over=text).take_over is value


@pytest.mark.parametrize("text", ["maybe", "", 2])
def test_what_is_no_switch(text: object) -> None:
    with pytest.raises(ConfigError, match="is neither true nor false"):
        make(take_over=text)


def test_defaults_come_from_the_machine() -> None:
    config = make()
    assert config.listen == ("127.0.0.1:50051",)
    assert config.workers == 4
    assert config.arena_bytes == 512 * MIB
    assert config.resident_budget_bytes == 256 * MIB
    assert config.worker_memory_bytes == GIB


@pytest.mark.parametrize(
    ("memory", "shm", "arena"),
    [
        (8 * GIB, 4 * GIB, 512 * MIB),
        (GIB, 4 * GIB, 256 * MIB),
        (8 * GIB, 400 * MIB, 200 * MIB),
        (8 * GIB, 64 * MIB, 64 * MIB),
        (128 * MIB, 0, 64 * MIB),
    ],
)
def test_the_default_arena_follows_the_scarcest_memory(memory: int, shm: int, arena: int) -> None:
    machine = Machine(cpus=1, memory_bytes=memory, shm_free_bytes=shm)
    config = ServerConfig.from_mapping({}, machine=machine)
    assert config.arena_bytes == arena
    assert config.resident_budget_bytes == min(arena // 2, arena - 48 * MIB)


def test_memory_is_shared_with_one_client_at_least_or_with_none() -> None:
    assert make(shared_memory="64MiB").shared_memory_bytes == 64 * MIB
    assert make(shared_memory=0).shared_memory_bytes == 0
    for memory, shared in ((GIB, 256 * MIB), (256 * MIB, 64 * MIB), (255 * MIB, 0)):
        machine = Machine(cpus=1, memory_bytes=memory, shm_free_bytes=GIB)
        assert ServerConfig.from_mapping({}, machine=machine).shared_memory_bytes == shared


@pytest.mark.parametrize(("arena", "budget"), [(48, 0), (64, 16), (95, 47), (96, 48), (200, 100)])
def test_residents_leave_room_for_a_job(arena: int, budget: int) -> None:
    config = make(arena=arena * MIB)
    assert config.resident_budget_bytes == min(budget * MIB, arena * MIB // 2)
    most = (arena - 48) * MIB
    assert replace(config, resident_budget_bytes=most).resident_budget_bytes == most
    with pytest.raises(ConfigError, match=r"resident_budget_bytes is .* stay for jobs"):
        replace(config, resident_budget_bytes=most + 1)


@pytest.mark.parametrize("shape", [(3, 10**9), (10**6, 10**6), (1000, 1000, 1000), (10**9, 3)])
@pytest.mark.parametrize("name", ["sqrt", "sum", "var", "ptp", "argmax", "cumsum"])
@pytest.mark.parametrize("axis", [0, -1])
def test_a_job_of_the_widest_blocks_fits_into_the_room_that_is_left(shape: Shape, name: str, axis: int) -> None:
    params: Params = {} if name == "sqrt" else {"axis": axis}
    graph = Graph((Input(shape, np.dtype("f8")), Operation(name, (0,), params)), (1,))
    limits = PlanLimits(hold_bytes=0)
    plan = plan_job(graph, infer_graph(graph, lambda node: pytest.fail(f"{node} is none")), {}, limits, keep=False)
    assert JobLayout(plan, 1).nbytes <= JOB_ROOM_BYTES


def test_a_worker_gets_its_share_of_the_memory_limit() -> None:
    machine = Machine(cpus=4, memory_bytes=4 * GIB, shm_free_bytes=4 * GIB)
    assert ServerConfig.from_mapping({"arena": GIB}, machine=machine).worker_memory_bytes == 3 * GIB // 4
    assert ServerConfig.from_mapping({"arena": GIB, "workers": 100}, machine=machine).worker_memory_bytes == 256 * MIB


def test_text_and_numbers_and_both_spellings_of_keys() -> None:
    config = make(
        listen="127.0.0.1:0, unix:/run/mill.sock",
        arena="64MiB",
        **{"resident-budget": "16MiB", "resident-ttl": "5min", "max-waiting-jobs": "7"},
        drain=1.5,
        log_level="DEBUG",
        workers=None,
    )
    assert config.listen == ("127.0.0.1:0", "unix:/run/mill.sock")
    assert [address.path for address in config.addresses] == ["", "/run/mill.sock"]
    assert (config.arena_bytes, config.resident_budget_bytes) == (64 * MIB, 16 * MIB)
    assert (config.resident_ttl_seconds, config.drain_seconds) == (300, 1.5)
    assert (config.max_waiting_jobs, config.log_level, config.workers) == (7, "debug", 4)


@pytest.mark.parametrize(
    ("key", "near"),
    [("arean", "arena"), ("worker", "workers"), ("log-fromat", "log_format"), ("arena_bytes", "arena"), ("?", "")],
)
def test_an_unknown_key_names_the_nearest(key: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown setting .*did you mean '{near}.*There are arena, "):
        make(**{key: 1})


@pytest.mark.parametrize(
    ("mapping", "complaint"),
    [
        ({"workers": 0}, "workers is 0, below its bound of 1"),
        ({"workers": 513}, "workers is 513, above its bound of 512"),
        ({"workers": "two"}, "workers: 'two' is not a whole number"),
        ({"workers": 1.5}, "workers: 1.5 is not a whole number"),
        ({"workers": True}, "workers: True is not a whole number"),
        ({"arena": "1KiB"}, "arena_bytes is 1 KiB, below its bound of 48 MiB"),
        ({"arena": "47MiB"}, "arena_bytes is 47 MiB, below its bound of 48 MiB"),
        ({"arena": "65TiB"}, "arena_bytes is 65 TiB, above its bound of 64 TiB"),
        ({"arena": "lots"}, "arena: 'lots' is not a number of bytes"),
        ({"arena": "9GiB"}, "arena_bytes is 9 GiB, but this process may use only 8 GiB of memory in all"),
        ({"arena": "64MiB", "resident_budget": "17MiB"},
         "resident_budget_bytes is 17 MiB, above its bound of 16 MiB: of the arena's 64 MiB, 48 MiB stay for jobs"),
        ({"shared_memory": "32MiB"},
         "shared_memory_bytes is 32 MiB, below its bound of 64 MiB: each client needs so much; give more, or 0"),
        ({"shared_memory": 1}, "shared_memory_bytes is 1 B, below its bound of 64 MiB"),
        ({"resident_ttl": 0}, "resident_ttl_seconds is 0 s, below its bound of 1 s"),
        ({"resident_ttl": float("nan")}, "resident_ttl: nan is not a duration"),
        ({"log_level": "loud"}, "log_level is 'loud', not one of debug, info, warning, error"),
        ({"log_level": 7}, "log_level: "),
        ({"log_format": "xml"}, "log_format is 'xml', not one of auto, console, json"),
        ({"listen": ()}, "listen is empty; give at least one address"),
        ({"listen": "nowhere"}, "listen: 'nowhere' is not an address"),
        ({"listen": 50051}, "listen: "),
    ],
)  # fmt: skip
def test_bad_values_name_the_field_the_value_and_the_bound(mapping: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        make(**mapping)
    assert "\n" not in str(caught.value)


def test_a_config_made_by_hand_is_checked_too() -> None:
    config = make()
    with pytest.raises(ConfigError, match="listen: 'x' is not an address"):
        replace(config, listen=("x",))
    with pytest.raises(ConfigError, match="task_timeout_seconds is nan s, below"):
        replace(config, task_timeout_seconds=float("nan"))
    with pytest.raises(FrozenInstanceError):
        config.workers = 2  # type: ignore[misc]  # the point of the test


def test_every_field_is_a_setting_with_help_and_a_default_that_reads_back() -> None:
    by_key = {setting.key: setting for setting in settings()}
    assert len(by_key) == len(fields(ServerConfig))
    config = make()
    for item, setting in zip(fields(ServerConfig), settings(), strict=True):
        assert len(setting.help) > 20, f"{item.name} has no text under it"
        assert setting.key in item.name
        if setting.default:
            assert setting.parse(setting.default) == getattr(config, item.name)
        else:
            assert "Default: " in setting.help
    assert by_key["resident_budget"].flag == "--resident-budget"
    assert by_key["log_format"].choices == ("auto", "console", "json")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:9464", "127.0.0.1", 9464), ("[::1]:0", "::1", 0), (" localhost:1 ", "localhost", 1)],
)
def test_where_metrics_are(text: str, host: str, port: int) -> None:
    address = make(metrics_listen=text).metrics_address
    assert address is not None
    assert (address.host, address.port, address.path) == (host, port, "")


@pytest.mark.parametrize("text", ["off", " OFF "])
def test_no_metrics(text: str) -> None:
    assert make(metrics_listen=text).metrics_address is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("9464", "'9464' is not an address; write 127.0.0.1:9464, .*off"),
        ("::1:9464", "not an address; write 127.0.0.1:9464, .*off"),
        ("unix:/run/metrics", "is a Unix socket; Prometheus asks over TCP"),
        ("127.0.0.1:99999", "port 99999 is above 65535"),
        ("", "'' is not an address"),
        (9464, "metrics_listen: '9464' is not an address"),
    ],
)
def test_metrics_that_cannot_be_anywhere(text: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make(metrics_listen=text)
