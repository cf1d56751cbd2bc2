"""A server that integration tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from servers import RunningServer, running_server


@pytest.fixture(scope="session")
def server() -> Iterator[RunningServer]:
    """A server of 2 workers and 128 MiB; tests must leave it as they found it."""
    with running_server() as server:
        yield server
