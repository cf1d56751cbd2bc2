"""One worker as the server sees it, with a socket and a pipe in the place of the process."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator

import pytest
from fake_worker import HOUR, Scene, request_of, scene_of

from arraymill_proto.errors import Reason
from arraymill_server.engine import link as link_module
from arraymill_server.engine.death import Death, Ending
from arraymill_server.engine.messages import (
    REPLY_BYTES,
    Inbox,
    Reply,
    encode,
    frame,
)


@pytest.fixture
def start_seconds() -> float:
    return HOUR


@pytest.fixture
async def scene(start_seconds: float, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Scene, None]:
    async with scene_of(monkeypatch, start_seconds) as scene:
        yield scene


async def test_a_worker_is_usable_after_its_hello(scene: Scene) -> None:
    assert repr(scene.link) == "<Link to worker 1073741824: starting, 0 tasks, 0 answered>"
    before = scene.link.is_usable
    await scene.hello()
    assert (before, scene.link.is_usable) == (False, True)
    scene.send()
    assert repr(scene.link) == "<Link to worker 1073741824: ready, 1 tasks, 0 answered>"


async def test_answers_come_in_the_order_of_requests(scene: Scene) -> None:
    await scene.hello()
    entries = [scene.send(), scene.send()]
    requests = [request_of(payload) for payload in Inbox(1 << 20).feed(scene.pipe.recv(1 << 16))]
    assert [request.task for request in requests] == [entry.task for entry in entries]
    for entry in entries:
        await scene.say(Reply(entry.task_id, 1, 0.5))
        assert await scene.owner.replies.get() == (entry, Reply(entry.task_id, 1, 0.5))
    assert not scene.link.entries
    assert scene.link.answered == 2


@pytest.mark.parametrize("stale", [(1, 2), (1, 0), (2, 1), (0, 0)])
async def test_stale_answers_are_dropped(scene: Scene, stale: tuple[int, int]) -> None:
    await scene.hello()
    entry = scene.send()
    await scene.say(Reply(*stale, 0.5, Reason.INTERNAL))
    await scene.say(Reply(1, 1, 0.25))
    assert await scene.owner.replies.get() == (entry, Reply(1, 1, 0.25))
    assert scene.owner.replies.empty()


async def test_an_answer_without_a_question_is_dropped(scene: Scene) -> None:
    await scene.hello()
    scene.owner.ready.clear()
    await scene.say(Reply(1, 1, 0.25))
    await scene.hello()
    entry = scene.send()
    await scene.say(Reply(1, 1, 0.5))
    assert await scene.owner.replies.get() == (entry, Reply(1, 1, 0.5))


async def test_requests_longer_than_the_socket_takes_never_block(scene: Scene) -> None:
    await scene.hello()
    sizes = [1 << 20, 5, 1 << 20]
    entries = [scene.send(size) for size in sizes]
    inbox = Inbox(1 << 20)
    payloads: list[bytes] = []
    loop = asyncio.get_running_loop()
    while len(payloads) < 3:
        payloads += inbox.feed(await loop.sock_recv(scene.pipe, 1 << 16))
    assert payloads == [entry.payload for entry in entries]


@pytest.mark.parametrize(
    ("code", "death"),
    [
        (-signal.SIGKILL, Death(Ending.KILLED, "was ended by SIGKILL")),
        (-signal.SIGSEGV, Death(Ending.CRASHED, "was ended by SIGSEGV")),
        (3, Death(Ending.EXITED, "exited with code 3")),
    ],
)
async def test_a_death_names_its_cause_and_its_suspect(scene: Scene, code: int, death: Death) -> None:
    await scene.hello()
    entries = [scene.send(), scene.send()]
    scene.end(code)
    assert await scene.owner.death == (death, entries[0])
    assert list(scene.link.entries) == entries


async def test_a_kill_for_want_of_memory_is_told_apart(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await scene.hello()
    entry = scene.send()
    monkeypatch.setattr(link_module, "oom_kills", lambda: 1 << 40)
    scene.end(-signal.SIGKILL)
    death = Death(Ending.OUT_OF_MEMORY, "was ended by SIGKILL when the kernel found no memory")
    assert await scene.owner.death == (death, entry)


async def test_only_what_the_kernel_did_since_the_last_answer_counts(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "OOM_LOOK_SECONDS", 0.0)
    await scene.hello()
    scene.send()
    monkeypatch.setattr(link_module, "oom_kills", lambda: 1 << 40)
    await scene.say(Reply(1, 1, 0.5))
    await scene.owner.replies.get()
    scene.end(-signal.SIGKILL)
    assert (await scene.owner.death)[0].ending is Ending.KILLED


async def test_an_answer_before_the_death_counts(scene: Scene) -> None:
    await scene.hello()
    entries = [scene.send(), scene.send()]
    await scene.say(Reply(1, 1, 0.5))
    scene.end(-9)
    assert (await scene.owner.death)[1] is entries[1]
    assert scene.owner.replies.get_nowait()[0] is entries[0]


async def test_an_answer_counts_even_if_the_exit_code_is_seen_first(scene: Scene) -> None:
    await scene.hello()
    entry = scene.send()
    scene.process.exit(-9)
    scene.pipe.send(frame(encode(Reply(1, 1, 0.5))))
    scene.pipe.close()
    assert await scene.owner.death == (Death(Ending.KILLED, "was ended by SIGKILL"), None)
    assert scene.owner.replies.get_nowait()[0] is entry


async def test_half_an_answer_does_not_count(scene: Scene) -> None:
    await scene.hello()
    entry = scene.send()
    scene.pipe.send(frame(encode(Reply(1, 1, 0.5)))[:-1])
    scene.end(-signal.SIGSEGV)
    assert await scene.owner.death == (Death(Ending.CRASHED, "was ended by SIGSEGV in the middle of an answer"), entry)
    assert scene.owner.replies.empty()


async def test_an_idle_worker_dies_without_a_suspect(scene: Scene) -> None:
    await scene.hello()
    scene.end(0)
    assert await scene.owner.death == (Death(Ending.EXITED, "exited with code 0"), None)


@pytest.mark.parametrize("noise", [b"\xff\xff\xff\xff", (REPLY_BYTES + 1).to_bytes(4, "big"), frame(b"garbage")])
async def test_a_worker_that_talks_nonsense_is_killed(scene: Scene, noise: bytes) -> None:
    await scene.hello()
    entry = scene.send()
    scene.pipe.send(noise)
    await scene.killed.wait()
    scene.pipe.send(frame(encode(Reply(1, 1, 0.5))))
    assert not scene.link.is_usable
    assert repr(scene.link) == "<Link to worker 1073741824: ending, 1 tasks, 0 answered>"
    scene.end(-9)
    death, suspect = await scene.owner.death
    assert death.ending is Ending.BROKEN
    assert death.cause.startswith("sent ")
    assert suspect is entry
    assert scene.owner.replies.empty()


async def test_the_end_of_the_fork_server_blames_no_task(scene: Scene) -> None:
    await scene.hello()
    entry = scene.send()
    scene.process.exit(255)
    await scene.killed.wait()
    assert not scene.owner.death.done(), "the worker may still write"
    scene.pipe.close()
    assert await scene.owner.death == (Death(Ending.ORPHANED, "lost its fork server"), entry)


async def test_a_worker_that_closes_its_pipe_and_stays_is_killed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "EXIT_SECONDS", 0.01)
    await scene.hello()
    entry = scene.send()
    scene.pipe.close()
    await scene.killed.wait()
    scene.process.exit(-9)
    assert await scene.owner.death == (Death(Ending.BROKEN, "closed its pipe and stayed"), entry)


async def test_a_hung_worker_is_killed(scene: Scene) -> None:
    await scene.hello()
    entries = [scene.send(limit_seconds=0.0123456), scene.send()]
    await scene.killed.wait()
    scene.end(-9)
    assert await scene.owner.death == (Death(Ending.OVERRAN, "ran longer than 0.0123 s"), entries[0])


async def test_each_task_has_a_limit_of_its_own(scene: Scene) -> None:
    await scene.hello()
    entries = [scene.send(limit_seconds=HOUR), scene.send(limit_seconds=0.01)]
    await asyncio.sleep(0.05)
    assert not scene.killed.is_set(), "the time of a task begins when its turn comes"
    await scene.say(Reply(1, 1, 0.5))
    await scene.killed.wait()
    scene.end(-9)
    assert (await scene.owner.death)[1] is entries[1]


async def test_an_idle_worker_may_wait(scene: Scene) -> None:
    await scene.hello()
    scene.send(limit_seconds=0.01)
    await scene.say(Reply(1, 1, 0.5))
    await scene.owner.replies.get()
    await asyncio.sleep(0.05)
    assert not scene.killed.is_set()


async def test_the_task_that_was_answered_after_all_is_not_blamed(scene: Scene) -> None:
    await scene.hello()
    scene.send(limit_seconds=0.01)
    second = scene.send()
    await scene.killed.wait()
    await scene.say(Reply(1, 1, 0.5))
    scene.end(-9)
    assert await scene.owner.death == (Death(Ending.OVERRAN, "ran longer than 0.01 s"), None)
    assert list(scene.link.entries) == [second]


class TestShortStart:
    @pytest.fixture
    def start_seconds(self) -> float:
        return 0.01

    async def test_a_worker_that_is_never_ready_is_killed(self, scene: Scene) -> None:
        await scene.killed.wait()
        scene.end(-9)
        assert await scene.owner.death == (Death(Ending.UNREADY, "was not ready within 0.01 s"), None)

    async def test_a_ready_worker_may_wait(self, scene: Scene) -> None:
        await scene.hello()
        await asyncio.sleep(0.05)
        assert not scene.killed.is_set()


async def test_a_link_knows_how_much_its_worker_has_grown(scene: Scene) -> None:
    await scene.hello()
    for number, told in ((1, 0), (2, 4096), (3, 0)):
        scene.send()
        await scene.say(Reply(number, 1, 0.5, grown_bytes=told))
        await scene.owner.replies.get()
    assert scene.link.grown_bytes == 4096


async def test_hanging_up_ends_the_worker_but_not_its_answers(scene: Scene) -> None:
    await scene.hello()
    entry = scene.send()
    scene.link.hang_up()
    assert Inbox(1 << 20).feed(scene.pipe.recv(1 << 16)) == [entry.payload]
    assert scene.pipe.recv(1) == b""
    await scene.say(Reply(1, 1, 0.5))
    assert (await scene.owner.replies.get())[0] is entry
    scene.end(0)
    await scene.owner.death
    scene.link.hang_up()
