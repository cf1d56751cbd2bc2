"""The commands of submitted jobs against a real server: `jobs`, `watch`, `cancel`."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import arraymill as am
from arraymill.cli._command import run
from arraymill.cli._exit_codes import ExitCode

X = np.arange(1000.0)


def ends(code: ExitCode, *arguments: str) -> None:
    assert run(arguments) == code


def starving(mill: am.Client) -> am.Job:
    """A job that waits for its input: its client has gone."""
    with am.Client(mill.address) as gone:
        job = gone.submit(am.asarray(np.ones(20_000_000)).sum(), key="starving")
    return mill.job(job.id)


def test_an_empty_table(mill: am.Client, capsys: pytest.CaptureFixture[str]) -> None:
    ends(ExitCode.OK, "jobs")
    assert capsys.readouterr().out == "id  key  priority  age  state\n"
    ends(ExitCode.OK, "jobs", "--json")
    assert capsys.readouterr().out == "[]\n"


def test_jobs_in_a_table_and_as_json(mill: am.Client, capsys: pytest.CaptureFixture[str]) -> None:
    done = mill.submit(am.asarray(X).sum(), key="nightly-7", priority=9)
    failed = mill.submit(am.asarray(np.arange(3)) ** am.asarray(-np.arange(3)))
    waiting = starving(mill)
    for job in (done, failed):
        job.wait()
    ends(ExitCode.OK, "jobs")
    header, first, second, third = capsys.readouterr().out.splitlines()
    assert header.split() == ["id", "key", "priority", "age", "state"]
    assert first.split()[:3] == [done.id, "nightly-7", "9"]
    assert first.endswith("succeeded")
    assert second.split()[:3] == [failed.id, "-", "5"]
    assert "failed: " in second
    assert "negative integer powers" in second
    assert third.split()[:2] == [waiting.id, "starving"]
    assert "running, 0 of " in third

    ends(ExitCode.OK, "jobs", "--json")
    one, other, last = json.loads(capsys.readouterr().out)
    assert (one["id"], one["state"], one["result_count"]) == (done.id, "succeeded", 1)
    assert "results" not in one
    assert one["times"]["total"] > 0
    assert other["error"]["reason"] == "COMPUTATION"
    assert (last["state"], last["input_bytes"], last["times"]) == ("running", 160_000_000, None)


def test_the_table_fits_a_terminal(mill: am.Client) -> None:
    mill.submit(am.asarray(np.arange(3)) ** am.asarray(-np.arange(3)), key="k" * 128).wait()
    controller, terminal = pty.openpty()
    environment = {**os.environ, "COLUMNS": "70"}
    subprocess.run([sys.executable, "-m", "arraymill", "jobs"], stdout=terminal, env=environment, check=True)
    os.close(terminal)
    shown = os.read(controller, 65536).decode()
    os.close(controller)
    assert all(len(line) <= 70 for line in shown.splitlines())
    assert "…" in shown


def test_watch_tells_every_state(mill: am.Client, capsys: pytest.CaptureFixture[str]) -> None:
    job = mill.submit(am.asarray(X).sum())
    job.wait()
    ends(ExitCode.OK, "watch", job.id)
    assert capsys.readouterr().out == f"{job.id}: succeeded\n"
    ends(ExitCode.OK, "watch", job.id, "--quiet")
    assert capsys.readouterr().out == ""
    ends(ExitCode.OK, "watch", job.id, "--json")
    assert json.loads(capsys.readouterr().out)["state"] == "succeeded"


def test_the_exit_code_of_watch_tells_how_the_job_ended(mill: am.Client, capsys: pytest.CaptureFixture[str]) -> None:
    failed = mill.submit(am.asarray(np.arange(3)) ** am.asarray(-np.arange(3)))
    ends(ExitCode.INPUT, "watch", failed.id)
    assert "negative integer powers" in capsys.readouterr().err
    cancelled = starving(mill)
    cancelled.cancel()
    ends(ExitCode.FAILED, "watch", cancelled.id)
    assert capsys.readouterr().err == f"arraymill: job {cancelled.id} was cancelled\n"
    ends(ExitCode.INPUT, "watch", "nothing")
    assert capsys.readouterr().err.startswith("arraymill: no submitted job 'nothing'")


def test_a_watch_may_end_before_the_job(mill: am.Client, capsys: pytest.CaptureFixture[str]) -> None:
    job = starving(mill)
    ends(ExitCode.DEADLINE, "watch", job.id, "--timeout", "0.3")
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{job.id}: running, 0 of ")
    assert captured.err == f"arraymill: job {job.id} had not ended after 0.3 s; as far as is known it goes on\n"
    assert not job.status().has_ended


def test_cancel(mill: am.Client, capsys: pytest.CaptureFixture[str]) -> None:
    job = starving(mill)
    ends(ExitCode.OK, "cancel", job.id)
    assert capsys.readouterr().out == f"{job.id}: cancelled\n"
    assert job.status().state is am.JobState.CANCELLED
    ends(ExitCode.OK, "cancel", job.id)
    assert capsys.readouterr().out == f"{job.id}: cancelled\n"
    ends(ExitCode.INPUT, "cancel", "nothing")
    assert "no submitted job 'nothing'" in capsys.readouterr().err
    ends(ExitCode.USAGE, "cancel")


def test_cancel_several_as_json(mill: am.Client, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = starving(mill), mill.submit(am.asarray(np.ones(20_000_000)).max())
    ends(ExitCode.OK, "cancel", first.id, second.id, "--json")
    told = json.loads(capsys.readouterr().out)
    assert [(each["id"], each["state"]) for each in told] == [(first.id, "cancelled"), (second.id, "cancelled")]


def test_cancel_tries_each(mill: am.Client, capsys: pytest.CaptureFixture[str]) -> None:
    done, waiting = mill.submit(am.asarray(X).sum()), starving(mill)
    done.wait()
    ends(ExitCode.INPUT, "cancel", done.id, waiting.id, "nothing")
    captured = capsys.readouterr()
    assert captured.out == f"{waiting.id}: cancelled\n"
    ended, absent = captured.err.splitlines()
    assert "no submitted job 'nothing'" in absent
    assert ended == f"arraymill: job {done.id} has ended already: it has succeeded"

    waiting.delete()
    other = starving(mill)
    ends(ExitCode.INPUT, "cancel", done.id, other.id, "--json")
    captured = capsys.readouterr()
    assert captured.err == "", "the document has it"
    refused, stopped = json.loads(captured.out)
    assert (refused["id"], refused["error"]["reason"]) == (done.id, "JOB_ENDED")
    assert (stopped["id"], stopped["state"]) == (other.id, "cancelled")


def test_a_timeout_bounds_every_question_of_cancel(mill: am.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    ask, told = am.AsyncClient.job, list[float | None]()

    async def job(mill: am.AsyncClient, id: str, *, timeout: float | None = None) -> am.AsyncJob:
        told.append(timeout)
        return await ask(mill, id, timeout=timeout)

    monkeypatch.setattr(am.AsyncClient, "job", job)
    ends(ExitCode.OK, "cancel", starving(mill).id, "--timeout", "20")
    assert told == [20]


def test_cancel_asks_nobody_twice(capsys: pytest.CaptureFixture[str]) -> None:
    ends(ExitCode.CONNECTION, "cancel", "a", "b", "--server", "127.0.0.1:1")
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_delete(mill: am.Client, capsys: pytest.CaptureFixture[str]) -> None:
    done, waiting, kept = mill.submit(am.asarray(X).sum(), key="again"), starving(mill), mill.put(X)
    done.wait()
    ends(ExitCode.INPUT, "delete", waiting.id, "nothing", done.id, kept.id)
    captured = capsys.readouterr()
    assert captured.out == ""
    running, absent = captured.err.splitlines()
    assert running.startswith(f"arraymill: job {waiting.id} is running; cancel it first")
    assert absent == (
        "arraymill: there is neither an array nor a submitted job 'nothing': see arraymill list and arraymill jobs"
    )
    assert [status.id for status in mill.jobs()] == [waiting.id]
    assert not mill.list(), "the results of the job are gone with it"


def test_delete_as_json(mill: am.Client, capsys: pytest.CaptureFixture[str]) -> None:
    done, kept = mill.submit(am.asarray(X).sum()), mill.put(X, name="delete/x")
    done.wait()
    ends(ExitCode.INPUT, "delete", "delete/x", done.id, "nothing", "--json")
    captured = capsys.readouterr()
    array, job, absent = json.loads(captured.out)
    assert (array, job) == ({"id": kept.name, "deleted": "array"}, {"id": done.id, "deleted": "job"})
    assert (absent["id"], absent["error"]["reason"]) == ("nothing", "ARRAY_NOT_FOUND")
    assert captured.err == ""


def test_no_array_is_named_like_a_job_that_would_be_deleted(mill: am.Client) -> None:
    job = mill.submit(am.asarray(X).sum())
    job.wait()
    with pytest.raises(am.ParameterError, match="may be the id of an array or a job"):
        mill.put(X, name=job.id)
    ends(ExitCode.OK, "delete", job.id)
    assert not mill.jobs()


# ------------------------------------------------------------------ from files to files


def test_submit_and_fetch(mill: am.Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.random.default_rng(1).random((300, 900))
    np.save(tmp_path / "x.npy", x)
    arguments = ("compute", "x.sum(axis=0)", f"x={tmp_path / 'x.npy'}", "--submit", "--key", "nightly")
    ends(ExitCode.OK, *arguments)
    id = capsys.readouterr().out.strip()
    ends(ExitCode.OK, *arguments, "--json")
    assert json.loads(capsys.readouterr().out) == {"id": id}
    ends(ExitCode.OK, "watch", id, "-o", str(tmp_path / "out.npy"))
    assert capsys.readouterr().out == f"{id}: succeeded\n"
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), x.sum(axis=0))
    assert (mill.job(id).status().input_bytes, mill.job(id).key) == (x.nbytes, "nightly")


def test_what_is_said_about_a_submission(mill: am.Client, capsys: pytest.CaptureFixture[str]) -> None:
    ends(ExitCode.OK, "compute", "1 + 1", "--submit", "--priority", "9", "--deadline", "3000", "--ttl", "77")
    job = mill.job(capsys.readouterr().out.strip())
    status = job.wait()
    assert (status.priority, status.results[0].ttl_seconds) == (9, 77)


def test_a_file_is_made_of_one_result(mill: am.Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = mill.submit(am.asarray(X).sum(), am.asarray(X).max())
    ends(ExitCode.INPUT, "watch", job.id, "-o", str(tmp_path / "out.npy"))
    assert "has 2 results: fetch each by its id" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--submit", "-o", "out.npy"), "-o is not for --submit"),
        (("--key", "k"), "--key is for --submit"),
        (("--priority", "0"), "--priority is for --submit"),
        (("--deadline", "9"), "--deadline is for --submit"),
        (("--ttl", "9"), "--ttl is for --submit"),
        (("--submit", "--priority", "10"), "'--priority'"),
    ],
)
def test_options_that_do_not_fit(
    mill: am.Client, options: tuple[str, ...], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ends(ExitCode.USAGE, "compute", "1 + x", "x=1", *options)
    assert text in capsys.readouterr().err
