"""What becomes of standard output changes neither a command's files nor its exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from routerspec import cli
from routerspec.commands.output import Output, shielded
from routerspec.processes.own_code import own_environment, own_python
from tests.corpus.make import HISTORIES

GOOD, BAD = HISTORIES / "good" / "cap-held-on-every-route", HISTORIES / "bad" / "cap--streams"
HELD, VIOLATED, HARNESS_ERROR = 0, 1, 4


@pytest.fixture
def closed_pipe() -> Iterator[TextIO]:
    """The end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        yield stream


@pytest.fixture
def unread(closed_pipe: TextIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", closed_pipe)


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("judge", str(BAD)), VIOLATED),
        (("judge", str(BAD), "--format", "json"), VIOLATED),
        (("judge", str(GOOD)), HELD),
        (("compare", str(BAD), str(BAD)), 1),
        (("compare", str(GOOD), str(BAD), "--format", "json"), 1),
        (("compare", str(GOOD), str(BAD), "--format", "markdown"), 1),
        (("list",), 0),
        (("explain", "cap/streams"), 0),
        (("targets", "--schema"), 0),
    ],
    ids=str,
)
@pytest.mark.usefixtures("unread")
def test_nobody_reads_what_is_printed(command: tuple[str, ...], status: int) -> None:
    assert cli.main(command) == status


@pytest.mark.usefixtures("unread")
def test_a_report_is_written_though_nobody_reads_the_verdict(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.xml", "b.md", "c.html")]
    options = [
        w
        for o, f in zip(("junit", "markdown", "html"), files, strict=True)
        for w in (f"--{o}", str(f))
    ]
    assert cli.main(["judge", str(BAD), "--format", "json", *options]) == VIOLATED
    assert all(file.stat().st_size for file in files)


def test_a_whole_process_whose_reader_has_gone(closed_pipe: TextIO, tmp_path: Path) -> None:
    """Also when Python flushes what is left at its own end."""
    report = tmp_path / "report.xml"
    done = subprocess.run(
        own_python("-m", "routerspec", "judge", str(BAD), "--junit", str(report)),
        stdout=closed_pipe,
        stderr=subprocess.PIPE,
        env=own_environment(),
        check=False,
    )
    assert (done.returncode, done.stderr) == (VIOLATED, b"")
    assert report.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_verdict_that_finds_no_room_is_a_harness_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("/dev/full").open("w") as full, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", full)
        assert cli.main(["judge", str(GOOD)]) == HARNESS_ERROR
    assert "Standard output cannot be written: No space left" in capsys.readouterr().err


def test_closed_streams_go_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was meant for stderr must not turn up on stdout, as ``print`` does it."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with shielded():
        print("a")
        print("b", file=sys.stderr)


def test_a_large_text_into_a_closed_pipe(closed_pipe: TextIO) -> None:
    stream = Output(closed_pipe, wanted=True)
    stream.write("x" * 100_000)
    stream.flush()
