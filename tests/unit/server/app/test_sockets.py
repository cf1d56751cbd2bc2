"""Claims of paths."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from arraymill_server.app.sockets import MEMORY_SUFFIX, ClaimedPath, beside, claim_sockets
from arraymill_server.config import ConfigError
from arraymill_server.listen import MAX_UNIX_PATH_BYTES, Address


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


def publish(claimed: ClaimedPath) -> None:
    bind(claimed.draft)
    claimed.publish()


def test_only_the_socket_that_was_published_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    claimed = ClaimedPath.claim(path)
    assert repr(claimed) == f"<ClaimedPath {path}: not published>"
    publish(claimed)
    assert repr(claimed) == f"<ClaimedPath {path}: published>"
    path.rename(tmp_path / "moved")
    bind(path)
    claimed.release()
    assert path.is_socket()
    claimed = ClaimedPath.claim(path)
    assert not path.exists(), "nobody listened there"
    publish(claimed)
    claimed.release()
    assert [left.name for left in tmp_path.iterdir()] == ["moved"]


def test_a_draft_is_removed(tmp_path: Path) -> None:
    claimed = ClaimedPath.claim(tmp_path / "socket")
    bind(claimed.draft)
    claimed.release()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["socket", "a socket with a long name"])
def test_a_draft_fits_where_its_path_does(tmp_path: Path, name: str) -> None:
    claimed = ClaimedPath.claim(tmp_path / name)
    assert claimed.draft.parent == tmp_path
    assert len(claimed.draft.name) <= len(name)
    claimed.release()


def listening(path: Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    return server


def test_taking_over_leaves_no_moment_without_a_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    old = ClaimedPath.claim(path, take_over=True)
    with listening(old.draft):
        old.publish()
        new = ClaimedPath.claim(path, take_over=True)
        assert path.is_socket(), "until the new one serves"
        with listening(new.draft):
            new.publish()
            old.release()
            with pytest.raises(ConfigError, match="another server listens there"):
                ClaimedPath.claim(path)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
            new.release()
    assert not list(tmp_path.iterdir())


def test_whoever_fails_to_take_over_leaves_the_other_one_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    old = ClaimedPath.claim(path)
    with listening(old.draft):
        old.publish()
        ClaimedPath.claim(path, take_over=True).release()
        assert path.is_socket()
        with pytest.raises(ConfigError, match="another server listens there"):
            ClaimedPath.claim(path)
        old.release()
    assert not list(tmp_path.iterdir())


def test_another_kind_of_server_is_not_taken_over_from(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listening(path):
        with pytest.raises(ConfigError, match=r"stop it or choose another --listen$"):
            ClaimedPath.claim(path, take_over=True)
        assert path.is_socket()


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
    with pytest.raises(ConfigError, match="is given twice"):
        claim_sockets((first, first), take_over=True)
    for path in claimed:
        path.release()
    assert not list(tmp_path.iterdir())


def test_the_same_host_lane_lies_beside_each_socket_that_has_room_for_it() -> None:
    longest = "/" + (MAX_UNIX_PATH_BYTES - 1 - len(MEMORY_SUFFIX)) * "a"
    short, fits, long = Address(path="/run/a"), Address(path=longest), Address(path=longest + "a")
    found = beside((short, Address("127.0.0.1", 5), fits, long))
    assert [address.path for address in found] == ["/run/a.memory", f"{longest}.memory"]
    assert beside((Address("127.0.0.1", 5),)) == ()
    umlauts = "/" + (MAX_UNIX_PATH_BYTES - len(MEMORY_SUFFIX)) // 2 * "ä"
    assert beside((Address(path=umlauts),)) == (), "bytes count"
