"""What doctor says about sending: standard operations of several sizes, here, sent, and kept on the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import click
import numpy as np

from arraymill import Advice, Array, LinkFigures, Prediction, Sizes, asarray
from arraymill._advise_model import Way, duration_text, rate_text
from arraymill._quantities import bytes_text
from arraymill.cli._show import show_table

SIZES: Final = (1 << 20, 16 << 20, 256 << 20, 1 << 30)
"""Bytes of input in the table."""

_TIMES: Final = ("   input", "NumPy here", "    sent", "kept there")
"""The headers of numbers, as wide as any of these."""

_WAYS: Final[dict[Way, str]] = {"local": "here", "sent": "sent", "kept": "kept there"}


def standard_operations() -> dict[str, Array]:
    """Return the expressions that are measured: two reductions, a transform and a fused expression."""
    x = asarray(np.random.default_rng(0).random((2048, 512)))
    return {
        "sum(x)": x.sum(),
        "mean(x, axis=0)": x.mean(axis=0),
        "sqrt(x)": x**0.5,
        "sqrt(x*x + 1).sum()": ((x * x + 1) ** 0.5).sum(),
    }


def show_advice(link: LinkFigures, told: Mapping[str, Advice]) -> None:
    """Print the tables; no line has more than 80 columns."""
    click.echo("\nSeconds of operations on float64, predicted from what was measured just now:\n")
    rows = [_row(name, advice.at(size)) for name, advice in told.items() for size in SIZES]
    show_table(("operation", *_TIMES, "fastest"), rows)
    click.echo("\nSizes of input for which the server is faster than NumPy here:\n")
    show_table(("operation", "here", "workers", "if sent", "if kept there"), list(map(_summary, told, told.values())))
    round_trip, stream = duration_text(link.round_trip_seconds), duration_text(link.stream_seconds)
    shared = "" if link.shared_seconds is None else f", without one {duration_text(link.shared_seconds)}"
    click.echo(f"\nA round trip takes {round_trip}, the start of a stream {stream}{shared}.")
    click.echo("Arrays travel so:\n")
    lanes = [
        (
            bytes_text(lane.least_bytes),
            lane.name,
            *map(rate_text, (lane.up_bytes_per_second, lane.down_bytes_per_second)),
        )
        for lane in link.lanes
    ]
    show_table(("from", "lane", "to the server", "to the client"), lanes)


def document(link: LinkFigures | None, told: Mapping[str, Advice]) -> dict[str, Any]:
    """Return the same for programs."""
    return {"link": asdict(link) if link else None, "operations": [_described(name, told[name]) for name in told]}


def _row(name: str, at: Prediction) -> tuple[str, ...]:
    kept = "too large" if at.kept_seconds is None else duration_text(at.kept_seconds)
    times = duration_text(at.local_seconds), duration_text(at.sent_seconds), kept
    texts = zip(_TIMES, (bytes_text(at.input_bytes), *times), strict=True)
    return name, *(text.rjust(len(header)) for header, text in texts), _WAYS[at.best]


def _summary(name: str, advice: Advice) -> tuple[str, ...]:
    rates = rate_text(advice.local_rate), rate_text(advice.server_rate)
    return name, *rates, _sizes_text(advice.worth_sending), _sizes_text(advice.worth_keeping)


def _sizes_text(sizes: Sizes | None) -> str:
    return str(sizes).removeprefix("from ") if sizes and sizes.most_bytes else str(sizes or "none")


def _described(name: str, advice: Advice) -> dict[str, Any]:
    worth = {"worth_sending": advice.worth_sending, "worth_keeping": advice.worth_keeping}
    return {
        "operation": name,
        **{key: sizes and asdict(sizes) for key, sizes in worth.items()},
        "sizes": [{**asdict(at := advice.at(size)), "best": at.best} for size in SIZES],
        "measured": asdict(advice.work),
    }
