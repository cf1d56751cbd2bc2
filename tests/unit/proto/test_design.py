"""What proto/DESIGN.md says is so: its bytes are read, its tables are those of the code."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from arraymill_proto import limits
from arraymill_proto.bulk import Record, encode_header, encode_hello
from arraymill_proto.catalogue import ARRAY_PARAMS, OPERATIONS, Kind, infer
from arraymill_proto.checksums import checksum
from arraymill_proto.codec import graph_from_pb
from arraymill_proto.codec.values import write_param
from arraymill_proto.errors import ERRORS, STATUS, Reason
from arraymill_proto.fingerprints import BLOCK_BYTES, Fingerprint
from arraymill_proto.frames import Envelope, FrameView, decode, encode_frame
from arraymill_proto.graph import Graph, Input, NodeRef, Operation, ParamValue
from arraymill_proto.memory import HELLO, encode_message
from arraymill_proto.v1 import arraymill_pb2 as pb
from arraymill_proto.v1 import memory_pb2

PAGE = (Path(__file__).parents[3] / "proto" / "DESIGN.md").read_text()


def section(title: str) -> str:
    """Return what stands between the marks of a section."""
    found = re.search(rf"<!-- {title} -->\n(.*?)\n<!-- end -->", PAGE, re.DOTALL)
    assert found, f"no section {title}"
    return found[1]


def shown_bytes(title: str) -> bytes:
    """Return the bytes that a listing shows: the hexadecimal numbers at the start of its lines."""
    shown = re.findall(r"^ *((?:[0-9a-f]{2} ?)+)", section(title), re.MULTILINE)
    return bytes.fromhex("".join(shown))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def first_line(documented: object) -> str:
    return (inspect.getdoc(documented) or "").splitlines()[0]


def operations() -> str:
    """Return the tables of operations, by kind."""
    parts: list[str] = []
    for kind in Kind:
        rows = [
            [f"`{name}`", str(signature.max_args), ", ".join(signature.params), signature.summary.replace("|", "\\|")]
            for name, signature in OPERATIONS.items()
            if signature.kind is kind
        ]
        parts += [f"**{kind.capitalize()}** ({len(rows)}):", table(["name", "operands", "parameters", "value"], rows)]
    return "\n\n".join(parts)


def errors() -> str:
    rows = [
        [f"`{reason}`", STATUS[reason], f"`{ERRORS[reason].__name__}`", first_line(ERRORS[reason])] for reason in Reason
    ]
    return table(["reason", "status", "Python", "meaning"], rows)


SAMPLES: Mapping[str, Sequence[ParamValue]] = {
    "axis": [0, (0, 1)],
    "keepdims": [True],
    "dtype": [np.dtype("f8")],
    "ddof": [1, 0.5],
    "decimals": [2],
    "part": [1],
    **{name: [NodeRef(0)] for name in ARRAY_PARAMS},
}
"""A value of each kind that a parameter may have."""


def fields_of(name: str) -> str:
    messages = [pb.Param() for _ in SAMPLES[name]]
    for message, value in zip(messages, SAMPLES[name], strict=True):
        write_param(message, name, value)
    return " or ".join(f"`{message.WhichOneof('value')}`" for message in messages)


def test_the_fields_of_parameters() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| .+ \|$", section("parameters"), re.MULTILINE)
    assert dict(rows) == {name: fields_of(name) for name in SAMPLES}
    assert set(SAMPLES) == {name for signature in OPERATIONS.values() for name in signature.params}


def bounds() -> str:
    """Return the table of limits, from the constants and the strings under them."""
    body = ast.parse(inspect.getsource(limits)).body
    rows: list[list[str]] = []
    for constant, text in pairwise(body):
        if isinstance(constant, ast.AnnAssign) and isinstance(text, ast.Expr):
            name = ast.unparse(constant.target)
            rows.append(
                [f"`{name}`", f"{getattr(limits, name):,}", str(ast.literal_eval(text.value)).replace("\n", " ")]
            )
    return table(["name", "value", "meaning"], rows)


def fingerprints() -> str:
    """Return the table of examples."""
    examples = {
        "none": b"",
        '"mill"': b"mill",
        "1.5, 2.5 as float64": np.array([1.5, 2.5], "<f8").tobytes(),
        "2.5, 1.5 as float64": np.array([2.5, 1.5], "<f8").tobytes(),
        "0, 1, … 8192 as int64": np.arange(8193, dtype="<i8").tobytes(),
    }
    rows: list[list[str]] = []
    for name, data in examples.items():
        fingerprint = Fingerprint(len(data))
        for at in range(0, len(data), BLOCK_BYTES):
            fingerprint.add(data[at : at + BLOCK_BYTES])
        rows.append([name, f"`{fingerprint.value():016x}`"])
    return table(["bytes", "fingerprint"], rows)


@pytest.mark.parametrize("render", [operations, errors, bounds, fingerprints])
def test_tables_are_those_of_the_code(render: Callable[[], str]) -> None:
    expected = render()
    title = {"bounds": "limits"}.get(render.__name__, render.__name__)
    assert section(title).strip() == expected, f"section {title} should be:\n{expected}"


def test_the_first_request_is_what_it_says() -> None:
    request = pb.ComputeRequest.FromString(shown_bytes("bytes of ComputeRequest"))
    assert request.SerializeToString() == shown_bytes("bytes of ComputeRequest")
    graph = graph_from_pb(request.graph)
    inline = np.array([1.5, 2.5]).tobytes()
    assert graph == Graph((Input((2,), np.dtype("f8"), inline=inline), Operation("sum", (0,))), (1,))
    assert isinstance(graph.nodes[0], Input)
    assert graph.nodes[0].inline == inline


def test_the_frame_is_what_it_says() -> None:
    shown = shown_bytes("bytes of RunRequest")
    assert shown == encode_frame(3, 1, 2097152, b"mill", Envelope.REQUEST)
    assert decode(shown, Envelope.REQUEST) == FrameView(3, 1, 2097152, memoryview(b"mill"))
    assert encode_frame(3, 1, 2097152, b"mill", Envelope.RESPONSE)[:1].hex() in PAGE


def test_the_bytes_of_the_bulk_lane() -> None:
    assert shown_bytes("bytes of hello") == encode_hello(bytes(range(32)))
    assert shown_bytes("bytes of record") == encode_header(
        Record(want=3, index=1, offset=2097152, length=4, checksum=checksum(b"mill"))
    )


def test_the_bytes_of_the_same_host_lane() -> None:
    assert " ".join(f"{byte:02x}" for byte in HELLO) in PAGE
    release = memory_pb2.MemoryRequest(release=memory_pb2.Release(segment=2))
    assert shown_bytes("bytes of release") == encode_message(release)


def test_every_module_is_named() -> None:
    package = Path(inspect.getfile(limits)).parent
    modules = {path.stem for path in package.iterdir() if not path.name.startswith(("_", "py."))}
    assert set(re.findall(r"^\| `(\w+)` \|.*\|.*\|$", PAGE.split("## The story")[0], re.MULTILINE)) == modules


def test_infer_documents_what_it_raises() -> None:
    for name in re.findall(r"\b\w+Error\b", infer.__doc__ or ""):
        assert name in {cls.__name__ for cls in ERRORS.values()} | {"ArraymillError"}
