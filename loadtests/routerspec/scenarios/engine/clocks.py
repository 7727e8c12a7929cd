"""The questions for the clocks of fakes on other hosts, again and again, written as evidence.

Decides when is asked. Refuses to compute a bound: the judge does, from the records. Fakes on this
machine have its clock, and are not asked.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import gevent
from gevent import socket

from fake_providers.control import clock_port
from fake_providers.records.ledger import Ledger, boot_identity
from routerspec.records.load_plan import ClockOf
from routerspec.records.observations import ClockExchange

AT_FIRST: Final = 20
"""Questions at the beginning: as good a bound as more would give."""
_AT_ONCE_EVERY_S: Final = 0.005
EVERY_S: Final = 0.5
"""Between two times that one clock is asked: it is known the worse, the longer ago that was."""
AT_ONCE: Final = 3
"""Questions each time, of which the quickest counts, as it were."""
_PATIENCE_S: Final = 1.0
_LONGEST: Final = 64


def watch(clocks: Mapping[str, ClockOf], log: Ledger) -> None:
    """Ask those of these clocks (by their instances) that are not ours and log the answers.

    It runs until killed where there are any.
    """
    ours = boot_identity()
    others = {name: its for name, its in clocks.items() if its.boot != ours}
    watching = [gevent.spawn(_watch, name, its.address, log) for name, its in others.items()]
    try:
        gevent.joinall(watching, raise_error=True)
    finally:
        gevent.killall(watching)


def _watch(instance: str, address: tuple[str, int], log: Ledger) -> None:
    try:
        family, kind, _, _, there = socket.getaddrinfo(*address, type=socket.SOCK_DGRAM)[0]
    except OSError:  # Nobody will be able to compare with this clock, and says so.
        return
    with socket.socket(family, kind) as ours:
        ours.settimeout(_PATIENCE_S)
        for number, pause_s in enumerate(_pauses()):
            try:
                answered = _ask(ours, there, number)
            except OSError:  # Lost, or the host is away: the bound widens meanwhile.
                answered = None
            if answered is not None:
                asked_ns, at_ns, answered_ns = answered
                log.append(
                    ClockExchange(
                        instance=instance, asked_ns=asked_ns, at_ns=at_ns, answered_ns=answered_ns
                    )
                )
            gevent.sleep(pause_s)


def _pauses() -> Iterator[float]:
    for count in itertools.chain((AT_FIRST,), itertools.repeat(AT_ONCE)):
        yield from itertools.repeat(_AT_ONCE_EVERY_S, count - 1)
        yield EVERY_S


def _ask(ours: socket.socket, address: tuple[Any, ...], number: int) -> tuple[int, int, int] | None:
    """(asked, at the other clock, answered); None where no answer to it came. Raises OSError."""
    asked_ns = time.monotonic_ns()
    ours.sendto(clock_port.question(number), address)
    give_up = time.monotonic() + _PATIENCE_S
    while time.monotonic() < give_up:
        text, _ = ours.recvfrom(_LONGEST)
        answered_ns = time.monotonic_ns()
        at_ns = clock_port.told(text, number)  # Else the late answer to an earlier question.
        if at_ns is not None:
            return asked_ns, at_ns, answered_ns
    return None
