"""A TCP server that computes nothing: it receives into one warm buffer, and sends the bytes back if told to.

A message: one byte, SINK or ECHO; the number of bytes; the bytes. SINK is answered with the number of bytes.
"""

from __future__ import annotations

import socket
import struct
from typing import Final

from suite.processes import announce

SINK: Final = 0
ECHO: Final = 1
HEADER: Final = "!BQ"
COUNT: Final = struct.Struct("!Q")
BUFFER_BYTES: Final = 4 << 20


def main() -> None:
    """Serve one connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    announce(f"127.0.0.1:{listener.getsockname()[1]}")
    connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = memoryview(bytearray(BUFFER_BYTES))
    size = struct.calcsize(HEADER)
    while len(header := connection.recv(size, socket.MSG_WAITALL)) == size:
        mode, nbytes = struct.unpack(HEADER, header)
        received = 0
        while received < nbytes and (got := connection.recv_into(buffer[: nbytes - received])):
            received += got
            if mode == ECHO:
                connection.sendall(buffer[:got])
        if mode == SINK:
            connection.sendall(COUNT.pack(received))


if __name__ == "__main__":
    main()
