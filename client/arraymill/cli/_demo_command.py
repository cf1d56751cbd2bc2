"""`arraymill demo`."""

from __future__ import annotations

import click


@click.command()
def demo() -> None:
    """Run jobs on real data with a private server, checked against NumPy."""
