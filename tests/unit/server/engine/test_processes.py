"""The fork server and its processes. What ends it runs in a process of its own: the session's must live on."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from arraymill_server.engine.messages import Hello, Inbox, encode
from arraymill_server.engine.processes import ONE_THREAD, connection, spawn
from arraymill_server.engine.worker import serve


def run(path: Path, script: str) -> str:
    """Run a script in an interpreter of its own and return what it prints."""
    path.write_text(script)
    environ = {name: value for name, value in os.environ.items() if name not in ONE_THREAD}
    done = subprocess.run(
        [sys.executable, "-W", "error", path],
        capture_output=True,
        text=True,
        env=environ,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_process_inherits_its_pipe_and_ends_with_a_code() -> None:
    spec = sys.modules["__main__"].__spec__
    ours, theirs = socket.socketpair()
    pipe = connection(theirs.detach())
    with ours, closing(pipe):
        # a function of the product, since a new process cannot import test modules
        process = spawn("test", serve, pipe, None, None, 0)
        pipe.close()
        assert Inbox().feed(ours.recv(100)) == [encode(Hello(process.pid))]
        ours.shutdown(socket.SHUT_WR)
        process.join()
    assert process.exitcode == 0
    process.close()
    assert sys.modules["__main__"].__spec__ is spec


HOLD_AND_RELEASE = """
import os, sys
from pathlib import Path
from arraymill_server.engine.processes import fork_server, spawn

os.environ["OMP_NUM_THREADS"] = "7"
fork_server.hold()
fork_server.hold()
process = spawn("test", print)
process.join()
process.close()
pids = fork_server.pids()
environ = [Path(f"/proc/{pid}/environ").read_text().split(chr(0)) for pid in pids]
print(len(pids), all("OPENBLAS_NUM_THREADS=1" in e and "OMP_NUM_THREADS=1" in e for e in environ))
fork_server.release()
print(fork_server.pids() == pids)
fork_server.release()
print(len(fork_server.pids()), os.environ["OMP_NUM_THREADS"], "OPENBLAS_NUM_THREADS" in os.environ)
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("no child")
fork_server.hold()
fork_server.release()
"""


def test_the_last_holder_ends_the_fork_server(tmp_path: Path) -> None:
    assert run(tmp_path / "script.py", HOLD_AND_RELEASE).split("\n") == [
        "",
        "2 True",
        "True",
        "0 7 False",
        "no child",
        "",
    ]


MAIN_WITH_EFFECT = """
from arraymill_server.engine.processes import fork_server, spawn

print("main runs", flush=True)
if __name__ == "__main__":
    fork_server.hold()
    process = spawn("test", print, "worker runs")
    process.join()
    process.close()
    fork_server.release()
"""


def test_the_main_module_does_not_run_again_in_a_worker(tmp_path: Path) -> None:
    assert run(tmp_path / "script.py", MAIN_WITH_EFFECT) == "main runs\nworker runs\n"


STOPPED = """
import os, signal
from pathlib import Path
from arraymill_server.engine import processes
from arraymill_server.engine.processes import fork_server, spawn

def run():
    process = spawn("test", print, "worker runs")
    process.join()
    process.close()

fork_server.hold()
run()
(server,) = {pid for pid in fork_server.pids() if b"forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()}
os.kill(server, signal.SIGSTOP)
run()
print(server in fork_server.pids())
os.kill(server, signal.SIGSTOP)
fork_server.wake = lambda: None
processes.ANSWER_SECONDS = 0.3
try:
    run()
except (OSError, EOFError) as error:
    print("no process")
processes.ANSWER_SECONDS = 60.0
run()
print(server not in fork_server.pids())
fork_server.release()
"""


def test_a_fork_server_that_is_stopped_is_woken_and_one_that_does_not_answer_replaced(tmp_path: Path) -> None:
    printed = run(tmp_path / "script.py", STOPPED)
    assert printed == "worker runs\nworker runs\nTrue\nno process\nworker runs\nTrue\n"
