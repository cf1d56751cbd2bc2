"""Run the load tester in a container and leave its report in a folder of the host, as a file of that folder's owner.

The load tester runs as the server's user, since the server shares memory with that one; it may not write to a folder of
the host, nor may root without its capabilities. So this begins as root, with the right to become others only: the load
tester becomes the server's user and writes to /tmp, and this process the folder's owner, who copies the report there.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

FOLDER: Final = Path("/reports")
"""Where the host's folder is mounted."""

USER: Final = 10001
"""User and group of the server, and so of the load tester."""

SUFFIXES: Final = (".json", ".html")
"""The report for programs, and for people."""


def main(arguments: Sequence[str]) -> int:
    """Run the load tester and return its exit code."""
    name = os.environ.get("ARRAYMILL_REPORT") or "load"
    if Path(name).name != name or name.startswith("."):
        sys.exit(f"arraymill: ARRAYMILL_REPORT is {name!r}; give a file name without folder and suffix")
    if os.getuid() != 0:  # told to be somebody else: the folder is that one's affair
        return subprocess.call(command(arguments, FOLDER / name))
    owner = FOLDER.stat()
    check_writable(owner.st_uid, owner.st_gid)
    scratch = Path(tempfile.mkdtemp())  # it ends with the container
    scratch.chmod(0o777)
    code = run(command(arguments, scratch / name), owner.st_uid, owner.st_gid)
    for written in filter(Path.exists, (scratch / f"{name}{suffix}" for suffix in SUFFIXES)):
        keep(written)
    return code


def command(arguments: Sequence[str], report: Path) -> list[str]:
    """The load tester's command; `report` has no suffix."""
    options = ("--output", "--html")
    paths = [text for option, suffix in zip(options, SUFFIXES, strict=True) for text in (option, f"{report}{suffix}")]
    return ["arraymill", "load", *paths, *arguments]


def check_writable(user: int, group: int) -> None:
    """Exit with a line when the folder's owner may not write to it."""
    os.setegid(group)
    os.seteuid(user)
    if not os.access(FOLDER, os.W_OK | os.X_OK, effective_ids=True):
        sys.exit(
            f"arraymill: the folder of the reports cannot be written by its owner, user {user}; "
            "mount another one, or allow it: chmod u+wx"
        )
    os.seteuid(0)
    os.setegid(0)


def run(load: Sequence[str], user: int, group: int) -> int:
    """Run the load tester as the server's user, become the folder's owner, and wait.

    The real user becomes the server's: that is who may send it signals. They come to this process alone, which is the
    container's first one; a terminal's Ctrl-C would reach both, were they in one session.
    """
    child = subprocess.Popen(load, user=USER, group=USER, extra_groups=(), start_new_session=True)
    os.setgroups(())
    os.setresgid(USER, group, group)
    os.setresuid(USER, user, user)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: child.send_signal(received))
    code = child.wait()
    return code if code >= 0 else 128 - code


def keep(written: Path) -> None:
    """Copy a file of the report into the folder, whole or not at all."""
    target = FOLDER / written.name
    draft = target.with_name(f".{target.name}.draft")
    shutil.copyfile(written, draft)
    draft.replace(target)
    print(f"{written.name} is in the folder of the reports", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
