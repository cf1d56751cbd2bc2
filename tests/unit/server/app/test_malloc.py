"""The C library's settings, tried in a process of their own: they cannot be taken back."""

from __future__ import annotations

import subprocess
import sys

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
