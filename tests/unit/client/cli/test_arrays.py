"""Deleting what goes by a name or an id, be it an array or a job."""

from __future__ import annotations

import numpy as np
import pytest
from unit.client.fake_jobs import FakeJobServer

from arraymill import AsyncClient
from arraymill.cli._arrays import delete_one
from arraymill_proto.errors import ArrayNotFoundError, BusyError

X = np.arange(10.0)


@pytest.mark.parametrize("method", ["DescribeArray", "DeleteArray", "GetJob", "DeleteJob"])
async def test_each_is_deleted_though_a_call_had_to_be_made_twice(
    jobs: FakeJobServer, worker: AsyncClient, method: str
) -> None:
    job, array = await worker.submit(X), await worker.put(X, name="x")
    jobs.refusals[method] = [BusyError("later", retry_after=0.0)]
    assert await delete_one(worker, job.id, 20) == {"id": job.id, "deleted": "job"}
    jobs.refusals[method] = [BusyError("later", retry_after=0.0)]
    assert await delete_one(worker, array.id, 20) == {"id": array.id, "deleted": "array"}
    assert not jobs.jobs
    assert array.id not in jobs.arrays


async def test_what_is_neither(jobs: FakeJobServer, worker: AsyncClient) -> None:
    with pytest.raises(ArrayNotFoundError, match="neither an array nor a submitted job 'nothing'"):
        await delete_one(worker, "nothing", 20)
