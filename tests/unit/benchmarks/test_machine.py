"""Facts of the machine, and what others do on it."""

from __future__ import annotations

import os
import sys
import time

import pytest

from suite.machine import Onlooker, facts, versions, warning


def test_facts_are_known() -> None:
    known = facts()
    assert known["cores"] >= 1
    assert known["python"] == ".".join(map(str, sys.version_info[:3]))
    assert all(known[name] for name in ("cpu", "date", "kernel", "memory"))


def test_versions_are_those_of_what_is_installed() -> None:
    assert list(versions(["numpy", "no-such-package"])) == ["numpy"]


def test_what_others_do_is_all_that_is_busy_without_the_own_share(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([(100.0, 50.0), (104.0, 56.0), (104.0, 49.0), (100.0, 50.0)])
    monkeypatch.setattr(Onlooker, "_now", staticmethod(lambda: next(readings)))
    onlooker = Onlooker()
    assert [onlooker.others_cores() for _ in range(3)] == [1.5, 0.0, 0.0]


def test_the_kernels_figures_are_understood() -> None:
    onlooker = Onlooker()
    time.sleep(0.05)
    assert 0 <= onlooker.others_cores() <= 2 * (os.cpu_count() or 1)


def test_others_are_tolerated_up_to_a_part_of_the_cores() -> None:
    assert warning({"cores": 2, "others_cores": 0.3}) == ""
    assert warning({"cores": 2, "others_cores": 0.31}) == "rough: other work took 0.3 of 2 cores"
