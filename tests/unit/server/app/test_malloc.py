"""The C library's settings, tried in a process of their own: they cannot be taken back."""

from __future__ import annotations

import subprocess
import sys

from arraymill_server.app.malloc import HEAPS

FAULTS = """
import resource
from arraymill_server.app.malloc import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        bytes(bytearray(3 << 20))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
if {keep}:
    assert keep_freed_memory()
    faults()
print(faults())
"""


def test_freed_memory_is_taken_again_without_page_faults() -> None:
    counts = [
        int(subprocess.run([sys.executable, "-c", FAULTS.format(keep=keep)], check=True, capture_output=True).stdout)
        for keep in (False, True)
    ]
    assert counts[1] < 1000
    assert counts[1] < counts[0] / 10 or counts[0] < 1000


GIVEN_BACK = """
from pathlib import Path
from arraymill_server.app.malloc import give_back_freed_memory, keep_freed_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) >> 8

keep_freed_memory()
pieces = [bytearray(1 << 20) for _ in range(128)]
used = pieces[::8]
del pieces[:]
before = resident()
assert give_back_freed_memory()
print(before, resident())
"""


def test_what_is_free_between_what_is_used_is_given_back() -> None:
    told = subprocess.run([sys.executable, "-c", GIVEN_BACK], check=True, capture_output=True).stdout
    before, after = map(int, told.split())
    assert before > 128
    assert before - after > 100


THREADS = """
import ctypes, threading
from arraymill_server.app.malloc import keep_freed_memory

libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
if {keep}:
    keep_freed_memory()
together = threading.Barrier(8)

def allocate():
    together.wait()
    libc.malloc(1000)  # ctypes lets go of the interpreter: all of them are in there at once
    together.wait()

threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""


def test_threads_share_one_heap() -> None:
    told = [
        subprocess.run([sys.executable, "-c", THREADS.format(keep=keep)], check=True, capture_output=True).stdout
        for keep in (False, True)
    ]
    assert told[1].count(b"<heap nr=") <= HEAPS
    assert told[0].count(b"<heap nr=") > HEAPS
