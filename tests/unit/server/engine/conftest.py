"""Shared memory for pools."""

from __future__ import annotations

import pytest
from pools import shared_bytes

from arraymill_server.arena.attach import RawBytes, attach


@pytest.fixture
def raw() -> RawBytes:
    return shared_bytes()


@pytest.fixture
def memory(raw: RawBytes) -> memoryview:
    return attach(raw)
