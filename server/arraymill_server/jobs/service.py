"""Jobs from a validated graph to their end: plan, reserve, run, clean up."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from arraymill_proto.catalogue import Operand
from arraymill_proto.errors import ParameterError, Reason, TooLargeError
from arraymill_proto.graph import ArrayType, Graph, Resident
from arraymill_proto.limits import DEFAULT_PRIORITY
from arraymill_proto.validate import ResidentTypes, infer_graph
from arraymill_server.arena.arena import Arena
from arraymill_server.engine.base import Engine, Fence
from arraymill_server.jobs.admission import Admission
from arraymill_server.jobs.aside import LARGE_NODES, Aside
from arraymill_server.jobs.exchange import Exchange, Started
from arraymill_server.jobs.pending import PendingGroup
from arraymill_server.jobs.residents import ResidentArray, Residents
from arraymill_server.jobs.run import Hands, JobRun, Times
from arraymill_server.jobs.views import view_of
from arraymill_server.plan.interpreter import Interpreter
from arraymill_server.plan.machine import JobMachine
from arraymill_server.plan.model import JobPlan, ResidentView
from arraymill_server.plan.planner import PlanLimits, plan_job
from arraymill_server.plan.workspace import JobLayout, deepest, fit_depth

SLOTS_PER_WORKER: Final = 3
"""Blocks in flight for each worker: one that runs, one that waits in its pipe, one that is received."""


@dataclass(frozen=True, slots=True)
class Keep:
    """The wish to keep a result on the server."""

    name: str = ""
    ttl_seconds: float | None = None
    is_patient: bool = False
    """Wait for room, however long that takes; else a server that has none refuses the job."""


@dataclass(frozen=True, slots=True)
class Request:
    """A job as it comes in."""

    graph: Graph
    client: str
    """Whose turn it takes."""
    keep: Keep | None = None
    """Leave the value of each output on the server."""
    result_limit: int | None = None
    """Most bytes that all results together may have; None: any number."""
    priority: int = DEFAULT_PRIORITY
    """0 to 9."""
    job_id: str = field(default_factory=lambda: secrets.token_hex(8))
    times: Times = field(default_factory=Times)
    """Filled while the job runs: they are there as well if it fails."""


@dataclass(slots=True)
class Report:
    """How a job went."""

    job_id: str
    times: Times = field(default_factory=Times)
    received_bytes: int = 0
    sent_bytes: int = 0
    blocks: int = 0
    passes: int = 0
    arrays: tuple[ResidentArray, ...] = ()
    """The results that were kept, one per output."""


@dataclass(frozen=True, slots=True)
class _Layouts:
    """A workspace with the fewest blocks in flight, and one with the most."""

    least: JobLayout
    most: JobLayout

    @classmethod
    def of(cls, plan: JobPlan, slots: int) -> _Layouts:
        depth, least = min(slots, deepest(plan)), JobLayout(plan, 1)
        return cls(least, JobLayout(plan, depth) if depth > 1 else least)


@dataclass(frozen=True, slots=True)
class _Foreseen:
    """What was found out about a graph before its job comes."""

    graph: Graph
    """It lives as long: nothing else can have its identity."""
    keep: bool
    views: Mapping[int, ResidentView]
    plan: JobPlan
    layouts: _Layouts


@dataclass(slots=True)
class _Prepared:
    """A job that is valid and planned, with what it holds before it has memory."""

    report: Report
    plan: JobPlan
    layouts: _Layouts
    pins: list[ResidentArray]
    pending: PendingGroup | None = None
    fence: Fence | None = None
    """What must fall before anything of it may be given back."""


class Jobs:
    """All jobs of a server.

    Args:
        arena: Their memory.
        engine: Runs their tasks.
        admission: Gives them memory.
        residents: The arrays that they read and make.
        slots: Blocks that one job may have in flight.
        block_elements: Most elements of a block; for tests of the merge paths.
    """

    def __init__(
        self,
        arena: Arena,
        engine: Engine,
        admission: Admission,
        residents: Residents,
        *,
        slots: int,
        block_elements: int | None = None,
    ) -> None:
        self._arena = arena
        self._admission = admission
        self._residents = residents
        self._slots = slots
        self._block_elements = block_elements
        self._hands = Hands(engine, Interpreter(arena.space), arena.space)
        self._foreseen: dict[int, _Foreseen] = {}
        """By the identity of the graph."""
        self.aside = Aside()
        """Thinks about large graphs."""

    def __repr__(self) -> str:
        return f"<Jobs {self.running} running, {self.waiting} waiting>"

    @property
    def running(self) -> int:
        return self._admission.running

    @property
    def waiting(self) -> int:
        return self._admission.waiting

    @asynccontextmanager
    async def foreseen(self, graph: Graph, client: str, *, keep: bool) -> AsyncGenerator[None]:
        """Plan a large graph before its job comes, so that the job itself does not hold the event loop.

        The plan counts for jobs that begin within the block, if the arrays that they read still lie where they did.

        Args:
            graph: The very graph of the job.
            client: Whose turn it takes.
            keep: Whether the job keeps its values.

        Raises:
            ArraymillError: What is wrong with the graph.
        """
        if len(graph.nodes) < LARGE_NODES:
            yield
            return
        self._foreseen[id(graph)] = await self._foresee(graph, client, keep=keep)
        try:
            yield
        finally:
            del self._foreseen[id(graph)]

    async def run(self, request: Request, exchange: Exchange) -> Report:
        """Run a job to its end and say how it went.

        Cancelling it stops the work and gives its memory back before the cancellation goes on. Only what a worker that
        cannot be killed may touch is given back later, when the kernel has confirmed its end.

        Raises:
            ArraymillError: Whatever is wrong with the job, its values, its frames or the server's room.
        """
        begin = monotonic()
        prepared = self._prepare(request)
        report = prepared.report
        try:
            await self._run(prepared, request, exchange, begin)
            if prepared.pending is not None:
                arrays = prepared.pending.commit()
                report.arrays = tuple(arrays[result.node] for result in prepared.plan.outputs)
        finally:
            exchange.close()
            if prepared.fence is None:
                self._give_back(prepared)
            else:
                prepared.fence.add_done_callback(lambda _: self._give_back(prepared))
            report.times.total = monotonic() - begin
        return report

    def _give_back(self, prepared: _Prepared) -> None:
        with self._arena.together():
            for array in prepared.pins:
                self._residents.unpin(array)
            if prepared.pending is not None:
                prepared.pending.abort()

    # ------------------------------------------------------------------ prepare

    def _prepare(self, request: Request) -> _Prepared:
        pins: list[ResidentArray] = []
        try:
            return self._plan(request, pins)
        except BaseException:
            for array in pins:
                self._residents.unpin(array)
            raise

    def _plan(self, request: Request, pins: list[ResidentArray]) -> _Prepared:
        graph, keep = request.graph, request.keep
        if keep is not None and keep.name and len(graph.outputs) != 1:
            raise ParameterError(f"a name is for one array; this job keeps {len(graph.outputs)}")
        arrays: dict[Resident, ResidentArray] = {}

        def type_of(node: Resident) -> ArrayType:
            if node not in arrays:
                arrays[node] = self._residents.pin(node.id)
                pins.append(arrays[node])
            return arrays[node].type

        foreseen = self._foreseen_plan(graph, type_of, arrays, keep=keep is not None)
        if foreseen is None:
            operands = infer_graph(graph, type_of)
            plan = self._plan_within(graph, operands, _views(graph, arrays), keep=keep is not None)
            layouts = _Layouts.of(plan, self._slots)
        else:
            plan, layouts = foreseen.plan, foreseen.layouts
        _check_results(plan, request.result_limit)
        report = Report(request.job_id, request.times, blocks=plan.blocks, passes=len(plan.passes))
        pending = None
        if keep is not None:
            pending = PendingGroup.reserve(
                self._residents,
                plan.outputs,
                keep.name,
                keep.ttl_seconds,
                client=request.client,
                is_patient=keep.is_patient,
            )
        return _Prepared(report, plan, layouts, pins, pending)

    def _foreseen_plan(
        self, graph: Graph, pin: ResidentTypes, arrays: Mapping[Resident, ResidentArray], *, keep: bool
    ) -> _Foreseen | None:
        """Return what was thought before, if the arrays are what they were then; they are pinned either way."""
        foreseen = self._foreseen.get(id(graph))
        if foreseen is None:
            return None
        for node in _residents_of(graph):
            pin(node)
        is_true = (foreseen.keep, foreseen.views) == (keep, _views(graph, arrays))
        return foreseen if is_true else None

    def _plan_within(
        self, graph: Graph, operands: tuple[Operand, ...], views: Mapping[int, ResidentView], *, keep: bool
    ) -> JobPlan:
        """Plan; hold inputs for a second reading if that can ever fit, else ask for them again."""
        plan = plan_job(graph, operands, views, self.limits(hold=True), keep=keep)
        if self._holds_too_much(plan):
            plan = plan_job(graph, operands, views, self.limits(hold=False), keep=keep)
        return plan

    async def _foresee(self, graph: Graph, client: str, *, keep: bool) -> _Foreseen:
        """Do what `_plan` does, without holding anything: arrays are looked at on the loop, the rest is values."""
        nodes = len(graph.nodes)
        arrays = {node: self._residents.get(node.id) for node in _residents_of(graph)}
        types = {node: array.type for node, array in arrays.items()}
        operands = await self.aside.run(client, nodes, infer_graph, graph, types.__getitem__)
        views = _views(graph, arrays)
        plan = await self.aside.run(client, nodes, plan_job, graph, operands, views, self.limits(hold=True), keep=keep)
        if self._holds_too_much(plan):
            plan = await self.aside.run(
                client, nodes, plan_job, graph, operands, views, self.limits(hold=False), keep=keep
            )
        layouts = await self.aside.run(client, nodes, _Layouts.of, plan, self._slots)
        return _Foreseen(graph, keep, views, plan, layouts)

    def limits(self, *, hold: bool) -> PlanLimits:
        return PlanLimits(hold_bytes=self._arena.size // 2 if hold else 0, block_elements=self._block_elements)

    def _holds_too_much(self, plan: JobPlan) -> bool:
        return bool(plan.held) and not self._arena.fits_when_idle(JobLayout(plan, 1).nbytes)

    # ------------------------------------------------------------------ run

    async def _run(self, prepared: _Prepared, request: Request, exchange: Exchange, begin: float) -> None:
        plan, report, pending = prepared.plan, prepared.report, prepared.pending
        least, most = prepared.layouts.least, prepared.layouts.most
        owner = f"job {report.job_id}"
        turn = self._admission.admit(
            least.nbytes, most.nbytes, owner=owner, client=request.client, keep=pending, priority=request.priority
        )
        async with turn as lease:
            report.times.queued = monotonic() - begin
            layout = most if lease.size >= most.nbytes else fit_depth(plan, self._slots, lease.size)
            keep_addresses = pending.addresses if pending is not None else None
            machine = JobMachine(plan, layout, base=lease.offset, keep_addresses=keep_addresses)
            run = JobRun(report.job_id, machine, self._hands, exchange, report.times, client=request.client)
            exchange.start(Started(report.job_id, lease.size, plan.blocks, plan.outputs, pending is not None), run)
            try:
                await run.run()
            except TooLargeError as exc:
                raise exc.located(f"a job with a workspace of {lease.size:,} bytes: ", job_bytes=lease.size) from exc
            finally:
                if run.fence is not None:
                    prepared.fence = run.fence
                    turn.hold(run.fence)
        report.received_bytes, report.sent_bytes = exchange.received_bytes, exchange.sent_bytes


def _residents_of(graph: Graph) -> list[Resident]:
    return [node for node in graph.nodes if isinstance(node, Resident)]


def _views(graph: Graph, arrays: Mapping[Resident, ResidentArray]) -> dict[int, ResidentView]:
    """Return where the resident arrays of a graph lie, by node."""
    return {
        index: view_of(arrays[node], node.slices)
        for index, node in enumerate(graph.nodes)
        if isinstance(node, Resident)
    }


def _check_results(plan: JobPlan, limit: int | None) -> None:
    nbytes = sum(result.nbytes for result in plan.outputs)
    if limit is not None and nbytes > limit:
        raise TooLargeError(
            f"the results have {nbytes:,} bytes, one answer holds {limit:,}; use the streaming call Run",
            reason=Reason.RESULT_TOO_LARGE,
            result_bytes=nbytes,
            limit=limit,
        )
