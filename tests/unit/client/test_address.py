"""Addresses: what is understood, what is refused and why."""

from __future__ import annotations

import pytest

from arraymill._address import DEFAULT, VARIABLE, is_same_host, resolve
from arraymill_proto.errors import ParameterError


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("localhost:50051", "localhost:50051"),
        ("mill", "mill:50051"),
        ("10.0.0.7:1", "10.0.0.7:1"),
        ("mill.example:65535", "mill.example:65535"),
        ("[::1]:7", "[::1]:7"),
        ("[fe80::1]", "[fe80::1]:50051"),
        ("unix:/run/arraymill.sock", "unix:/run/arraymill.sock"),
        ("unix:relative.sock", "unix:relative.sock"),
    ],
)
def test_every_form_of_an_address(given: str, meant: str) -> None:
    assert resolve(given) == meant
    assert resolve(meant) == meant


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("", "names no host"),
        (":50051", "names no host"),
        ("http://mill:50051", "is a URL or a path"),
        ("/run/arraymill.sock", "is a URL or a path"),
        ("unix:", "names no socket"),
        ("unix:///", "names no socket"),
        ("::1", "is an IPv6 address without [brackets]"),
        ("fe80::1:50051", "is an IPv6 address without [brackets]"),
        ("mill:http", "has port 'http'"),
        ("mill:", "has port ''"),
        ("mill:0", "has port '0'"),
        ("mill:65536", "has port '65536'"),
        ("mill:-1", "has port '-1'"),
        ("mill:٣", "has port '٣'"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(given: str, complaint: str) -> None:
    with pytest.raises(ParameterError) as caught:
        resolve(given)
    assert str(caught.value) == f"the address {given!r} {complaint}: give host:port or unix:/path"
    assert caught.value.details["address"] == given


def test_the_environment_names_the_server_where_the_program_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "mill:7")
    assert resolve(None) == "mill:7"
    assert resolve("other:8") == "other:8"
    monkeypatch.setenv(VARIABLE, "")
    assert resolve(None) == DEFAULT
    monkeypatch.delenv(VARIABLE)
    assert resolve(None) == DEFAULT
    monkeypatch.setenv(VARIABLE, "http://mill")
    with pytest.raises(ParameterError, match="'http://mill' is a URL"):
        resolve(None)


@pytest.mark.parametrize(
    ("address", "same"),
    [
        ("localhost:50051", True),
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("unix:/run/arraymill.sock", True),
        ("mill:50051", False),
        ("localhost.example:1", False),
        ("10.127.0.1:1", False),
        ("[fe80::1]:1", False),
    ],
)
def test_which_addresses_can_only_mean_this_machine(address: str, same: bool) -> None:
    assert is_same_host(address) is same
