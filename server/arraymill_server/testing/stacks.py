"""Where everything stands, for whoever wonders why it does."""

from __future__ import annotations

import asyncio
from types import FrameType


def task_stacks() -> str:
    """Return what each task of the running event loop waits for.

    Frames of compiled code, as gRPC's and uvloop's, have no line number; `Task.print_stack` stumbles over them.
    """
    return "\n".join(f"{task!r}\n{_stack(task.get_stack())}" for task in asyncio.all_tasks())


def _stack(frames: list[FrameType]) -> str:
    return "\n".join(f"  {frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_qualname}" for frame in frames)
