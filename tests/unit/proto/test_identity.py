"""Names of clients, keys and priorities of jobs."""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arraymill_proto.errors import ParameterError
from arraymill_proto.identity import MAX_CLIENT_CHARS, check_key, check_name, check_priority, is_client_name
from arraymill_proto.limits import MAX_ECHO_CHARS, MAX_KEY_CHARS, MAX_NAME_CHARS, MAX_PRIORITY

VISIBLE = set(string.printable) - set(string.whitespace)


@given(st.text())
@example("a\n")
@example("\ud800")
@example("x" * MAX_CLIENT_CHARS)
@example("x" * (MAX_CLIENT_CHARS + 1))
@example("x" * MAX_KEY_CHARS)
@example("x" * (MAX_KEY_CHARS + 1))
def test_visible_ascii_characters(text: str) -> None:
    is_visible = bool(text) and set(text) <= VISIBLE
    assert is_client_name(text) == (is_visible and len(text) <= MAX_CLIENT_CHARS)
    if is_visible and len(text) <= MAX_KEY_CHARS:
        assert check_key(text) == text
    else:
        with pytest.raises(ParameterError, match="the key ") as caught:
            check_key(text)
        assert caught.value.details == {"parameter": "key"}


BAD_KEYS: dict[str, tuple[object, str]] = {
    "number": (7, "the key is 7, it must be a text"),
    "bytes": (b"a", "the key is b'a', it must be a text"),
    "empty": ("", "the key is empty, it must have a character at least"),
    "long": ("k" * 12_345, "the key has 12,345 characters, at most 128 are allowed"),
    "space": ("a b", "the key 'a b' may have visible ASCII characters only"),
}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_bad_keys(name: str) -> None:
    key, text = BAD_KEYS[name]
    with pytest.raises(ParameterError) as caught:
        check_key(key)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    "name", ["", "a", "weights/v1.2_x-Y", "x" * MAX_NAME_CHARS, "0" * 15, "0" * 31, "A" * 32, "g" * 16]
)
def test_names(name: str) -> None:
    assert check_name(name) == name


BAD_NAMES: dict[str, tuple[object, str]] = {
    "number": (7, "the name is 7, it must be a text"),
    "long": ("n" * 129, "the name has 129 characters, at most 128 are allowed"),
    "space": ("a b", "'a b' is not a name; use letters, digits and . _ - /"),
    "newline": ("a\n", "'a\\n' is not a name; use letters, digits and . _ - /"),
    "id of a job": (
        "0123456789abcdef",
        "'0123456789abcdef' may be the id of an array or a job; choose one of another length or with a letter beyond f",
    ),
    "id of an array": (
        "5" * 32,
        f"'{'5' * 32}' may be the id of an array or a job; choose one of another length or with a letter beyond f",
    ),
}


@pytest.mark.parametrize("case", BAD_NAMES)
def test_bad_names(case: str) -> None:
    name, text = BAD_NAMES[case]
    with pytest.raises(ParameterError) as caught:
        check_name(name)
    assert (str(caught.value), caught.value.details) == (text, {"parameter": "name"})


def test_priorities() -> None:
    assert [check_priority(priority) for priority in range(MAX_PRIORITY + 1)] == list(range(MAX_PRIORITY + 1))


@pytest.mark.parametrize("priority", [-1, MAX_PRIORITY + 1, 2**32 - 1, 2.5, "5", None, "9" * 500])
def test_bad_priorities(priority: object) -> None:
    with pytest.raises(ParameterError, match=r"the priority is .*, it must be 0 to 9") as caught:
        check_priority(priority)
    assert caught.value.details == {"parameter": "priority"}
    assert len(str(caught.value)) < MAX_ECHO_CHARS + 50
