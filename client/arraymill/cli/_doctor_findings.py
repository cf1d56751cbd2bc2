"""What doctor found, and how it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from textwrap import fill
from typing import Final

import click

WIDTH: Final = 80
"""Columns of the narrowest terminal that people use."""

_INDENT: Final = " " * 24


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    NOTE = "note"
    """Works, and could be better; no reason for another exit code."""
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    """What was looked at, in a word or two."""
    level: Level
    text: str
    """What was found, with the numbers."""
    fix: str = ""
    """What to do, in one line; empty where nothing need be done."""


def ok(check: str, text: str) -> Finding:
    """Return that all is well."""
    return Finding(check, Level.OK, text)


def note(check: str, text: str, fix: str) -> Finding:
    """Return that something could be better."""
    return Finding(check, Level.NOTE, text, fix)


def problem(check: str, text: str, fix: str) -> Finding:
    """Return that something is wrong."""
    return Finding(check, Level.PROBLEM, text, fix)


def show_findings(findings: Sequence[Finding]) -> None:
    """Print each with its fix below it."""
    for finding in findings:
        begin = f"{finding.level:<9}{finding.check:<15}"
        click.echo(fill(finding.text, WIDTH, initial_indent=begin, subsequent_indent=_INDENT, break_on_hyphens=False))
        if finding.fix:
            click.echo(f"         fix: {finding.fix}")
