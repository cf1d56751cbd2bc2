"""A submitted job, as a client sees it: it goes on without the client, and any client may come back for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from math import inf
from typing import Any, Final

from arraymill._array import Handle
from arraymill._caller import Caller
from arraymill._expression import expression_of
from arraymill._feeder import Feeder
from arraymill._graph import build
from arraymill._job_info import JobNotDoneError, JobState, JobStatus, expired, failure_of, job_status
from arraymill._limits import INFORMATION_SECONDS, JOB_SECONDS, LONGEST_SECONDS, TIE_SECONDS, Remaining, within
from arraymill._quantities import bytes_text
from arraymill._reductions import Outs, Result
from arraymill._sink import checked_outs
from arraymill._ticket import Ticket
from arraymill._transfer import Options
from arraymill._watch import watch_job
from arraymill_proto.errors import (
    ArraymillError,
    ArrayNotFoundError,
    DeadlineError,
    JobEndedError,
    JobNotFoundError,
)
from arraymill_proto.graph import ArrayType
from arraymill_proto.v1 import arraymill_pb2 as pb

LEAST_SECONDS: Final = 1e-3
"""What remains for the results of a job that ended just in time."""


class AsyncJob:
    """A job that was submitted: made by `submit`, or by `job` from its id, in another process too.

    Any number of clients may watch it, wait for it, fetch its results and cancel it. Cancelling one of these calls does
    not cancel the job. Where its arrays were too large to go with the submission, the client that submitted it sends
    them in the background: that process, and its client, must stay until `uploaded` returns, and the arrays must not
    change before. After a cut the upload goes on where it stopped.

    Every method takes `timeout`, in seconds; None is the client's, else 30 s for questions and an hour for waits.

    When the server is replaced by another, its jobs are gone. `status`, `wait`, `result`, `handles` and `watch` then
    submit the job again, under its key, where this object comes from `submit` and still has its inputs; `id` changes.
    Inputs of at most 1 MiB together it has for good, larger ones until they are uploaded: after that they belong to
    the program again, which may change or drop them. Then JobNotFoundError is raised: call `submit` again. `cancel`
    and `delete` never submit.

    Attributes:
        key: The name that it was submitted under; submitting the same expression again under it gives the same job.
    """

    def __init__(
        self,
        caller: Caller,
        ticket: Ticket,
        status: JobStatus,
        *,
        types: Sequence[ArrayType] = (),
        feeder: Feeder | None = None,
    ) -> None:
        """Used by the client.

        Args:
            caller: Its calls.
            ticket: The id.
            status: What the server said last.
            types: Of the results, where they are known before they are there.
            feeder: Sends the inputs.
        """
        self._caller = caller
        self._ticket = ticket
        self._last = status
        self._types = types
        self._feeder = feeder
        self.key = status.key

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}: {progress_text(self._last)}>"

    @property
    def id(self) -> str:
        """The server's id of the job."""
        return self._ticket.id

    async def status(self, *, timeout: float | None = None) -> JobStatus:
        """Ask how far the job is.

        Raises:
            JobNotFoundError: It was deleted, or the server has forgotten it.
        """
        async with within(self._caller.limit(timeout, INFORMATION_SECONDS)) as remaining:
            return await self._status(remaining)

    async def watch(self, *, timeout: float | None = None) -> AsyncGenerator[JobStatus, None]:
        """Tell how far the job is: at once, at every change (at most some times in a second), and at its end.

        When nothing changes for long, the same is told again. A connection that breaks, or on which nothing is told for
        a minute, is made again, and watching goes on.

        Args:
            timeout: Seconds for all of it; None: the client's, else as long as the job lives.

        Raises:
            JobNotFoundError: It was deleted, or the server has forgotten it.
            JobNotDoneError: The time is over; as far as is known the job goes on.
        """
        async for status in watch_job(self._caller, self._ticket, self._caller.limit(timeout, inf)):
            self._last = status
            yield status

    async def wait(self, *, timeout: float | None = None) -> JobStatus:
        """Wait until the job has ended, well or not.

        Raises:
            JobNotFoundError: It was deleted, or the server has forgotten it.
            JobNotDoneError: The time is over; as far as is known the job goes on.
            DeadlineError: It has ended, but no answer that says so came in time; or its upload has failed with this.
        """
        loop, seconds = asyncio.get_running_loop(), self._caller.limit(timeout, JOB_SECONDS)
        end = loop.time() + seconds
        try:
            async with within(seconds) as remaining:
                return await self._end_unless_unfed(remaining)
        except DeadlineError as exc:
            if end - loop.time() > TIE_SECONDS:
                raise
            state = progress_text(self._last)
            if self._last.has_ended:
                text = f"the answer that job {self.id} has ended ({state}) did not come within {seconds:g} s; ask again"
                raise DeadlineError(text, job=self.id, state=self._last.state) from exc
            text = (
                f"job {self.id} had not ended after {seconds:g} s ({state}); as far as is known it goes on, ask again"
            )
            raise JobNotDoneError(text, job=self.id, state=self._last.state) from exc

    async def result(self, timeout: float | None = None, *, out: Outs = None) -> Result:
        """Wait for the job, and fetch its results. They stay on the server, and may be fetched again.

        Args:
            timeout: Seconds for all of it.
            out: The array to fill, or one (or None) for each expression.

        Returns:
            The value; for several expressions a tuple of values.

        Raises:
            JobNotDoneError: The time is over; as far as is known the job goes on.
            DeadlineError: The job's own deadline has passed, or the server waited too long for its input: it has
                failed. Or it has succeeded, and its results did not come in time: its state says which.
            ResultExpiredError: It had succeeded, but its results are gone.
            JobCancelledError: It was cancelled.
            JobNotFoundError: It was deleted, or the server has forgotten it.
            ArraymillError: What the job failed with.
        """
        if self._types:
            checked_outs(out, self._types)
        loop, seconds = asyncio.get_running_loop(), self._caller.limit(timeout, inf)
        end, left = loop.time() + seconds, timeout
        while True:
            id, handles = self.id, await self.handles(timeout=left)
            left = None if seconds == inf else max(end - loop.time(), LEAST_SECONDS)
            try:
                return await self._fetch(handles, out, left)
            except ArrayNotFoundError as exc:
                async with within(left) as remaining:
                    status = await self._status(remaining)
                if [handle.id for handle in status.handles] == [handle.id for handle in handles]:
                    raise expired(id) from exc

    async def handles(self, *, timeout: float | None = None) -> tuple[Handle, ...]:
        """Wait for the job, and return its results as Arrays: for further expressions, without a transfer.

        Raises:
            ArraymillError: As `result`.
        """
        status = await self.wait(timeout=timeout)
        error = failure_of(status)
        if error is not None:
            raise error
        return status.handles

    async def uploaded(self, *, timeout: float | None = None) -> None:
        """Wait until the job needs nothing more from this process: then it may exit.

        Returns when the job has ended: until then it may need another pass over the inputs, or another client that
        feeds it may stop. At once where the inputs went with the submission, or another process submitted the job.

        Raises:
            ArraymillError: The upload has failed, or the job before it had all.
            JobNotDoneError: The time is over; the upload goes on.
        """
        if self._feeder is None:
            return
        seconds = self._caller.limit(timeout, JOB_SECONDS)
        try:
            async with asyncio.timeout(min(seconds, LONGEST_SECONDS)):
                await self._feeder.wait()
        except TimeoutError as exc:
            if isinstance(exc, ArraymillError):
                raise
            text = f"job {self.id} still needed its input after {seconds:g} s; the upload goes on"
            raise JobNotDoneError(text, job=self.id, state=self._last.state) from exc

    async def cancel(self, *, timeout: float | None = None) -> JobStatus:
        """Stop the job; returns when its memory is free on the server, at once if it was cancelled before.

        Raises:
            JobEndedError: It has succeeded or failed already.
            JobNotFoundError: It was deleted, or the server has forgotten it or was started anew.
        """
        request = pb.CancelJobRequest(id=self.id)
        message = await self._caller.ask_once(
            "CancelJob", request, pb.Job, timeout, done=JobEndedError, place=self._ticket
        )
        if message is not None:
            return self._seen(message)
        async with within(self._caller.limit(timeout, INFORMATION_SECONDS)) as remaining:
            status = await self._status_of(self.id, remaining)
        if status.state not in (JobState.CANCELLED, JobState.STOPPING):
            raise JobEndedError(f"job {self.id} has ended already: it is {status.state}", job=self.id)
        return status

    async def delete(self, *, timeout: float | None = None) -> None:
        """Make the server forget the job, which must have ended, and delete its results.

        Raises:
            InvalidJobError: It has not ended: cancel it first.
            JobNotFoundError: It was deleted, or the server has forgotten it or was started anew.
        """
        request = pb.DeleteJobRequest(id=self.id)
        await self._caller.ask_once(
            "DeleteJob", request, pb.DeleteJobResponse, timeout, done=JobNotFoundError, place=self._ticket
        )

    async def _status(self, remaining: Remaining) -> JobStatus:
        """Ask how far the job is, submitting it again where its server is gone."""
        while True:
            id = self.id
            try:
                return await self._status_of(id, remaining)
            except JobNotFoundError as exc:
                await self._ticket.renew(exc, id, remaining)

    async def _status_of(self, id: str, remaining: Remaining) -> JobStatus:
        """Ask the server that is there how far the job is."""
        request = pb.GetJobRequest(id=id)
        return self._seen(await self._caller.asked("GetJob", request, pb.Job, remaining, place=self._ticket))

    def _seen(self, message: pb.Job) -> JobStatus:
        self._last = job_status(message)
        return self._last

    async def _fetch(self, handles: Sequence[Handle], out: Outs, timeout: float | None) -> Result:
        job = build([expression_of(handle) for handle in handles])
        options = Options(timeout=timeout, outs=checked_outs(out, job.results))
        values, _ = await self._caller.run(job, options, self._ticket)
        return values[0] if len(values) == 1 else tuple(values)

    async def _end(self, remaining: Remaining) -> JobStatus:
        """Wait until the job has ended."""
        while True:
            id = self.id
            try:
                self._last = status = await self._ticket.wait(inf, remaining)
            except JobNotFoundError as exc:
                await self._ticket.renew(exc, id, remaining)
            else:
                if status.has_ended:
                    return status

    async def _end_unless_unfed(self, remaining: Remaining) -> JobStatus:
        """Wait until the job has ended, or will not because our upload has failed and no other client has ended it."""
        if self._feeder is None:
            return await self._end(remaining)
        ending = asyncio.ensure_future(self._end(remaining))
        both: set[asyncio.Future[Any]] = {ending, self._feeder.failure}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not ending.done() and not (await self._status(remaining)).has_ended:
                self._feeder.failure.result()
            return await ending
        finally:
            ending.cancel()
            await asyncio.gather(ending, return_exceptions=True)
            del ending, both  # their errors hold this frame: a circle would keep the connection for a while


def progress_text(status: JobStatus) -> str:
    """Return how far a job is, in a few words."""
    match status.state:
        case JobState.QUEUED:
            return f"queued, {status.position:,} before it" if status.position else _lack(status)
        case JobState.RUNNING:
            return f"running, {status.blocks_done:,} of {status.blocks:,} blocks"
        case JobState.FAILED:
            return "failed" if status.error is None else f"failed: {status.error}"
        case state:
            return str(state)


def _lack(status: JobStatus) -> str:
    """Return what the first job of the queue waits for; a server of an earlier version does not tell how much."""
    if not status.needed_bytes:
        return "queued, waits for memory"
    return f"queued, needs {bytes_text(status.needed_bytes)}, {bytes_text(status.free_bytes)} free"
