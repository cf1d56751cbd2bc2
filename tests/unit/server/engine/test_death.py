from __future__ import annotations

import signal

import pytest

from arraymill_server.engine.death import FOREIGN_SIGNALS, LOSSES, STRIKES, Death, Ending


@pytest.mark.parametrize(
    ("code", "death"),
    [
        (0, Death(Ending.EXITED, "exited with code 0")),
        (3, Death(Ending.EXITED, "exited with code 3")),
        (None, Death(Ending.EXITED, "exited with code None")),
        (-signal.SIGKILL, Death(Ending.KILLED, "was ended by SIGKILL")),
        (-signal.SIGTERM, Death(Ending.KILLED, "was ended by SIGTERM")),
        (-signal.SIGSEGV, Death(Ending.CRASHED, "was ended by SIGSEGV")),
        (-signal.SIGABRT, Death(Ending.CRASHED, "was ended by SIGABRT")),
    ],
)
def test_exit_codes(code: int | None, death: Death) -> None:
    assert Death.by_itself(code, is_out_of_memory=False) == death


def test_the_kernel_takes_with_sigkill_only() -> None:
    endings = {code: Death.by_itself(-code, is_out_of_memory=True).ending for code in FOREIGN_SIGNALS}
    assert {code for code, ending in endings.items() if ending is Ending.OUT_OF_MEMORY} == {signal.SIGKILL}
    assert Death.by_itself(1, is_out_of_memory=True).ending is Ending.EXITED


def test_the_server_s_own_doings_are_held_against_no_task() -> None:
    assert STRIKES < LOSSES
    assert set(Ending) - LOSSES == {Ending.UNREADY, Ending.CANCELLED, Ending.RECYCLED, Ending.CLOSED}
    assert [ending for ending in LOSSES if Death(ending, "").is_foreign] == [
        ending for ending in LOSSES if ending not in STRIKES
    ]
