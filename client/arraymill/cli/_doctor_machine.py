"""What doctor finds on the machine where it runs: limits, shared memory, threads, the clock, a Unix socket.

All files are read below one root, so that tests bring their own machine.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from arraymill._quantities import bytes_text
from arraymill.cli._doctor_findings import Finding, note, ok, problem

THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""What tells libraries how many threads to use."""

SLOW_CLOCKS: Final = frozenset({"hpet", "acpi_pm", "jiffies", "refined-jiffies", "pit"})
"""Clock sources of which one reading takes a microsecond and more, instead of some 30 ns."""

SMALLEST_SHM_BYTES: Final = 64 << 20
"""Room in /dev/shm without which no server starts unasked: its smallest default arena. Docker gives just that."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What this process may use."""

    cpus: int
    """That it may run on."""
    quota: float | None
    """CPUs' time that its control groups allow; None: all."""
    memory_bytes: int
    memory_limit: int | None
    """Bytes that its control groups allow; None: all."""
    shm_bytes: int
    """Size of /dev/shm; 0: there is none."""
    shm_free_bytes: int
    clock_source: str
    """Of the kernel; empty where it does not tell."""

    @property
    def usable_cpus(self) -> float:
        """CPUs that may be used at once."""
        return self.cpus if self.quota is None else min(self.cpus, self.quota)

    @property
    def usable_bytes(self) -> int:
        """Bytes of memory that may be used."""
        return self.memory_bytes if self.memory_limit is None else min(self.memory_bytes, self.memory_limit)

    @classmethod
    def read(cls, root: Path = Path("/"), cpus: int | None = None) -> Self:
        """Look.

        Args:
            root: Where the file systems are mounted.
            cpus: That the process may run on; None asks the kernel.
        """
        groups = list(_groups(root))
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        shm = root / "dev" / "shm"
        room = os.statvfs(shm) if shm.is_dir() else None
        return cls(
            cpus=_affinity() if cpus is None else cpus,
            quota=_least(_quota, groups),
            memory_bytes=memory,
            memory_limit=int(limit) if (limit := _least(_memory, groups)) and limit < memory else None,
            shm_bytes=room.f_blocks * room.f_frsize if room else 0,
            shm_free_bytes=room.f_bavail * room.f_frsize if room else 0,
            clock_source=_text(root / "sys/devices/system/clocksource/clocksource0/current_clocksource"),
        )


def check_limits(machine: Machine) -> Finding:
    """Look at what control groups leave of the machine."""
    cpus = f"{machine.usable_cpus:g} CPUs" if machine.usable_cpus != 1 else "1 CPU"
    memory = bytes_text(machine.usable_bytes)
    if machine.usable_cpus < 1:
        text = f"this process may use {machine.usable_cpus:g} of a CPU: it sends and receives in jerks"
        return note("limits", text, "allow one whole CPU or more (cpus: in docker-compose.yml, --cpus of docker run)")
    sources = [name for name, limit in (("CPU", machine.quota), ("memory", machine.memory_limit)) if limit]
    limited = f"{' and '.join(sources)} limited by control groups" if sources else "no limit of control groups"
    return ok("limits", f"{cpus}, {memory} of memory; {limited}")


def check_threads(machine: Machine, environment: Mapping[str, str]) -> Finding:
    """Look at what libraries beside NumPy's own loops are told about threads; arraymill's workers use one each."""
    given = {name: environment[name] for name in THREADS if environment.get(name)}
    most = max(int(machine.usable_cpus), 1)
    counts = {name: value.partition(",")[0] for name, value in given.items()}  # OpenMP takes one for each level
    wrong = [f"{name}={given[name]}" for name, count in counts.items() if not count.isdecimal() or int(count) < 1]
    if wrong:
        return note("threads", f"{wrong[0]} is no number of threads", f"export {wrong[0].partition('=')[0]}={most}")
    many = [f"{name}={given[name]}" for name, count in counts.items() if int(count) > most]
    if many:
        text = f"{many[0]}, but {machine.usable_cpus:g} CPUs may be used: threads get in each other's way"
        return note("threads", text, f"export {many[0].partition('=')[0]}={most}")
    if not given and machine.quota is not None and machine.quota < machine.cpus:
        text = (
            f"{THREADS[0]} is not set: libraries start {machine.cpus} threads, and {machine.quota:g} CPUs are allowed"
        )
        return note("threads", text, f"export {THREADS[0]}={most}")
    told = ", ".join(f"{name}={value}" for name, value in given.items())
    return ok("threads", told or f"{THREADS[0]} is not set: libraries use {machine.cpus}, as many as there are CPUs")


def check_shared_memory(machine: Machine, arena_bytes: int | None) -> Finding:
    """Look at /dev/shm.

    Args:
        machine: This one.
        arena_bytes: Of the server, where it runs on this machine; None: another machine, or no server.
    """
    room = f"/dev/shm has {bytes_text(machine.shm_free_bytes)} free of {bytes_text(machine.shm_bytes)}"
    if arena_bytes is not None and machine.shm_bytes < arena_bytes:
        text = f"{room}; the server's arena of {bytes_text(arena_bytes)} lies elsewhere: in another container"
        return ok("shared memory", text)
    if arena_bytes is not None:
        return ok("shared memory", f"{room}; the server's arena has {bytes_text(arena_bytes)}")
    if machine.shm_free_bytes < SMALLEST_SHM_BYTES:
        text = f"{room}: too little for a server here with its default arena"
        return note("shared memory", text, "shm_size: 1gb in docker-compose.yml, --shm-size=1g of docker run")
    return ok("shared memory", f"{room}, for a server that is started here")


def check_clock_source(machine: Machine) -> Finding:
    """Look at what time is measured with here."""
    if machine.clock_source in SLOW_CLOCKS:
        text = f"the kernel's clock source is {machine.clock_source}: every look at the clock takes a microsecond"
        return note("clock", text, "boot with clocksource=tsc, or give the virtual machine kvm-clock")
    return ok("clock", f"clock source {machine.clock_source or 'unknown'}")


def check_socket(path: Path) -> Finding:
    """Look at the Unix socket of a server."""
    start = f"start it there: arraymill serve --listen unix:{path}"
    try:
        mode = path.stat().st_mode
    except PermissionError:
        return problem("Unix socket", f"{path} is in a folder that is closed to this user", "run as the server's user")
    except OSError as exc:
        return problem("Unix socket", f"{path}: {exc.strerror}", start)
    if not stat.S_ISSOCK(mode):
        return problem("Unix socket", f"{path} is no socket", start)
    if not os.access(path, os.W_OK):
        return problem("Unix socket", f"{path} may not be written by this user", "run as the server's user")
    return ok("Unix socket", f"{path} is there, and may be written")


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _groups(root: Path) -> Iterator[Path]:
    """Yield the folders of the control groups of this process, and of those above them: each may hold the least limit.

    A container may see its group under another name than /proc tells: then what exists is the top.
    """
    top = root / "sys" / "fs" / "cgroup"
    for line in _text(root / "proc" / "self" / "cgroup").splitlines():
        _, controllers, name = line.split(":", 2)
        group = Path(name.lstrip("/"))
        for controller in (controllers or ".").split(","):
            yield from (top / controller / part for part in (group, *group.parents))


def _least(limit: Callable[[Path], float | None], groups: list[Path]) -> float | None:
    return min((found for group in groups if (found := limit(group))), default=None)


def _quota(group: Path) -> float | None:
    """Return CPUs: `cpu.max` of version 2, or the two files of version 1."""
    one = _text(group / "cpu.max").split()
    two = [_text(group / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
    numbers = [int(text) for text in one or two if text.isdecimal()]
    return numbers[0] / numbers[1] if len(numbers) == 2 and numbers[1] else None


def _memory(group: Path) -> float | None:
    text = _text(group / "memory.max") or _text(group / "memory.limit_in_bytes")
    return int(text) if text.isdecimal() else None


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
