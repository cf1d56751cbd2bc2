"""How a client names itself, so that its connections count as one."""

from __future__ import annotations

import re
from typing import Final

CLIENT_KEY: Final = "arraymill-client"
"""Key of the metadata of a call that bears the client's name."""

MAX_CLIENT_CHARS: Final = 64
"""Longest name of a client: a UUID, or a host and a process, and some to spare."""

_NAME: Final = re.compile(rf"[!-~]{{1,{MAX_CLIENT_CHARS}}}")


def is_client_name(text: str) -> bool:
    """Tell whether a text can be a client's name: 1 to 64 visible ASCII characters."""
    return _NAME.fullmatch(text) is not None
