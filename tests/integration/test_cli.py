"""Every command on real files against a real server: what it prints, what it writes, how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from servers import RunningServer

from arraymill.cli._command import run
from arraymill.cli._exit_codes import ExitCode
from arraymill_proto.catalogue import OPERATIONS, Kind

A: NDArray[np.float64] = np.random.default_rng(5).standard_normal((300, 700))
B: NDArray[np.float32] = np.random.default_rng(6).standard_normal((300, 700)).astype(np.float32)

Command = Callable[..., str]
"""Runs a command that must succeed and returns what it printed."""

Refused = Callable[..., tuple[int, str]]
"""Runs a command that must fail and returns its exit code and its one line."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: RunningServer) -> Iterator[Path]:
    """Files of all sorts in the current directory; nothing but files with names may be there at the end."""
    np.save(tmp_path / "a.npy", A)
    np.save(tmp_path / "b.npy", B)
    np.save(tmp_path / "mask.npy", A > 0)
    np.savez(tmp_path / "two.npz", a=A, b=B)
    np.savez_compressed(tmp_path / "packed.npz", b=B)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARRAYMILL_SERVER", server.address)
    yield tmp_path
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.fixture
def mill(capsys: pytest.CaptureFixture[str]) -> Command:
    def command(*arguments: str) -> str:
        code = run(arguments)
        captured = capsys.readouterr()
        assert (code, captured.err) == (ExitCode.OK, "")
        return captured.out

    return command


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    def command(*arguments: str) -> tuple[int, str]:
        code = run(arguments)
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("arraymill: ")
        assert captured.err.count("\n") == 1
        return code, captured.err

    return command


def saved(name: str) -> Any:
    return np.load(name)


@pytest.mark.parametrize("name", [name for name, entry in OPERATIONS.items() if entry.kind is Kind.REDUCTION])
def test_every_reduction_is_a_command(name: str, mill: Command) -> None:
    assert float(mill(name, "a.npy").replace("True", "1")) == pytest.approx(float(getattr(np, name)(A)), rel=1e-12)
    mill(name, "a.npy", "--axis", "0", "-o", "out.npy")
    expected = getattr(np, name)(A, axis=0)
    assert saved("out.npy").dtype == expected.dtype
    np.testing.assert_allclose(saved("out.npy"), expected, rtol=1e-12, atol=1e-12)


def test_reductions_take_numpys_parameters(mill: Command) -> None:
    mill("sum", "two.npz:b", "--axis", "0,1", "--dtype", "float64", "--keepdims", "-o", "out.npy")
    np.testing.assert_allclose(saved("out.npy"), B.sum(axis=(0, 1), dtype="f8", keepdims=True))
    mill("var", "two.npz", "--key", "a", "--axis=-1", "--ddof", "1", "-o", "out.npy")
    np.testing.assert_allclose(saved("out.npy"), A.var(axis=-1, ddof=1))
    assert float(mill("sum", "a.npy", "--where", "mask.npy", "--initial", "2.5")) == pytest.approx(A[A > 0].sum() + 2.5)


def test_scalars_are_printed_in_full(mill: Command) -> None:
    assert mill("max", "a.npy") == f"{A.max()}\n"
    assert mill("max", "b.npy") == str(B.max()) + "\n"
    assert mill("count_nonzero", "mask.npy") == f"{np.count_nonzero(A > 0)}\n"
    assert mill("all", "mask.npy") == "False\n"


def test_long_arrays_are_summarised_and_json_is_complete(mill: Command) -> None:
    assert mill("mean", "two.npz:a", "--axis", "0").count("...") == 0
    assert "..." in mill("compute", "a[:3]", "a=a.npy")
    document = json.loads(mill("max", "a.npy", "--axis", "0", "--json"))
    assert document["shape"] == [700]
    assert document["dtype"] == "float64"
    np.testing.assert_array_equal(document["value"], A.max(axis=0))
    assert json.loads(mill("compute", "a.max() * nan", "a=a.npy", "--json"))["value"] == "nan"


def test_compressed_members_are_read(mill: Command) -> None:
    assert mill("max", "packed.npz") == str(B.max()) + "\n"


def test_an_expression_of_several_files_is_written_to_a_file(mill: Command) -> None:
    text = mill("compute", "sqrt(a*a + b*b).mean(axis=0)", "a=a.npy", "b=two.npz:b", "-o", "out.npy")
    assert text == "out.npy: float64 (700,), 5.47 KiB\n"
    np.testing.assert_allclose(saved("out.npy"), np.sqrt(A * A + B * B).mean(axis=0), rtol=1e-12)


def test_an_expression_of_two_passes_is_written_to_a_file(mill: Command) -> None:
    assert mill("compute", "(x - x.mean()) / x.std()", "x=a.npy", "-o", "out.npy", "--quiet") == ""
    np.testing.assert_allclose(saved("out.npy"), (A - A.mean()) / A.std(), rtol=1e-9, atol=1e-12)
    document = json.loads(mill("compute", "x + k", "x=a.npy", "k=3", "-o", "out.npy", "--json"))
    assert document == {"file": "out.npy", "shape": [300, 700], "dtype": "float64"}
    np.testing.assert_array_equal(saved("out.npy"), A + 3)


def test_transforms_and_scans(mill: Command) -> None:
    mill("transform", "abs", "a.npy", "-o", "out.npy")
    np.testing.assert_array_equal(saved("out.npy"), np.abs(A))
    mill("transform", "add", "a.npy", "2", "-o", "out.npy")
    np.testing.assert_array_equal(saved("out.npy"), A + 2)
    mill("transform", "cumsum", "a.npy", "--axis", "1", "-o", "out.npy")
    np.testing.assert_allclose(saved("out.npy"), A.cumsum(axis=1), atol=1e-12)
    mill("transform", "clip", "a.npy", "--min", "b.npy", "--max", "0.5", "-o", "out.npy")
    np.testing.assert_array_equal(saved("out.npy"), np.clip(A, B, 0.5))
    mill("transform", "where", "mask.npy", "a.npy", "b.npy", "-o", "out.npy")
    np.testing.assert_array_equal(saved("out.npy"), np.where(A > 0, A, B))
    mill("transform", "modf", "a.npy", "--part", "1", "-o", "out.npy")
    np.testing.assert_array_equal(saved("out.npy"), np.modf(A)[1])
    mill("transform", "round", "a.npy", "--decimals", "2", "-o", "out.npy")
    np.testing.assert_array_equal(saved("out.npy"), A.round(2))


def test_an_input_file_may_be_the_output_file(mill: Command) -> None:
    mill("transform", "negative", "a.npy", "-o", "a.npy")
    np.testing.assert_array_equal(saved("a.npy"), -A)


def test_fortran_order_stays(mill: Command) -> None:
    np.save("f.npy", np.asfortranarray(A))
    mill("transform", "square", "f.npy", "-o", "out.npy")
    assert saved("out.npy").flags.f_contiguous
    np.testing.assert_array_equal(saved("out.npy"), A * A)


@pytest.mark.parametrize("x", [np.array(3.5), np.zeros((0, 4)), np.arange(7, dtype=">i2"), np.array(True)])
def test_small_odd_and_empty_arrays(x: NDArray[Any], mill: Command) -> None:
    np.save("x.npy", x)
    mill("compute", "x + x", "x=x.npy", "-o", "out.npy")
    np.testing.assert_array_equal(saved("out.npy"), x + x)
    assert saved("out.npy").dtype == (x + x).dtype.newbyteorder("=")


def test_resident_arrays(mill: Command, refused: Refused) -> None:
    assert mill("put", "a.npy", "--name", "demo/a", "--ttl", "60") == "demo/a\n"
    nameless = mill("put", "two.npz:b").strip()
    assert json.loads(mill("put", "mask.npy", "--name", "m", "--json")) == {"name": "m"}
    listed = {entry["id"]: entry for entry in json.loads(mill("list", "--json"))}
    assert listed[nameless]["shape"] == [300, 700]
    assert {"demo/a", "m"} <= {entry["name"] for entry in listed.values()}
    assert "float64" in mill("list")
    mill("get", "demo/a", "-o", "out.npy")
    np.testing.assert_array_equal(saved("out.npy"), A)
    mill(
        "compute",
        "(x[10:20, ::2] * y[:1, ::2] + z[10:20, ::2])",
        "x=@demo/a",
        f"y=@{nameless}",
        "z=a.npy",
        "-o",
        "o.npy",
    )
    np.testing.assert_array_equal(saved("o.npy"), A[10:20, ::2] * B[:1, ::2] + A[10:20, ::2])
    assert float(mill("sum", "@demo/a", "--where", "@m")) == pytest.approx(A[A > 0].sum())
    assert refused("put", "a.npy", "--name", "m")[0] == ExitCode.INPUT
    assert mill("delete", "demo/a", "m", nameless) == ""
    code, line = refused("get", "m", "-o", "out.npy")
    assert code == ExitCode.INPUT
    assert "'m'" in line


def test_info_tells_versions_limits_and_operations(mill: Command) -> None:
    text = mill("info")
    assert "128 MiB" in text
    assert f"{len(OPERATIONS)} " in text
    table = mill("info", "--operations").splitlines()
    assert len(table) == len(OPERATIONS) + 1
    assert any(line.startswith("arctan2 ") for line in table)
    assert "0 B of " in text
    assert "run jobs" in text
    document = json.loads(mill("info", "--json"))
    assert document["workers"] == 2
    assert document["connections"] >= 1
    assert document["resident_budget_bytes"] > 0
    assert document["worker_endings"] == {}
    assert {entry["name"] for entry in document["operations"]} == set(OPERATIONS)


def test_health(mill: Command, server: RunningServer) -> None:
    assert mill("health") == f"{server.address}: SERVING\n"
    assert mill("health", "--quiet") == ""
    assert json.loads(mill("health", "--json"))["status"] == "SERVING"


def test_without_a_server_health_says_what_the_others_say(refused: Refused) -> None:
    health, info = (refused(name, "--server", "127.0.0.1:1", "--timeout", "2") for name in ("health", "info"))
    assert health == info
    assert health[0] == ExitCode.CONNECTION


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["sum", "none.npy"], ExitCode.INPUT, "none.npy: No such file"),
        (["sum", "."], ExitCode.INPUT, "Is a directory"),
        (["sum", "two.npz"], ExitCode.INPUT, "2 arrays"),
        (["sum", "two.npz:c"], ExitCode.INPUT, "'c'"),
        (["sum", "a.npy", "--axis", "5"], ExitCode.INPUT, "axis 5 is out of bounds"),
        (["sum", "a.npy", "--axis", "0,0"], ExitCode.INPUT, "axis"),
        (["sum", "a.npy", "--where", "a.npy"], ExitCode.INPUT, "boolean"),
        (["sum", "@nothing"], ExitCode.INPUT, "'nothing'"),
        (["compute", "a +", "a=a.npy"], ExitCode.INPUT, "column 4"),
        (["compute", "a + x", "a=a.npy"], ExitCode.INPUT, "names x"),
        (["compute", "a[:, :3] + b", "a=a.npy", "b=b.npy"], ExitCode.INPUT, "broadcast"),
        (["compute", "a ** -1", "a=@nothing"], ExitCode.INPUT, "'nothing'"),
        (["transform", "sqroot", "a.npy"], ExitCode.INPUT, "did you mean sqrt"),
        (["transform", "add", "a.npy"], ExitCode.INPUT, "takes 2 arguments"),
        (["transform", "invert", "a.npy", "-o", "o.npy"], ExitCode.INPUT, "not defined for float64"),
        (["min", "a.npy", "-o", "no/such/folder/o.npy"], ExitCode.INPUT, "No such file"),
        (["min", "a.npy", "-o", "/dev/null"], ExitCode.INPUT, "no regular file"),
        (["get", "nothing", "-o", "o.npy"], ExitCode.INPUT, "'nothing'"),
        (["delete", "nothing"], ExitCode.INPUT, "'nothing'"),
        (["put", "a.npy", "--name", "bad name"], ExitCode.INPUT, "name"),
        (["put", "a.npy", "--name", ""], ExitCode.USAGE, "--name is empty"),
        (["watch", "nothing", "-o", "no/such/folder/o.npy"], ExitCode.INPUT, "No such file"),
        (["watch", "x" * 5_000_000], ExitCode.INPUT, "id has 5,000,000 characters"),
        (["delete", "x" * 5_000_000], ExitCode.INPUT, "id has 5,000,000 characters"),
        (["sum", "a.npy", "--axis", "x"], ExitCode.USAGE, "'x' is no axis"),
        (["sum", "a.npy", "--dtype", "object"], ExitCode.USAGE, "'object' is no dtype"),
        (["sum", "a.npy", "--initial", "x"], ExitCode.USAGE, "'x' is no number"),
        (["sum", "a.npy", "--timeout", "0"], ExitCode.USAGE, "--timeout"),
        (["sum", "a.npy", "--bogus"], ExitCode.USAGE, "--bogus"),
        (["sum"], ExitCode.USAGE, "FILE"),
        (["frobnicate"], ExitCode.USAGE, "frobnicate"),
        (["compute", "a", "a"], ExitCode.USAGE, "NAME=FILE"),
        (["compute", "a", "1a=a.npy"], ExitCode.USAGE, "NAME=FILE"),
        (["get", "a"], ExitCode.USAGE, "--output"),
        (["sum", "a.npy", "--server", "127.0.0.1:1"], ExitCode.CONNECTION, "arraymill serve"),
        (["sum", "a.npy", "--server", "http://x"], ExitCode.INPUT, "host:port"),
        (["transform", "exp", "a.npy", "-o", "o.npy", "--timeout", "1e-6"], ExitCode.DEADLINE, "deadline"),
    ],
)
def test_what_is_wrong_is_one_line_and_a_code(
    arguments: list[str], code: ExitCode, words: str, refused: Refused
) -> None:
    ended, line = refused(*arguments)
    assert (ended, words in line) == (code, True), line


def test_large_results_are_not_printed(refused: Refused) -> None:
    with Path("huge.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (1 << 26,)})
        file.truncate(file.tell() + (1 << 29))
    code, line = refused("transform", "exp", "huge.npy")
    assert code == ExitCode.INPUT
    assert "512 MiB" in line
    assert "-o" in line


def test_what_can_never_fit_is_told_apart(refused: Refused) -> None:
    np.save("large.npy", np.zeros(20 << 20, np.float64))
    assert refused("put", "large.npy", "--name", "large")[0] == ExitCode.CAPACITY


def test_a_traceback_is_shown_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sum", "none.npy", "--traceback"]) == ExitCode.INPUT
    captured = capsys.readouterr()
    assert "Traceback" in captured.err
    assert captured.err.splitlines()[-1].startswith("arraymill: none.npy")


def test_help_names_every_command_and_exit_code(mill: Command, capsys: pytest.CaptureFixture[str]) -> None:
    text = mill("--help")
    for code in ExitCode:
        assert f"{code:>3}  " in text
    assert run([]) == ExitCode.USAGE
    assert "compute" in capsys.readouterr().err
