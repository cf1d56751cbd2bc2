"""The contestants: each module has the table `WORKS` of what it can do, and runs in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Home:
    """Where a contestant lives."""

    module: str
    """Its name in this package."""
    environment: str = ""
    """The virtual environment of its packages; empty: that of arraymill."""
    packages: tuple[str, ...] = ("numpy",)
    """Whose versions are told with the results."""
    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    """What must be set in its process."""


HOMES: Final = {
    "arraymill": Home("mill", packages=("arraymill", "numpy", "grpcio", "uvloop")),
    "numpy": Home("in_process"),
    "socket": Home("raw_socket"),
    "naive": Home("naive", packages=("grpcio", "multiprocess", "numpy")),
    "grpc": Home("bare_grpc", packages=("grpcio", "uvloop", "numpy")),
    "commands": Home("commands", packages=("arraymill", "numpy", "grpcio")),
    "flight": Home("flight", "peers", ("pyarrow", "numpy")),
    "ray": Home("ray_tasks", "peers", ("ray", "numpy"), {"RAY_USAGE_STATS_ENABLED": "0"}),
    "dask": Home("dask_cluster", "peers", ("distributed", "numpy")),
    "numexpr": Home("numexpr_threads", "peers", ("numexpr", "numpy")),
    "pytriton": Home("triton", "triton", ("nvidia-pytriton", "numpy")),
}
"""By the name that `--contestants` takes."""
