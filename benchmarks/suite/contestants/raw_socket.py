"""A plain TCP socket that computes nothing: what the machine's loopback can do from Python."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from suite.data import Array, numbers
from suite.processes import peer_command, server_process
from suite.servers.raw_socket import COUNT, ECHO, HEADER, SINK
from suite.task import Moved, Run, Task, Works, one_by_one


@contextmanager
def _connection() -> Iterator[socket.socket]:
    with server_process(peer_command("raw_socket")) as (address, _):
        host, port = address.split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield connection


@contextmanager
def _one_way(task: Task) -> Iterator[Run]:
    x = numbers(task.nbytes)
    with _connection() as connection:

        def send() -> Moved:
            _send(connection, SINK, x)
            answer = connection.recv(COUNT.size, socket.MSG_WAITALL)
            return Moved(COUNT.unpack(answer)[0])

        yield one_by_one(send, task.jobs)


@contextmanager
def _there_and_back(task: Task) -> Iterator[Run]:
    x = numbers(task.nbytes)
    with _connection() as connection:

        def both() -> Moved:
            back = np.empty_like(x)
            sender = threading.Thread(target=_send, args=(connection, ECHO, x))
            sender.start()
            nbytes = _receive(connection, back)
            sender.join()
            return Moved(nbytes, back)

        yield one_by_one(both, task.jobs)


def _send(connection: socket.socket, mode: int, x: Array) -> None:
    connection.sendall(struct.pack(HEADER, mode, x.nbytes))
    connection.sendall(x.data)


def _receive(connection: socket.socket, into: Array) -> int:
    view, done = into.view(np.uint8).data, 0
    while done < len(view) and (got := connection.recv_into(view[done:])):
        done += got
    return done


WORKS: Works = {"sum": _one_way, "mean": _one_way, "sqrt": _there_and_back}
