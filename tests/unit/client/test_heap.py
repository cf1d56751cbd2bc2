"""Frames are built in memory that is already mapped."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

CODE = """
import resource, sys
from arraymill._heap import keep_frames_warm
if sys.argv[1] == "warm":
    keep_frames_warm()
    keep_frames_warm()
def frames(count):
    for _ in range(count):
        message = b"".join([b"x" * (1 << 20)])
        copy = bytes(bytearray(message))
        del message, copy
frames(3)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
frames(50)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 50)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have other habits")
def test_frames_cost_no_page_faults() -> None:
    cold, warm = (
        float(subprocess.run([sys.executable, "-c", CODE, how], check=True, capture_output=True, text=True).stdout)
        for how in ("cold", "warm")
    )
    assert warm < 10 < cold, "page faults of a frame"
