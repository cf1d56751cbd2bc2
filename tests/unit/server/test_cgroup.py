"""Limits of the machine, on made-up /proc and /sys trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from arraymill_server.cgroup import Machine, free_bytes, oom_kills

GIB = 1 << 30


class Tree:
    """A made-up machine of 8 GiB."""

    def __init__(self, root: Path) -> None:
        self.proc, self.cgroup, self.shm = root / "proc", root / "cgroup", root / "shm"
        self.shm.mkdir()
        self.write(self.proc / "meminfo", "MemTotal:        8388608 kB\nMemFree:  17 kB\n")

    def write(self, file: Path, text: str) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def member_of(self, *lines: str) -> None:
        self.write(self.proc / "self" / "cgroup", "\n".join(lines) + "\n")

    def set(self, file: str, text: str) -> None:
        self.write(self.cgroup / file, f"{text}\n")

    def detect(self, affinity: int = 16) -> Machine:
        return Machine.detect(proc=self.proc, cgroup=self.cgroup, shm=self.shm, affinity=affinity)

    def oom_kills(self) -> int:
        return oom_kills(proc=self.proc, cgroup=self.cgroup)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_a_machine_without_groups_has_its_totals(tree: Tree) -> None:
    machine = tree.detect()
    assert (machine.cpus, machine.memory_bytes) == (16, 8 * GIB)
    assert machine.shm_free_bytes == pytest.approx(free_bytes(tree.shm), rel=0.1)


def test_a_missing_file_system_has_no_room(tree: Tree) -> None:
    tree.shm.rmdir()
    assert tree.detect().shm_free_bytes == 0


def test_version_2_in_a_container(tree: Tree) -> None:
    tree.member_of("0::/")
    tree.set("cpu.max", "250000 100000")
    tree.set("memory.max", str(2 * GIB))
    machine = tree.detect()
    assert (machine.cpus, machine.workers, machine.memory_bytes) == (2.5, 2, 2 * GIB)


def test_version_2_takes_the_lowest_limit_of_all_ancestors(tree: Tree) -> None:
    tree.member_of("0::/pod/server")
    tree.set("pod/server/cpu.max", "max 100000")
    tree.set("pod/server/memory.max", str(3 * GIB))
    tree.set("pod/cpu.max", "300000 100000")
    tree.set("pod/memory.max", str(GIB))
    machine = tree.detect()
    assert (machine.cpus, machine.memory_bytes) == (3, GIB)


def test_version_2_without_limits_says_max(tree: Tree) -> None:
    tree.member_of("0::/")
    tree.set("cpu.max", "max 100000")
    tree.set("memory.max", "max")
    assert (tree.detect().cpus, tree.detect().memory_bytes) == (16, 8 * GIB)


def test_version_1_on_the_host(tree: Tree) -> None:
    tree.member_of("4:memory:/server", "1:cpu,cpuacct:/server")
    tree.set("memory/server/memory.limit_in_bytes", str(GIB))
    tree.set("cpu,cpuacct/server/cpu.cfs_quota_us", "400000")
    tree.set("cpu,cpuacct/server/cpu.cfs_period_us", "100000")
    assert (tree.detect().cpus, tree.detect().memory_bytes) == (4, GIB)


def test_version_1_in_a_container_finds_its_group_at_the_top(tree: Tree) -> None:
    tree.member_of("4:memory:/docker/0123", "2:cpuacct,cpu:/docker/0123")
    tree.set("memory/memory.limit_in_bytes", str(GIB))
    tree.set("cpu/cpu.cfs_quota_us", "150000")
    tree.set("cpu/cpu.cfs_period_us", "100000")
    assert (tree.detect().cpus, tree.detect().workers, tree.detect().memory_bytes) == (1.5, 1, GIB)


def test_version_1_without_limits_has_sentinels(tree: Tree) -> None:
    tree.member_of("4:memory:/", "1:cpu:/")
    tree.set("memory/memory.limit_in_bytes", "9223372036854771712")
    tree.set("cpu/cpu.cfs_quota_us", "-1")
    tree.set("cpu/cpu.cfs_period_us", "100000")
    assert (tree.detect().cpus, tree.detect().memory_bytes) == (16, 8 * GIB)


def test_a_hybrid_machine_takes_the_lower_limit(tree: Tree) -> None:
    tree.member_of("4:memory:/a", "0::/b")
    tree.set("memory/a/memory.limit_in_bytes", str(2 * GIB))
    tree.set("unified/b/cpu.max", "200000 100000")
    assert (tree.detect().cpus, tree.detect().memory_bytes) == (2, 2 * GIB)


def test_garbage_and_zero_periods_are_no_limit(tree: Tree) -> None:
    tree.member_of("nonsense", "0::/", "")
    tree.set("cpu.max", "100000 0")
    tree.set("memory.max", "")
    assert (tree.detect().cpus, tree.detect().memory_bytes) == (16, 8 * GIB)


@pytest.mark.parametrize(("affinity", "workers"), [(1, 1), (3, 3)])
def test_affinity_limits_workers(tree: Tree, affinity: int, workers: int) -> None:
    tree.member_of("0::/")
    tree.set("cpu.max", "400000 100000")
    assert tree.detect(affinity).workers == workers


def test_a_small_quota_still_gives_one_worker(tree: Tree) -> None:
    tree.member_of("0::/")
    tree.set("cpu.max", "20000 100000")
    assert tree.detect().cpus == 0.2
    assert tree.detect().workers == 1


def test_this_machine_has_some_of_everything() -> None:
    machine = Machine.detect()
    assert machine.workers >= 1
    assert machine.memory_bytes > 0


def test_version_2_counts_kills_for_want_of_memory(tree: Tree) -> None:
    tree.member_of("0::/service")
    tree.set("service/memory.events", "low 0\nmax 31\noom 4\noom_kill 3")
    assert tree.oom_kills() == 3
    tree.set("service/memory.events", "low 0\nmax 31\noom 4\noom_kill 5")
    assert tree.oom_kills() == 5


def test_version_1_counts_kills_for_want_of_memory(tree: Tree) -> None:
    tree.member_of("4:memory:/docker/12ab", "1:cpu,cpuacct:/docker/12ab")
    tree.set("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2")
    assert tree.oom_kills() == 2


def test_without_a_group_the_machine_s_kills_count(tree: Tree) -> None:
    tree.write(tree.proc / "vmstat", "pgfault 17\noom_kill 9\n")
    assert tree.oom_kills() == 9


def test_where_nobody_counts_kills_there_are_none(tree: Tree) -> None:
    assert tree.oom_kills() == 0
