"""Contestants' processes, as the referee has them: each is asked, answers in time, and is ended with all it started."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from suite.descent import adopt_orphans, children, descendants, end_orphans, remove_shared_files

HELLO_SECONDS: Final = 60.0
END_SECONDS: Final = 60.0
"""Ray and Triton take ten to stop."""

TERM_SECONDS: Final = 15.0
"""After SIGTERM; then SIGKILL."""

LONGEST_LINE: Final = 1 << 20
LONGEST_REASON: Final = 300
"""Characters of an error; gRPC's and Ray's can be pages."""


class ContestantError(Exception):
    """A contestant failed, died, took too long or said what is no answer; it takes no further part."""


class Contestant:
    """One contestant's process."""

    def __init__(self, command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> None:
        """Start it.

        Args:
            command: What speaks JSON lines.
            folder: Its home, where its temporary files go as well: removed when it ends.
            variables: Of its environment, beside those of this process.
        """
        self._folder = folder
        self._words = Path(folder, "stderr")
        with self._words.open("wb") as stderr:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, "HOME": str(folder), "TMPDIR": str(folder), **variables},
                start_new_session=True,  # Ctrl-C is for the referee, who ends it in order
            )
        self._buffer = b""
        self._is_sound = True

    def __repr__(self) -> str:
        return f"<Contestant {self.pid}: {'sound' if self._is_sound else 'failed'}>"

    @property
    def is_sound(self) -> bool:
        """Whether it has answered all that it was asked, be it with an error."""
        return self._is_sound

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    def ask(self, message: Mapping[str, Any], *, timeout: float) -> dict[str, Any]:
        """Send a message and return the answer.

        Args:
            message: JSON.
            timeout: Seconds.

        Raises:
            ContestantError: It says that it failed, or says nothing, or nonsense.
        """
        self.tell(message)
        return self.hear(timeout=timeout)

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send a message; its answer is to be heard before the next one."""
        if not self._is_sound:
            return  # which `hear` says
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # what it said last tells why
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def hear(self, *, timeout: float) -> dict[str, Any]:
        """Return the next answer; raises as `ask` does."""
        if not self._is_sound:
            raise ContestantError("it has failed before")
        self._is_sound = False
        answer = self._parsed(self._line(time.monotonic() + timeout, timeout))
        self._is_sound = True
        if "error" in answer:
            raise ContestantError(str(answer["error"])[:LONGEST_REASON])
        return answer

    def _line(self, deadline: float, timeout: float) -> bytes:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise ContestantError(f"no answer within {timeout:g} s")
                data = os.read(descriptor, 1 << 16)
                if not data:
                    raise ContestantError(self._obituary())
                self._buffer += data
                if len(self._buffer) > LONGEST_LINE:
                    raise ContestantError(f"said {self._buffer[:60]!r} and more, which is no answer")
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    @staticmethod
    def _parsed(line: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ContestantError(f"said {line[:60]!r}, which is no answer")
        return answer

    def _obituary(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        code = self._process.returncode
        how = "closed its output" if code is None else f"ended with exit code {code}"
        lines = [line for line in self._words.read_text(errors="replace").splitlines() if line.strip()]
        return f"{how}; its last words: {lines[-1] if lines else 'none'}"

    def end(self) -> None:
        """End the process, in order if it still answers, and remove its files."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        if not (self._is_sound and self._ends_within(END_SECONDS)):
            self._process.send_signal(signal.SIGTERM)
            if not self._ends_within(TERM_SECONDS):
                self._process.kill()
                self._process.wait()
        self._process.stdout.close()

    def _ends_within(self, seconds: float) -> bool:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def remove_files(self) -> None:
        """Remove its folder, when nothing of it runs any more."""
        shutil.rmtree(self._folder, ignore_errors=True)


class Lineup:
    """All contestants that run; a context manager: at its end none does, nor anything that one of them started."""

    def __init__(self) -> None:
        self._contestants: list[Contestant] = []
        self._bystanders: set[int] = set()
        self._folder = Path()
        self._since = time.time()

    def __repr__(self) -> str:
        return f"<Lineup of {len(self._contestants)}>"

    def __enter__(self) -> Self:
        self._bystanders = children(os.getpid())
        self._folder = Path(tempfile.mkdtemp(prefix="mill"))  # short: Unix sockets have paths of 107 bytes
        adopt_orphans()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            while self._contestants:
                self.end(self._contestants[-1])
        finally:
            end_orphans(self._bystanders)  # whoever is left when even that was interrupted
            adopt_orphans(False)
            shutil.rmtree(self._folder, ignore_errors=True)

    def start(self, command: Sequence[str], variables: Mapping[str, str] | None = None) -> Contestant:
        """Start a contestant."""
        folder = Path(tempfile.mkdtemp(dir=self._folder, prefix=""))
        contestant = Contestant(command, folder, variables or {})
        self._contestants.append(contestant)
        return contestant

    def end(self, contestant: Contestant) -> None:
        """End a contestant, and kill whatever of it is left."""
        self._contestants.remove(contestant)
        pids = {contestant.pid, *descendants(contestant.pid)}
        try:
            contestant.end()
        finally:
            end_orphans(self._bystanders | {each.pid for each in self._contestants})
            remove_shared_files(pids, self._since)
            contestant.remove_files()
