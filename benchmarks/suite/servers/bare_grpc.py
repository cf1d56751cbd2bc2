"""A server of grpc.aio that computes nothing: it counts the bytes of the messages of a stream, and answers with that.

What arraymill's frames need of gRPC and nothing else: raw messages, uvloop, the next one read while this one is taken.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import grpc
import grpc.aio
import uvloop

from suite.processes import announce

METHOD: Final = "/bare.Sink/Count"
OPTIONS: Final = (("grpc.max_receive_message_length", 8 << 20), ("grpc.max_send_message_length", -1))


async def _count(_: Any, context: Any) -> None:
    received, reading = 0, asyncio.ensure_future(context.read())
    while (message := await reading) is not grpc.aio.EOF:
        reading = asyncio.ensure_future(context.read())
        await asyncio.sleep(0)
        received += len(message)
    await context.write(received.to_bytes(8, "big"))


async def _serve() -> None:
    server = grpc.aio.server(options=OPTIONS)
    method: Any = grpc.stream_stream_rpc_method_handler(_count)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bare.Sink", {"Count": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    announce(f"127.0.0.1:{port}")
    await server.wait_for_termination()


def main() -> None:
    """Serve until it is ended."""
    uvloop.run(_serve())


if __name__ == "__main__":
    main()
