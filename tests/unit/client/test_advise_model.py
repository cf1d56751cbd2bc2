"""The model of what sending costs: by hand, at its borders, and in words."""

from __future__ import annotations

import dataclasses
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arraymill import Advice, LaneRate, LinkFigures, Prediction, Sizes, WorkFigures
from arraymill._advise_model import BLOCK_BYTES, duration_text, rate_text

MB = 10**6
LINK = LinkFigures(
    round_trip_seconds=0.001,
    stream_seconds=0.01,
    small_bytes=64 << 10,
    lanes=(LaneRate("frames", 0, 1e9, 0.5e9), LaneRate("bulk", 8 << 20, 2e9, 1e9)),
    overlap=0.0,
    workers=2,
    arena_bytes=1000 * MB,
    resident_budget_bytes=500 * MB,
    shares_cores=False,
)
SUM = WorkFigures(
    input_bytes=100 * MB,
    stored_bytes=0,
    result_bytes=8,
    result_growth=0.0,
    touched_bytes=100 * MB + 8,
    passes=1,
    overhead_seconds=1e-5,
    local_seconds_per_byte=1e-10,
    server_seconds_per_byte=2e-10,
    sample_bytes=10 * MB,
)
SQRT = dataclasses.replace(SUM, result_bytes=100 * MB, result_growth=1.0, touched_bytes=200 * MB)
SLOW = dataclasses.replace(SUM, local_seconds_per_byte=1e-8)


def test_a_sum_by_hand() -> None:
    now = Advice(LINK, SUM).now
    assert now.input_bytes == 100 * MB
    assert now.local_seconds == pytest.approx(0.01 + 1e-5)
    assert now.sent_seconds == pytest.approx(0.01 + 100 / 2000), "the bulk lane; computing hides behind it"
    assert now.kept_seconds == pytest.approx(0.001 + 0.02 / 2), "two workers; the answer comes in one message"
    assert now.best == "local"


def test_results_travel_too() -> None:
    now = Advice(LINK, SQRT).now
    assert now.sent_seconds == pytest.approx(0.01 + 0.05 + 0.1)
    assert now.kept_seconds == pytest.approx(0.01 + 0.1)
    both = Advice(dataclasses.replace(LINK, overlap=1.0), SQRT).now
    assert both.sent_seconds == pytest.approx(0.01 + 0.1), "the shorter way hides behind the longer"


def test_sizes_take_their_lanes() -> None:
    advice = Advice(LINK, SUM)
    assert advice.at(4 * MB).sent_seconds == pytest.approx(0.01 + 0.004, rel=1e-3), "frames"
    assert advice.at(1000).sent_seconds == pytest.approx(0.001 + 1000 / 1e9, rel=1e-3), "one message"


def test_small_inputs_have_one_worker() -> None:
    advice = Advice(LINK, SUM)
    times = [advice.at(size).kept_seconds for size in (BLOCK_BYTES, 2 * BLOCK_BYTES, 4 * BLOCK_BYTES)]
    work = [(seconds or 0.0) - 0.001 for seconds in times]
    assert work[1] == pytest.approx(work[0])
    assert work[2] == pytest.approx(2 * work[0])


def test_heavy_work_hides_the_wire() -> None:
    heavy = Advice(LINK, dataclasses.replace(SLOW, server_seconds_per_byte=1e-8)).now
    assert heavy.sent_seconds == pytest.approx(0.01 + 0.5)
    assert heavy.local_seconds == pytest.approx(1.0, rel=1e-3)


SHARED = dataclasses.replace(
    LINK, lanes=(LaneRate("frames", 0, 1e9, 0.5e9), LaneRate("shared", 1 << 20, 4e9, 2e9)), shared_seconds=0.002
)


def test_a_job_in_shared_memory_needs_no_stream_while_its_result_is_small() -> None:
    assert Advice(SHARED, SUM).now.sent_seconds == pytest.approx(0.002 + 100 / 4000)
    assert Advice(SHARED, SQRT).now.sent_seconds == pytest.approx(0.01 + 100 / 4000 + 100 / 2000), "a stream"
    below = Advice(SHARED, SUM).at(1 << 19)
    assert below.sent_seconds == pytest.approx(0.01 + (1 << 19) / 1e9, rel=1e-3), "too small to be shared: a stream"
    assert Advice(SHARED, SUM).at(1000).sent_seconds == pytest.approx(0.001, rel=1e-2), "one message"


def test_arrays_in_shared_memory_do_not_travel() -> None:
    placed = Advice(SHARED, dataclasses.replace(SUM, placed_bytes=100 * MB))
    assert placed.now.sent_seconds == pytest.approx(0.002 + 0.02 / 2), "the work alone"
    assert placed.at(200 * MB).sent_seconds == pytest.approx(0.002 + 0.04 / 2), "larger ones lie there too"
    assert placed.now.local_seconds == Advice(SHARED, SUM).now.local_seconds
    assert "95.4 MiB are shared with it and do not travel" in str(placed)
    half = Advice(SHARED, dataclasses.replace(SUM, placed_bytes=50 * MB))
    assert half.now.sent_seconds == pytest.approx(0.002 + 50 / 4000), "the rest hides the work"


def test_shared_cores_hide_nothing() -> None:
    now = Advice(dataclasses.replace(LINK, shares_cores=True), SUM).now
    assert now.sent_seconds == pytest.approx(0.01 + 0.05 + 0.01, rel=1e-3)
    assert now.kept_seconds == pytest.approx(0.001 + 0.01, rel=1e-3)


def test_what_does_not_fit_is_sent_again_and_not_kept() -> None:
    advice = Advice(LINK, dataclasses.replace(SUM, passes=2))
    assert advice.at(1000 * MB).sent_seconds == pytest.approx(0.01 + 0.5)
    assert advice.at(1001 * MB).sent_seconds == pytest.approx(0.01 + 1.001)
    assert advice.at(500 * MB).kept_seconds is not None
    assert advice.at(501 * MB).kept_seconds is None


def test_arrays_on_the_server_are_fetched_for_numpy() -> None:
    there = Advice(LINK, dataclasses.replace(SUM, stored_bytes=100 * MB)).now
    assert there.local_seconds == pytest.approx(0.01 + 0.1 + 0.01, rel=1e-3)
    assert there.sent_seconds == there.kept_seconds
    half = Advice(LINK, dataclasses.replace(SUM, stored_bytes=50 * MB)).now
    assert half.sent_seconds == pytest.approx(0.01 + 0.025)
    huge = Advice(dataclasses.replace(LINK, resident_budget_bytes=0), dataclasses.replace(SUM, stored_bytes=100 * MB))
    assert huge.now.kept_seconds is not None, "it is there"


def test_break_even_by_hand() -> None:
    sizes = Advice(LINK, SLOW).worth_sending  # 1e-8 n > 0.01 + 1e-9 n
    assert sizes is not None
    assert sizes.most_bytes is None
    assert 1.11 * MB <= sizes.least_bytes <= 1.11 * MB * 1.1
    kept = Advice(LINK, SLOW).worth_keeping
    assert kept is not None
    assert 0.1 * MB <= kept.least_bytes <= 0.1 * MB * 1.12
    assert kept.most_bytes is not None
    assert 500 * MB / 1.1 <= kept.most_bytes <= 500 * MB


def test_never() -> None:
    assert Advice(LINK, SUM).worth_sending is None
    assert Advice(dataclasses.replace(LINK, resident_budget_bytes=0), SLOW).worth_keeping is None


def test_an_expression_without_elements() -> None:
    nothing = dataclasses.replace(SUM, input_bytes=0, touched_bytes=0, result_bytes=8)
    advice = Advice(LINK, nothing)
    assert advice.now.best == "local"
    assert advice.worth_sending is None
    assert advice.local_rate == inf
    assert "0 B" in str(advice)


rates = st.floats(1e3, 1e12)
seconds = st.floats(1e-6, 10)


@st.composite
def advices(draw: st.DrawFn) -> Advice:
    lanes = tuple(
        LaneRate("frames", least, draw(rates), draw(rates)) for least in draw(st.sampled_from([(0,), (0, 8 << 20)]))
    )
    budget = draw(st.sampled_from([0, 1 << 26, 1 << 40]))
    start = draw(seconds)
    link = LinkFigures(
        round_trip_seconds=start,
        stream_seconds=start + draw(seconds),
        small_bytes=64 << 10,
        lanes=lanes,
        overlap=draw(st.floats(0, 1)),
        workers=draw(st.integers(0, 64)),
        arena_bytes=1 << 28,
        resident_budget_bytes=budget,
        shares_cores=draw(st.booleans()),
    )
    size = draw(st.integers(0, 1 << 40))
    per_byte = st.floats(0, 1e-6)
    result, growth = draw(st.sampled_from([(8, 0.0), (size, 1.0), (2 * size, 2.0)]))
    stored = draw(st.sampled_from([0, size // 2, size]))
    return Advice(
        link,
        WorkFigures(
            input_bytes=size,
            stored_bytes=stored,
            result_bytes=result,
            result_growth=growth,
            touched_bytes=3 * size,
            passes=draw(st.integers(1, 3)),
            overhead_seconds=draw(seconds),
            local_seconds_per_byte=draw(per_byte),
            server_seconds_per_byte=draw(per_byte),
            sample_bytes=1 << 20,
        ),
    )


@given(advices())
def test_ranges_are_what_the_predictions_say(advice: Advice) -> None:
    def is_worth(size: int) -> bool:
        return (told := advice.at(size)).sent_seconds < told.local_seconds

    sizes = advice.worth_sending
    if sizes is None:
        assert not any(is_worth(1 << power) for power in range(10, 41))
        return
    end = sizes.most_bytes or 1 << 40
    assert all(is_worth(1 << power) for power in range(10, 41) if sizes.least_bytes <= 1 << power <= end)
    assert sizes.least_bytes <= end


@given(advices())
def test_words_and_numbers_agree(advice: Advice) -> None:
    now, told = advice.now, str(advice)
    assert len(told.splitlines()) == 3
    assert duration_text(now.local_seconds) in told
    assert duration_text(now.sent_seconds) in told
    assert ("cannot be kept" in told) == (now.kept_seconds is None)
    assert ("fetch" in told) == (advice.work.stored_bytes > 0)
    assert "nan" not in told


def test_in_words() -> None:
    assert str(Advice(LINK, SUM)) == (
        "NumPy here takes about 10 ms for 95.4 MiB of input; sent to the server they take 60 ms, kept there 11 ms.\n"
        "Sending is worth it at no size (the wire alone takes 50 ms, NumPy here 10 ms); arrays that are kept on the "
        "server are worth it at no size.\n"
        "Measured: round trip 1.0 ms, 2.0 GB/s up and 1.0 GB/s down (bulk); 10 GB/s by NumPy here on a sample, "
        "10 GB/s by 2 workers."
    )
    assert "worth it from 1.09 MiB; arrays" in str(Advice(LINK, SLOW))


def test_the_fastest_way() -> None:
    assert Prediction(1, 3.0, 2.0, 1.0).best == "kept"
    assert Prediction(1, 3.0, 2.0, None).best == "sent"
    assert Prediction(1, 2.0, 2.0, 2.0).best == "local"


def test_sizes_in_words() -> None:
    assert str(Sizes(1 << 20, None)) == "from 1 MiB"
    assert str(Sizes(1 << 20, 1 << 30)) == "from 1 MiB to 1 GiB"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.0 µs"),
        (85e-6, "85 µs"),
        (999.4e-6, "999 µs"),
        (0.0012, "1.2 ms"),
        (0.0123, "12 ms"),
        (0.9996, "1.0 s"),
        (3.44, "3.4 s"),
        (12345, "12,345 s"),
    ],
)
def test_durations(value: float, text: str) -> None:
    assert duration_text(value) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(1e3, "1.0 kB/s"), (85e6, "85 MB/s"), (1.23e9, "1.2 GB/s"), (1e12, "> 1 TB/s"), (inf, "> 1 TB/s")],
)
def test_rates(rate: float, text: str) -> None:
    assert rate_text(rate) == text
