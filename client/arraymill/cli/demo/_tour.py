"""The jobs of the demo, one step after the other, and what is noted of each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from arraymill import Array, AsyncClient, JobTimes, Progress, asarray
from arraymill.cli.demo._data import Earth

Shares: TypeAlias = NDArray[np.float64]
"""Shares of land, 0 … 1."""

GRID_ROWS: Final = 2_700
GRID_COLUMNS: Final = 5_400
"""The grid of land fractions: cells of 4 minutes of arc, 7.4 km."""

RELATIVE: Final = 1e-10
"""How far a sum may lie from NumPy's: both round, in different orders."""

CIRCUMFERENCE_KM: Final = 40_030.0
"""Of the sphere with the Earth's surface."""

TILES: Final = (6, 12)
"""Tiles of 30°."""

REGIONS: Final[dict[str, tuple[int, int, int, int]]] = {
    "Africa": (38, -35, -18, 52),
    "Antarctica": (-60, -90, -180, 180),
    "Australia": (-10, -39, 112, 154),
    "Europe": (71, 36, -10, 40),
    "Greenland": (84, 59, -74, -11),
    "Pacific": (30, -50, -180, -120),
    "South America": (13, -56, -82, -34),
}
"""Boxes: degrees north of the upper and the lower edge, degrees east of the left and the right one."""


@dataclass(frozen=True, slots=True)
class Step:
    """What is known of one step when it is done."""

    title: str
    jobs: int
    seconds: float
    """From the first question to the last answer."""
    numpy_seconds: float
    times: tuple[JobTimes, ...]
    """The server's own account of each job."""
    difference: float
    """Largest relative difference from NumPy's answers; 0 when they are equal bit for bit, inf when they are wrong."""

    @property
    def is_right(self) -> bool:
        return self.difference <= RELATIVE

    @property
    def traffic(self) -> int:
        """Bytes that travelled, in both directions."""
        return sum(times.received_bytes + times.sent_bytes for times in self.times)


@dataclass(slots=True)
class Tour:
    """Runs the steps."""

    mill: AsyncClient
    earth: Earth
    on_step: Callable[[str], None]
    """Told the title of each step when it begins."""
    steps: list[Step] = field(default_factory=list[Step])
    grid: Shares = field(default_factory=lambda: np.empty(0))
    """Share of land of each cell, once it is computed."""

    async def run(self) -> Findings:
        """Run all steps but the picture."""
        by_latitude, by_longitude = await self._profiles()
        tiles = await self._tiles()
        area = await self._area()
        self.grid = await self._fill_grid()
        await self._coast(self.grid)
        await self._standardise(self.grid)
        return Findings(by_latitude, by_longitude, tiles, area, await self._regions(self.grid))

    async def _profiles(self) -> tuple[Shares, NDArray[np.int64]]:
        land = self.earth.land
        rows = await self._one("mean by latitude", asarray(land).mean(axis=1), lambda: land.mean(axis=1))
        columns = await self._one("sum by longitude", asarray(land).sum(axis=0), lambda: land.sum(axis=0))
        return rows, columns

    async def _tiles(self) -> Shares:
        land = self.earth.land
        rows, columns = (size // count for size, count in zip(land.shape, TILES, strict=True))
        tiles = [
            land[row * rows : (row + 1) * rows, column * columns : (column + 1) * columns]
            for row in range(TILES[0])
            for column in range(TILES[1])
        ]
        title = f"{len(tiles)} tiles at once"
        shares = await self._step(
            title, [asarray(tile).mean() for tile in tiles], lambda: [tile.mean() for tile in tiles]
        )
        return np.array(shares).reshape(TILES)

    async def _area(self) -> float:
        """Return the area of all land, in km²."""
        land, north = self.earth.land, self.earth.latitudes[:, np.newaxis]
        total = np.where(asarray(land), np.cos(np.radians(asarray(north))), 0.0).sum()

        def expected() -> Any:
            # Band by band: in one piece NumPy's temporaries would take 15 GB.
            bands = [slice(row, row + 300) for row in range(0, len(land), 300)]
            return sum(np.where(land[band], np.cos(np.radians(north[band])), 0.0).sum() for band in bands)

        cells = await self._one("area of land (fused)", total, expected)
        rows, columns = land.shape
        cell_km2: float = (CIRCUMFERENCE_KM / 2 / rows) * (CIRCUMFERENCE_KM / columns)
        return cell_km2 * float(cells)

    async def _fill_grid(self) -> Shares:
        rows, columns = self.earth.land.shape
        boxes = self.earth.land.reshape(GRID_ROWS, rows // GRID_ROWS, GRID_COLUMNS, columns // GRID_COLUMNS)
        question = asarray(boxes).mean(axis=(1, 3))
        grid: Shares = await self._one("grid of land shares", question, lambda: boxes.mean(axis=(1, 3)))
        return grid

    async def _coast(self, grid: Shares) -> None:
        def steepness(x: Any) -> Any:
            here, east, south = x[:-1, :-1], x[:-1, 1:], x[1:, :-1]
            return np.sqrt((east - here) ** 2 + (south - here) ** 2).sum(axis=1)

        await self._one("coast by latitude (fused)", steepness(asarray(grid)), lambda: steepness(grid))

    async def _standardise(self, grid: Shares) -> None:
        lazy = asarray(grid)
        scores = (lazy - lazy.mean()) / lazy.std()
        await self._one("standard scores (2 passes)", scores, lambda: (grid - grid.mean()) / grid.std())

    async def _regions(self, grid: Shares) -> dict[str, float]:
        """Keep the grid on the server, and ask for parts of it by slices; only the answers travel."""
        small = grid.astype(np.float32)
        handle = await self.mill.put(small)
        boxes = [_box(*edges) for edges in REGIONS.values()]
        shares = await self._step(
            f"{len(boxes)} slices of a resident",
            [handle[box].mean(dtype=np.float64) for box in boxes],
            lambda: [small[box].mean(dtype=np.float64) for box in boxes],
        )
        await self.mill.delete(handle)
        return dict(zip(REGIONS, map(float, shares), strict=True))

    async def picture(self, rows: int, columns: int) -> Shares:
        """Return the share of land of each point of a picture; its rows and columns divide those of the grid."""
        boxes = self.grid.reshape(rows, GRID_ROWS // rows, columns, GRID_COLUMNS // columns)
        question = asarray(boxes).mean(axis=(1, 3))
        image: Shares = await self._one(f"picture, {columns} × {rows}", question, lambda: boxes.mean(axis=(1, 3)))
        return image

    async def _one(self, title: str, question: Array, expected: Callable[[], Any]) -> Any:
        return (await self._step(title, [question], lambda: [expected()]))[0]

    async def _step(self, title: str, questions: Sequence[Array], expected: Callable[[], list[Any]]) -> list[Any]:
        """Compute some expressions at once, then the same with NumPy, and note both."""
        self.on_step(title)
        noted: list[JobTimes] = []

        def note(progress: Progress) -> None:
            if progress.times is not None:
                noted.append(progress.times)

        begin = perf_counter()
        answers = await asyncio.gather(*(self.mill.compute(question, progress=note) for question in questions))
        between = perf_counter()
        right = expected()
        end = perf_counter()
        difference = max(map(relative_difference, answers, right))
        self.steps.append(Step(title, len(answers), between - begin, end - between, tuple(noted), difference))
        return answers


@dataclass(frozen=True, slots=True)
class Findings:
    """What the jobs found out about the Earth."""

    by_latitude: Shares
    """Share of land of each row."""
    by_longitude: NDArray[np.int64]
    """Points of land of each column."""
    tiles: Shares
    """Share of land of each tile."""
    area: float
    """Land in km²."""
    regions: dict[str, float]
    """Share of land of some boxes."""


def _box(north: int, south: int, west: int, east: int) -> tuple[slice, slice]:
    """Return the cells of a box of degrees."""
    per_degree = GRID_ROWS // 180
    rows = slice((90 - north) * per_degree, (90 - south) * per_degree)
    return rows, slice((180 + west) * per_degree, (180 + east) * per_degree)


def relative_difference(answer: Any, right: Any) -> float:
    """Return the largest difference relative to the largest value; inf where type, shape or NaNs differ."""
    given, wanted = np.asarray(answer), np.asarray(right)
    if given.shape != wanted.shape or given.dtype != wanted.dtype:
        return np.inf
    if np.array_equal(given, wanted, equal_nan=True):
        return 0.0
    with np.errstate(all="ignore"):
        gap = float(np.abs(given - wanted).max() / max(float(np.abs(wanted).max()), np.finfo(np.float64).tiny))
    return gap if np.isfinite(gap) else np.inf
