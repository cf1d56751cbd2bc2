"""Claims of paths."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from arraymill_server.app.sockets import ClaimedPath, claim_sockets
from arraymill_server.config import ConfigError
from arraymill_server.listen import Address


def bind(path: Path) -> None:
    """Leave a socket, as a killed process does."""
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


def test_a_path_has_one_claim_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    claimed = ClaimedPath.claim(path)
    with pytest.raises(ConfigError, match=f"unix:{path}: another server listens there; stop it or"):
        ClaimedPath.claim(path)
    claimed.release()
    ClaimedPath.claim(path).release()
    assert not list(tmp_path.iterdir())


def test_only_the_socket_that_was_bound_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    claimed = ClaimedPath.claim(path)
    assert repr(claimed) == f"<ClaimedPath {path}: not bound>"
    bind(path)
    claimed.note_bound()
    assert repr(claimed) == f"<ClaimedPath {path}: bound>"
    path.rename(tmp_path / "moved")
    bind(path)
    claimed.release()
    assert path.is_socket()
    claimed = ClaimedPath.claim(path)
    assert not path.exists(), "nobody listened there"
    bind(path)
    claimed.note_bound()
    claimed.release()
    assert not path.exists()


def test_a_path_that_was_never_bound_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    claimed = ClaimedPath.claim(path)
    bind(path)
    claimed.release()
    assert path.is_socket()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("precious")
    claimed = ClaimedPath.claim(path)
    claimed.note_bound()
    claimed.release()
    assert path.read_text() == "precious"


def test_a_lock_that_its_holder_has_removed_meanwhile_is_worth_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "socket"
    lock = tmp_path / "socket.lock"
    opened: list[int] = []
    really_open = os.open

    def open_and_lose(*arguments: object) -> int:
        opened.append(really_open(*arguments))  # type: ignore[arg-type]  # whatever it was called with
        if len(opened) == 1:
            lock.unlink()
        return opened[-1]

    monkeypatch.setattr(os, "open", open_and_lose)
    claimed = ClaimedPath.claim(path)
    monkeypatch.undo()
    assert len(opened) == 2
    assert lock.exists()
    claimed.release()


def test_all_paths_are_claimed_or_none(tmp_path: Path) -> None:
    first, second = Address(path=str(tmp_path / "1")), Address(path=str(tmp_path / "2"))
    held = ClaimedPath.claim(tmp_path / "2")
    with pytest.raises(ConfigError):
        claim_sockets((Address("127.0.0.1", 1), first, second))
    held.release()
    claimed = claim_sockets((Address("127.0.0.1", 1), first, second))
    assert [path.path.name for path in claimed] == ["1", "2"]
    with pytest.raises(ConfigError):
        claim_sockets((first, first))
    for path in claimed:
        path.release()
    assert not list(tmp_path.iterdir())
