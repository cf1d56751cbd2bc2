"""Where shared memory lies, and whether there is room: the checks around the making of the arena."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from arraymill_server.cgroup import PROC, SHM, free_bytes
from arraymill_server.config import ConfigError
from arraymill_server.quantities import format_bytes

FIX = "give it more room (shm_size: in docker-compose.yml, --shm-size of docker run) or start with a smaller --arena"


@dataclass(frozen=True, slots=True)
class SharedMemory:
    """The shared-memory file system, and what the kernel tells of this process' mappings."""

    directory: Path = SHM
    proc: Path = PROC

    def free_bytes(self) -> int:
        """Return the bytes that are free now."""
        return free_bytes(self.directory)

    def check_room(self, size_bytes: int) -> None:
        """Refuse, before anything is made, what does not fit or would not lie in memory.

        Raises:
            ConfigError: One line with both numbers and the fix.
        """
        kind = self._file_system()
        if kind != "tmpfs":
            raise ConfigError(
                f"cannot make the arena: {self.directory} is {kind or 'missing'}, not tmpfs, so the arena would not "
                f"lie in memory; mount a tmpfs there (docker: --shm-size, --tmpfs {self.directory})"
            )
        free = self.free_bytes()
        if free < size_bytes:
            raise ConfigError(
                f"cannot make an arena of {format_bytes(size_bytes)}: {self.directory} has only {format_bytes(free)} "
                f"free; {FIX}"
            )

    def check_place(self, address: int, size_bytes: int) -> None:
        """Refuse a mapping whose file lies anywhere else than in shared memory.

        `multiprocess` moves to a directory on disk when another process took the room between the check and the making.

        Raises:
            ConfigError: One line that names the place, both numbers and the fix.
        """
        place = self._file_at(address)
        if place is None or self.directory.resolve() not in Path(place).parents:
            raise ConfigError(
                f"the arena of {format_bytes(size_bytes)} lies in {place or 'unknown memory'} instead of "
                f"{self.directory}, which has {format_bytes(self.free_bytes())} free; {FIX}"
            )

    def _file_at(self, address: int) -> str | None:
        for line in (self.proc / "self" / "maps").read_text().splitlines():
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \d+\s*(.*)", line)
            if found and int(found[1], 16) <= address < int(found[2], 16):
                return found[3].removesuffix(" (deleted)")
        return None

    def _file_system(self) -> str:
        """Return the type of the file system that holds the directory; of several mounts the last one is seen."""
        kinds: dict[Path, str] = {}
        for line in (self.proc / "self" / "mountinfo").read_text().splitlines():
            mount, _, source = line.partition(" - ")
            kinds[Path(mount.split()[4])] = source.split()[0]
        place = self.directory.resolve()
        return next((kinds[path] for path in (place, *place.parents) if path in kinds), "")
