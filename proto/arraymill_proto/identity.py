"""What names clients and jobs, and what turn a job may ask for: the same rules on both sides."""

from __future__ import annotations

import re
from typing import Final

from arraymill_proto.errors import ParameterError
from arraymill_proto.limits import MAX_KEY_CHARS, MAX_PRIORITY, shorten

CLIENT_KEY: Final = "arraymill-client"
"""Key of the metadata of a call that bears the client's name: so that its connections count as one."""

MAX_CLIENT_CHARS: Final = 64
"""Longest name of a client: a UUID, or a host and a process, and some to spare."""

_VISIBLE: Final = re.compile(r"[!-~]*")


def is_client_name(text: str) -> bool:
    """Tell whether a text can be a client's name: 1 to 64 visible ASCII characters."""
    return 0 < len(text) <= MAX_CLIENT_CHARS and _is_visible(text)


def check_key(key: object) -> str:
    """Return what can be the key of a submitted job: 1 to 128 visible ASCII characters.

    Raises:
        ParameterError: It cannot.
    """
    if not isinstance(key, str):
        raise ParameterError(f"the key is {shorten(repr(key))}, it must be a text", parameter="key")
    if not key:
        raise ParameterError("the key is empty, it must have a character at least", parameter="key")
    if len(key) > MAX_KEY_CHARS:
        raise ParameterError(
            f"the key has {len(key):,} characters, at most {MAX_KEY_CHARS} are allowed", parameter="key"
        )
    if not _is_visible(key):
        raise ParameterError(f"the key {shorten(key)!r} may have visible ASCII characters only", parameter="key")
    return key


def check_priority(priority: object) -> int:
    """Return what can be the priority of a submitted job: 0 to 9.

    Raises:
        ParameterError: It cannot.
    """
    if not isinstance(priority, int) or not 0 <= priority <= MAX_PRIORITY:
        raise ParameterError(
            f"the priority is {shorten(repr(priority))}, it must be 0 to {MAX_PRIORITY}", parameter="priority"
        )
    return priority


def _is_visible(text: str) -> bool:
    """Tell whether a text consists of visible ASCII characters; a space is none."""
    return _VISIBLE.fullmatch(text) is not None
