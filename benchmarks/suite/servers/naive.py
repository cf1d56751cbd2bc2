"""A gRPC server over `multiprocess.Pool`, written as most people would."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc
import multiprocess
import numpy as np
from numpy.typing import NDArray

from suite.processes import announce

METHOD: Final = "/naive.Compute/{}"
OPTIONS: Final = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
WORKERS: Final = 2

Array = NDArray[np.float64]


def main() -> None:
    """Serve sum, mean and sqrt."""
    with multiprocess.Pool(WORKERS) as pool:

        def parts(function: Callable[[Array], Any], request: bytes) -> list[Any]:
            return list(pool.map(function, np.array_split(np.frombuffer(request), WORKERS)))

        def total(request: bytes, _: Any) -> bytes:
            return bytes(np.sum(parts(np.sum, request)))

        def mean(request: bytes, _: Any) -> bytes:
            return bytes(np.sum(parts(np.sum, request)) / (len(request) // 8))

        def sqrt(request: bytes, _: Any) -> bytes:
            return np.concatenate(parts(np.sqrt, request)).tobytes()

        server = grpc.server(ThreadPoolExecutor(10), options=OPTIONS)
        handlers = {"sum": total, "mean": mean, "sqrt": sqrt}
        methods: dict[str, Any] = {name: grpc.unary_unary_rpc_method_handler(each) for name, each in handlers.items()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("naive.Compute", methods),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        announce(f"127.0.0.1:{port}")
        server.wait_for_termination()


if __name__ == "__main__":
    main()
