"""The mix: what jobs a load test sends, in which proportions, as text or as tables of a TOML file.

    sum:1MiB:float64:auto*3, sqrt:64KiB, (a*b).sum(axis=0):1000x500

Entries are separated by commas, fields by colons, outside of brackets. First comes an operation of the catalogue, or an
expression as `arraymill compute` takes it, in which every free name is an array of the entry's size. The other fields
may come in any order: a size in bytes or a shape, a dtype, a transport. A weight ends an entry: `*3`, after an
operation or a field; right after an expression it would be a factor.

    [[mix]]
    work = "sum"
    size = "1MiB"
    dtype = "float64"
    transport = "auto"
    weight = 3
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final, cast

from arraymill._quantities import bytes_text
from arraymill._text.errors import InputError
from arraymill._text.quantities import nearest, read_bytes, split_quantity
from arraymill._text.vocabulary import DTYPES

MAX_ENTRIES: Final = 1000
"""Of a mix: each holds its arrays and answers in every generator."""

MAX_BYTES: Final = 1 << 40
"""Of an array: it must fit the memory of the load tester and of the server."""

SIZE: Final = "1MiB"
"""Of arrays, where an entry does not say."""

_OPEN, _CLOSE = "([{", ")]}"
_SHAPE: Final = re.compile(r"\d{1,18}(x\d{1,18})+")
_WEIGHT: Final = re.compile(r"(?P<rest>.*\S)\s*\*\s*(?P<weight>\d+(\.\d*)?|\.\d+)\s*", re.DOTALL)


class Transport(StrEnum):
    """The way of arrays."""

    AUTO = "auto"
    """That of a client which is told nothing."""
    MEMORY = "memory"
    """Memory that client and server share; none is an error."""
    BULK = "bulk"
    """Sockets beside gRPC; where the server has none, or for arrays that are too small for them, it is an error."""
    GRPC = "grpc"
    """Messages of gRPC."""
    INLINE = "inline"
    """A call for each job, of one message each way, as simple clients make it: small jobs of a client share a stream
    otherwise. Arrays that are too large for that are an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One kind of job."""

    work: str
    """The name of an operation, or an expression."""
    size: str = SIZE
    """Bytes of each array, or its shape: 1MiB, 1000x500."""
    dtype: str = ""
    """Of the arrays; empty: float64, or else the first that the operation takes."""
    transport: Transport = Transport.AUTO
    weight: float = 1.0
    """Part of the jobs, in proportion to the sum of all weights."""

    def shape(self, itemsize: int) -> tuple[int, ...]:
        """Return the shape of each array."""
        if "x" in self.size:
            return tuple(map(int, self.size.split("x")))
        return (max(1, read_bytes(self.size) // itemsize),)

    def name(self, dtype: str) -> str:
        """Return what the entry is called in reports."""
        size = self.size if "x" in self.size else bytes_text(read_bytes(self.size)).replace(" ", "")
        return f"{self.work} {size} {dtype} {self.transport}"

    def table(self) -> dict[str, Any]:
        """Return it as a table of a TOML file."""
        return {**asdict(self), "transport": str(self.transport)}


def read_mix(told: object) -> tuple[Entry, ...]:
    """Read a mix, from a text or from what a TOML file has: texts and tables.

    Raises:
        InputError: Something in it has no meaning; the line names the entry.
    """
    if isinstance(told, str):
        entries = [read_entry(text) for text in _split(told, ",") if text.strip()]
    elif isinstance(told, list):
        entries = [entry for item in cast("list[object]", told) for entry in _item(item)]
    else:
        raise InputError("the mix is neither a text nor a list of tables")
    if not entries or len(entries) > MAX_ENTRIES:
        raise InputError(f"the mix has {len(entries)} entries, it must have 1 to {MAX_ENTRIES:,}")
    return tuple(entries)


def _item(told: object) -> tuple[Entry, ...]:
    return (_table(cast("Mapping[str, object]", told)),) if isinstance(told, dict) else read_mix(told)


def read_entry(text: str) -> Entry:
    """Read one entry.

    Raises:
        InputError: Something in it has no meaning.
    """
    work, *fields = [field.strip() for field in _split(text, ":")]
    given: dict[str, Any] = {"work": work}
    match = _WEIGHT.fullmatch(fields[-1] if fields else work)
    if match is not None and (fields or match["rest"].isidentifier()):
        given["weight"] = float(match["weight"])
        if fields:
            fields[-1] = match["rest"].strip()
        else:
            given["work"] = match["rest"].strip()
    for field in fields:
        key = _kind(field, text.strip())
        if key in given:
            raise InputError(f"the entry {text.strip()[:60]!r} of the mix has two of its kind: {given[key]}, {field}")
        given[key] = field
    return _table(given)


def _kind(field: str, entry: str) -> str:
    """Return which field of an entry a text is."""
    if "*" in field:
        weight = field.rpartition("*")[2].strip()
        raise InputError(f"the entry {entry[:60]!r} of the mix has the weight {weight[:40]!r}, it is no number above 0")
    if field in list(Transport):
        return "transport"
    if field in DTYPES:
        return "dtype"
    if split_quantity(field) is not None or _SHAPE.fullmatch(field):
        return "size"
    known = (*Transport, *(name for name in DTYPES if len(name) > 2))
    text = f"{field[:40]!r} is no size, dtype or transport: {nearest(field, known)}"
    raise InputError(f"the entry {entry[:60]!r} of the mix: {text}")


_KEYS: Final = ("work", "size", "dtype", "transport", "weight")


def _table(given: Mapping[str, object]) -> Entry:
    unknown = [key for key in given if key not in _KEYS]
    if unknown:
        raise InputError(f"an entry of the mix has no key {unknown[0][:40]!r}: {nearest(unknown[0], _KEYS)}")
    texts = {key: str(given[key]).strip() for key in ("work", "size", "dtype", "transport") if key in given}
    if not texts.get("work"):
        raise InputError("an entry of the mix names no work: an operation or an expression")
    if texts.get("transport", Transport.AUTO) not in list(Transport):
        raise InputError(
            f"there is no transport {texts['transport'][:40]!r}: {nearest(texts['transport'], (*Transport,))}"
        )
    if texts.get("dtype") and texts["dtype"] not in DTYPES:
        raise InputError(f"there is no dtype {texts['dtype'][:40]!r}: {nearest(texts['dtype'], DTYPES)}")
    _check_size(texts["work"], texts.setdefault("size", SIZE))
    weight = given.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight < math.inf:
        raise InputError(f"the entry {texts['work'][:60]!r} of the mix has the weight {weight}, it must be more than 0")
    return Entry(
        work=texts["work"],
        size=texts["size"],
        dtype=texts.get("dtype", ""),
        transport=Transport(texts.get("transport", Transport.AUTO)),
        weight=float(weight),
    )


def _check_size(work: str, size: str) -> None:
    """Check that arrays of a size have elements, and no more than a machine may have."""
    shape = tuple(map(int, size.split("x"))) if _SHAPE.fullmatch(size) else (read_bytes(size),)
    if 0 in shape:
        raise InputError(f"the entry {work[:60]!r} of the mix has the size {size[:40]}: its arrays would be empty")
    if math.prod(shape) > MAX_BYTES:
        raise InputError(
            f"the entry {work[:60]!r} of the mix has the size {size[:40]}: each array may have "
            f"{bytes_text(MAX_BYTES)} at most"
        )


def _split(text: str, separator: str) -> Iterator[str]:
    """Return the parts of a text between separators that are in no brackets."""
    depth, begin = 0, 0
    for place, char in enumerate(text):
        depth += (char in _OPEN) - (char in _CLOSE)
        if char == separator and depth == 0:
            yield text[begin:place]
            begin = place + 1
    yield text[begin:]
