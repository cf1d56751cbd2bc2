"""What a row has measured, as it is kept in a JSON file."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from suite.quantities import Quantity
from suite.statistics import ratio_in_turn
from suite.task import Figures


@dataclass(slots=True)
class Round:
    """All rounds with arrays of one size."""

    nbytes: int
    samples: dict[str, list[Figures]]
    """By label, one for each round."""
    missing: dict[str, str] = field(default_factory=dict[str, str])
    """Labels of those who took no part, and why."""
    idle: list[str] = field(default_factory=list[str])
    """Labels of those who computed nothing: they moved the array."""


@dataclass(slots=True)
class Results:
    """One row's."""

    row: str
    machine: dict[str, Any]
    versions: dict[str, dict[str, str]]
    """Of each label's packages."""
    warm_ups: int
    sizes: list[Round]

    def at(self, nbytes: int | None) -> Round | None:
        """Return what was measured with arrays of a size; None: of the first size."""
        return next((each for each in self.sizes if nbytes in (None, each.nbytes)), None)

    def values(self, label: str, quantity: Quantity, nbytes: int | None = None) -> list[float]:
        """Return one number for each round; none where the label took no part."""
        found = self.at(nbytes)
        return [quantity.of(each, found.nbytes) for each in found.samples.get(label, ())] if found else []

    def median(self, label: str, quantity: Quantity, nbytes: int | None = None) -> float | None:
        """Return the median of the rounds."""
        values = self.values(label, quantity, nbytes)
        return statistics.median(values) if values else None

    def ratio(self, label: str, other: str, quantity: Quantity, nbytes: int | None = None) -> float | None:
        """Return the median of the ratios of each round, one label's to the other's; None where there is none."""
        above, below = self.values(label, quantity, nbytes), self.values(other, quantity, nbytes)
        return ratio_in_turn(above, below) if above and all(below) and below else None

    def save(self, path: Path) -> None:
        """Write them as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read what `save` has written."""
        data = json.loads(path.read_text())
        return cls(**{**data, "sizes": [Round(**each) for each in data["sizes"]]})
