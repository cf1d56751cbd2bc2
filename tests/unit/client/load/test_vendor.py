"""What was taken from others is what they have published."""

from __future__ import annotations

import hashlib
from importlib.resources import files

import pytest

VENDOR = files("arraymill.load") / "vendor"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("uPlot.iife.min.js", "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"),
        ("uPlot.min.css", "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04"),
    ],
)
def test_a_file_is_unchanged_and_listed(name: str, expected: str) -> None:
    assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == expected
    assert f"{expected}  {name}" in (VENDOR / "README.md").read_text()


def test_the_licence_is_there() -> None:
    assert "Permission is hereby granted, free of charge" in (VENDOR / "LICENSE.uPlot").read_text()
    assert "uPlot (v1.6.32)" in (VENDOR / "uPlot.iife.min.js").read_text()[:80]
