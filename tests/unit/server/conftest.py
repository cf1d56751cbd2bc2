"""A stage for stories of submitted jobs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from boards import Stage


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A board, its engine and its clock; whatever a test leaves to be done is ended, and nothing may be left."""
    stage = Stage()
    yield stage
    stage.close()
