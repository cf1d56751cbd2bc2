"""When jobs are sent: at the rate that was asked for, whatever the number of generators."""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise, takewhile

import pytest

from arraymill.load._schedule import Arrival, Share, arrivals, choices


@pytest.mark.parametrize("of", [1, 2, 3])
def test_uniform_arrivals_of_all_generators_are_equally_far_apart(of: int) -> None:
    shares = [arrivals(50.0, Arrival.UNIFORM, Share(place, of), "", -1.0) for place in range(of)]
    times = sorted(time for share in shares for time in takewhile(lambda time: time < 2.0, share))
    assert len(times) == 150
    assert times[0] == -1.0
    assert all(two - one == pytest.approx(0.02) for one, two in pairwise(times))


@pytest.mark.parametrize("of", [1, 2, 3])
def test_poisson_arrivals_of_all_generators_are_poisson(of: int) -> None:
    shares = [arrivals(1000.0, Arrival.POISSON, Share(place, of), f"{place}") for place in range(of)]
    times = sorted(time for share in shares for time in takewhile(lambda time: time < 20.0, share))
    assert len(times) == pytest.approx(20_000, rel=0.03)
    counts = Counter(int(10 * time) for time in times)  # variance and mean of a Poisson distribution are the same
    mean = sum(counts.values()) / 200
    variance = sum((counts[place] - mean) ** 2 for place in range(200)) / 200
    assert variance == pytest.approx(mean, rel=0.3)
    assert min(times) > 0


def test_a_seed_gives_the_same_again() -> None:
    def first() -> list[float]:
        return list(islice(arrivals(10.0, Arrival.POISSON, Share(0, 1), "7"), 5))

    assert first() == first()
    assert first() != list(islice(arrivals(10.0, Arrival.POISSON, Share(0, 1), "8"), 5))


def test_parts_are_the_whole() -> None:
    for whole in range(10):
        assert sum(Share(place, 3).part(whole) for place in range(3)) == whole


def test_entries_come_by_their_weights() -> None:
    counts = Counter(islice(choices([1.0, 3.0], "7"), 10_000))
    assert counts[1] / counts[0] == pytest.approx(3.0, rel=0.1)
    assert set(islice(choices([2.0], ""), 10)) == {0}
