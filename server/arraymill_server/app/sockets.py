"""Unix sockets in the file system: one server per path, or one after the other without a gap.

gRPC removes whatever socket lies at a path before it binds, also that of a living server, whose clients would silently
change sides; and when it ends, whatever lies there then. So it never learns the path. A server claims that first: it
locks ``<path>.lock``, which keeps other arraymill servers away and which the kernel unlocks whatever becomes of the
process, and connects to the path, where any other server would answer. A socket at which nobody answers was left by a
process that was killed, and goes. gRPC binds a draft beside the path, which is renamed when the server serves.

A server that is told to take over replaces the lock of the one before it, then its socket: renaming leaves no moment
without either. The server before goes on with the connections that it has, and at its end leaves alone what is not its
own any more.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from arraymill_server.config import ConfigError
from arraymill_server.listen import MAX_UNIX_PATH_BYTES, Address

PROBE_SECONDS: Final = 1.0
"""What a server at the path gets to accept a connection; the kernel does that for it unless its queue is full."""


MEMORY_SUFFIX: Final = ".memory"
"""Of the socket of the same-host lane: it lies beside that of gRPC, in a folder that containers may share."""


class ClaimedPath:
    """The path of a Unix socket that this process alone may use, until `release` or until another takes over."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path: Final = path
        self.draft: Final = path.with_name(_draft_name(path.name))
        """Where to bind."""
        self._lock: Final = lock
        self._published: tuple[int, int] | None = None

    def __repr__(self) -> str:
        return f"<ClaimedPath {self.path}: {'published' if self._published else 'not published'}>"

    @classmethod
    def claim(cls, path: Path, *, take_over: bool = False) -> Self:
        """Claim a path and remove the socket that a killed process left there.

        Args:
            path: Of the socket.
            take_over: Claim it even if another arraymill server has it.

        Raises:
            ConfigError: Another server listens there, or the folder cannot be written.
        """
        try:
            lock = _lock(_lock_path(path))
        except BlockingIOError:
            if not take_over:
                raise _taken(path, ", or --take-over") from None
            return cls(path, _replaced_lock(_lock_path(path)))
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

    def publish(self) -> None:
        """Let clients come to the socket that was bound at the draft."""
        self._published = _identity(self.draft)
        self.draft.rename(self.path)

    def release(self) -> None:
        """Remove what is still our own, and let others claim the path."""
        try:
            self.draft.unlink(missing_ok=True)
            if self._is_foreign():
                return
            if self._published is not None and self._published == _identity(self.path):
                self.path.unlink()
            _lock_path(self.path).unlink(missing_ok=True)
        finally:
            os.close(self._lock)

    def _is_foreign(self) -> bool:
        """Tell whether another server has taken over. It replaces the lock long before the socket."""
        with suppress(FileNotFoundError):
            return not os.path.samestat(os.fstat(self._lock), _lock_path(self.path).lstat())
        return False


def beside(addresses: tuple[Address, ...]) -> tuple[Address, ...]:
    """Return where clients of Unix sockets find the same-host lane: ``<path>.memory`` beside each.

    A path that is as long as a path may be has no room for it: its clients take the socket without a file.
    """
    paths = [f"{address.path}{MEMORY_SUFFIX}" for address in addresses if address.path]
    return tuple(Address(path=path) for path in paths if len(os.fsencode(path)) <= MAX_UNIX_PATH_BYTES)


def claim_sockets(addresses: tuple[Address, ...], *, take_over: bool = False) -> list[ClaimedPath]:
    """Claim the paths of all Unix sockets among some addresses, or none of them.

    Raises:
        ConfigError: One is taken.
    """
    claimed: list[ClaimedPath] = []
    try:
        for address in addresses:
            if address.path:
                path = Path(address.path)
                if any(claim.path == path for claim in claimed):
                    raise ConfigError(f"unix:{path} is given twice; leave one out")
                claimed.append(ClaimedPath.claim(path, take_over=take_over))
    except BaseException:
        for claim in claimed:
            claim.release()
        raise
    return claimed


def _draft_name(name: str) -> str:
    """Return a name of nobody else, no longer than a socket's if that is not very short: the kernel bounds paths."""
    return "." + secrets.token_hex(4)[: max(3, len(name) - 1)]


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


def _replaced_lock(path: Path) -> int:
    """Lock a file of our own and put it in the place of another server's."""
    own = path.with_name(_draft_name(path.name))
    lock = os.open(own, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    own.rename(path)
    return lock


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


def _taken(path: Path, way_out: str = "") -> ConfigError:
    return ConfigError(
        f"cannot listen on unix:{path}: another server listens there; stop it or choose another --listen{way_out}"
    )
