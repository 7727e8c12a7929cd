"""The clock of the fakes, as another host asks for it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable

import pytest

from fake_providers.control import clock_port
from fake_providers.server import loop_factory


def test_an_answer_is_to_its_question_and_no_longer() -> None:
    asked = clock_port.question(7)
    answered = clock_port.answer(asked, 12345)
    assert clock_port.told(answered, 7) == 12345
    assert clock_port.told(answered, 8) is None
    assert len(answered) <= len(asked), "nobody is flooded through it"


def test_anything_else_is_left_alone() -> None:
    for strange in (b"", b"rs-clock", b"GET / HTTP/1.1\r\n", clock_port.question(1) + b"x"):
        assert clock_port.answer(strange, 1) == b""
    for strange in (b"", clock_port.question(1), b"\0" * 15):
        assert clock_port.told(strange, 0) is None


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, loop_factory()])
def test_it_is_served_over_udp(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def ask() -> int | None:
        ours, theirs = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        theirs.setblocking(False)
        theirs.bind(("127.0.0.1", 0))
        ours.settimeout(10)
        transport = await clock_port.serve(theirs)
        address = transport.get_extra_info("sockname")
        ours.sendto(b"something else", address)
        ours.sendto(clock_port.question(3), address)
        answered = await asyncio.wait_for(asyncio.to_thread(ours.recv, 64), 10)
        transport.close()
        ours.close()
        return clock_port.told(answered, 3)

    before_ns = time.monotonic_ns()
    with asyncio.Runner(loop_factory=loop) as runner:
        at_ns = runner.run(ask())
    assert at_ns is not None
    assert before_ns <= at_ns <= time.monotonic_ns()
