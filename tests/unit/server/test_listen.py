"""Addresses to listen on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arraymill_server.listen import MAX_UNIX_PATH_BYTES, Address, parse_address


@pytest.mark.parametrize(
    ("text", "address", "normal"),
    [
        ("127.0.0.1:50051", Address("127.0.0.1", 50051), "127.0.0.1:50051"),
        ("localhost:0", Address("localhost", 0), "localhost:0"),
        (" mill-1.example.org:80 ", Address("mill-1.example.org", 80), "mill-1.example.org:80"),
        ("[::1]:50051", Address("::1", 50051), "[::1]:50051"),
        ("[0:0:0:0:0:0:0:1]:1", Address("::1", 1), "[::1]:1"),
        ("unix:/run/mill.sock", Address(path="/run/mill.sock"), "unix:/run/mill.sock"),
        ("unix:///run/mill.sock", Address(path="/run/mill.sock"), "unix:/run/mill.sock"),
    ],
)
def test_addresses_and_their_normal_form(text: str, address: Address, normal: str) -> None:
    assert parse_address(text) == address
    assert str(address) == normal
    assert parse_address(normal) == address


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("localhost", "write host:50051"),
        ("", "is not an address"),
        (":50051", "is not a host name; write 0.0.0.0"),
        ("*:50051", "write 0.0.0.0 for all interfaces"),
        ("a b:1", "is not a host name"),
        ("::1:50051", r"write \[::1\]:50051"),
        ("[::1]", "is not an address"),
        ("[::g]:1", "'::g' is not an IPv6 address"),
        ("300.0.0.1:1", "is not an IPv4 address"),
        ("localhost:", "'' is not a port"),
        ("localhost:http", "'http' is not a port"),
        ("localhost:-1", "'-1' is not a port"),
        ("localhost:65536", "port 65536 is above 65535"),
        ("unix:", "needs the absolute path"),
        ("unix:run/mill.sock", "needs the absolute path"),
        ("unix:/", "needs the absolute path"),
        ("unix:/" + "x" * MAX_UNIX_PATH_BYTES, "has 108 bytes, a socket's may have 107"),
    ],
)
def test_what_is_no_address_is_refused_with_the_way_out(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "is_local"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("localhost:1", True),
        ("[::1]:1", True),
        ("unix:/run/mill.sock", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.7:1", False),
        ("mill.example.org:1", False),
    ],
)
def test_which_addresses_only_this_machine_reaches(text: str, is_local: bool) -> None:
    assert parse_address(text).is_local is is_local


@given(st.text(max_size=30) | st.from_regex(r"[a-z0-9:\[\]./]{0,20}", fullmatch=True))
def test_any_text_is_an_address_with_a_stable_normal_form_or_a_value_error(text: str) -> None:
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert parse_address(str(address)) == address
