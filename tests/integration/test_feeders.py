"""Two clients that feed one job of a real server: the later one stops, and the earlier one goes on."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
from calls import failure_of
from links import link_to
from servers import RunningServer
from wire import channel_to, next_want, open_run, responses

import arraymill as am
from arraymill_proto.v1 import arraymill_pb2 as pb

X = np.random.default_rng(5).random((500, 2000))
"""8 MB: too much to go with a submission."""


async def test_a_feeder_that_was_replaced_goes_on(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arraymill._feeder.STILL_SECONDS", 0.2)
    async with link_to(server.address) as link, am.AsyncClient(link.address, bulk=False) as first:
        link.delay = 0.02
        job = await first.submit(am.asarray(X).sum())
        async for status in job.watch():
            if status.received_bytes:
                break
        async with channel_to(server.address) as channel:
            later = open_run(channel)
            await later.write(pb.RunRequest(attach=pb.Attach(job_id=job.id)).SerializeToString())
            await next_want(later)
            link.delay = 0.0
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                _ = [response async for response in responses(later)]
        assert failure_of(caught.value).reason == "JOB_TAKEN"
        np.testing.assert_allclose(await job.result(timeout=60), X.sum())
        await job.uploaded()
        await job.delete()
