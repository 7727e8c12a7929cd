"""What a scenario asks about the router's process, and what is recorded of it."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from routerspec.errors import HarnessError
from routerspec.records.observations import Disturbance, RouterExit, RouterSignal
from routerspec.records.router_process import Ask, Reply, read_ask
from routerspec.scenarios.engine.router_process import Channel, RouterProcess, nobody

DRAINED = Reply(pid=7, before_ns=10, after_ns=11, signal="TERM")
RUNS = Reply(pid=7, before_ns=20, after_ns=20)
GONE = Reply(pid=7, before_ns=30, after_ns=30, exited_ns=25, exit_status=0)


def process(*replies: Reply) -> tuple[RouterProcess, list[Ask], list[Any]]:
    """One that gets these replies; what it asks, and what it records."""
    asked: list[Ask] = []
    recorded: list[Any] = []
    left = iter(replies)

    def asks(ask: Ask) -> Reply:
        asked.append(ask)
        return next(left)

    log: Any = SimpleNamespace(append=recorded.append)
    return RouterProcess(asks, log), asked, recorded


def test_signal_and_exit_are_recorded() -> None:
    router, asked, recorded = process(DRAINED, RUNS, GONE, GONE)
    router.drain(3)
    assert not router.has_exited()
    assert router.has_exited()
    router.note_exit(3)
    assert [ask.what for ask in asked] == ["drain", "state", "state", "state"]
    assert recorded == [
        RouterSignal(round=3, what="drain", pid=7, before_ns=10, after_ns=11, signal="TERM"),
        RouterExit(round=3, at_ns=25, status=0),
    ]


def test_a_router_that_runs_was_last_seen_now() -> None:
    router, _, recorded = process(RUNS)
    router.note_exit(3)
    assert recorded == [RouterExit(round=3, at_ns=20, status=None)]


def test_a_disturbance_is_recorded() -> None:
    router, asked, recorded = process(RUNS, RUNS)
    paused = router.disturb(3, "paused", replica=2)
    restarted = router.disturb(3, "restarted", service="redis")
    assert asked == [
        Ask(what="paused", replica=2), Ask(what="restarted", replica=0, service="redis")
    ]  # fmt: skip
    assert recorded == [paused, restarted]
    assert paused == Disturbance(round=3, what="paused", replica=2, before_ns=20, after_ns=20)
    assert (restarted.service, restarted.replica) == ("redis", 0)


def test_what_cannot_be_done_is_a_harness_error() -> None:
    failed = msgspec.structs.replace(RUNS, fault="The disk is full.")
    router, _, recorded = process(failed)
    with pytest.raises(HarnessError, match="disk is full"):
        router.reload(3, 6)
    assert recorded == []
    with pytest.raises(HarnessError):
        nobody(Ask(what="drain"))


def test_questions_go_out_and_replies_come_in_line_by_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, write = os.pipe()
    said: list[str] = []
    with open(read, closefd=True) as stdin:  # noqa: PTH123 - a descriptor
        monkeypatch.setattr(sys, "stdin", stdin)
        channel = Channel(said.append)
        os.write(write, b"".join(msgspec.json.encode(each) + b"\n" for each in (DRAINED, GONE)))
        assert channel(Ask(what="drain")) == DRAINED
        assert channel(Ask(what="state")) == GONE
        os.close(write)
        with pytest.raises(HarnessError, match="No reply to 'state'"):
            channel(Ask(what="state"))
    assert read_ask(said[0]) == Ask(what="drain")
