"""The commands that compute: one per reduction, `transform`, `compute`."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from arraymill import Array
from arraymill._expression import apply
from arraymill._numpy import canonical
from arraymill._text.expression import Expression
from arraymill.cli._errors import InputError
from arraymill.cli._job import Operand, Work, run_work, submit_work
from arraymill.cli._options import OUTPUT, PARAMS, SECONDS, Settings, connected
from arraymill_proto.catalogue import ARRAY_PARAMS, OPERATIONS, Kind, Signature, signature_of
from arraymill_proto.limits import MAX_PRIORITY

_FILES_HELP = "FILE is an .npy file, FILE.npz:NAME a member of an .npz file, @NAME an array on the server."


def _output(function: Callable[..., None]) -> Callable[..., None]:
    return click.option("-o", "--output", type=OUTPUT, help="Write the result to this .npy file.")(function)


def reduction(signature: Signature) -> click.Command:
    """Return the command of one reduction."""

    def command(settings: Settings, file: str, key: str | None, output: Path | None, **params: Any) -> None:
        source = file if key is None else f"{file}:{key}"
        run_work(settings, _operation(signature.name, [source], params, output))

    command = click.argument("file")(connected(command))
    command = click.option("--key", help="The array of an .npz file; as FILE.npz:KEY.")(_output(command))
    for name in reversed(signature.params):
        command = PARAMS[name](command)
    summary = signature.summary[0].upper() + signature.summary[1:]
    return click.command(signature.name, help=f"{summary}.\n\n{_FILES_HELP}")(command)


REDUCTIONS = [reduction(signature) for signature in OPERATIONS.values() if signature.kind is Kind.REDUCTION]


def _transform_options(function: Callable[..., None]) -> Callable[..., None]:
    names = {name: None for entry in OPERATIONS.values() if entry.kind is not Kind.REDUCTION for name in entry.params}
    for name in reversed(names):
        function = PARAMS[name](function)
    return function


@click.command()
@click.argument("name")
@click.argument("operands", nargs=-1, required=True, metavar="FILE|NUMBER...")
@_output
@_transform_options
@connected
def transform(settings: Settings, name: str, operands: tuple[str, ...], output: Path | None, **params: Any) -> None:
    """Apply an operation to arrays, element by element or as a scan.

    NAME is NumPy's: sqrt, add, where, cumsum, … (arraymill info --operations lists them).
    FILE is an .npy file, FILE.npz:NAME a member of an .npz file, @NAME an array on the server; numbers stand for
    themselves.
    """
    known = signature_of(canonical(name)).name
    run_work(settings, _operation(known, list(operands), params, output))


def _operation(name: str, operands: list[str], params: Mapping[str, Any], output: Path | None) -> Work:
    """Return the work of one operation; array-valued parameters are sources too."""
    given = {key: value for key, value in params.items() if value is not None}
    masks = {key: value for key, value in given.items() if key in ARRAY_PARAMS and isinstance(value, str)}
    places = {str(place): source for place, source in enumerate(operands)}

    def build(values: Mapping[str, Operand]) -> Array:
        args = tuple(values[place] for place in places)
        return Array(apply(name, args, {**given, **{key: values[key] for key in masks}}))

    return Work(name, {**places, **masks}, build, output)


@click.command()
@click.argument("expression")
@click.argument("arrays", nargs=-1, metavar="NAME=FILE...")
@click.option("--submit", is_flag=True, help="Submit it as a job, print the job's id, and send the files.")
@click.option("--key", help="With --submit: a name that makes it one job however often it is submitted.")
@click.option("--priority", type=click.IntRange(0, MAX_PRIORITY), help="With --submit: 9 is first. [default: 5]")
@click.option("--deadline", type=SECONDS, metavar="SECONDS", help="With --submit: the server stops the job then.")
@click.option(
    "--ttl",
    type=SECONDS,
    metavar="SECONDS",
    help="With --submit: time to live of a result after its last use. [default: the server's]",
)
@_output
@connected
def compute(
    settings: Settings,
    expression: str,
    arrays: tuple[str, ...],
    *,
    submit: bool,
    output: Path | None,
    **terms: Any,
) -> None:
    """Compute an expression of arrays in one fused pass, or as few as it takes.

    \b
    arraymill compute 'sqrt(a*a + b*b).mean(axis=0)' a=A.npy b=B.npz:name -o OUT.npy
    arraymill compute '(x - x.mean()) / x.std()' x=@resident -o OUT.npy
    arraymill compute 'x.sum()' x=X.npy --submit --key nightly-7    (then: arraymill watch ID -o OUT.npy)

    Python's operators, NumPy's functions and methods, slices of the given arrays, and the constants pi, e, inf and nan.
    FILE is an .npy file, FILE.npz:NAME a member of an .npz file, @NAME an array on the server, or a number.
    """
    if submit and output is not None:
        raise click.UsageError("-o is not for --submit: give it to arraymill watch ID")
    given = {name: value for name, value in terms.items() if value is not None}
    if given and not submit:
        raise click.UsageError(f"--{next(iter(given))} is for --submit")
    sources = dict(map(_assignment, arrays))
    parsed = Expression(expression)
    unknown = sorted(parsed.unknown(frozenset(sources)))
    if unknown:
        raise InputError(f"the expression names {unknown[0]}: give {unknown[0]}=FILE.npy")
    work = Work("compute", sources, parsed.bind, output)
    if submit:
        submit_work(settings, work, given)
    else:
        run_work(settings, work)


def _assignment(text: str) -> tuple[str, str]:
    name, equals, source = text.partition("=")
    if not equals or not source or not name.isidentifier() or keyword.iskeyword(name):
        raise click.UsageError(f"{text!r} is not NAME=FILE, with a name as Python has them")
    return name, source
