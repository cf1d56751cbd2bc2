"""gRPC does not survive a fork: a child that goes on with it crashes (tried). So it gets an error instead."""

from __future__ import annotations

import os

from arraymill_proto.errors import ArraymillError

_user: int | None = None


def is_child() -> bool:
    """Tell whether this process is a fork of one that used gRPC: what it has of that belongs to its parent."""
    return _user is not None and _user != os.getpid()


def check_process() -> None:
    """Note that this process uses gRPC from now on.

    Raises:
        ArraymillError: It is a fork of a process that did before.
    """
    global _user  # noqa: PLW0603  # a fact of the process
    if _user is None:
        _user = os.getpid()
    elif is_child():
        raise ArraymillError(
            "this process was forked from one that had used arraymill, and gRPC does not survive a fork: start it with "
            "multiprocessing's 'spawn' or 'forkserver' method, or use arraymill in the children only"
        )
