"""A server that integration tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from servers import RunningServer, running_server

import arraymill as am


@pytest.fixture(scope="session")
def server() -> Iterator[RunningServer]:
    """A server of 2 workers and 128 MiB; tests must leave it as they found it."""
    with running_server() as server:
        yield server


@pytest.fixture
def mill(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[am.Client]:
    """A client of it, of which the command line is told; no job and no array of the test is left."""
    monkeypatch.setenv("ARRAYMILL_SERVER", server.address)
    with am.Client(server.address) as mill:
        yield mill
        for status in mill.jobs():
            job = mill.job(status.id)
            if not status.has_ended:
                job.cancel()
            job.delete()
        for array in mill.list():
            mill.delete(array.id)
