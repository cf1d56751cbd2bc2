"""Workers that cannot be killed, and workers that are asked to leave, as the server sees them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator

import pytest
from fake_worker import Scene, scene_of

from arraymill_server.engine import link as link_module
from arraymill_server.engine.death import Death, Ending
from arraymill_server.engine.messages import Reply, frame


@pytest.fixture
async def scene(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Scene, None]:
    async with scene_of(monkeypatch) as scene:
        yield scene


class TestUnkillable:
    """Workers that SIGKILL does not end."""

    @pytest.fixture(autouse=True)
    def short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(link_module, "FENCE_SECONDS", 0.02)

    async def test_it_is_fenced_and_what_it_had_not_begun_comes_back(self, scene: Scene) -> None:
        await scene.hello()
        entries = [scene.send(limit_seconds=0.01), scene.send(), scene.send()]
        death = Death(Ending.OVERRAN, "ran longer than 0.01 s")
        assert await scene.owner.fence == (death, entries[1:])
        assert list(scene.link.entries) == entries[:1], "its memory is still touched"
        assert repr(scene.link) == "<Link to worker 1073741824: fenced, 1 tasks, 0 answered>"
        scene.link.kill(Ending.CLOSED, "was ended with the pool")
        await asyncio.sleep(0.05)
        assert not scene.owner.death.done()
        scene.end(-9)
        assert await scene.owner.death == (death, entries[0])

    async def test_one_end_of_two_is_not_enough(self, scene: Scene) -> None:
        await scene.hello()
        scene.send(limit_seconds=0.01)
        await scene.killed.wait()
        scene.pipe.close()
        await scene.owner.fence
        assert not scene.owner.death.done()

    async def test_a_worker_whose_answers_are_not_understood_may_have_begun_all(self, scene: Scene) -> None:
        await scene.hello()
        entries = [scene.send(), scene.send()]
        scene.pipe.send(frame(b"garbage"))
        assert (await scene.owner.fence)[1] == []
        assert list(scene.link.entries) == entries

    async def test_an_answer_in_the_last_moment_counts(self, scene: Scene) -> None:
        await scene.hello()
        entries = [scene.send(limit_seconds=0.01), scene.send()]
        await scene.killed.wait()
        await scene.say(Reply(1, 1, 0.5))
        assert (await scene.owner.replies.get())[0] is entries[0]
        assert (await scene.owner.fence)[1] == []
        assert list(scene.link.entries) == entries[1:]

    async def test_it_can_be_abandoned(self, scene: Scene) -> None:
        await scene.hello()
        scene.send(limit_seconds=0.01)
        await scene.owner.fence
        scene.link.abandon()
        scene.process.exit(-9)
        await asyncio.sleep(0.01)
        assert not scene.owner.death.done()
        scene.process.close()
        scene.owner.death.set_result((Death(Ending.CLOSED, ""), None))


class TestRetiring:
    async def test_a_worker_finishes_what_it_holds_and_leaves(self, scene: Scene) -> None:
        await scene.hello()
        scene.send()
        scene.link.retire()
        assert not scene.link.is_usable
        assert repr(scene.link) == "<Link to worker 1073741824: retiring, 1 tasks, 0 answered>"
        scene.pipe.recv(1 << 16)
        with pytest.raises(BlockingIOError):
            scene.pipe.recv(1)
        await scene.say(Reply(1, 1, 0.5))
        await scene.owner.replies.get()
        assert scene.pipe.recv(1) == b"", "it is told to leave"
        scene.end(0)
        assert await scene.owner.death == (Death(Ending.RECYCLED, "was recycled"), None)

    async def test_an_idle_worker_leaves_at_once(self, scene: Scene) -> None:
        await scene.hello()
        scene.link.retire()
        assert scene.pipe.recv(1) == b""

    async def test_a_crash_on_the_way_out_is_one(self, scene: Scene) -> None:
        await scene.hello()
        entry = scene.send()
        scene.link.retire()
        scene.end(-signal.SIGSEGV)
        assert await scene.owner.death == (Death(Ending.CRASHED, "was ended by SIGSEGV"), entry)

    async def test_who_does_not_leave_is_killed(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(link_module, "EXIT_SECONDS", 0.01)
        await scene.hello()
        scene.link.retire()
        await scene.killed.wait()
        scene.end(-9)
        assert await scene.owner.death == (Death(Ending.RECYCLED, "stayed when it was told to leave"), None)
