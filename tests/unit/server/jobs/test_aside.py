"""Thoughts about large graphs: one at a time, client by client, whoever is left to wait for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from patience import turns, until

from arraymill_server.jobs.aside import LARGE_NODES, Aside


class Thinker:
    """Thoughts that take until the test lets them end.

    Attributes:
        begun: Their names, in order.
        most: How many there were at a time.
    """

    def __init__(self) -> None:
        self.aside = Aside()
        self.begun: list[str] = []
        self.most = 0
        self._running = 0
        self._gate = threading.Semaphore(0)

    def thought(self, name: str, error: Exception | None = None) -> Callable[[], str]:
        def think() -> str:
            self.begun.append(name)
            self._running += 1
            self.most = max(self.most, self._running)
            assert self._gate.acquire(timeout=30)
            self._running -= 1
            if error is not None:
                raise error
            return name

        return think

    async def ask(self, client: str, name: str, nodes: int = LARGE_NODES) -> asyncio.Task[str]:
        """Begin to wait for a thought."""
        task = asyncio.ensure_future(self.aside.run(client, nodes, self.thought(name)))
        await turns(3)
        return task

    def let(self, count: int = 1) -> None:
        """Let thoughts end."""
        self._gate.release(count)


@pytest_asyncio.fixture
async def thinker() -> AsyncIterator[Thinker]:
    thinker = Thinker()
    yield thinker
    await until(lambda: repr(thinker.aside) == "<Aside is idle, 0 waiting>")
    assert thinker.most <= 1


async def test_one_thought_at_a_time(thinker: Thinker) -> None:
    asked = [await thinker.ask("a", str(number)) for number in range(5)]
    assert repr(thinker.aside) == "<Aside thinks, 4 waiting>"
    thinker.let(5)
    assert await asyncio.gather(*asked) == thinker.begun == ["0", "1", "2", "3", "4"]


async def test_a_small_graph_is_no_matter_for_a_thread(thinker: Thinker) -> None:
    large = await thinker.ask("a", "large")
    assert await thinker.aside.run("a", LARGE_NODES - 1, threading.current_thread) is threading.main_thread()
    thinker.let()
    await large


async def test_clients_take_turns(thinker: Thinker) -> None:
    """A newcomer stands beside the first thoughts of the others, and not behind all of them."""
    asked = [await thinker.ask("a", f"a{number}") for number in range(4)]
    asked += [await thinker.ask("b", f"b{number}") for number in range(2)]
    thinker.let(6)
    await asyncio.gather(*asked)
    assert thinker.begun == ["a0", "a1", "b0", "a2", "b1", "a3"]


async def test_turns_are_weighted_by_nodes(thinker: Thinker) -> None:
    asked = [await thinker.ask("a", f"a{number}", 3 * LARGE_NODES) for number in range(3)]
    asked += [await thinker.ask("b", f"b{number}") for number in range(4)]
    thinker.let(7)
    await asyncio.gather(*asked)
    assert thinker.begun == ["a0", "b0", "b1", "a1", "b2", "b3", "a2"]


async def test_who_gives_up_keeps_the_thread_until_the_thought_has_ended(thinker: Thinker) -> None:
    """Else whoever sends and cancels has as many threads as it likes."""
    for name in ("first", "second", "third"):
        gone = await thinker.ask("a", name)
        gone.cancel()
        await asyncio.wait([gone])
        assert gone.cancelled()
    patient = await thinker.ask("a", "patient")
    await turns(20)
    assert thinker.begun == ["first"]
    thinker.let(2)
    assert await patient == "patient"
    assert thinker.begun == ["first", "patient"]


async def test_who_gives_up_in_the_very_turn_that_is_its_own_passes_it_on(
    thinker: Thinker, monkeypatch: pytest.MonkeyPatch
) -> None:
    victims: list[asyncio.Task[str]] = []
    on_end = vars(Aside)["_thought"]

    def end(aside: Aside, thought: asyncio.Future[str]) -> None:
        on_end(aside, thought)
        while victims:
            victims.pop().cancel()

    monkeypatch.setattr(Aside, "_thought", end)
    first, second, third = [await thinker.ask(client, client) for client in "abc"]
    victims.append(second)
    thinker.let(2)
    assert [await first, await third] == thinker.begun == ["a", "c"]
    assert second.cancelled()


async def test_the_error_of_a_thought_reaches_who_waits_for_it_and_nobody_else(thinker: Thinker) -> None:
    failing = asyncio.ensure_future(thinker.aside.run("a", LARGE_NODES, thinker.thought("bad", ValueError("bad"))))
    await turns(3)
    waiting = await thinker.ask("b", "good")
    thinker.let(2)
    with pytest.raises(ValueError, match="bad"):
        await failing
    assert await waiting == "good"


async def test_the_error_of_a_thought_that_nobody_waits_for_is_no_defect(thinker: Thinker) -> None:
    defects: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, defect: defects.append(defect))
    gone = asyncio.ensure_future(thinker.aside.run("a", LARGE_NODES, thinker.thought("bad", ValueError("bad"))))
    await turns(3)
    gone.cancel()
    thinker.let()
    await until(lambda: repr(thinker.aside) == "<Aside is idle, 0 waiting>")
    del gone
    await turns(3)
    assert defects == []
