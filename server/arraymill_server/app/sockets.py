"""Unix sockets in the file system: one server per path.

gRPC removes whatever socket lies at a path before it binds, also that of a living server, whose clients would silently
change sides. So a server claims a path first: it locks ``<path>.lock``, which keeps other arraymill servers away and
which the kernel unlocks whatever becomes of the process, and connects to the path, where any other server would answer.
A socket at which nobody answers was left by a process that was killed, and goes.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from arraymill_server.config import ConfigError
from arraymill_server.listen import Address

PROBE_SECONDS: Final = 1.0
"""What a server at the path gets to accept a connection; the kernel does that for it unless its queue is full."""


class ClaimedPath:
    """The path of a Unix socket that this process alone may bind, until `release`."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path: Final = path
        self._lock: Final = lock
        self._bound: tuple[int, int] | None = None

    def __repr__(self) -> str:
        return f"<ClaimedPath {self.path}: {'bound' if self._bound else 'not bound'}>"

    @classmethod
    def claim(cls, path: Path) -> Self:
        """Claim a path and remove the socket that a killed process left there.

        Raises:
            ConfigError: Another server listens there, or the folder cannot be written.
        """
        try:
            lock = _lock(_lock_path(path))
        except BlockingIOError:
            raise _taken(path) from None
        except OSError as exc:
            raise ConfigError(f"cannot listen on unix:{path}: {exc.strerror}: {exc.filename}") from exc
        claimed = cls(path, lock)
        try:
            if _identity(path) is not None:
                _check_dead(path)
                path.unlink(missing_ok=True)
        except BaseException:
            claimed.release()
            raise
        return claimed

    def note_bound(self) -> None:
        """Note the socket that was bound: `release` removes this one and no other."""
        self._bound = _identity(self.path)

    def release(self) -> None:
        """Remove the socket, if it is still the one that was bound, and let others claim the path."""
        try:
            if self._bound is not None and self._bound == _identity(self.path):
                self.path.unlink()
            _lock_path(self.path).unlink(missing_ok=True)
        finally:
            os.close(self._lock)


def claim_sockets(addresses: tuple[Address, ...]) -> list[ClaimedPath]:
    """Claim the paths of all Unix sockets among some addresses, or none of them.

    Raises:
        ConfigError: One is taken.
    """
    claimed: list[ClaimedPath] = []
    try:
        for address in addresses:
            if address.path:
                claimed.append(ClaimedPath.claim(Path(address.path)))  # noqa: PERF401  (those before are released)
    except BaseException:
        for path in claimed:
            path.release()
        raise
    return claimed


def _lock_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _lock(path: Path) -> int:
    """Lock a file that its holder may remove meanwhile: then this lock is worth nothing, and it is tried again."""
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock), path.lstat()):
                    return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells one socket at a path from the next; None when no socket lies there."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISSOCK(found.st_mode) else None


def _check_dead(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(PROBE_SECONDS)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except OSError as exc:  # a full queue, no permission: somebody is there
            raise _taken(path) from exc
    raise _taken(path)


def _taken(path: Path) -> ConfigError:
    return ConfigError(
        f"cannot listen on unix:{path}: another server listens there; stop it or choose another --listen"
    )
