"""What doctor finds on machines and servers of every sort, and how it tells it."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from arraymill import Advice, LaneRate, LinkFigures, ServerInfo, WorkFigures
from arraymill._info import server_info
from arraymill.cli import _doctor
from arraymill.cli._command import run
from arraymill.cli._doctor import Examination
from arraymill.cli._doctor_findings import WIDTH, Finding, Level, note, ok, problem, show_findings
from arraymill.cli._doctor_machine import (
    Machine,
    check_clock_source,
    check_limits,
    check_shared_memory,
    check_socket,
    check_threads,
)
from arraymill.cli._doctor_server import (
    Meeting,
    check_address,
    check_clocks,
    check_lane,
    check_server,
    unreachable,
)
from arraymill.cli._doctor_table import document, show_advice, standard_operations
from arraymill.cli._exit_codes import ExitCode
from arraymill.cli._options import Settings
from arraymill_proto.errors import ERRORS, Reason
from arraymill_proto.v1 import arraymill_pb2 as pb

GIB = 1 << 30
MACHINE = Machine(
    cpus=8,
    quota=None,
    memory_bytes=32 * GIB,
    memory_limit=None,
    shm_bytes=16 * GIB,
    shm_free_bytes=8 * GIB,
    clock_source="tsc",
)
SERVER = server_info(
    pb.ServerInfo(
        version=version("arraymill"),
        numpy_version=np.__version__,
        protocol=1,
        workers=4,
        arena_bytes=GIB,
        arena_free_bytes=GIB,
        resident_budget_bytes=GIB // 2,
        bulk_port=50052,
    )
)
LINK = LinkFigures(
    round_trip_seconds=0.001,
    stream_seconds=0.01,
    small_bytes=64 << 10,
    lanes=(LaneRate("frames", 0, 1e9, 1e9), LaneRate("bulk", 8 << 20, 2e9, 2e9)),
    overlap=0.5,
    workers=4,
    arena_bytes=GIB,
    resident_budget_bytes=GIB // 2,
    shares_cores=False,
)
WORK = WorkFigures(
    input_bytes=16 << 20,
    stored_bytes=0,
    result_bytes=16 << 20,
    result_growth=1.0,
    touched_bytes=32 << 20,
    passes=1,
    overhead_seconds=1e-5,
    local_seconds_per_byte=1e-9,
    server_seconds_per_byte=1e-9,
    sample_bytes=32 << 20,
)


def machine(**changes: object) -> Machine:
    return dataclasses.replace(MACHINE, **changes)  # type: ignore[arg-type]


def server(**changes: object) -> ServerInfo:
    return dataclasses.replace(SERVER, **changes)  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------- the machine


def root(folder: Path, **files: str) -> Path:
    """A machine of which these files are known; _ stands for / but within names."""
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("DOT", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return folder


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    seen = Machine.read(tmp_path, cpus=3)
    assert (seen.cpus, seen.quota, seen.memory_limit) == (3, None, None)
    assert (seen.shm_bytes, seen.shm_free_bytes, seen.clock_source) == (0, 0, "")
    assert seen.usable_cpus == 3
    assert seen.usable_bytes == seen.memory_bytes > 0


def test_limits_of_version_2_are_those_of_all_groups_above(tmp_path: Path) -> None:
    (tmp_path / "dev/shm").mkdir(parents=True)
    seen = Machine.read(
        root(
            tmp_path,
            proc__self__cgroup="0::/outer/inner",
            sys__fs__cgroup__outer__inner__cpuDOTmax="max 100000",
            sys__fs__cgroup__outer__cpuDOTmax="150000 100000",
            sys__fs__cgroup__outer__inner__memoryDOTmax=str(3 << 20),
            sys__fs__cgroup__outer__memoryDOTmax=str(2 << 20),
            sys__devices__system__clocksource__clocksource0__current_clocksource="hpet",
        ),
        cpus=4,
    )
    assert (seen.quota, seen.usable_cpus) == (1.5, 1.5)
    assert seen.memory_limit == seen.usable_bytes == 2 << 20
    assert seen.clock_source == "hpet"
    assert 0 < seen.shm_free_bytes <= seen.shm_bytes


def test_limits_of_version_1(tmp_path: Path) -> None:
    seen = Machine.read(
        root(
            tmp_path,
            proc__self__cgroup="3:cpu,cpuacct:/docker/0a\n2:memory:/docker/0a\n1:name=systemd:/docker/0a",
            sys__fs__cgroup__cpu__cpuDOTcfs_quota_us="50000",
            sys__fs__cgroup__cpu__cpuDOTcfs_period_us="100000",
            sys__fs__cgroup__memory__memoryDOTlimit_in_bytes="9223372036854771712",
        ),
        cpus=4,
    )
    assert seen.usable_cpus == 0.5
    assert seen.memory_limit is None, "as much as nobody has"
    unlimited = root(tmp_path, sys__fs__cgroup__cpu__cpuDOTcfs_quota_us="-1")
    assert Machine.read(unlimited, cpus=4).quota is None


def test_this_machine() -> None:
    seen = Machine.read()
    assert seen.usable_cpus > 0
    assert seen.usable_bytes > 0


@pytest.mark.parametrize(
    ("found", "level", "words"),
    [
        (check_limits(MACHINE), Level.OK, "8 CPUs, 32 GiB of memory; no limit"),
        (check_limits(machine(quota=2.5)), Level.OK, "2.5 CPUs, 32 GiB of memory; CPU limited"),
        (
            check_limits(machine(quota=1.0, memory_limit=GIB)),
            Level.OK,
            "1 CPU, 1 GiB of memory; CPU and memory limited",
        ),
        (check_limits(machine(quota=0.5)), Level.NOTE, "0.5 of a CPU"),
        (check_threads(MACHINE, {}), Level.OK, "use 8"),
        (check_threads(MACHINE, {"OMP_NUM_THREADS": "4,2"}), Level.OK, "OMP_NUM_THREADS=4,2"),
        (check_threads(MACHINE, {"OMP_NUM_THREADS": ""}), Level.OK, "not set"),
        (check_threads(MACHINE, {"MKL_NUM_THREADS": "all"}), Level.NOTE, "MKL_NUM_THREADS=all is no number"),
        (check_threads(MACHINE, {"MKL_NUM_THREADS": "0"}), Level.NOTE, "no number of threads"),
        (check_threads(MACHINE, {"OPENBLAS_NUM_THREADS": "9"}), Level.NOTE, "8 CPUs may be used"),
        (check_threads(machine(quota=2.0), {}), Level.NOTE, "start 8 threads, and 2 CPUs"),
        (check_threads(machine(quota=2.0), {"OMP_NUM_THREADS": "2"}), Level.OK, "OMP_NUM_THREADS=2"),
        (check_shared_memory(MACHINE, GIB), Level.OK, "8 GiB free of 16 GiB; the server's arena has 1 GiB"),
        (check_shared_memory(MACHINE, 17 * GIB), Level.OK, "in another container"),
        (check_shared_memory(MACHINE, None), Level.OK, "started here"),
        (check_shared_memory(machine(shm_free_bytes=1 << 20), None), Level.NOTE, "too little"),
        (check_clock_source(MACHINE), Level.OK, "tsc"),
        (check_clock_source(machine(clock_source="acpi_pm")), Level.NOTE, "acpi_pm"),
    ],
)
def test_findings_of_the_machine(found: Finding, level: Level, words: str) -> None:
    assert found.level is level
    assert words in found.text
    assert bool(found.fix) == (level is not Level.OK)


def test_what_to_export() -> None:
    assert check_threads(machine(quota=2.5), {"OMP_NUM_THREADS": "16"}).fix == "export OMP_NUM_THREADS=2"
    assert "shm_size" in check_shared_memory(machine(shm_free_bytes=0), None).fix


def refuse(path: Path, mode: int) -> bool:
    return False


def test_unix_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s"
    assert check_socket(path).level is Level.PROBLEM
    path.write_text("")
    assert "no socket" in check_socket(path).text
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        assert check_socket(path).level is Level.OK
        monkeypatch.setattr(os, "access", refuse)
        assert "may not be written" in check_socket(path).text
    assert check_socket(path / "below").level is Level.PROBLEM


# ---------------------------------------------------------------------------------------------------- the server


@pytest.mark.parametrize(
    ("info", "check", "level", "words"),
    [
        (server(), "server", Level.OK, "serving; 0 jobs running"),
        (server(waiting_jobs=3), "server", Level.NOTE, "3 waiting"),
        (server(), "versions", Level.OK, "protocol 1 here"),
        (server(version="0.0.1"), "versions", Level.NOTE, "0.0.1 there"),
        (server(numpy_version="1.1.0"), "versions", Level.NOTE, "rules of dtypes may differ"),
        (server(), "workers", Level.OK, "none was replaced"),
        (server(worker_endings={"killed": 2, "crashed": 1}), "workers", Level.NOTE, "1 crashed, 2 killed"),
        (server(fenced_workers=1), "workers", Level.PROBLEM, "cannot be killed"),
        (server(), "memory", Level.OK, "0 B of 512 MiB kept"),
        (server(resident_bytes=GIB // 2), "memory", Level.NOTE, "512 MiB of 512 MiB kept"),
        (server(loop_lag_seconds=0.2), "event loop", Level.OK, "late by 200 ms at most"),
        (server(loop_lag_seconds=1.5), "event loop", Level.NOTE, "late by 1.5 s at most"),
        (server(), "sharing", Level.OK, "on this machine"),
        (server(workers=9), "sharing", Level.NOTE, "9 workers and this process share 8 CPUs"),
        (server(arena_bytes=20 * GIB), "sharing", Level.NOTE, "20 GiB of 32 GiB"),
    ],
)
def test_findings_of_the_server(info: ServerInfo, check: str, level: Level, words: str) -> None:
    found = {each.check: each for each in check_server(info, "SERVING", MACHINE, "localhost:1")}
    assert found[check].level is level
    assert words in found[check].text
    assert bool(found[check].fix) == (level is not Level.OK)
    assert all(each.level is Level.OK for name, each in found.items() if name != check)


def test_a_server_that_is_not_well_or_elsewhere() -> None:
    found = {each.check: each for each in check_server(SERVER, "NOT_SERVING", MACHINE, "far:1")}
    assert found["server"].level is Level.PROBLEM
    assert "sharing" not in found


def test_lanes() -> None:
    assert check_lane(SERVER, LINK, "far:1").level is Level.OK
    assert check_lane(SERVER, LINK, "unix:/s").level is Level.OK
    shared = dataclasses.replace(LINK, lanes=(LINK.lanes[0], LaneRate("shared", 1 << 20, 9e9, 9e9)))
    assert check_lane(SERVER, shared, "unix:/s").check == "shared lane"
    assert check_lane(server(bulk_port=0), LINK, "far:1").level is Level.NOTE
    frames = tuple(dataclasses.replace(lane, name="frames") for lane in LINK.lanes)
    assert "port 50052 cannot be reached" in check_lane(SERVER, dataclasses.replace(LINK, lanes=frames), "far:1").text
    slow = dataclasses.replace(LINK, lanes=frames[:1])
    assert check_lane(SERVER, slow, "far:1").level is Level.OK, "nothing large was sent"


@pytest.mark.parametrize(
    ("own", "theirs", "slack", "level"),
    [
        (2.0, 2.05, 0.0, Level.OK),
        (2.0, 2.5, 0.0, Level.PROBLEM),
        (2.0, 1.5, 0.0, Level.PROBLEM),
        (2.0, 2.5, 0.4, Level.OK),
        (2.0, -9.0, 0.0, Level.PROBLEM),
    ],
)
def test_clocks(own: float, theirs: float, slack: float, level: Level) -> None:
    assert check_clocks(Meeting(10.0, slack, 100.0), Meeting(10.0 + own, slack, 100.0 + theirs)).level is level


@pytest.mark.parametrize("reason", Reason)
def test_every_error_has_its_fix(reason: Reason) -> None:
    found = unreachable("far:1", ERRORS[reason]("what\n happened", reason=reason))
    assert (found.level, found.text) == (Level.PROBLEM, "what happened")
    assert found.fix


def test_where_the_address_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARRAYMILL_SERVER", raising=False)
    assert "--server" in check_address("far:1", "far:1").text
    assert "default" in check_address("localhost:50051", None).text
    monkeypatch.setenv("ARRAYMILL_SERVER", "far:1")
    assert "$ARRAYMILL_SERVER" in check_address("far:1", None).text


# ---------------------------------------------------------------------------------------------------- how it is told


def test_findings_fit_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show_findings([ok("a", "well"), note("shared memory", "word " * 40, "do this"), problem("b", "bad", "do that")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ok       a              well"
    assert lines[-2:] == ["problem  b              bad", "         fix: do that"]
    assert "         fix: do this" in lines
    assert not [line for line in lines if len(line) > WIDTH]


@pytest.mark.parametrize("budget", [0, 10 * GIB])
@pytest.mark.parametrize("local", [1e-12, 1e-9, 1e-6, 0.123])
def test_tables_fit_a_terminal(local: float, budget: int, capsys: pytest.CaptureFixture[str]) -> None:
    link = dataclasses.replace(LINK, resident_budget_bytes=budget, round_trip_seconds=12345, stream_seconds=12345)
    work = dataclasses.replace(WORK, local_seconds_per_byte=local)
    advice = dict.fromkeys(standard_operations(), Advice(link, work))
    show_advice(link, advice)
    lines = capsys.readouterr().out.splitlines()
    assert not [line for line in lines if len(line) > WIDTH]
    assert sum(line.startswith("sqrt(x) ") for line in lines) == 5
    assert any("too large" in line for line in lines) == (budget == 0)


def test_programs_are_told_everything() -> None:
    told = json.loads(json.dumps(document(LINK, {"sqrt(x)": Advice(LINK, WORK)})))
    assert told["link"]["lanes"][1]["name"] == "bulk"
    (operation,) = told["operations"]
    assert operation["operation"] == "sqrt(x)"
    assert operation["worth_sending"] == {"least_bytes": operation["worth_sending"]["least_bytes"], "most_bytes": None}
    assert [size["input_bytes"] for size in operation["sizes"]] == [1 << 20, 16 << 20, 256 << 20, 1 << 30]
    assert operation["sizes"][0]["best"] in {"local", "sent", "kept"}
    assert document(None, {}) == {"link": None, "operations": []}


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ([ok("a", "well")], ExitCode.OK),
        ([ok("a", "well"), note("b", "meh", "do this")], ExitCode.OK),
        ([problem("c", "bad", "do that"), ok("a", "well")], ExitCode.FAILED),
    ],
)
def test_problems_end_it_otherwise(found: list[Finding], code: ExitCode, monkeypatch: pytest.MonkeyPatch) -> None:
    def examined(settings: Settings) -> Examination:
        return Examination()

    def all_findings(address: str, settings: Settings, seen: Examination) -> list[Finding]:
        return found

    monkeypatch.setattr(_doctor, "examined", examined)
    monkeypatch.setattr(_doctor, "all_findings", all_findings)
    assert run(["doctor"]) == code


@pytest.mark.parametrize("address", ["127.0.0.1:1", "unix:/nowhere/socket"])
def test_without_a_server(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--server", address]) == ExitCode.CONNECTION
    text = capsys.readouterr().out
    assert "problem  server" in text
    assert f"         fix: start it there: arraymill serve --listen {address}" in text
    assert ("problem  Unix socket" in text) == address.startswith("unix:")
    assert run(["doctor", "--server", address, "--json"]) == ExitCode.CONNECTION
    told = json.loads(capsys.readouterr().out)
    assert (told["server"], told["is_well"], told["link"]) == (address, False, None)
    assert run(["doctor", "--server", address, "--quiet"]) == ExitCode.CONNECTION
    assert "ok " not in capsys.readouterr().out


def test_an_address_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--server", "http://x"]) == ExitCode.INPUT
    assert "is a URL" in capsys.readouterr().err
