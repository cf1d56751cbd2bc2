"""A hall for small jobs: everything under the handlers, with the engine of this process."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from arraymill_proto.codec import graph_to_pb
from arraymill_proto.graph import Graph, Input, Operation
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_server.arena.arena import Arena
from arraymill_server.engine.serial import SerialEngine
from arraymill_server.jobs import small
from arraymill_server.jobs.admission import Admission
from arraymill_server.jobs.residents import Residents
from arraymill_server.jobs.service import Jobs
from arraymill_server.jobs.small import SmallJobs
from arraymill_server.rpc.calls import Calls
from arraymill_server.rpc.small import Hall
from arraymill_server.rpc.tally import Tally
from arraymill_server.rpc.turns import Turns

PLACES = 64


def play_whatever_it_takes(patch: pytest.MonkeyPatch) -> None:
    """Let jobs be played that are slow because the machine is busy."""
    patch.setattr(small, "SMALL_SECONDS", 60.0)
    patch.setattr(small, "TRIAL_SECONDS", 60.0)


def hall_of(places: int = PLACES, block_elements: int | None = None) -> Hall:
    """Make a hall; in a running event loop."""
    arena = Arena((ctypes.c_ubyte * (1 << 20))())
    residents = Residents(arena, arena.size // 4, 60.0)
    engine = SerialEngine(arena.space)
    jobs = Jobs(arena, engine, Admission(arena, 100), residents, slots=3, block_elements=block_elements)
    return Hall(jobs, SmallJobs(jobs.limits(hold=True)), Calls(places), Turns(), Tally("jobs cancelled"), None, 45.0)


def applied(name: str, *arrays: np.ndarray[Any, Any], **params: Any) -> pb.ComputeRequest:
    """The message of one operation on arrays."""
    inputs = [Input(array.shape, array.dtype, None, array.tobytes()) for array in arrays]
    operation = Operation(name, tuple(range(len(inputs))), params)
    return pb.ComputeRequest(graph=graph_to_pb(Graph((*inputs, operation), (len(inputs),))))


def value(answer: pb.ComputeResponse, dtype: Any = np.float64) -> np.ndarray[Any, Any]:
    """The elements of the only result."""
    (result,) = answer.results
    return np.frombuffer(result.data, dtype)
