"""What `top` tells of a view, in words."""

from __future__ import annotations

import json

import pytest
from tops import MIB, earlier_info, info_of, jobs_of

from arraymill.cli.top._facts import document, job_cells, plain_line, rows_of, title_of, trouble_of
from arraymill.cli.top._meter import Flow, View
from arraymill_proto.v1 import arraymill_pb2 as pb

FLOWS = {
    "jobs": Flow({"failed": 0.25, "succeeded": 1234.6}, (1.0, 2.0)),
    "received": Flow({"grpc": 2.0 * MIB, "memory": 3.0 * MIB}, (5.0 * MIB,)),
    "sent": Flow({"grpc": 0.0, "bulk": 1536.0}),
    "refusals": Flow({"BUSY": 3.0}),
}


def texts(view: View) -> dict[str, str]:
    return {row.label: row.text for row in rows_of(view)}


def test_all_that_a_server_tells() -> None:
    info = info_of(worker_endings={"crashed": 1}, recycled_workers=2, running_jobs=3, waiting_jobs=1000, job_calls=4)
    assert texts(View("host:1", info, flows=FLOWS)) == {
        "workers": "3 of 4 busy; replaced: 1 crashed, 2 recycled",
        "arena": "64 MiB of 128 MiB used, 48 MiB by jobs",
        "free": "64 MiB, 16 MiB in one piece",
        "kept": "16 MiB of 64 MiB kept for clients",
        "shared": "no memory is shared with clients",
        "calls": "4 of 2,048 run jobs, 0 wait, 0 feed, 0 refused",
        "clients": "1 connection",
        "lag": "event loop late by 0.0 ms at most lately",
        "jobs": "3 running, 1,000 waiting; 1,235/s succeeded, 0.25/s failed",
        "received": "5 MiB/s: 3 MiB/s memory, 2 MiB/s grpc",
        "sent": "1.5 KiB/s bulk",
        "refusals": "3/s BUSY",
    }


def test_bars_are_parts_of_wholes() -> None:
    shares = {row.label: row.shares for row in rows_of(View("host:1", info_of(), flows=FLOWS))}
    assert shares["workers"] == (0.75,)
    assert shares["arena"] == (48 / 128, 16 / 128), "jobs, then kept arrays"
    assert shares["free"] == (0.25,)
    assert (shares["kept"], shares["shared"], shares["jobs"]) == ((0.25,), (), ())


def test_more_than_all_is_all() -> None:
    """What was not read at one moment need not fit together."""
    view = View("host:1", info_of(busy_workers=9, arena_reserved_bytes=1 << 40))
    shares = {row.label: row.shares for row in rows_of(view)}
    assert (shares["workers"], shares["arena"]) == ((1.0,), (0.5, 0.0))


def test_a_server_of_an_earlier_version_shows_what_there_is() -> None:
    told = texts(View("host:1", earlier_info(running_jobs=3), flows={name: Flow() for name in FLOWS}))
    assert told["workers"] == "4"
    assert told["arena"] == "64 MiB of 128 MiB used"
    assert told["jobs"] == "3 running, 0 waiting"
    assert not {"free", "lag", "received", "sent", "refusals"} & set(told)


def test_rates_that_are_not_known() -> None:
    told = texts(View("host:1", info_of()))
    assert (told["jobs"], told["received"], told["sent"]) == ("0 running, 0 waiting; -", "-", "-")
    flows = {name: Flow() for name in FLOWS}
    told = texts(View("host:1", info_of(), flows=flows))
    assert (told["jobs"], told["received"], told["sent"]) == ("0 running, 0 waiting; 0/s", "0 B/s", "0 B/s")


def test_whom_it_is_of_and_what_is_wrong() -> None:
    assert title_of(View("host:1")) == "host:1"
    assert title_of(View("unix:/run/" + "x" * 40 + "/socket")) == "..." + "x" * 22 + "/socket"
    view = View("host:1", info_of(uptime_seconds=7325), replaced=2, trouble="gone", silent_seconds=12)
    assert title_of(view) == "host:1  arraymill 1.2.3  up 2:02:05, 2 restarts seen"
    assert trouble_of(view) == "figures of 12 s ago: gone"
    assert trouble_of(View("host:1", trouble="gone")) == "gone"
    assert trouble_of(View("host:1", info_of())) == ""
    assert plain_line(view) == "host:1  figures of 12 s ago: gone"


def test_a_line_for_a_log() -> None:
    line = plain_line(View("host:1", info_of(uptime_seconds=5, running_jobs=2), flows=FLOWS))
    assert line == (
        "host:1  up 5 s  workers 3/4  arena 50 %  jobs 2 running 0 waiting  ended 1,235/s succeeded, 0.25/s failed  "
        "received 5 MiB/s  sent 1.5 KiB/s  lag 0.0 ms"
    )
    assert "ended -  received -  sent -" in plain_line(View("host:1", info_of()))


@pytest.mark.parametrize(
    ("fields", "cells"),
    [
        ({}, ("1:00:00", "5", "25 %", "running, 10 of 40 blocks", "night-0")),
        (
            {"state": pb.JOB_QUEUED, "blocks": 0, "position": 7, "key": "auto:1"},
            ("1:00:00", "5", "-", "queued, 7 before it", "-"),
        ),
    ],
)
def test_a_job(fields: dict[str, object], cells: tuple[str, ...]) -> None:
    (status,) = jobs_of(1, **fields)
    assert job_cells(status) == ("0" * 16, *cells)


def test_a_document() -> None:
    view = View("host:1", info_of(), jobs_of(2), has_more_jobs=True, flows=FLOWS)
    told = json.loads(json.dumps(document(view)))
    assert told["info"]["busy_workers"] == 3
    assert "operations" not in told["info"]
    assert told["per_second"]["jobs"] == {"failed": 0.25, "succeeded": 1234.6}
    assert [job["key"] for job in told["jobs"]] == ["night-0", "night-1"]
    assert (told["has_more_jobs"], told["trouble"], told["replaced"]) == (True, "", 0)
    empty = document(View("host:1", trouble="gone"))
    assert (empty["info"], empty["per_second"], empty["trouble"]) == (None, None, "gone")
