"""Submitted jobs as the command line shows them."""

from __future__ import annotations

import json

import pytest

from arraymill import JobStatus
from arraymill._job_info import job_status
from arraymill.cli._jobs import document, row, summary
from arraymill_proto.v1 import arraymill_pb2 as pb


def status(**fields: object) -> JobStatus:
    return job_status(pb.Job(id="123456789abcdef0", **fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (
            status(key="nightly", state=pb.JOB_QUEUED, position=3, priority=9),
            ("nightly", 9, "0 ms", "queued, 3 before it"),
        ),
        (status(state=pb.JOB_QUEUED), ("-", 0, "0 ms", "queued, waits for memory")),
        (
            status(state=pb.JOB_QUEUED, needed_bytes=64 << 20, free_bytes=1 << 20),
            ("-", 0, "0 ms", "queued, needs 64 MiB, 1 MiB free"),
        ),
        (status(state=pb.JOB_RUNNING, blocks_done=4, blocks=4096), ("-", 0, "0 ms", "running, 4 of 4,096 blocks")),
        (status(key="auto:1234", age_seconds=90), ("-", 0, "90 s", "unknown")),
        (status(key="k" * 128, state=pb.JOB_EXPIRED), ("k" * 23 + "…", 0, "0 ms", "expired")),
        (
            status(state=pb.JOB_FAILED, error=pb.JobError(reason="DEADLINE", message="too late")),
            ("-", 0, "0 ms", "failed: too late"),
        ),
    ],
)
def test_a_row(job: JobStatus, expected: tuple[object, ...]) -> None:
    assert row(job) == (job.id, *expected)


def test_a_document_says_everything() -> None:
    done = status(
        key="k",
        state=pb.JOB_SUCCEEDED,
        results=[pb.ArrayInfo(id="r", type=pb.ArrayType(dtype=pb.FLOAT32, shape=[2, 3]), bytes=24)],
        times=pb.JobTimes(total=2.0),
    )
    told = json.loads(json.dumps(document(done)))
    assert (told["id"], told["key"], told["state"], told["error"]) == (done.id, "k", "succeeded", None)
    assert told["results"][0]["dtype"] == "float32"
    assert told["times"]["total"] == 2.0
    assert set(told) == set(JobStatus.__dataclass_fields__) == {*summary(done), "results"}
    assert summary(done)["result_count"] == 1
    failed = status(state=pb.JOB_FAILED, error=pb.JobError(reason="AXIS", message="axis 7", details={"axis": "7"}))
    assert document(failed)["error"] == {"reason": "AXIS", "message": "axis 7", "axis": "7"}
