"""The checks around the making of the arena, on made-up kernels."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from arraymill_server.arena.shm import SharedMemory
from arraymill_server.cgroup import free_bytes
from arraymill_server.config import ConfigError
from arraymill_server.quantities import format_bytes

MIB = 1 << 20


@pytest.fixture
def shm(tmp_path: Path) -> SharedMemory:
    """A directory that the made-up kernel calls a tmpfs, and one mapping of it at 0x1000 to 0x3000."""
    directory = tmp_path / "shm"
    directory.mkdir()
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "mountinfo").write_text(
        f"25 24 0:23 / / rw,relatime shared:1 - ext4 /dev/vda rw\n25 24 0:24 / {directory} rw - tmpfs tmpfs rw\n"
    )
    (tmp_path / "self" / "maps").write_text(
        "00000800-00001000 r--p 00000000 00:00 0 \n"
        f"00001000-00003000 rw-s 00000000 00:1b 2                          {directory}/pym-1-x (deleted)\n"
        "00003000-00004000 rw-s 00000000 00:1b 2                          /tmp/pym-1-y (deleted)\n"
    )
    return SharedMemory(directory, tmp_path)


def test_room_and_place_that_are_right(shm: SharedMemory) -> None:
    assert shm.free_bytes() == pytest.approx(free_bytes(shm.directory), rel=0.1)
    shm.check_room(1)
    shm.check_place(0x1000, 0x2000)
    shm.check_place(0x2FFF, 1)


def test_too_little_room_names_both_numbers_and_the_fix(shm: SharedMemory) -> None:
    size = shm.free_bytes() * 2
    with pytest.raises(ConfigError, match="cannot make an arena of ") as caught:
        shm.check_room(size)
    message = str(caught.value)
    assert format_bytes(size) in message
    assert "has only " in message
    assert "shm_size:" in message
    assert "--shm-size" in message
    assert "smaller --arena" in message
    assert "\n" not in message


def test_a_directory_on_disk_is_refused(shm: SharedMemory) -> None:
    mounts = shm.proc / "self" / "mountinfo"
    mounts.write_text(mounts.read_text() + f"26 24 0:25 / {shm.directory} rw - overlay overlay rw\n")
    with pytest.raises(ConfigError, match="is overlay, not tmpfs, so the arena would not lie in memory"):
        shm.check_room(1)
    mounts.write_text("")
    with pytest.raises(ConfigError, match="is missing, not tmpfs"):
        shm.check_room(1)


@pytest.mark.parametrize(
    ("address", "place"), [(0x3000, "/tmp/pym-1-y"), (0x800, "unknown memory"), (0x9000, "unknown memory")]
)
def test_a_mapping_elsewhere_is_refused(shm: SharedMemory, address: int, place: str) -> None:
    with pytest.raises(ConfigError, match=f"the arena of 64 MiB lies in {place} instead of .*; give it more room"):
        shm.check_place(address, 64 * MIB)


def test_private_memory_is_not_shared_memory() -> None:
    private = (ctypes.c_ubyte * MIB)()
    with pytest.raises(ConfigError, match="instead of /dev/shm"):
        SharedMemory().check_place(ctypes.addressof(private), MIB)
