"""Expressions as text: what they mean is what NumPy means by them; everything else is refused with its column."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from oracle import numpy_answer

from arraymill._array import Array, Handle, asarray
from arraymill._expression import Applied, Local, Term, expression_of
from arraymill._text.expression import MAX_CHARS, MAX_DEPTH, Expression
from arraymill.cli._errors import InputError
from arraymill_proto.catalogue import ARRAY_PARAMS
from arraymill_proto.errors import ArraymillError
from arraymill_proto.graph import ArrayType

A: NDArray[np.float64] = np.linspace(-2.0, 3.0, 12).reshape(3, 4)
B: NDArray[np.float32] = np.array([0.5, 1.0, -1.5, 2.0], np.float32)
C: NDArray[np.int32] = np.arange(-5, 7, dtype=np.int32).reshape(3, 4)
M: NDArray[np.bool_] = C % 3 == 0
ARRAYS: dict[str, NDArray[Any]] = {"a": A, "b": B, "c": C, "m": M}


def bind(text: str, arrays: dict[str, Any] | None = None) -> Array:
    """Read an expression of the arrays above."""
    return Expression(text).bind({name: asarray(x) for name, x in (arrays or ARRAYS).items()})


def answer(array: Array) -> Any:
    """Compute an expression with NumPy, node by node."""
    return _value(expression_of(array))


def _value(term: Term) -> Any:
    if isinstance(term, Local):
        return term.data
    if not isinstance(term, Applied):
        return term
    params = {name: _value(value) if name in ARRAY_PARAMS else value for name, value in term.params.items()}
    return numpy_answer(term.name, [_value(arg) for arg in term.args], params)


def python(text: str) -> Any:
    """What Python makes of the same text; only tests may eval."""
    names = {name: getattr(np, name) for name in np.__all__ if not name.startswith("_")}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return eval(text, {**names, "np": np, **ARRAYS})


def refusal(text: str) -> str:
    """Return the line that refuses an expression."""
    with pytest.raises(InputError) as caught:
        bind(text)
    message = str(caught.value)
    assert "\n" not in message
    return message


def words(texts: str) -> st.SearchStrategy[str]:
    return st.sampled_from(texts.split())


def any_of(texts: list[str]) -> st.SearchStrategy[str]:
    return st.sampled_from(texts)


def _grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Expressions of expressions, as people write them."""
    binary = st.builds("({} {} {})".format, inner, words("+ - * / // % < <= > >= == != & | ^"), inner)
    return st.one_of(
        binary,
        st.builds("({} ** {})".format, inner, any_of(["2", "3", "0.5", "1", "-1.0"])),
        st.builds("({} {} 2)".format, inner, any_of(["<<", ">>"])),
        st.builds("({}{})".format, any_of(["-", "+", "~"]), inner),
        st.builds("{}({})".format, words("sqrt abs exp np.sin floor isnan sign square sum mean max round"), inner),
        st.builds("{}({}, {})".format, words("maximum hypot np.add arctan2 logical_and"), inner, inner),
        st.builds("where({}, {}, {})".format, any_of(["m", "a > b", "True"]), inner, inner),
        st.builds("clip({}, {}, {})".format, inner, any_of(["0", "b", "-1"]), any_of(["1", "2.5", "None"])),
        st.builds("{}{}".format, inner, any_of([".sum(axis=0)", ".mean()", ".std(ddof=1)", ".astype('float32')"])),
        st.builds("{}{}".format, inner, any_of([".max(axis=-1, keepdims=True)", ".real", ".clip(0, 1)", ".round(1)"])),
        st.builds("sum({}, {})".format, inner, any_of(["axis=0", "-1", "0, dtype='f8'", "keepdims=True", "where=m"])),
        st.builds("cumsum({}, axis=0)".format, inner),
        st.builds("divmod({}, {})[{}]".format, inner, inner, any_of(["0", "1"])),
    )


LEAVES = any_of(
    ["a", "b", "c", "m", "a[1:, ::2]", "a[::-1]", "c[..., 1]", "b[-1]", "2", "1.5", "pi", "-inf", "1j", "a.size"]
)


@given(st.recursive(LEAVES, _grow, max_leaves=6))
def test_random_expressions_mean_what_numpy_means(text: str) -> None:
    try:
        array = bind(text)
    except InputError:
        # What is refused here NumPy refuses too, or it is one of the bounds of lazy arrays (an axis of a scalar, a
        # slice of a result): then at least nothing but InputError was raised.
        return
    expected = python(text)
    assert array.shape == np.shape(expected)
    assert array.dtype == np.asarray(expected).dtype
    np.testing.assert_array_equal(answer(array), expected)


@pytest.mark.parametrize(
    "text",
    [
        "sqrt(a*a + b*b).mean(axis=0)",
        "(a - a.mean()) / a.std()",
        "np.where(a > 0, a, -a).sum(axis=(0, 1))",
        "a.shape[0] * a[1:a.shape[0], :2]",
        "2 ** 64 - 1 + a",
        "astype(a, float32)",
        "a.astype('i4') << 2",
        "a.max(initial=-inf, where=m)",
        "modf(a)[0] + np.frexp(a)[1]",
        "1 - 2 - a - 3 - 4",
        "a.real + c.imag",
        "(c & 3 | 4 ^ ~c) >> 1",
        "power(c, 2, dtype=float64)",
        "m ** 2 + (b[0] < b[1]) ** 2",
        "1 + 1",
        "np.sqrt(2) * b",
        "np.sum(a, (0, 1), keepdims=True)",
        "nan + a",
        "\n  a +\n  b  \n",
        "where(True, 1, 2)",
        "cumsum(3)",
    ],
)
def test_expressions_as_people_write_them(text: str) -> None:
    np.testing.assert_array_equal(
        answer(bind(text)), python(" ".join(text.split()).replace("astype(a, float32)", "a.astype('f4')"))
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("a +", "column 4: invalid syntax"),
        ("a; b", "column 2"),
        ("a\0", "null bytes"),
        ("a + \ud800", "no text"),
        ("a + zebra", "column 5: there is no array 'zebra'"),
        ("a.foo", "column 1: there is no attribute 'foo'"),
        ("a.sum", "sum is a method: write .sum(…)"),
        ("sqrt", "sqrt is a function: write sqrt(…)"),
        ("a.__class__", "no attribute '__class__'"),
        ("a.__class__()", "no method '__class__'"),
        ("a.__array__()", "no method '__array__'"),
        ("a._expression", "no attribute '_expression'"),
        ("a.tofile(1)", "no method 'tofile'"),
        ("().__class__.__bases__", "no attribute"),
        ("__import__('os').system('true')", "no operation '__import__'"),
        ("eval(1)", "no operation 'eval'"),
        ("open('x')", "no operation 'open'"),
        ("np.load('x')", "no operation 'load'"),
        ("np.linalg.norm(a)", "np.linalg is not known here"),
        ("np.__dict__", "np.__dict__ is not known here"),
        ("np.os", "np.os is not known here"),
        ("sqroot(a)", "did you mean sqrt?"),
        ("(lambda: a)()", "only functions by their names"),
        ("lambda: a", "Lambda is not known here"),
        ("[x for x in a]", "ListComp is not known here"),
        ("{a: b}", "Dict is not known here"),
        ("(x := a)", "NamedExpr is not known here"),
        ("f'{a}'", "text is not known here"),
        ("await a", "Await is not known here"),
        ("a if m else b", "use where(condition, a, b)"),
        ("a and b", "use & and |"),
        ("not a", "use ~"),
        ("0 < a < 1", "column 1: chained comparisons"),
        ("a in b", "compare with =="),
        ("a is b", "use =="),
        ("a @ b", "matrix products"),
        ("sum(*a)", "`*` before an argument"),
        ("sum(**a)", "`**` before an argument"),
        ("sum(a, out=b)", "column 12: out= is not known here"),
        ("sum(a, axis=[0])", "write a tuple"),
        ("sum((a, b))", "a tuple lists axes"),
        ("sum(a, axis=2)", "column 1: sum: axis 2 is out of bounds"),
        ("1 + sum(a, bogus=1)", "column 5: sum() got an unexpected keyword argument 'bogus'"),
        ("a.sum(bogus=1)", "bogus"),
        ("a + 'float32'", "the dtype float32 is no operand"),
        ("a + 'hello'", "'hello' is no dtype"),
        ("a + b'x'", "bytes are not known"),
        ("a + None", "None is no operand"),
        ("a + (1, 2)", "2 values (choose one with [0]) is no operand"),
        ("a + ...", "Ellipsis is no operand"),
        ("a[b]", "only integers, slices and an ellipsis"),
        ("a[None]", "only integers, slices and an ellipsis"),
        ("a[9]", "out of bounds"),
        ("a[0, 0, 0]", "too many indices"),
        ("a[::0]", "slice step cannot be zero"),
        ("(a + b)[0]", "only arrays and handles can be sliced"),
        ("2[0]", "only arrays can be sliced"),
        ("a.astype('O')", "'O' is no dtype"),
        ("a.astype('datetime64[s]')", "is no dtype"),
        ("modf(a)", "2 values (choose one with [0])"),
        ("'float32'", "the expression gives the dtype float32"),
        ("a[0:2]  +  b[0:3]", "column 1: add: "),
        ("ü + 1 + a[9]", "column 1: there is no array 'ü'"),
        ("c ** -1 + a[7]", "column 11"),
        ("1 / 0 * a", "division by zero"),
        ("2.0 ** 99999 * a", "column 1: Numerical result out of range"),
        ("a(1)", "no operation 'a'"),
        ("a << 1.5", "left_shift"),
    ],
)
def test_what_is_not_known_is_refused_with_its_column(text: str, words: str) -> None:
    assert words in refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "9**9**9**9 * a",
        "1 << 99999999999 << a",
        "2**127 * 2**127 * 2**127 + a",
        "0x" + "f" * 5000,
        "9" * 5000,
        "10**1000",
    ],
)
def test_constants_cannot_cost_anything(text: str) -> None:
    refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "-" * (MAX_DEPTH + 5) + "a",
        "-" * 10_000 + "a",
        "(" * 150 + "-a" + ")" * 150 + " + " + "abs(" * 110 + "a" + ")" * 110,
        "(" * 5000 + "a" + ")" * 5000,
        "a" + ".real" * (MAX_DEPTH + 5),
        "a" + ".real" * 3000,
        "a" + "[0]" * 3000,
        "a**" * 6000 + "a",
        "sqrt(" * 3000 + "a" + ")" * 3000,
        "+".join(["a"] * 6000),
        "[" * 5000,
        "not " * 4900 + "a",
        "lambda:" * 2500 + "a",
        "a if " * 3000,
        "a" * (MAX_CHARS + 1),
    ],
)
def test_deep_and_long_expressions_are_refused(text: str) -> None:
    refusal(text)


def test_nesting_up_to_the_bound_is_read() -> None:
    text = "-" * (MAX_DEPTH - 1) + "a"
    np.testing.assert_array_equal(answer(bind(text)), -A if MAX_DEPTH % 2 == 0 else A)


def test_long_chains_are_no_nesting() -> None:
    assert expression_of(bind("+".join(["a"] * 900))).type == ArrayType((3, 4), np.dtype(np.float64))


def test_arrays_hide_constants_and_dtypes() -> None:
    arrays = {"e": B, "float32": B, "np": B}
    np.testing.assert_array_equal(answer(bind("e + float32 + np", arrays)), B + B + B)


def test_names_are_found_before_any_array_is_opened() -> None:
    parsed = Expression("np.sqrt(a * pi) + other.astype(float32)[q:]")
    assert parsed.unknown(frozenset({"a"})) == {"other", "q"}


def test_handles_are_arrays() -> None:
    handle = Handle("id-1", ArrayType((10, 4), np.dtype(np.int16)))
    array = Expression("(h[2:8:2] + 1).sum(axis=0)").bind({"h": handle})
    assert array.shape == (4,)


@given(st.text(alphabet="ab01.+-*/()[]:,=<>&|~^@'\"# \\eprintsqumx_\n\0λ", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        bind(text)
    except InputError as exc:
        assert "\n" not in str(exc)  # noqa: PT017  # most texts are refused, some are not
    except ArraymillError:  # pragma: no cover
        pytest.fail("an error without its column")
