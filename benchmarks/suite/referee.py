"""Measures a row: starts who takes part, lets them take turns on the same data, and writes down what they say."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final, TypeAlias

from suite.contestants import HOMES
from suite.data import SEED
from suite.lineup import HELLO_SECONDS, Contestant, ContestantError, Lineup
from suite.machine import Onlooker, available_bytes, facts
from suite.results import Results, Round
from suite.row import GIB, Entry, Row
from suite.sizes import size_text
from suite.task import Figures, Task
from suite.turns import take_turns

PREPARE_SECONDS: Final = 240.0
RUN_SECONDS: Final = 300.0
END_SECONDS: Final = 60.0

ROOT: Final = Path(__file__).parents[1]


Present: TypeAlias = dict[str, tuple[Entry, Contestant]]
"""Who takes part, by label."""


class NotInstalledError(Exception):
    """A contestant's environment is not there."""


def command(name: str, environments: Path) -> tuple[list[str], dict[str, str]]:
    """Return what starts a contestant, and the variables of its environment.

    Args:
        name: Of the contestant.
        environments: Folder of the virtual environments of the peers.

    Raises:
        NotInstalledError: Its environment is not there.
    """
    home = HOMES[name]
    python = environments / home.environment / "bin" / "python" if home.environment else Path(sys.executable)
    if not python.exists():
        raise NotInstalledError(f"its environment {home.environment!r} is not there: make bench makes it")
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return [str(python), "-m", "suite.contestant", name], {"PYTHONPATH": path, **home.variables}


@dataclass(slots=True)
class Referee:
    """Measures rows."""

    lineup: Lineup
    start: Callable[[Lineup, str], Contestant]
    """Starts the contestant of a name; NotInstalledError where it cannot."""
    say: Callable[[str], None] = print
    random: Random = field(default_factory=lambda: Random(SEED))

    def measure(self, name: str, row: Row) -> Results:
        """Measure a row: all of its entries, with arrays of all of its sizes."""
        results, onlooker = Results(name, facts(), {}, row.warm_ups, []), Onlooker()
        present: Present = {}
        missing: dict[str, str] = {}
        try:
            self._start(row, present, missing)
            for label, (_, contestant) in list(present.items()):
                try:
                    results.versions[label] = self._greeting(contestant)
                except ContestantError as error:
                    self._skip(present, missing, label, error)
            for nbytes in row.sizes:
                results.sizes.append(self._measured(row, nbytes, present, missing))
        finally:
            for label in list(present):
                self._dismiss(present, label)
        results.machine["others_cores"] = onlooker.others_cores()
        return results

    def _start(self, row: Row, present: Present, missing: dict[str, str]) -> None:
        for entry in row.entries:
            try:
                present[entry.label] = entry, self.start(self.lineup, entry.contestant)
            except NotInstalledError as error:
                self._skip(present, missing, entry.label, error)

    def _skip(self, present: Present, missing: dict[str, str], label: str, error: Exception) -> None:
        missing[label] = str(error)
        self.say(f"  {label} is skipped: {error}")
        self._dismiss(present, label)

    def _greeting(self, contestant: Contestant) -> dict[str, str]:
        hello = contestant.hear(timeout=HELLO_SECONDS)
        if "versions" not in hello:
            raise ContestantError(str(hello.get("missing", f"said {hello}")))
        return dict(hello["versions"])

    def _dismiss(self, present: Present, label: str) -> None:
        if label in present:
            self.lineup.end(present.pop(label)[1])

    def _measured(self, row: Row, nbytes: int, present: Present, missing: dict[str, str]) -> Round:
        """Measure with arrays of one size."""
        gone = {
            entry.label: f"it is asked of arrays of at most {size_text(entry.largest)}"
            for entry in row.entries
            if not entry.takes(nbytes)
        }
        if (needed := row.needs_bytes(nbytes)) > (there := available_bytes()):
            why = f"all together need {needed / GIB:.1f} GiB of memory, {there / GIB:.1f} are there"
            self.say(f"  {size_text(nbytes)} is left out: {why}")
            return Round(nbytes, {}, {entry.label: why for entry in row.entries} | gone | missing)
        asked = {label: contestant for label, (_, contestant) in present.items() if label not in gone}
        self.say(f"  {size_text(nbytes)}: {', '.join(asked)}")
        gone |= self._prepare({label: row.task(present[label][0], nbytes) for label in asked}, asked)
        idle: set[str] = set()
        players = {
            label: self._player(label, contestant, idle) for label, contestant in asked.items() if label not in gone
        }
        scores = take_turns(players, rounds=row.rounds_at(nbytes), warm_ups=row.warm_ups, random=self.random)
        gone |= scores.missing
        for label in self._finish(asked, gone):
            missing[label] = gone[label]
            self._dismiss(present, label)
        order = [entry.label for entry in row.entries]
        samples = {label: scores.samples[label] for label in order if label in scores.samples}
        absent = {label: why for label, why in (missing | gone).items() if label not in samples}
        return Round(nbytes, samples, absent, [label for label in order if label in idle and label in samples])

    @staticmethod
    def _prepare(tasks: Mapping[str, Task], asked: Mapping[str, Contestant]) -> dict[str, str]:
        """Let everybody connect, all at the same time; return who could not. All must have the same data."""
        gone: dict[str, str] = {}
        digests: dict[str, Any] = {}
        for label, contestant in asked.items():
            contestant.tell({"do": "prepare", "task": tasks[label].to_json()})
        for label, contestant in asked.items():
            try:
                digests[label] = contestant.hear(timeout=PREPARE_SECONDS).get("digest")
            except ContestantError as error:
                gone[label] = str(error)
        if len(set(digests.values())) > 1:
            raise RuntimeError(f"the contestants have different data: {digests}")
        return gone

    def _finish(self, asked: Mapping[str, Contestant], gone: dict[str, str]) -> list[str]:
        """Let all end what they prepared, at the same time; return who takes no further part in the row."""
        sound = {label: contestant for label, contestant in asked.items() if contestant.is_sound}
        for contestant in sound.values():
            contestant.tell({"do": "end"})
        for label, contestant in sound.items():
            try:
                contestant.hear(timeout=END_SECONDS)
            except ContestantError as error:
                gone.setdefault(label, f"it could not end its work: {error}")
        for label in asked:
            if label in gone:
                self.say(f"  {label}: {gone[label]}")
        return [label for label, contestant in asked.items() if not contestant.is_sound]

    @staticmethod
    def _player(label: str, contestant: Contestant, idle: set[str]) -> Callable[[], Figures]:
        def run() -> Figures:
            answer = contestant.ask({"do": "run"}, timeout=RUN_SECONDS)
            if not answer.get("computed", True):
                idle.add(label)
            try:
                figures = {str(key): float(value) for key, value in answer["figures"].items()}
            except (KeyError, AttributeError, TypeError, ValueError):
                raise ContestantError(f"said {answer!r:.80}, which has no figures") from None
            if not figures.get("seconds", 0.0) > 0.0:
                raise ContestantError(f"said {figures!r:.80}, which has no time")
            return figures

        return run
