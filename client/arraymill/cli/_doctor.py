"""The command `doctor`: looks at this client, the server and the way between them, and says when to send."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic

import click

from arraymill import Advice, AsyncClient, LinkFigures, ServerInfo
from arraymill._address import is_same_host, resolve
from arraymill.cli._doctor_findings import Finding, Level, show_findings
from arraymill.cli._doctor_machine import (
    Machine,
    check_clock_source,
    check_limits,
    check_shared_memory,
    check_socket,
    check_threads,
)
from arraymill.cli._doctor_server import (
    Meeting,
    check_address,
    check_clocks,
    check_lane,
    check_server,
    unreachable,
)
from arraymill.cli._doctor_table import document, show_advice, standard_operations
from arraymill.cli._exit_codes import ExitCode, exit_code
from arraymill.cli._options import Settings, connected
from arraymill.cli._server import HEALTH_SECONDS, ask_health
from arraymill.cli._session import converse
from arraymill.cli._show import show_json
from arraymill_proto.errors import ArraymillError


@dataclass(slots=True)
class Examination:
    """What is known so far of the server; where an error ends it, what was known before still counts."""

    info: ServerInfo | None = None
    meetings: list[Meeting] = field(default_factory=list[Meeting])
    advice: dict[str, Advice] = field(default_factory=dict[str, Advice])
    error: ArraymillError | None = None

    @property
    def link(self) -> LinkFigures | None:
        """What was measured of the wire."""
        return next((advice.link for advice in self.advice.values()), None)

    async def examine(self, mill: AsyncClient, timeout: float | None) -> None:
        """Ask, measure and ask again."""
        await self._meet(mill, timeout)
        for name, expression in standard_operations().items():
            self.advice[name] = await mill.advise(expression, timeout=timeout)
        await self._meet(mill, timeout)

    async def _meet(self, mill: AsyncClient, timeout: float | None) -> None:
        begin = monotonic()
        self.info = await mill.info(timeout=timeout)
        end = monotonic()
        self.meetings.append(Meeting((begin + end) / 2, end - begin, self.info.uptime_seconds))


@click.command()
@connected
def doctor(settings: Settings) -> None:
    """Check this client and the server, and say for which sizes sending is worth it.

    Measures for some seconds. Exit code 0 when there is no problem, 1 when there is one, and that of the error when no
    server answers; notes are no problems. --timeout bounds each question and each measurement.
    """
    address = resolve(settings.server)
    seen = examined(settings)
    found = all_findings(address, settings, seen)
    is_well = all(finding.level is not Level.PROBLEM for finding in found)
    if settings.as_json:
        told = {"server": address, "is_well": is_well, "findings": list(map(asdict, found))}
        show_json({**told, **document(seen.link, seen.advice)})
    elif settings.quiet:
        show_findings([finding for finding in found if finding.level is not Level.OK])
    else:
        show_findings(found)
        if seen.link:
            show_advice(seen.link, seen.advice)
    failed = exit_code(seen.error) if seen.error else ExitCode.FAILED
    raise click.exceptions.Exit(ExitCode.OK if is_well else failed)


def examined(settings: Settings) -> Examination:
    """Look at the server, as far as it lets us."""
    seen = Examination()
    try:
        converse(settings, lambda mill: seen.examine(mill, settings.timeout))
    except ArraymillError as error:
        seen.error = error
    return seen


def all_findings(address: str, settings: Settings, seen: Examination) -> list[Finding]:
    """Return what was found at the server and here."""
    machine = Machine.read()
    found = [check_address(address, settings.server)]
    if address.startswith("unix:"):
        found.append(check_socket(Path(address.removeprefix("unix:"))))
    found += _server_findings(address, settings, seen, machine)
    arena = seen.info.arena_bytes if seen.info and is_same_host(address) else None
    found += [check_limits(machine), check_shared_memory(machine, arena)]
    return [*found, check_threads(machine, os.environ), check_clock_source(machine)]


def _server_findings(address: str, settings: Settings, seen: Examination, machine: Machine) -> list[Finding]:
    found = [unreachable(address, seen.error)] if seen.error else []
    if seen.info:
        try:
            status = ask_health(address, settings.timeout or HEALTH_SECONDS)
        except ArraymillError as error:
            return [*found, unreachable(address, error)]
        found += check_server(seen.info, status, machine, address)
    if seen.info and seen.link:
        found.append(check_lane(seen.info, seen.link, address))
    if len(seen.meetings) > 1:
        found.append(check_clocks(seen.meetings[0], seen.meetings[-1]))
    return found
