"""Jobs from a validated graph to their end: plan, reserve, run, clean up."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from time import monotonic
from typing import Final

from arraymill_proto.catalogue import Operand
from arraymill_proto.errors import ParameterError, TooLargeError
from arraymill_proto.graph import ArrayType, Graph, Resident
from arraymill_proto.validate import ResidentTypes, infer_graph
from arraymill_server.arena.arena import Arena
from arraymill_server.engine.base import Engine
from arraymill_server.jobs.admission import Admission
from arraymill_server.jobs.aside import LARGE_NODES, Aside
from arraymill_server.jobs.exchange import Exchange, Started
from arraymill_server.jobs.pending import PendingGroup
from arraymill_server.jobs.prepared import (
    Foreseen,
    Layouts,
    Prepared,
    check_results,
    residents_of,
    targets_of,
    views_of,
)
from arraymill_server.jobs.request import Report, Request, Workspace
from arraymill_server.jobs.residents import ResidentArray, Residents
from arraymill_server.jobs.run import Hands, JobRun
from arraymill_server.plan.interpreter import Interpreter
from arraymill_server.plan.machine import JobMachine
from arraymill_server.plan.model import JobPlan, ResidentView
from arraymill_server.plan.planner import PlanLimits, plan_job
from arraymill_server.plan.workspace import JobLayout, fit_depth

SLOTS_PER_WORKER: Final = 3
"""Blocks in flight for each worker: one that runs, one that waits in its pipe, one that is received."""


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
        self._beside = 0
        """Jobs that run in memory which is not the arena's."""
        self._foreseen: dict[int, Foreseen] = {}
        """By the identity of the graph."""
        self.aside = Aside()
        """Thinks about large graphs."""

    def __repr__(self) -> str:
        return f"<Jobs {self.running} running, {self.waiting} waiting>"

    @property
    def running(self) -> int:
        return self._admission.running + self._beside

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
        prepared.release = request.hold()
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

    def _give_back(self, prepared: Prepared) -> None:
        prepared.release()
        with self._arena.together():
            for array in prepared.pins:
                self._residents.unpin(array)
            if prepared.pending is not None:
                prepared.pending.abort()

    # ------------------------------------------------------------------ prepare

    def _prepare(self, request: Request) -> Prepared:
        pins: list[ResidentArray] = []
        try:
            return self._plan(request, pins)
        except BaseException:
            for array in pins:
                self._residents.unpin(array)
            raise

    def _plan(self, request: Request, pins: list[ResidentArray]) -> Prepared:
        graph, keep = request.graph, request.keep
        if keep is not None and keep.name and len(graph.outputs) != 1:
            raise ParameterError(f"a name is for one array; this job keeps {len(graph.outputs)}")
        arrays: dict[Resident, ResidentArray] = {}

        def type_of(node: Resident) -> ArrayType:
            if node not in arrays:
                arrays[node] = self._residents.pin(node.id)
                pins.append(arrays[node])
            return arrays[node].type

        places = request.targets if keep is None else ()
        targets: dict[int, int] = {}
        foreseen = None
        if not request.views and not places:
            foreseen = self._foreseen_plan(graph, type_of, arrays, keep=keep is not None)
        if foreseen is None:
            operands = infer_graph(graph, type_of)
            views = {**views_of(graph, arrays), **request.views}
            plan = self._plan_within(graph, operands, views, keep=keep is not None or bool(places))
            targets = targets_of(plan, places)
            if places and not targets:
                plan = self._plan_within(graph, operands, views, keep=False)
            layouts = Layouts.of(plan, self._slots)
        else:
            plan, layouts = foreseen.plan, foreseen.layouts
        if not targets:
            check_results(plan, request.result_limit)
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
        at_hand = sum(view.nbytes for view in request.views.values())
        return Prepared(report, plan, layouts, pins, pending, targets, at_hand)

    def _foreseen_plan(
        self, graph: Graph, pin: ResidentTypes, arrays: Mapping[Resident, ResidentArray], *, keep: bool
    ) -> Foreseen | None:
        """Return what was thought before, if the arrays are what they were then; they are pinned either way."""
        foreseen = self._foreseen.get(id(graph))
        if foreseen is None:
            return None
        for node in residents_of(graph):
            pin(node)
        is_true = (foreseen.keep, foreseen.views) == (keep, views_of(graph, arrays))
        return foreseen if is_true else None

    def _plan_within(
        self, graph: Graph, operands: tuple[Operand, ...], views: Mapping[int, ResidentView], *, keep: bool
    ) -> JobPlan:
        """Plan; hold inputs for a second reading if that can ever fit, else ask for them again."""
        plan = plan_job(graph, operands, views, self.limits(hold=True), keep=keep)
        if self._holds_too_much(plan):
            plan = plan_job(graph, operands, views, self.limits(hold=False), keep=keep)
        return plan

    async def _foresee(self, graph: Graph, client: str, *, keep: bool) -> Foreseen:
        """Do what `_plan` does, without holding anything: arrays are looked at on the loop, the rest is values."""
        nodes = len(graph.nodes)
        arrays = {node: self._residents.get(node.id) for node in residents_of(graph)}
        types = {node: array.type for node, array in arrays.items()}
        operands = await self.aside.run(client, nodes, infer_graph, graph, types.__getitem__)
        views = views_of(graph, arrays)
        plan = await self.aside.run(client, nodes, plan_job, graph, operands, views, self.limits(hold=True), keep=keep)
        if self._holds_too_much(plan):
            plan = await self.aside.run(
                client, nodes, plan_job, graph, operands, views, self.limits(hold=False), keep=keep
            )
        layouts = await self.aside.run(client, nodes, Layouts.of, plan, self._slots)
        return Foreseen(graph, keep, views, plan, layouts)

    def limits(self, *, hold: bool) -> PlanLimits:
        return PlanLimits(hold_bytes=self._arena.size // 2 if hold else 0, block_elements=self._block_elements)

    def _holds_too_much(self, plan: JobPlan) -> bool:
        return bool(plan.held) and not self._arena.fits_when_idle(JobLayout(plan, 1).nbytes)

    # ------------------------------------------------------------------ run

    async def _run(self, prepared: Prepared, request: Request, exchange: Exchange, begin: float) -> None:
        least, most = prepared.layouts.least.nbytes, prepared.layouts.most.nbytes
        owner = f"job {prepared.report.job_id}"
        beside: Workspace | None = None
        if request.room is not None and prepared.pending is None:
            beside = request.room.lease(least, most, owner)
        if beside is not None:
            await self._run_beside(beside, prepared, request, exchange)
            return
        turn = self._admission.admit(
            least, most, owner=owner, client=request.client, keep=prepared.pending, priority=request.priority
        )
        async with turn as lease:
            prepared.report.times.queued = monotonic() - begin
            try:
                await self._run_in(lease.offset, lease.size, prepared, request, exchange)
            finally:
                if prepared.fence is not None:
                    turn.hold(prepared.fence)

    async def _run_beside(self, workspace: Workspace, prepared: Prepared, request: Request, exchange: Exchange) -> None:
        """Run a job whose workspace is not the arena's: it waits for nobody."""
        self._beside += 1
        try:
            await self._run_in(workspace.address, workspace.size, prepared, request, exchange)
        finally:
            if prepared.fence is None:
                self._leave(workspace)
            else:
                prepared.fence.add_done_callback(lambda _: self._leave(workspace))

    def _leave(self, workspace: Workspace) -> None:
        self._beside -= 1
        workspace.release()

    async def _run_in(self, address: int, size: int, prepared: Prepared, request: Request, exchange: Exchange) -> None:
        plan, report, pending = prepared.plan, prepared.report, prepared.pending
        most = prepared.layouts.most
        layout = most if size >= most.nbytes else fit_depth(plan, self._slots, size)
        keep_addresses = pending.addresses if pending is not None else prepared.targets
        machine = JobMachine(plan, layout, base=address, keep_addresses=keep_addresses)
        run = JobRun(report.job_id, machine, self._hands, exchange, report.times, client=request.client)
        started = Started(
            report.job_id,
            size,
            plan.blocks,
            plan.outputs,
            is_kept=pending is not None,
            is_placed=bool(prepared.targets),
            at_hand_bytes=prepared.at_hand_bytes,
        )
        exchange.start(started, run)
        try:
            await run.run()
        except TooLargeError as exc:
            raise exc.located(f"a job with a workspace of {size:,} bytes: ", job_bytes=size) from exc
        finally:
            prepared.fence = run.fence
        report.received_bytes, report.sent_bytes = exchange.received_bytes, exchange.sent_bytes
