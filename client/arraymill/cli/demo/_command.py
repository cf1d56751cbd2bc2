"""The command `arraymill demo`."""

from __future__ import annotations

from pathlib import Path

import click

from arraymill.cli._options import OUTPUT


@click.command()
@click.option("--workers", type=click.IntRange(1, 64), help="Worker processes. [default: the CPUs, at most 8]")
@click.option("--arena", default="128MiB", show_default=True, help="Shared memory of the server.")
@click.option(
    "--every",
    type=click.Choice(["1", "2", "4"]),
    default="2",
    show_default=True,
    help="Take every so-manieth row and column of the data; 1: all 933 MB.",
)
@click.option("--png", type=OUTPUT, metavar="FILE", help="Write the picture to a PNG file too.")
@click.option("--traceback", is_flag=True, expose_value=False, help="Show where an error comes from.")
def demo(workers: int | None, arena: str, every: str, png: Path | None) -> int:
    """Compute on the real Earth with a private server.

    Land and sea at two kilometres, 233 MB, stream through a server of 128 MiB: sums along axes, 72 jobs at once, fused
    expressions, two passes, slices of a resident array. Every answer is checked against NumPy. Works without a network.
    The data at one kilometre, 933 MB: --every 1.
    """
    # Loaded only now: every other command does without these modules, and without rich.
    from arraymill.cli.demo._stage import perform  # noqa: PLC0415

    return perform(workers, arena, int(every), png)
