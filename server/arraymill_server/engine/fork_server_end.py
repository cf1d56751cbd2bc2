"""What the fork server does at its own end: it removes the folder of its socket.

The server makes that folder, and removes it when it ends in order; after a `kill -9` nobody else is left to do so. The
fork server imports this module before it forks, and nothing else does: importing it is what arranges the removal, the
only thing that a fork server can be told to do. Workers leave without it, by `os._exit`.
"""

from __future__ import annotations

import atexit
import importlib
import shutil
from pathlib import Path
from typing import Any, Final

PREFIX: Final = "pymp-"
"""How multiprocess begins the names of its folders; none of another name is removed."""


def remove_folder() -> None:
    """Remove the folder of the fork server's socket, if this process is the fork server."""
    forkserver: Any = importlib.import_module("multiprocess.forkserver")
    folder = Path(forkserver._forkserver._forkserver_address or "").parent
    if folder.name.startswith(PREFIX):
        shutil.rmtree(folder, ignore_errors=True)


atexit.register(remove_folder)
