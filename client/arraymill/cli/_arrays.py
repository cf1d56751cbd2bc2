"""The commands of arrays that the server keeps: `put`, `get`, `list`, `delete`, which takes jobs as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import click

from arraymill import Array, ArrayInfo, AsyncClient, asarray
from arraymill._quantities import bytes_text
from arraymill.cli._each import Outcomes, each_of, tell_outcomes
from arraymill.cli._input import open_array
from arraymill.cli._job import Operand, Work, run_work
from arraymill.cli._options import OUTPUT, SECONDS, Settings, connected
from arraymill.cli._progress import progress_bar
from arraymill.cli._session import converse
from arraymill.cli._show import seconds_text, shape_text, show_json, show_table
from arraymill_proto.errors import ArrayNotFoundError, JobNotFoundError


@click.command()
@click.argument("file")
@click.option("--key", help="The array of an .npz file; as FILE.npz:KEY.")
@click.option("--name", help="A name that is free; without it the array has an id only.")
@click.option("--ttl", type=SECONDS, metavar="SECONDS", help="Time to live after the last use. [default: the server's]")
@connected
def put(settings: Settings, file: str, key: str | None, name: str | None, ttl: float | None) -> None:
    """Keep the array of a file on the server, and print its name or id."""
    if name == "":
        raise click.UsageError("--name is empty: give a name, or leave it out")
    source = open_array(file, key)

    async def work(mill: AsyncClient) -> str:
        with progress_bar("put", total_bytes=source.array.nbytes, quiet=settings.quiet) as report:
            handle = await mill.put(source.array, name=name, ttl=ttl, timeout=settings.timeout, progress=report)
        return handle.name or handle.id

    kept = converse(settings, work)
    if settings.as_json:
        show_json({"name": kept})
    else:
        click.echo(kept)


@click.command()
@click.argument("name")
@click.option("-o", "--output", type=OUTPUT, required=True, help="The .npy file to write.")
@connected
def get(settings: Settings, name: str, output: Path) -> None:
    """Fetch an array from the server into a file.

    For a part of it: arraymill compute 'x[1000:2000]' x=@NAME -o OUT.npy
    """

    def build(operands: Mapping[str, Operand]) -> Array:
        return asarray(operands["x"])

    run_work(settings, Work("get", {"x": f"@{name}"}, build, output))


@click.command("list")
@connected
def list_arrays(settings: Settings) -> None:
    """List the arrays that the server keeps."""
    arrays = converse(settings, lambda mill: mill.list(timeout=settings.timeout))
    if settings.as_json:
        show_json([array_document(info) for info in arrays])
    else:
        show_table(("name", "id", "dtype", "shape", "size", "expires in"), [_row(info) for info in arrays])


def _row(info: ArrayInfo) -> tuple[object, ...]:
    size, left = bytes_text(info.nbytes), seconds_text(info.expires_in_seconds)
    return info.name or "-", info.id, info.dtype, shape_text(info.shape), size, left


def array_document(info: ArrayInfo) -> dict[str, Any]:
    """Return a resident array as JSON can say it."""
    return {**asdict(cast("Any", info)), "dtype": info.dtype.name}


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME|ID...")
@connected
def delete(settings: Settings, names: tuple[str, ...]) -> None:
    """Delete arrays from the server, and submitted jobs that have ended with their results.

    An array goes by its name or id, a job by its id; jobs that read an array end undisturbed. Tries each, whatever
    becomes of the others; the last error tells the exit code.
    """

    async def work(mill: AsyncClient) -> Outcomes:
        return await each_of(names, lambda name: delete_one(mill, name, settings.timeout))

    tell_outcomes(settings, converse(settings, work))


async def delete_one(mill: AsyncClient, name: str, timeout: float | None) -> dict[str, Any]:
    """Delete an array, else a job; no array has a name that could be the id of a job.

    It is asked first which of them it is: an array that is not there counts as deleted where the call was made twice.

    Raises:
        ArraymillError: There is neither; or what the server or the connection has to say.
    """
    try:
        array = await mill.array(name, timeout=timeout)
    except ArrayNotFoundError as exc:
        try:
            job = await mill.job(name, timeout=timeout)
        except JobNotFoundError:
            raise ArrayNotFoundError(
                f"there is neither an array nor a submitted job {name!r}: see arraymill list and arraymill jobs"
            ) from exc
        await job.delete(timeout=timeout)
        return {"id": name, "deleted": "job"}
    await mill.delete(array, timeout=timeout)
    return {"id": name, "deleted": "array"}
