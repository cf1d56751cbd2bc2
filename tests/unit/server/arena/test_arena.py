"""The arena: made in shared memory, leased, seen from another process."""

from __future__ import annotations

import ctypes
import operator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import multiprocess
import numpy as np
import pytest

from arraymill_server.arena.arena import Arena, Lease, LeaseError
from arraymill_server.arena.extents import ALIGNMENT as PAGE
from arraymill_server.arena.shm import SharedMemory
from arraymill_server.config import ConfigError
from arraymill_server.engine.processes import spawn

MIB = 1 << 20


@dataclass(frozen=True)
class OtherSharedMemory(SharedMemory):
    """A kernel that says what the test wants."""

    room: int = 1 << 40
    place: str = "/dev/shm/pym-1-x"

    def free_bytes(self) -> int:
        return self.room

    def _file_at(self, address: int) -> str | None:
        return self.place


def private(size: int = MIB) -> Arena:
    return Arena((ctypes.c_ubyte * size)())


def take(arena: Arena, size: int, owner: str = "job", *, top: bool = False) -> Lease:
    lease = arena.lease(size, owner, top=top)
    assert lease is not None
    return lease


def test_an_arena_lies_in_shared_memory_and_every_page_is_written() -> None:
    arena = Arena.create(4 * MIB + 1)
    assert (arena.size, arena.free, arena.leased) == (4 * MIB + PAGE,) * 2 + (0,)
    assert arena.memory.nbytes == arena.size
    assert not np.frombuffer(arena.memory, "u1").any()
    assert repr(arena) == "<Arena 4 MiB: 4 MiB free, 0 leases, 0 B resident>"
    address = ctypes.addressof(arena.raw)
    assert address % PAGE == 0
    assert resident_kib(address) >= arena.size // 1024
    assert not list(Path("/dev/shm").glob("pym-*")), "the file behind the arena still has a name"


def resident_kib(address: int) -> int:
    """Return how much of the mapping at an address is in memory (Rss of smaps)."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head, *_, size = line.split()[:2] if len(line.split()) > 1 else (line, "")
        if "-" in head and not head.endswith(":"):
            low, high = (int(part, 16) for part in head.split("-"))
            inside = low <= address < high
        elif inside and head == "Rss:":
            return int(size)
    return 0


def test_too_little_room_refuses_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocess, "get_context", None)
    with pytest.raises(
        ConfigError, match=r"arena of 8 MiB: /dev/shm has only 1 MiB free; give it more room \(shm_size:"
    ):
        Arena.create(8 * MIB, shm=OtherSharedMemory(room=MIB))


def test_an_arena_that_went_to_disk_is_refused() -> None:
    with pytest.raises(
        ConfigError, match="the arena of 1 MiB lies in /tmp/pym-1-x instead of /dev/shm, which has 3 MiB"
    ):
        Arena.create(MIB, shm=OtherSharedMemory(room=3 * MIB, place="/tmp/pym-1-x"))


def test_another_process_writes_the_same_bytes() -> None:
    arena = Arena.create(MIB)
    process = spawn("writer", operator.setitem, arena.raw, slice(5, 9), list(b"mill"))
    process.join(30)
    exit_code = process.exitcode
    process.close()
    assert exit_code == 0
    assert bytes(arena.memory[5:9]) == b"mill"


def test_leases_from_both_ends() -> None:
    arena = private()
    job = take(arena, 5000, "job 7")
    array = take(arena, 1, "array x", top=True)
    assert (job.offset, job.size, job.end, job.is_resident) == (0, 8192, 8192, False)
    assert (array.offset, array.size, array.is_resident) == (MIB - 4096, 4096, True)
    assert job.generation != array.generation
    assert arena.leases == (job, array)
    assert (arena.leased, arena.resident, arena.largest_free) == (12288, 4096, MIB - 12288)
    assert repr(job) == f"<Lease {job.generation} of job 7: 8,192 bytes at 0>"
    assert repr(arena) == "<Arena 1 MiB: 1012 KiB free, 2 leases, 4 KiB resident>"
    arena.check()
    job.release()
    array.release()
    arena.check()
    assert arena.free == arena.size
    assert repr(job).endswith("at 0, released>")


def test_a_released_lease_is_of_no_more_use() -> None:
    arena = private()
    lease = take(arena, 1, "job 7")
    lease.release()
    for use in (lease.release, lambda: lease.memory):
        with pytest.raises(LeaseError, match=r"of job 7: .* is used after its release"):
            use()
    arena.check()


def test_the_end_of_a_block_releases_also_after_an_error() -> None:
    arena = private()
    with pytest.raises(ZeroDivisionError), take(arena, 1):
        raise ZeroDivisionError
    assert arena.leased == 0


def test_the_memory_of_a_lease_is_its_part_of_the_arena() -> None:
    arena = private()
    first, second = take(arena, 4096), take(arena, 4096)
    second.memory[:] = b"\xa5" * second.size
    assert bytes(arena.memory[second.offset : second.end]) == b"\xa5" * 4096
    assert bytes(first.memory) == bytes(4096)
    assert arena.memory[second.end] == 0
    second.memory[:2] = b"ab"
    assert arena.view(second.offset, (1,), None, "<u2")[0] == int.from_bytes(b"ab", "little")


@pytest.mark.parametrize("top", [False, True])
def test_a_lease_is_split_into_leases(top: bool) -> None:
    arena = private()
    whole = take(arena, 3 * PAGE, "arrays", top=top)
    low, high = arena.split(whole, (PAGE, 2 * PAGE))
    assert [(low.offset, low.size), (high.offset, high.size)] == [(whole.offset, PAGE), (whole.offset + PAGE, 2 * PAGE)]
    assert (low.owner, low.is_resident, arena.leases) == ("arrays", top, (low, high))
    assert len({whole.generation, low.generation, high.generation}) == 3
    arena.check()
    with pytest.raises(LeaseError):
        whole.release()
    low.release()
    arena.check()
    assert arena.resident == (2 * PAGE if top else 0)
    high.release()
    assert (arena.leased, arena.resident) == (0, 0)


def test_what_fits_when_only_residents_are_left() -> None:
    arena = private(64 * PAGE)
    leases = [take(arena, 16 * PAGE, top=top) for top in (False, False, False, True)]
    assert arena.largest_free == 0
    assert arena.lease(1, "job") is None
    assert arena.largest_when_idle == 48 * PAGE
    assert arena.fits_when_idle(48 * PAGE)
    assert not arena.fits_when_idle(48 * PAGE + 1)
    assert arena.fits_when_idle(32 * PAGE, keep=[16 * PAGE])
    assert not arena.fits_when_idle(33 * PAGE, keep=[16 * PAGE])
    assert not arena.fits_when_idle(1, keep=[16 * PAGE], floor=33 * PAGE)
    arena.check()
    for lease in leases:
        lease.release()
    assert arena.fits_when_idle(arena.size)


def test_listeners_hear_of_every_release() -> None:
    arena = private()
    heard: list[int] = []
    arena.on_release(lambda: heard.append(arena.free))
    with take(arena, 1):
        assert heard == []
    assert heard == [MIB]


def test_listeners_hear_once_of_what_is_released_together() -> None:
    arena = private()
    heard: list[int] = []
    arena.on_release(lambda: heard.append(arena.free))
    leases = [take(arena, 1) for _ in range(4)]
    with arena.together():
        leases[0].release()
        with arena.together():
            leases[1].release()
        assert heard == []
    assert heard == [arena.free]
    with arena.together():
        pass
    assert len(heard) == 1, "nothing was released"
    with suppress(ZeroDivisionError), arena.together():
        leases[2].release()
        raise ZeroDivisionError
    leases[3].release()
    assert len(heard) == 3
