"""Several clients that submit and feed one job of a real server."""

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


async def test_a_key_is_that_of_the_data_as_well(server: RunningServer) -> None:
    other = X.copy()
    other[0, 0], other[-1, -1] = X[-1, -1], X[0, 0]
    async with am.AsyncClient(server.address) as first, am.AsyncClient(server.address) as second:
        job = await first.submit(am.asarray(X).max(axis=0), key="data")
        with pytest.raises(am.JobKeyError, match="or with other arrays"):
            await second.submit(am.asarray(other).max(axis=0), key="data")
        again = await second.submit(am.asarray(np.asfortranarray(X)).max(axis=0), key="data")
        assert again.id == job.id
        assert np.array_equal(await again.result(timeout=60), X.max(axis=0))
        await job.delete()
