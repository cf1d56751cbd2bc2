"""Addresses to listen on: host:port, [v6]:port and unix:/path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address

MAX_UNIX_PATH_BYTES = 107
"""sockaddr_un of Linux has 108 bytes, one of them for the end."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens; `str` gives the text that gRPC binds."""

    host: str = ""
    """Name or address without brackets; empty for a Unix socket."""
    port: int = 0
    """0 picks a free port."""
    path: str = ""
    """Absolute path of a Unix socket; empty for TCP."""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """True when no other machine can reach it."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(text: str) -> Address:
    """Return the address that a text means.

    Raises:
        ValueError: It is none; says what to write.
    """
    text = text.strip()
    if text.startswith("unix:"):
        return Address(path=_socket_path(text, text.removeprefix("unix:")))
    if text.count(":") > 1 and not text.startswith("["):
        address, _, port = text.rpartition(":")
        raise ValueError(f"{text!r} is not an address; write [{address}]:{port or 50051} for IPv6")
    found = re.fullmatch(r"(?:\[([^\]]*)\]|([^:\[\]]*)):(.*)", text)
    if found is None:
        raise ValueError(f"{text!r} is not an address; write host:50051, [v6 address]:50051 or unix:/path")
    v6, host, port = found.groups()
    return Address(host=_name(text, host) if v6 is None else _v6(text, v6), port=_port(text, port))


def parse_metrics_address(text: str) -> Address:
    """Return the address at which Prometheus may ask: over TCP.

    Raises:
        ValueError: It is none; says what to write.
    """
    if text.startswith("unix:"):
        raise ValueError(f"{text!r} is a Unix socket; Prometheus asks over TCP: write 127.0.0.1:9464")
    if not re.fullmatch(r"\[.*\]:.*|[^:\[\]]*:.*", text) or (text.count(":") > 1 and not text.startswith("[")):
        raise ValueError(f"{text!r} is not an address; write 127.0.0.1:9464, [::1]:9464 or off")
    return parse_address(text)


def _socket_path(text: str, path: str) -> str:
    path = re.sub(r"^//+", "/", path)
    if not path.startswith("/") or path == "/":
        raise ValueError(f"{text!r} needs the absolute path of a socket; write unix:/run/arraymill.sock")
    length = len(path.encode())
    if length > MAX_UNIX_PATH_BYTES:
        raise ValueError(f"{text!r}: the path has {length} bytes, a socket's may have {MAX_UNIX_PATH_BYTES}")
    return path


def _v6(text: str, host: str) -> str:
    try:
        return str(IPv6Address(host))
    except AddressValueError as exc:
        raise ValueError(f"{text!r}: {host!r} is not an IPv6 address") from exc


def _name(text: str, host: str) -> str:
    if re.fullmatch(r"[0-9.]+", host):
        try:
            return str(IPv4Address(host))
        except AddressValueError as exc:
            raise ValueError(f"{text!r}: {host!r} is not an IPv4 address") from exc
    if not re.fullmatch(r"(?!-)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?", host):
        raise ValueError(f"{text!r}: {host!r} is not a host name; write 0.0.0.0 for all interfaces")
    return host


def _port(text: str, port: str) -> int:
    if not re.fullmatch(r"[0-9]+", port):
        raise ValueError(f"{text!r}: {port!r} is not a port; write a number of 0 (any free port) to 65535")
    if int(port) > 65535:
        raise ValueError(f"{text!r}: port {int(port)} is above 65535")
    return int(port)
