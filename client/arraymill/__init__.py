"""arraymill: NumPy arrays in over gRPC, NumPy's answers out.

    import arraymill as am

    async with am.AsyncClient("localhost:50051") as mill:
        total = await mill.sum(x)

The names below are all that is public.
"""

from __future__ import annotations

import os as _os

# gRPC reads this when it is imported. By default it starts threads in the child of a fork, which go on with the open
# calls of its parent: a tenth of the children of programs that had just computed small jobs crashed.
_os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from arraymill._advise_model import Advice, LaneRate, LinkFigures, Prediction, Sizes, WorkFigures
from arraymill._array import Array, Handle, asarray
from arraymill._client import AsyncClient
from arraymill._info import ArrayInfo, JobTimes, OperationInfo, Progress, ServerInfo
from arraymill._job import AsyncJob
from arraymill._job_info import JobNotDoneError, JobState, JobStatus
from arraymill._local import Local, local
from arraymill._segment import is_shared
from arraymill._sync import Client, Job
from arraymill_proto.errors import (
    ArrayExistsError,
    ArraymillError,
    ArrayNotFoundError,
    AxisError,
    BusyError,
    ComputationError,
    ConnectionFailedError,
    CorruptedError,
    DeadlineError,
    DTypeError,
    FrameError,
    GraphError,
    IncompatibleServerError,
    IntegerOverflowError,
    InternalError,
    InvalidJobError,
    JobCancelledError,
    JobEndedError,
    JobKeyError,
    JobNotFoundError,
    JobTakenError,
    ParameterError,
    Reason,
    ResultExpiredError,
    ShapeError,
    TooLargeError,
    UnknownOperationError,
    WorkerError,
)

__version__: str

__all__ = [
    "Advice",
    "Array",
    "ArrayExistsError",
    "ArrayInfo",
    "ArrayNotFoundError",
    "ArraymillError",
    "AsyncClient",
    "AsyncJob",
    "AxisError",
    "BusyError",
    "Client",
    "ComputationError",
    "ConnectionFailedError",
    "CorruptedError",
    "DTypeError",
    "DeadlineError",
    "FrameError",
    "GraphError",
    "Handle",
    "IncompatibleServerError",
    "IntegerOverflowError",
    "InternalError",
    "InvalidJobError",
    "Job",
    "JobCancelledError",
    "JobEndedError",
    "JobKeyError",
    "JobNotDoneError",
    "JobNotFoundError",
    "JobState",
    "JobStatus",
    "JobTakenError",
    "JobTimes",
    "LaneRate",
    "LinkFigures",
    "Local",
    "OperationInfo",
    "ParameterError",
    "Prediction",
    "Progress",
    "Reason",
    "ResultExpiredError",
    "ServerInfo",
    "ShapeError",
    "Sizes",
    "TooLargeError",
    "UnknownOperationError",
    "WorkFigures",
    "WorkerError",
    "__version__",
    "asarray",
    "is_shared",
    "local",
]


def __getattr__(name: str) -> str:
    """Look the version up when it is asked for: importlib.metadata would cost a quarter of the time of the import."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version  # noqa: PLC0415

    globals()[name] = version("arraymill")
    return version("arraymill")
