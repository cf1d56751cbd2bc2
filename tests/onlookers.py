"""Whoever watches a submitted job, and writes down what it is told."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import NamedTuple

from arraymill_server.jobs.board import Board
from arraymill_server.jobs.life import State
from arraymill_server.jobs.submitted import SubmittedJob

REPEAT_SECONDS = 6.0


class Sight(NamedTuple):
    """What is seen of a job."""

    state: State
    place: int
    received_bytes: int
    blocks_done: int


class Onlooker:
    """Watches a job.

    Args:
        loop: Where it watches.
        board: The board.
        job: The job.

    Attributes:
        told: What it was told, oldest first.
        task: Ends when it was told of the end.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, board: Board, job: SubmittedJob) -> None:
        self.told: list[Sight] = []
        self.job = job
        self._board = board
        self.task: asyncio.Task[None] = loop.create_task(self._watch())

    @property
    def now(self) -> Sight:
        """What is to be seen."""
        figures = self.job.figures
        place = self._board.position(self.job)
        return Sight(self.job.state, place, figures.received_bytes, figures.blocks_done)

    @property
    def states(self) -> list[State]:
        return [sight.state for sight in self.told]

    @property
    def places(self) -> list[int]:
        return [sight.place for sight in self.told]

    @property
    def received(self) -> list[int]:
        return [sight.received_bytes for sight in self.told]

    async def _watch(self) -> None:
        async with aclosing(self._board.watches.news(self.job, REPEAT_SECONDS)) as news:
            async for _ in news:
                self.told.append(self.now)
