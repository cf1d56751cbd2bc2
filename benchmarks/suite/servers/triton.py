"""A PyTriton server with the models sum, mean and sqrt."""

from __future__ import annotations

import os
import signal
import socket
import sysconfig
import threading
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from suite.processes import announce, private_stdout

FUNCTIONS: Final[dict[str, Callable[[Any], Any]]] = {"sum": np.sum, "mean": np.mean, "sqrt": np.sqrt}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _model(function: Callable[[Any], Any]) -> Callable[..., Any]:
    def infer(requests: Any) -> list[dict[str, Any]]:
        return [{"y": np.atleast_1d(function(request.data["x"]))} for request in requests]

    return infer


def main() -> None:
    """Serve until SIGTERM."""
    stdout = private_stdout()
    os.environ["LD_LIBRARY_PATH"] = sysconfig.get_config_var(
        "LIBDIR"
    )  # its backend links libpython: this interpreter's
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    port = _free_port()
    config = TritonConfig(
        grpc_address="127.0.0.1", grpc_port=port, http_address="127.0.0.1", http_port=_free_port(), allow_metrics=False
    )
    with Triton(config=config) as triton:
        for name, function in FUNCTIONS.items():
            array = Tensor(name="x", dtype=np.float64, shape=(-1,))
            answer = Tensor(name="y", dtype=np.float64, shape=(-1,))
            config_of_model = ModelConfig(batching=False)
            triton.bind(name, _model(function), [array], [answer], config=config_of_model)
        triton.run()
        announce(f"127.0.0.1:{port}", stdout)
        stop.wait()


if __name__ == "__main__":
    main()
