"""The questions for clocks of other hosts: what is written of them, and that they end."""

from __future__ import annotations

import time
from pathlib import Path

import gevent
from gevent import socket

from fake_providers.control import clock_port
from fake_providers.records.ledger import Ledger, boot_identity, read_records
from routerspec.records.load_plan import ClockOf
from routerspec.records.observations import ClockExchange, Record
from routerspec.scenarios.engine import clocks

AHEAD_NS = 5_000_000_000


def test_each_answer_lies_between_two_of_our_times(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as theirs:
        theirs.bind(("127.0.0.1", 0))
        address = theirs.getsockname()
        served = gevent.spawn(_serve, theirs)
        log = Ledger(tmp_path / "observations.jsonl", role="observations", run="abc")
        there = {
            "openai-2": ClockOf(boot="another", address=address),
            "openai-3": ClockOf(boot=boot_identity(), address=("127.0.0.1", 1)),
        }
        watching = gevent.spawn(clocks.watch, there, log)
        while log.records < 3:
            gevent.sleep(0.01)
        watching.kill()
        log.close({})  # Nobody writes any more: that would raise.
        gevent.sleep(0.05)
        served.kill()
    records = read_records(tmp_path / "observations.jsonl", Record).records
    assert {type(record) for record in records} == {ClockExchange}
    for record in records:
        assert isinstance(record, ClockExchange)
        assert record.instance == "openai-2", "the clock of this machine is not asked"
        assert record.asked_ns <= record.at_ns - AHEAD_NS <= record.answered_ns


def _serve(theirs: socket.socket) -> None:
    """Answer every question; before the third answer comes one that nobody waits for."""
    for number in range(1000):
        asked, address = theirs.recvfrom(64)
        if number == 2:
            theirs.sendto(clock_port.answer(clock_port.question(0), 1), address)
        theirs.sendto(clock_port.answer(asked, time.monotonic_ns() + AHEAD_NS), address)
