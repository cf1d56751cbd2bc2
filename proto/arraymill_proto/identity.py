"""What names clients, arrays and jobs, and what turn a job may ask for: the same rules on both sides."""

from __future__ import annotations

import re
from typing import Final

from arraymill_proto.errors import ParameterError
from arraymill_proto.limits import MAX_KEY_CHARS, MAX_NAME_CHARS, MAX_PRIORITY, shorten

CLIENT_KEY: Final = "arraymill-client"
"""Key of the metadata of a call that bears the client's name: so that its connections count as one."""

MAX_CLIENT_CHARS: Final = 64
"""Longest name of a client: a UUID, or a host and a process, and some to spare."""

_VISIBLE: Final = re.compile(r"[!-~]*")

_NAME: Final = re.compile(r"[A-Za-z0-9._/-]+")

_ID: Final = re.compile(r"[0-9a-f]{16}|[0-9a-f]{32}")
"""What servers call jobs, and what they call arrays."""


def is_client_name(text: str) -> bool:
    """Tell whether a text can be a client's name: 1 to 64 visible ASCII characters."""
    return 0 < len(text) <= MAX_CLIENT_CHARS and _is_visible(text)


def check_name(name: object) -> str:
    """Return what can be the name of an array: 1 to 128 letters, digits and . _ - /, or nothing for none.

    Arrays are found by id or name: what could be an id is no name, else who deletes an array would leave its id to
    whoever takes it as a name, and who still has a handle of it would read theirs.

    Raises:
        ParameterError: It cannot.
    """
    if not isinstance(name, str):
        raise ParameterError(f"the name is {shorten(repr(name))}, it must be a text", parameter="name")
    if len(name) > MAX_NAME_CHARS:
        raise ParameterError(
            f"the name has {len(name):,} characters, at most {MAX_NAME_CHARS} are allowed", parameter="name"
        )
    if name and not _NAME.fullmatch(name):
        raise ParameterError(f"{shorten(name)!r} is not a name; use letters, digits and . _ - /", parameter="name")
    if _ID.fullmatch(name):
        raise ParameterError(
            f"{name!r} may be the id of an array or a job; choose one of another length or with a letter beyond f",
            parameter="name",
        )
    return name


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
