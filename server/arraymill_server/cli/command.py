"""The command line of the server: flags, environment and a TOML file become one configuration."""

from __future__ import annotations

import atexit
import os
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import click
import uvloop

from arraymill_server import log
from arraymill_server.app.descriptors import allow_descriptors
from arraymill_server.app.exit_codes import MEANINGS, ExitCode
from arraymill_server.app.malloc import keep_freed_memory
from arraymill_server.app.server import serve
from arraymill_server.config import ConfigError, ServerConfig, Setting, settings

ENVIRONMENT = "ARRAYMILL_"

SWITCH_SECONDS: Final = 0.001
"""What the event loop waits for the interpreter while a thread plans a large graph; it waits some times for each call.
By default 5 ms: other calls then took 20 to 57 ms (p99), with 1 ms 12 to 16 ms, and 140 ms when there was no thread."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the server's command; exits with one of `ExitCode`."""
    command.main(args=arguments, prog_name="arraymill serve")


def _options(function: Callable[..., None]) -> Callable[..., None]:
    for setting in reversed(settings()):
        function = _option(setting)(function)
    return function


def _option(setting: Setting) -> Callable[[Callable[..., None]], Callable[..., None]]:
    common: dict[str, Any] = {"envvar": ENVIRONMENT + setting.key.upper(), "show_envvar": True}
    if setting.is_switch:
        return click.option(setting.flag, setting.key, is_flag=True, default=None, help=setting.help, **common)
    default = f" [default: {setting.default}]" if setting.default else ""
    return click.option(
        setting.flag,
        setting.key,
        multiple=setting.key == "listen",
        metavar="|".join(setting.choices) or "VALUE",
        help=setting.help + default,
        **common,
    )


_EPILOG = "\b\nExit codes:\n" + "\n".join(f"{code.value:5}  {meaning}" for code, meaning in MEANINGS.items())


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, epilog=_EPILOG)
@_options
@click.option(
    "--config",
    "config_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar=ENVIRONMENT + "CONFIG",
    show_envvar=True,
    help="TOML file with the same names as the flags, without dashes. Flags and environment go first.",
)
@click.option("--exit-on-stdin-eof", is_flag=True, help="Stop when standard input ends: for servers of one parent.")
def command(config_file: Path | None, exit_on_stdin_eof: bool, **given: Any) -> None:
    """Start an arraymill server."""
    try:
        config = _configuration(config_file, given)
    except ConfigError as error:
        click.echo(f"arraymill: {error}", err=True)
        sys.exit(ExitCode.CONFIG)
    log.configure(config.log_level, config.log_format)
    keep_freed_memory()
    sys.setswitchinterval(SWITCH_SECONDS)
    allow_descriptors()
    _leave(uvloop.run(serve(config, exit_on_stdin_eof=exit_on_stdin_eof)))


def _configuration(config_file: Path | None, given: dict[str, Any]) -> ServerConfig:
    """Merge the file and what was given; what was given goes first."""
    merged: dict[str, object] = {}
    if config_file is not None:
        try:
            merged.update(tomllib.loads(config_file.read_text()))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
            raise ConfigError(f"{config_file} is not TOML: {exc}") from exc
    merged.update((key, value) for key, value in given.items() if value not in (None, ()))
    return ServerConfig.from_mapping(merged)


def _leave(code: ExitCode) -> NoReturn:
    """End the process without taking the interpreter apart.

    gRPC's poller thread lives as long as the process and may run while the interpreter is being torn down; a server
    that had stopped in order once ended with SIGSEGV that way, instead of its exit code.
    """
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]  # what others have registered must still run
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
