"""What a worker process is, seen from inside (a probe task) and from outside (/proc)."""

from __future__ import annotations

import importlib
import json
import mmap
import os
import resource
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pools import WORKER_MEMORY, pool_of, shared_bytes, worker_pids

from arraymill_proto.errors import TooLargeError
from arraymill_server.arena.attach import attach
from arraymill_server.arena.memory import Memory
from arraymill_server.cgroup import Machine
from arraymill_server.engine import worker
from arraymill_server.engine.messages import Hello, Message, Reply, Request, decode_message, encode
from arraymill_server.engine.oom import oom_score
from arraymill_server.engine.perform import TaskRunner
from arraymill_server.engine.pool import PoolEngine
from arraymill_server.plan.program import Task
from arraymill_server.testing.faults import Fault, Point, fault_task, probe_task, write_task

PROBE_BYTES = 1 << 15
CELL = 1 << 15


async def probe(engine: PoolEngine, memory: memoryview) -> dict[str, Any]:
    """Return what the worker that runs the next task knows of itself."""
    await engine.submit("probe", probe_task(0, PROBE_BYTES))
    facts: dict[str, Any] = json.loads(bytes(memory[:PROBE_BYTES]))
    return facts


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines)


def has_signal(mask: str, number: signal.Signals) -> bool:
    return bool(int(mask, 16) >> (number - 1) & 1)


async def test_a_worker_knows_no_grpc_and_no_main_module() -> None:
    raw = shared_bytes()
    async with pool_of(1, raw) as engine:
        facts = await probe(engine, attach(raw))
    assert "numpy" in facts["modules"]
    assert not {"grpc", "google", "arraymill", "structlog", "uvloop", "pytest"} & set(facts["modules"])
    assert facts["main"] == "__main__"


async def test_a_worker_has_one_thread_and_tells_numpy_so() -> None:
    raw = shared_bytes()
    async with pool_of(1, raw) as engine:
        facts = await probe(engine, attach(raw))
        threads = status_of(facts["pid"])["Threads"]
    assert threads == "1"
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        assert facts["environ"][name] == "1"


async def test_signals_are_set() -> None:
    raw = shared_bytes()
    async with pool_of(1, raw) as engine:
        facts = await probe(engine, attach(raw))
        status = status_of(facts["pid"])
        os.kill(facts["pid"], signal.SIGINT)
        assert (await probe(engine, attach(raw)))["pid"] == facts["pid"], "Ctrl-C must not end a worker"
    assert has_signal(status["SigIgn"], signal.SIGINT)
    assert not has_signal(status["SigIgn"], signal.SIGTERM)
    assert not has_signal(status["SigCgt"], signal.SIGTERM)
    assert has_signal(status["SigCgt"], signal.SIGSEGV), "faulthandler is off"
    assert int(status["SigBlk"], 16) == 0


async def test_limits_are_set() -> None:
    raw = shared_bytes()
    async with pool_of(1, raw) as engine:
        pid: int = (await probe(engine, attach(raw)))["pid"]
        core = resource.prlimit(pid, resource.RLIMIT_CORE)
        soft, hard = resource.prlimit(pid, resource.RLIMIT_DATA)
        used = int(status_of(pid)["VmData"].split()[0]) << 10
        score = int(_text(f"/proc/{pid}/oom_score_adj"))
        niceness = os.getpriority(os.PRIO_PROCESS, pid)
    assert niceness == min(os.getpriority(os.PRIO_PROCESS, 0) + worker.NICENESS, 19)
    assert core == (0, 0)
    assert soft == hard
    assert abs(soft - used - WORKER_MEMORY) < 8 << 20
    assert score == oom_score(len(raw), Machine.detect().memory_bytes)


async def test_too_much_memory_is_a_clean_error_and_the_arena_does_not_count() -> None:
    raw = shared_bytes(2 * WORKER_MEMORY)
    async with pool_of(1, raw) as engine:
        before = await probe(engine, attach(raw))
        with pytest.raises(MemoryError, match=f"worker memory limit of {WORKER_MEMORY:,} bytes") as caught:
            await engine.submit("job", fault_task(Fault.OUT_OF_MEMORY, Point.COMPUTE, CELL))
        assert (await probe(engine, attach(raw)))["pid"] == before["pid"], "the worker lives on"
        assert engine.status.restarts == 0
    assert isinstance(caught.value, TooLargeError)
    assert caught.value.details == {
        "operation": "out-of-memory@compute",
        "projected_bytes": "0",
        "available_bytes": str(WORKER_MEMORY),
    }


async def test_each_worker_holds_its_own_pipe_only() -> None:
    raw = shared_bytes()
    async with pool_of(3, raw):
        inherited = _links(os.getpid())
        held = [_links(pid) for pid in worker_pids()]
    own = [{link for link in links - inherited if link.startswith("socket:")} for links in held]
    assert [len(sockets) for sockets in own] == [1, 1, 1]
    assert len(own[0] | own[1] | own[2]) == 3


async def test_no_worker_holds_the_fork_server() -> None:
    raw = shared_bytes()
    async with pool_of(2, raw):
        alive = _alive_pipe()
        held = [_links(pid) for pid in worker_pids()]
    assert alive.startswith("pipe:")
    assert not any(alive in links for links in held)


def _alive_pipe() -> str:
    module: Any = importlib.import_module("multiprocess.forkserver")
    return str(Path(f"/proc/self/fd/{module._forkserver._forkserver_alive_fd}").readlink())


def _links(pid: int) -> set[str]:
    """Return what the open files of a process are."""
    links: set[str] = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # the descriptor of this very listing
            links.add(str(path.readlink()))
    return links


def _text(path: str) -> str:
    return Path(path).read_text()


class Pipe:
    """The worker's end of a pipe whose other end has said all that it will."""

    def __init__(self, *payloads: bytes, end: type[Exception] = EOFError) -> None:
        self.sent: list[bytes] = []
        self._payloads = list(payloads)
        self._end = end

    def fileno(self) -> int:
        raise AssertionError

    def close(self) -> None: ...

    def send_bytes(self, buf: bytes) -> None:
        self.sent.append(buf)

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        if not self._payloads:
            raise self._end
        return self._payloads.pop(0)

    def take_fd(self) -> int:
        raise AssertionError


class Raising:
    def run(self, task: Task) -> None:
        raise ValueError("secret")


class Passing:
    def run(self, task: Task) -> None: ...


def served(runner: TaskRunner, pipe: Pipe) -> list[Message]:
    worker.serve(pipe, runner, Memory(bytearray(1)), WORKER_MEMORY)
    return [decode_message(payload) for payload in pipe.sent]


@pytest.mark.parametrize("end", [EOFError, ConnectionResetError])
def test_serve_answers_until_end_of_file(end: type[Exception]) -> None:
    requests = [encode(Request(number, 1, write_task(0, 0))) for number in (1, 2)]
    hello, *replies = served(Passing(), Pipe(*requests, end=end))
    assert hello == Hello(os.getpid())
    assert [reply.task_id for reply in replies if isinstance(reply, Reply)] == [1, 2]


def test_serve_survives_what_a_task_raises() -> None:
    requests = [encode(Request(number, 1, write_task(0, 0))) for number in (1, 2)]
    assert len(served(Raising(), Pipe(*requests))) == 3


def test_serve_leaves_when_nobody_listens() -> None:
    class Deaf(Pipe):
        def send_bytes(self, buf: bytes) -> None:
            if self.sent:
                raise BrokenPipeError
            super().send_bytes(buf)

    assert len(served(Passing(), Deaf(encode(Request(1, 1, write_task(0, 0))), end=AssertionError))) == 1


def test_serve_does_not_survive_nonsense() -> None:
    with pytest.raises(ValueError, match="no order"):
        served(Passing(), Pipe(b"nonsense"))


def test_data_bytes_counts_private_memory_only() -> None:
    before = worker.data_bytes()
    with mmap.mmap(-1, 32 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as private:
        middle = worker.data_bytes()
        shared = shared_bytes(32 << 20)
        assert middle - before > len(private) // 2, "other memory may be freed at the same time"
        assert worker.data_bytes() - middle < len(shared) // 2


def test_resident_bytes_counts_private_memory_only() -> None:
    before = worker.resident_bytes()
    with mmap.mmap(-1, 32 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as private:
        assert worker.resident_bytes() - before < 8 << 20, "memory that nobody has written is none yet"
        private.write(bytes(len(private)))
        middle = worker.resident_bytes()
        shared = shared_bytes(32 << 20)
        assert middle - before > len(private) // 2, "other memory may be freed at the same time"
        assert worker.resident_bytes() - middle < len(shared) // 2


def test_a_meter_looks_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = worker.Meter()
    assert meter.look() is None
    monkeypatch.setattr(worker, "LOOK_SECONDS", 0.0)
    with mmap.mmap(-1, 32 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as private:
        private.write(bytes(len(private)))
        grown = meter.look()
    assert grown is not None
    assert grown > 16 << 20


def test_replies_tell_how_much_the_worker_has_grown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(worker, "resident_bytes", iter([1000, 1000, 5096]).__next__)
    requests = [encode(Request(number, 1, write_task(0, 0))) for number in (1, 2)]
    _, *replies = served(Passing(), Pipe(*requests))
    assert [reply.grown_bytes for reply in replies if isinstance(reply, Reply)] == [0, 4096]
