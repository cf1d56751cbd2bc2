"""A private server for one program: started by `with`, stopped at its end."""

from __future__ import annotations

import asyncio
import select
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from arraymill._client import AsyncClient
from arraymill._sync import Client
from arraymill_proto.errors import ArraymillError, ConnectionFailedError, ParameterError

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

READY: Final = "arraymill ready:"
"""What the server's one line on stdout begins with."""

START_SECONDS: Final = 60.0
"""A server writes its whole arena before it is ready: about a second for each GiB, more where memory is scarce."""

STOP_SECONDS: Final = 10.0
"""A private server has only our jobs; what still runs when we leave is cancelled. Beyond this it is killed."""

_SERVER_PACKAGES: Final = ("multiprocess", "msgspec", "structlog", "click", "uvloop", "grpc_status", "grpc_health")


class Local:
    """A private server on a Unix socket that only this user can reach.

    ``with`` gives a `Client`, ``async with`` an `AsyncClient`. The server ends with the block, and also when this
    process dies.
    """

    def __init__(self, workers: int = 2, arena: str | int = "256MiB") -> None:
        """Prepare; the server starts with the block.

        Args:
            workers: Worker processes.
            arena: Shared memory for all arrays: bytes, or a text such as "256MiB".

        Raises:
            ParameterError: There is no worker.
        """
        if workers < 1:
            raise ParameterError(f"workers is {workers}, at least 1 is needed")
        self._workers = workers
        self._arena = str(arena)
        self._folder: TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[str] | None = None
        self._client: Client | None = None
        self._async_client: AsyncClient | None = None

    def __repr__(self) -> str:
        state = f"process {self._process.pid}" if self._process is not None else "not running"
        return f"<Local server: {self._workers} workers, arena {self._arena}, {state}>"

    def __enter__(self) -> Client:
        self._client = Client(self._start())
        return self._client

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            self._client.close()
        self._stop()

    async def __aenter__(self) -> AsyncClient:
        self._async_client = AsyncClient(await asyncio.to_thread(self._start))
        return self._async_client

    async def __aexit__(self, *_: object) -> None:
        if self._async_client is not None:
            await self._async_client.close()
        await asyncio.to_thread(self._stop)

    def _start(self) -> str:
        """Start the server; return its address once it is ready."""
        from tempfile import TemporaryDirectory  # noqa: PLC0415  # `import arraymill` does not pay for it

        _check_installed()
        self._folder = TemporaryDirectory(prefix="arraymill-")  # mode 700
        address = f"unix:{Path(self._folder.name, 'socket')}"
        command = [sys.executable, "-m", "arraymill_server", "--listen", address, "--exit-on-stdin-eof"]
        command += ["--workers", str(self._workers), "--arena", self._arena, "--log-level", "warning"]
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            _wait_ready(self._process)
        except BaseException:
            self._stop()
            raise
        return address

    def _stop(self) -> None:
        """Stop the server and remove its socket; end of file on its stdin is the signal, as if this process died."""
        process, self._process = self._process, None
        if process is not None:
            try:
                process.communicate(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def local(workers: int = 2, arena: str | int = "256MiB") -> Local:
    """Start a private server for a ``with`` block; it gives a Client (``async with``: an AsyncClient).

    Args:
        workers: Worker processes.
        arena: Shared memory for all arrays: bytes, or a text such as "256MiB".

    Raises:
        ParameterError: There is no worker.
        ArraymillError: On entering: the server is not installed.
        ConnectionFailedError: On entering: it does not start.
    """
    return Local(workers, arena)


def _wait_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], START_SECONDS)[0]:
        raise ConnectionFailedError(f"the private server was not ready within {START_SECONDS:g} s")
    if not process.stdout.readline().startswith(READY):
        code = process.wait(STOP_SECONDS)
        raise ConnectionFailedError(
            f"the private server did not start (exit code {code}); what it says on stderr tells why", exit_code=code
        )


def _check_installed() -> None:
    missing = [name for name in ("arraymill_server", *_SERVER_PACKAGES) if find_spec(name) is None]
    if missing:
        raise ArraymillError(
            f"a private server needs {', '.join(missing)}, not installed here: pip install 'arraymill[server]'"
        )
