"""Bounds that both sides of the wire know, each with its evidence."""

from __future__ import annotations

from typing import Final

PROTOCOL: Final = 1
"""The protocol that this code speaks. Grows only when an old peer could misread an answer."""

OLDEST_PROTOCOL: Final = 1
"""The oldest protocol of a peer that this code still serves."""

FRAME_BYTES: Final = 1 << 20
"""Payload of a frame. Below 256 KiB the cost per message shows; above 1 MiB nothing is won."""

RECORD_BYTES: Final = 4 << 20
"""Longest record of the bulk lane that either side sends; a range may be longer."""

MESSAGE_BYTES: Final = 4 << 20
"""Largest gRPC message that is accepted: gRPC's own default, so that no client can make the server allocate more."""

UNARY_BYTES: Final = 1 << 20
"""Largest sum of inline inputs, and of inline results, of one unary call."""

MAX_DIMENSIONS: Final = 32
"""Most dimensions of an array. NumPy 1 allowed 32, NumPy 2 allows 64; other languages rarely more than 32."""

MAX_NODES: Final = 4096
"""Most nodes of a graph. A graph of this size still validates in about 50 ms, beside the server's event loop."""

MAX_ELEMENTS: Final = 1 << 62
"""Most elements of an array: keeps every byte offset and every product of dimensions below 2**63 for int8."""

MAX_BYTES: Final = (1 << 63) - 1
"""Most bytes of an array: every byte offset fits a signed 64-bit integer."""

MAX_BIG_INT_CHARS: Final = 64
"""Longest decimal text of a Python integer constant."""

MAX_NAME_CHARS: Final = 128
"""Longest name of a resident array."""

MAX_KEY_CHARS: Final = 128
"""Longest key of a submitted job."""

MAX_PRIORITY: Final = 9
"""Highest priority of a submitted job; 0 is the lowest."""

DEFAULT_PRIORITY: Final = 5
"""Priority of a job that names none, and of all that is not submitted."""

MAX_WAIT_SECONDS: Final = 60.0
"""Longest wait of one call for the end of a job: proxies cut what is silent for longer. Ask again."""

WATCH_REPEAT_SECONDS: Final = 30.0
"""Longest silence of WatchJob, which then tells the same again: half of what proxies let pass. A client that has heard
nothing for twice as long takes the connection for lost."""

MAX_OPERANDS: Final = 16
"""Most arguments, and most parameters, of one operation: far above any in the catalogue."""

MAX_ECHO_CHARS: Final = 80
"""Most of a caller's text that a message repeats: gRPC carries at most 8 KiB of status."""


def shorten(text: str) -> str:
    """Cut a caller's text to what a message may repeat."""
    return text if len(text) <= MAX_ECHO_CHARS else f"{text[: MAX_ECHO_CHARS - 1]}…"
