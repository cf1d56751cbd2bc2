"""Submitting: what a client may say about a job, checked before it travels, and the inputs that follow."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Final

from arraymill._caller import Caller
from arraymill._feeder import Feeder
from arraymill._graph import Computation
from arraymill._job import AsyncJob
from arraymill._job_info import JobStatus
from arraymill._layout import AnyArray
from arraymill._limits import JOB_SECONDS, LONGEST_SECONDS, Remaining, checked_seconds, within
from arraymill._source import ArraySource
from arraymill._ticket import Ticket
from arraymill._withdraw import Withdrawal
from arraymill_proto.codec import graph_to_pb
from arraymill_proto.errors import ConnectionFailedError, DeadlineError
from arraymill_proto.fingerprints import BLOCK_BYTES, Fingerprint
from arraymill_proto.graph import Graph
from arraymill_proto.identity import check_key, check_priority
from arraymill_proto.v1 import arraymill_pb2 as pb

_log = logging.getLogger("arraymill")

PIECE_BYTES: Final = 16 * BLOCK_BYTES
"""What is read of an array before others on the event loop have their turn: about 0.4 ms."""

OWN_KEY: Final = "auto:"
"""What a key begins with that the client has made up: nobody else comes to it by chance."""


def request_of(key: str | None, priority: int | None, deadline: float | None, ttl: float | None) -> pb.SubmitJobRequest:
    """Return a request that lacks its graph. A job without a key gets one: so it can be submitted again.

    Args:
        key: The job's name; None: none.
        priority: 0 to 9; None: the server's default.
        deadline: Seconds from now; None: none.
        ttl: Seconds after the last use of a result; None: the server's default.

    Raises:
        ParameterError: One of them makes no sense.
    """
    checked_seconds("deadline", deadline)
    return pb.SubmitJobRequest(
        key=OWN_KEY + os.urandom(12).hex() if key is None else check_key(key),
        priority=None if priority is None else check_priority(priority),
        deadline_seconds=0.0 if deadline is None or deadline > LONGEST_SECONDS else deadline,
        ttl_seconds=checked_seconds("ttl", ttl) or 0.0,
    )


async def submit(
    caller: Caller, job: Computation, request: pb.SubmitJobRequest, timeout: float | None, *, is_own: bool
) -> AsyncJob:
    """Submit a job; return when the server has it in its queue.

    Inputs that are small enough together go with it; others are fed in the background. Of those a fingerprint goes with
    it where somebody has chosen the key: the key is that of the data as well. A job under another key that the server
    may have, though this ended without its answer, is looked for, cancelled and deleted: nobody knows its id.

    Args:
        caller: The client's calls.
        job: What it computes.
        request: As of `request_of`.
        timeout: Seconds.
        is_own: Its key was made up, and nobody else has heard of it.

    Raises:
        DeadlineError: The time is over; under a key that somebody has chosen the server may have it.
        ArraymillError: What the server or the connection has to say.
    """
    try:
        async with within(caller.limit(timeout, JOB_SECONDS)) as remaining:
            return await _submit(caller, job, request, remaining, is_own=is_own)
    except DeadlineError as exc:
        if is_own:
            raise
        where = f"the job may be on the server under key {request.key!r}, submit it again to get it: "
        raise exc.located(where, key=request.key) from exc


async def _submit(
    caller: Caller, job: Computation, request: pb.SubmitJobRequest, remaining: Remaining, *, is_own: bool
) -> AsyncJob:
    info = await caller.ready(remaining)
    is_fed = job.input_bytes > info.unary_bytes
    if not is_fed:
        graph = job.inlined()
    elif request.key.startswith(OWN_KEY):
        graph = job.graph
    else:
        graph = await _with_fingerprints(job)
    request.graph.CopyFrom(graph_to_pb(graph))
    with ExitStack() as slot:
        if is_fed:
            await caller.upload_slots.take()
            slot.callback(caller.upload_slots.leave)
        if caller.is_closing:
            raise ConnectionFailedError(f"the client of {caller.connection.address} is closed")
        ticket = Ticket(caller, request=request)
        status = await ticket.send(request, remaining, partial(Withdrawal, caller) if is_own else None)
        _tell_of_another_priority(request, status)
        if is_fed and status.has_ended:
            ticket.spend()  # whoever fed it has its inputs
            is_fed = False
        feeder = Feeder(caller, ticket, job, slot.pop_all(), is_own=is_own) if is_fed else None
    return AsyncJob(caller, ticket, status, types=job.results, feeder=feeder)


def _tell_of_another_priority(request: pb.SubmitJobRequest, status: JobStatus) -> None:
    """Log that a job which was there before keeps its priority; a job of ours has the one that was asked for."""
    if request.HasField("priority") and request.priority != status.priority and not status.has_ended:
        _log.warning(
            "job %s of key %r keeps priority %d, with which it was submitted first, not %d: "
            "cancel it and submit it again to change that",
            *(status.id, status.key, status.priority, request.priority),
        )


async def _with_fingerprints(job: Computation) -> Graph:
    """Return the graph of a job with the fingerprints of its inputs. Each is read once, and never copied as a whole."""
    values = iter([await fingerprint_of(array) for array in job.inputs])
    return job.with_inputs(lambda node, _: replace(node, fingerprint=next(values)))


async def fingerprint_of(array: AnyArray) -> int:
    """Return the fingerprint of an array, however it lies in memory; other tasks have their turns meanwhile."""
    fingerprint = Fingerprint(array.nbytes)
    for _, data in ArraySource(array).frames(0, array.nbytes, PIECE_BYTES):
        fingerprint.add(data)
        await asyncio.sleep(0)
    return fingerprint.value()
