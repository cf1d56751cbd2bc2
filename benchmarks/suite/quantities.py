"""What a row shows: a number made of the figures of a run, with its unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from suite.task import Figures


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with a unit."""

    name: str
    unit: str
    of: Callable[[Figures, int], float]
    """Takes a run's figures and the bytes of its array."""
    is_more_better: bool = False

    def show(self, value: float) -> str:
        """Return a value with its unit, to three digits."""
        return f"{digits(value)} {self.unit}"


def digits(value: float) -> str:
    """Return a number to three digits, without an exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.01 or value == 0 else f"{value:.1g}"


def gigabytes_per_second(arrays: int = 1) -> Quantity:
    """Return the throughput of a job on so many arrays of one size."""
    return Quantity("throughput", "GB/s", lambda f, nbytes: arrays * nbytes / f["seconds"] / 1e9, is_more_better=True)


def milliseconds(key: str = "seconds", name: str = "time") -> Quantity:
    """Return a time that is one of the figures."""
    return Quantity(name, "ms", lambda f, _: f[key] * 1e3)


def _cpu_per_gigabyte(figures: Figures, nbytes: int) -> float:
    used = sum(figures[f"{who}_cpu_seconds"] for who in ("client", "servers", "workers"))
    return used / (figures["jobs"] * nbytes / 1e9)


JOBS_PER_SECOND: Final = Quantity("jobs", "jobs/s", lambda f, _: 1 / f["seconds"], is_more_better=True)
SECONDS: Final = Quantity("time", "s", lambda f, _: f["seconds"])
MEBIBYTES: Final = Quantity("memory", "MiB", lambda f, _: f["servers_mib"] + f["client_growth_mib"])
PERCENT_OF_CORE: Final = Quantity("CPU", "% of a core", lambda f, _: 100 * f["cores"])
CPU_PER_GIGABYTE: Final = Quantity("CPU", "CPU s/GB", _cpu_per_gigabyte)
