"""A contestant's process: `python -m suite.contestant NAME` reads and writes JSON, a line for each message.

                                     {"versions": {…}}                 at its start; {"missing": "…"} where it cannot
    {"do": "prepare", "task": {…}}   {"ready": true, "digest": …}      connects, and starts servers
    {"do": "run"}                    {"figures": {…}, "computed": …}   the work once
    {"do": "end"}                    {"ended": true}                   ends what `prepare` began; another may follow

Anything that fails is answered with {"error": "…"}. The first run of a task is checked against NumPy. At the end of its
input, and at SIGTERM, the process ends whatever it has begun.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
from contextlib import ExitStack
from typing import Any, TextIO

from suite.contestants import HOMES
from suite.data import check, digest, numbers
from suite.descent import adopt_orphans, be_first_to_go, die_with_parent
from suite.machine import versions
from suite.processes import private_stdout
from suite.task import Run, Task, Works
from suite.usage import CpuClock, memory_beside, peaks_of


class Desk:
    """Does what the messages say."""

    def __init__(self, works: Works) -> None:
        self._works = works
        self._stack = ExitStack()
        self._task = Task("", 0)
        self._run: Run | None = None
        self._computed: bool | None = None

    def prepare(self, task: dict[str, Any]) -> dict[str, Any]:
        """Make everything ready for a task; it is the caller who ends the one before."""
        self._task = Task(**task)
        work = self._works[self._task.work]
        self._computed = None
        self._run = self._stack.enter_context(work(self._task))
        return {"ready": True, "digest": digest(numbers(self._task.nbytes))}

    def run(self) -> dict[str, Any]:
        """Do the work once; the first answer is checked."""
        assert self._run is not None, "prepare comes first"
        gc.collect()
        clock = CpuClock()
        if self._task.measures_memory:
            with peaks_of(memory_beside(os.getpid())) as peaks:
                figures, answer = self._run()
            figures |= peaks
        else:
            figures, answer = self._run()
        figures |= clock.seconds()
        if self._computed is None:
            self._computed = check(self._task, answer)
        return {"figures": figures, "computed": self._computed}

    def end(self) -> dict[str, Any]:
        """End what `prepare` began."""
        self._run = None
        self._stack.close()
        return {"ended": True}


def serve(desk: Desk, messages: TextIO, answers: TextIO) -> None:
    """Answer every message until there are none."""
    for line in messages:
        message = json.loads(line)
        try:
            answer = getattr(desk, message.pop("do"))(**message)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def main() -> None:
    """Be one contestant."""
    adopt_orphans()
    die_with_parent()
    be_first_to_go()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    answers, home = private_stdout(), HOMES[sys.argv[1]]
    try:
        module = importlib.import_module(f"suite.contestants.{home.module}")
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), file=answers, flush=True)
        return
    desk = Desk(module.WORKS)
    print(json.dumps({"versions": versions(home.packages)}), file=answers, flush=True)
    try:
        serve(desk, sys.stdin, answers)
    finally:
        desk.end()


if __name__ == "__main__":
    main()
