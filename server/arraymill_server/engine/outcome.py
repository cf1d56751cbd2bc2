"""What becomes of a reply on the server's side: the typed error that fails a task, and what the log must know."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from arraymill_proto.errors import ERRORS, ArraymillError, InternalError, Reason
from arraymill_server.engine.messages import Reply
from arraymill_server.log import get_logger

_log = get_logger(__name__)


def error_of(reply: Reply, operation: Callable[[], str]) -> ArraymillError | None:
    """Return the error of a reply, None when the task is done. Logs what the client must not see.

    Args:
        reply: What the worker said.
        operation: Tells what the task was doing, for the log.
    """
    if reply.reason is None:
        return None
    if reply.reason is Reason.INTERNAL:
        error_id = secrets.token_hex(6)
        _log.error("task_failed", error_id=error_id, operation=operation(), traceback=reply.trace)
        return InternalError(
            f"a defect of the server ended the job; the server's log tells more under error id {error_id}",
            error_id=error_id,
        )
    return ERRORS[reply.reason](reply.text, reason=reply.reason, **reply.details)
