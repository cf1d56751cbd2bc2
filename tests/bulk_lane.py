"""What tests do to the bulk lane: wait for it, count what travels on it, lead it elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from patience import until

from arraymill import _bulk
from arraymill._bulk import BulkLink, BulkRoute
from arraymill._sink import ResultSink
from arraymill._source import ArraySource
from arraymill._transfer import Transfer
from arraymill_proto.bulk import Record
from arraymill_proto.v1 import arraymill_pb2 as pb


@dataclass(slots=True)
class Traffic:
    """Array bytes that clients of this process have sent and received."""

    sent_in_bulk: int = 0
    received_in_bulk: int = 0
    sent_in_frames: int = 0

    @property
    def in_bulk(self) -> int:
        return self.sent_in_bulk + self.received_in_bulk


def count_traffic(monkeypatch: pytest.MonkeyPatch) -> Traffic:
    """Count what travels from now on."""
    traffic = Traffic()
    send, receive = BulkLink.send, BulkLink._receive  # pyright: ignore[reportPrivateUsage]
    answer = Transfer._answer  # pyright: ignore[reportPrivateUsage]

    async def counting_send(self: BulkLink, record: Record, data: memoryview) -> None:
        await send(self, record, data)
        traffic.sent_in_bulk += len(data)

    async def counting_receive(self: BulkLink, record: Record, sink: ResultSink) -> None:
        await receive(self, record, sink)
        traffic.received_in_bulk += record.length

    async def counting_answer(self: Transfer, want: pb.Want, source: ArraySource, call: Any) -> int:
        sent = await answer(self, want, source, call)
        traffic.sent_in_frames += sent
        return sent

    monkeypatch.setattr(BulkLink, "send", counting_send)
    monkeypatch.setattr(BulkLink, "_receive", counting_receive)
    monkeypatch.setattr(Transfer, "_answer", counting_answer)
    return traffic


def wait_for_bulk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let inputs of any size wait until the bulk connection stands or cannot be had. Count before."""
    monkeypatch.setattr(_bulk, "LEAST_BYTES", 0)
    answer = Transfer._answer  # pyright: ignore[reportPrivateUsage]

    async def patient_answer(self: Transfer, want: pb.Want, source: ArraySource, call: Any) -> int:
        lane = self._lane  # pyright: ignore[reportPrivateUsage]
        if len(lane.tasks) > 1:  # a connection was offered
            await until(lambda: lane.is_open or lane.tasks[1].done())
        return 0 if lane.is_open else await answer(self, want, source, call)

    monkeypatch.setattr(Transfer, "_answer", patient_answer)


def lead_to(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Let clients find the bulk lane at another port than their server says."""
    open_link = BulkRoute.open

    async def open_elsewhere(self: BulkRoute, _: int, secret: bytes) -> BulkLink | None:
        return await open_link(self, port, secret)

    monkeypatch.setattr(BulkRoute, "open", open_elsewhere)
