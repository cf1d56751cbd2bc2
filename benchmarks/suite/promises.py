"""What the project promises of a row, and whether it is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from suite.quantities import Quantity, digits
from suite.results import Results
from suite.statistics import exponent


@dataclass(frozen=True, slots=True)
class Promise:
    """A number with a bound."""

    text: str
    measure: Callable[[Results], float | None]
    """None: somebody whom it needs took no part."""
    least: float | None = None
    most: float | None = None
    is_beside: bool = False
    """Whether the number is the ratio to somebody else, which the tables have anyway."""

    def is_kept(self, results: Results) -> bool | None:
        """Tell whether the number is within its bounds; None: it was not measured."""
        value = self.measure(results)
        if value is None:
            return None
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    @property
    def bounds(self) -> str:
        """What is promised, in words."""
        least = [] if self.least is None else [f"at least {self.least:g}"]
        most = [] if self.most is None else [f"at most {self.most:g}"]
        return " and ".join(least + most)

    def word(self, results: Results) -> str:
        """Tell in a word whether it is kept."""
        return {True: "kept", False: "BROKEN", None: "not measured"}[self.is_kept(results)]

    def measured(self, results: Results) -> str:
        """Return the number, or nothing where it was not measured."""
        value = self.measure(results)
        return "" if value is None else digits(value)

    def verdict(self, results: Results) -> str:
        """Return a line that tells the number, the bound and whether it is kept."""
        number = self.measured(results)
        return f"{self.word(results)}: {self.text}:{number and f' {number};'} promised is {self.bounds}"


def beside(
    ours: str,
    other: str,
    quantity: Quantity,
    *,
    nbytes: int | None = None,
    least: float | None = None,
    most: float | None = None,
) -> Promise:
    """Promise a ratio to somebody else in the same rounds."""
    text = f"{quantity.name} of {ours} beside {other}"
    return Promise(text, lambda results: results.ratio(ours, other, quantity, nbytes), least, most, is_beside=True)


def within(label: str, quantity: Quantity, *, most: float) -> Promise:
    """Promise a number."""
    return Promise(f"{label}, {quantity.unit}", lambda results: results.median(label, quantity), None, most)


def spread(label: str, upper: Quantity, lower: Quantity, *, most: float) -> Promise:
    """Promise the ratio of two numbers of the same runs: the median of each run's."""
    both = Quantity("spread", "×", lambda figures, nbytes: upper.of(figures, nbytes) / lower.of(figures, nbytes))
    return Promise(
        f"{upper.name} over {lower.name} of {label}", lambda results: results.median(label, both), None, most
    )


def growth(label: str, quantity: Quantity, *, least: float, most: float) -> Promise:
    """Promise the exponent with which a time grows with the size of the array."""

    def measure(results: Results) -> float | None:
        medians = {each.nbytes: results.median(label, quantity, each.nbytes) for each in results.sizes}
        points = {nbytes: value for nbytes, value in medians.items() if value}
        return exponent(list(points), list(points.values())) if len(points) > 1 else None

    return Promise(f"exponent of {quantity.name} against size of {label}", measure, least, most)
