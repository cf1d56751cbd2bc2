"""How many examples property tests look at."""

from __future__ import annotations

from typing import Final

from hypothesis import settings

THOROUGH: Final = 1000
"""Examples of a profile from which on each run looks at others."""


def examples(number: int) -> settings:
    """Settings of a property test: of so many examples as many in a hundred as the profile has (see `conftest`).

    They are always the same, but with the profile "thorough" always new.
    """
    percent = settings().max_examples
    return settings(max_examples=max(1, number * percent // 100), derandomize=percent < THOROUGH)
