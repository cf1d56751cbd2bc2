from __future__ import annotations

from pathlib import Path

import pytest

from arraymill_server.engine.oom import MAX_SCORE, SERVER_SHARE, oom_score

GIB = 1 << 30


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "oom_score_adj"
    path.write_text("0\n")
    return path


def test_a_worker_outweighs_a_server_that_holds_the_arena(own: Path) -> None:
    assert oom_score(GIB, 4 * GIB, own=own) == SERVER_SHARE + 250
    assert oom_score(3 * GIB, 4 * GIB, own=own) == MAX_SCORE


@pytest.mark.parametrize(("score", "expected"), [("-400", 225), ("100", 725), ("900", MAX_SCORE)])
def test_the_server_s_own_score_is_the_base(own: Path, score: str, expected: int) -> None:
    own.write_text(score)
    assert oom_score(GIB, 8 * GIB, own=own) == expected


def test_without_proc_the_base_is_zero(tmp_path: Path) -> None:
    assert oom_score(GIB, 8 * GIB, own=tmp_path / "none") == SERVER_SHARE + 125
