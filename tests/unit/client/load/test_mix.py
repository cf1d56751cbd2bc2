"""The mix: its grammar, its tables, and what is said of what has no meaning."""

from __future__ import annotations

import pytest

from arraymill._text.errors import InputError
from arraymill.load._mix import Entry, Transport, read_mix


def test_an_entry_has_fields_in_any_order_and_a_weight() -> None:
    wanted = Entry(work="sum", size="1MiB", dtype="float32", transport=Transport.BULK, weight=3.0)
    assert read_mix("sum:1MiB:float32:bulk*3") == (wanted,)
    assert read_mix(" sum : bulk : float32 : 1MiB * 3 ,") == (wanted,)
    assert read_mix([wanted.table()]) == (wanted,)


def test_what_an_entry_does_not_say_has_a_default() -> None:
    assert read_mix("sum") == (Entry(work="sum", size="1MiB", dtype="", transport=Transport.AUTO, weight=1.0),)


def test_brackets_keep_commas_and_colons() -> None:
    entries = read_mix("(a*b)[0:3].sum(axis=(0, 1)):10x20*2, where(a > 0, a, b):1KiB")
    assert [entry.work for entry in entries] == ["(a*b)[0:3].sum(axis=(0, 1))", "where(a > 0, a, b)"]
    assert [entry.weight for entry in entries] == [2.0, 1.0]


def test_a_star_after_an_expression_is_its_own() -> None:
    (entry,) = read_mix("(a + 1)*3")
    assert (entry.work, entry.weight) == ("(a + 1)*3", 1.0)
    (entry,) = read_mix("sum*3")
    assert (entry.work, entry.weight) == ("sum", 3.0)


def test_sizes_are_bytes_or_shapes() -> None:
    assert read_mix("sum:1MiB")[0].shape(8) == (1 << 17,)
    assert read_mix("sum:3")[0].shape(8) == (1,)
    assert read_mix("sum:30x4")[0].shape(8) == (30, 4)
    assert read_mix("sum:1MiB:memory")[0].name("float64") == "sum 1MiB float64 memory"


def test_texts_and_tables_mix() -> None:
    assert len(read_mix(["sum:1MiB, mean", {"work": "sqrt"}])) == 3


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ("", "the mix has 0 entries"),
        (7, "neither a text nor a list"),
        ([{"work": "sum", "sise": "1MiB"}], "no key 'sise': did you mean size?"),
        ([{"size": "1MiB"}], "names no work"),
        ([{"work": "sum", "transport": "bulky"}], "no transport 'bulky': did you mean bulk?"),
        ([{"work": "sum", "dtype": "flaot32"}], "no dtype 'flaot32': did you mean float32?"),
        ([{"work": "sum", "weight": 0}], "has the weight 0"),
        ([{"work": "sum", "weight": "3"}], "has the weight 3"),
        ("sum:1MiB:flaot64", "did you mean float64?"),
        ("sum:1MiB:2MiB", "two of its kind: 1MiB, 2MiB"),
        ("sum:1XiB", "has no known unit"),
        ("sum:0", "has the size 0"),
        ("sum:1MiB*0", "has the weight 0"),
        ("sum:1MiB*-1", "has the weight '-1', it is no number above 0"),
        ("sum:1000x0", "has the size 1000x0: its arrays would be empty"),
        ("sum:1000TiB", "has the size 1000TiB: each array may have 1 TiB at most"),
        ("sum:99999999999x99999999999", "each array may have 1 TiB at most"),
        (f"sum:{'9' * 5000}x1", "the entry 'sum:999"),
    ],
)
def test_what_has_no_meaning_is_told(told: object, line: str) -> None:
    with pytest.raises(InputError, match=line.replace("?", r"\?")):
        read_mix(told)
