"""A server that is slow in a known way, as a process: what a load tester must find of it can be computed.

It answers sums of one number, each after a delay by the number of its arrival. At given times after the first job it
freezes: nothing is read or answered until the stall is over.

    python -m slow_server 0.2,0.2,0.4 1.0:0.6 2.2:0.5         (delays in turn; stalls: when, and for how long)
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import grpc.aio
import numpy as np

from arraymill_proto.codec import type_to_pb
from arraymill_proto.graph import ArrayType
from arraymill_proto.limits import FRAME_BYTES, UNARY_BYTES
from arraymill_proto.v1 import arraymill_pb2 as pb

Stall: TypeAlias = tuple[float, float]
"""When it begins, in seconds after the first job, and for how long it lasts."""

ANSWER = pb.ComputeResponse(
    results=[pb.InlineArray(type=type_to_pb(ArrayType((), np.dtype(np.float64))), data=bytes(8))]
).SerializeToString()


def latency(number: int, sent: float, delays: Sequence[float], stalls: Sequence[Stall]) -> float:
    """Return how long a job takes, counted from when it is sent, in seconds after the first."""
    read = next((begin + length for begin, length in stalls if begin <= sent < begin + length), sent)
    ready = read + delays[number % len(delays)]
    done = next((begin + length for begin, length in stalls if begin <= ready < begin + length), ready)
    return done - sent


class _Slow:
    def __init__(self, delays: Sequence[float], stalls: Sequence[Stall]) -> None:
        self._delays = delays
        self._stalls = stalls
        self._jobs = 0

    async def info(self, request: bytes, context: Any) -> bytes:
        return pb.ServerInfo(
            version="slow", protocol=1, oldest_protocol=1, frame_bytes=FRAME_BYTES, unary_bytes=UNARY_BYTES
        ).SerializeToString()

    async def compute(self, request: bytes, context: Any) -> bytes:
        number, self._jobs = self._jobs, self._jobs + 1
        if number == 0:
            for begin, length in self._stalls:
                asyncio.get_running_loop().call_later(begin, time.sleep, length)
        await asyncio.sleep(self._delays[number % len(self._delays)])
        return ANSWER


async def main(delays: Sequence[float], stalls: Sequence[Stall]) -> None:
    """Serve until stdin ends."""
    slow, server = _Slow(delays, stalls), grpc.aio.server()
    methods: dict[str, Any] = {
        "GetServerInfo": grpc.unary_unary_rpc_method_handler(slow.info),
        "Compute": grpc.unary_unary_rpc_method_handler(slow.compute),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("arraymill.v1.Arraymill", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


@contextmanager
def slow_server(delays: Sequence[float], stalls: Sequence[Stall] = ()) -> Generator[str]:
    """Start one; give its address."""
    words = [",".join(map(str, delays)), *(f"{begin}:{length}" for begin, length in stalls)]
    command = [sys.executable, "-m", "slow_server", *words]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield f"127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.stdin.close()


if __name__ == "__main__":
    told = [tuple(map(float, word.split(":"))) for word in sys.argv[2:]]
    asyncio.run(main([*map(float, sys.argv[1].split(","))], [(begin, length) for begin, length in told]))
