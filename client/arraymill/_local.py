"""A private server for one program: started by `with`, stopped at its end."""

from __future__ import annotations

import asyncio
import os
import select
import subprocess
import sys
import weakref
from contextlib import suppress
from importlib.util import find_spec
from typing import Final

from arraymill._client import AsyncClient
from arraymill._fork import is_child
from arraymill._limits import checked_count
from arraymill._sync import Client
from arraymill_proto.errors import ArraymillError, ConnectionFailedError, ParameterError

READY: Final = "arraymill ready:"
"""What the server's one line on stdout begins with."""

START_SECONDS: Final = 60.0
"""A server writes its whole arena before it is ready: about a second for each GiB, more where memory is scarce."""

STOP_SECONDS: Final = 10.0
"""A private server has only our jobs; what still runs when we leave is cancelled. Beyond this it is killed."""

LONGEST_PARENT: Final = 70
"""Bytes of the folder for temporary files; the kernel takes 107 for the whole path of a socket."""

REFUSED: Final = (2, 3)
"""Exit codes of a server that was told what it cannot do: malformed, out of bounds, or too much for this machine."""

_SERVER_PACKAGES: Final = (
    *("arraymill_server", "multiprocess", "msgspec", "structlog", "click", "uvloop"),
    *("grpc_status", "grpc_health", "grpc_reflection"),
)


class Local:
    """A private server on a Unix socket that only this user can reach.

    ``with`` gives a `Client`, ``async with`` an `AsyncClient`. The server ends with the block, and also when this
    process dies; Ctrl-C does not reach it. It can be started again, but runs once at a time.
    """

    def __init__(self, workers: int = 2, arena: str | int = "256MiB") -> None:
        """Prepare; the server starts with the block.

        Args:
            workers: Worker processes.
            arena: Shared memory for all arrays: bytes, or a text such as "256MiB".

        Raises:
            ParameterError: The workers are no number, or less than 1; or the arena is no number of bytes and no text.
        """
        self._workers = checked_count("workers", workers)
        self._arena = arena if isinstance(arena, str) else str(checked_count("arena", arena))
        self._server: _Server | None = None
        self._client: Client | None = None
        self._async_client: AsyncClient | None = None

    def __repr__(self) -> str:
        state = f"process {self._server.pid}" if self._server is not None else "not running"
        return f"<Local server: {self._workers} workers, arena {self._arena}, {state}>"

    def __enter__(self) -> Client:
        server = self._start()
        try:
            server.wait_ready()
            self._client = Client(server.address)
        except BaseException:
            self._kill()
            raise
        return self._client

    def __exit__(self, *_: object) -> None:
        server, self._server = self._server, None
        client, self._client = self._client, None
        try:
            if client is not None:
                client.close()
        finally:
            if server is not None and not is_child():
                server.stop()

    async def __aenter__(self) -> AsyncClient:
        server = self._start()
        try:
            await server.ready()
            self._async_client = AsyncClient(server.address)
        except BaseException:
            self._kill()
            raise
        return self._async_client

    async def __aexit__(self, *_: object) -> None:
        server, self._server = self._server, None
        client, self._async_client = self._async_client, None
        try:
            if client is not None:
                await client.close()
        finally:
            if server is not None and not is_child():
                await asyncio.to_thread(server.stop)

    def _start(self) -> _Server:
        if self._server is not None:
            raise ArraymillError("this private server runs already: call local() again for another one")
        _check_installed()
        self._server = _Server(self._workers, self._arena)
        return self._server

    def _kill(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.kill()


def local(workers: int = 2, arena: str | int = "256MiB") -> Local:
    """Start a private server for a ``with`` block; it gives a Client (``async with``: an AsyncClient).

    Args:
        workers: Worker processes.
        arena: Shared memory for all arrays: bytes, or a text such as "256MiB".

    Raises:
        ParameterError: The workers or the arena are malformed; on entering: the server cannot run with them.
        ArraymillError: On entering: the server is not installed.
        ConnectionFailedError: On entering: it does not start.
    """
    return Local(workers, arena)


class _Server:
    """The process of a server, and the folder of its socket."""

    def __init__(self, workers: int, arena: str) -> None:
        from tempfile import gettempdir, mkdtemp  # noqa: PLC0415  # `import arraymill` does not pay for it

        parent = gettempdir()
        folder = mkdtemp(prefix="arraymill-", dir=parent if len(parent.encode()) <= LONGEST_PARENT else "/tmp")
        self._remove_folder = weakref.finalize(self, _remove, folder, os.getpid())
        self.address = f"unix:{folder}/socket"
        # -P: a module in the current directory must not hide one of the server's.
        command = [sys.executable, "-P", "-m", "arraymill_server", "--listen", self.address, "--exit-on-stdin-eof"]
        command += ["--workers", str(workers), "--arena", arena, "--log-level", "warning"]
        self._wish = f"workers={workers}, arena={arena!r}"
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a terminal sends Ctrl-C to the whole session
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_ready(self) -> None:
        """Wait for the line that says so."""
        ready = select.poll()
        ready.register(self._stdout, select.POLLIN)
        if not ready.poll(1000 * START_SECONDS):
            raise _not_ready()
        self._check_line()

    async def ready(self) -> None:
        """Wait for the line that says so; cancelling this stops nothing."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._stdout.fileno(), readable.set)
        try:
            async with asyncio.timeout(START_SECONDS):
                await readable.wait()
        except TimeoutError:
            raise _not_ready() from None
        finally:
            loop.remove_reader(self._stdout.fileno())
        self._check_line()

    def stop(self) -> None:
        """Stop the server, and wait until it has ended."""
        self._process.terminate()  # the end of stdin says the same, unless a forked child holds the pipe as well
        with suppress(BrokenPipeError):
            self._stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.kill()

    def kill(self) -> None:
        """End the server without a word, if it still runs, and remove its socket."""
        self._process.kill()
        self._process.wait()
        self._stdin.close()
        self._stdout.close()
        self._remove_folder()

    def _check_line(self) -> None:
        """Read the line, which comes in one piece: at the end of file there is none."""
        if not self._stdout.readline().decode().startswith(READY):
            code = self._process.wait(STOP_SECONDS)
            if code in REFUSED:
                raise ParameterError(
                    f"the private server cannot run with {self._wish} (exit code {code}); what it says on stderr tells "
                    "why",
                    exit_code=code,
                )
            raise ConnectionFailedError(
                f"the private server did not start (exit code {code}); what it says on stderr tells why", exit_code=code
            )


def _remove(folder: str, owner: int) -> None:
    """Remove a server's folder; at the end of a forked child it is left to its parent."""
    from shutil import rmtree  # noqa: PLC0415  # likewise

    if os.getpid() == owner:
        rmtree(folder, ignore_errors=True)


def _not_ready() -> ConnectionFailedError:
    return ConnectionFailedError(f"the private server was not ready within {START_SECONDS:g} s")


def _check_installed() -> None:
    missing = [name for name in _SERVER_PACKAGES if find_spec(name) is None]
    if missing:
        raise ArraymillError(
            f"a private server needs {', '.join(missing)}, not installed here: pip install 'arraymill[server]'"
        )
