"""The load processes of a run as the crew of its conductor.

Decides which of them are given work: those that were heard of lately. One that was silent may come
back; what it was at then has not ended well.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

import gevent
import msgspec

from routerspec.scenarios.engine.load_processes import LoadProcesses
from routerspec.scenarios.engine.messages import Link, Ordered, Reported
from routerspec.scenarios.engine.session import Session
from routerspec.scenarios.engine.workers import Workers

GONE_S: Final = 5.0
"""The usual time: a load process says a word each second."""
_LOOK_S: Final = 0.5


class Led:
    """The crew of several load processes, over the messages of a run."""

    def __init__(
        self,
        link: Link,
        session: Session,
        processes: LoadProcesses,
        *,
        changed: Callable[[], None] = lambda: None,
        gone_s: float = GONE_S,
    ) -> None:
        """``changed`` is called when one has joined or is gone. ``gone_s``: without a word for so
        long, one is given no more work.
        """
        self._link = link
        self._run = session.plan.token
        self._processes = processes
        self._gone_s = gone_s
        self.crew = Workers(session, self._send, changed=changed)
        link.on(Reported, self._hear)

    def look(self) -> None:
        """See who is there now."""
        for each in self._processes.members:
            silent_s = each.silence.lasts_s
            if each.lost or silent_s > self._gone_s:
                self.crew.gone(each.number, each.lost or f"was silent for {silent_s:.0f} s")
            else:
                self.crew.joined(each.number)

    def watch(self) -> None:
        """Look again and again, until killed."""
        while True:
            gevent.sleep(_LOOK_S)
            self.look()

    def _send(self, process: int, order: bytes) -> None:
        for each in self._processes.members:
            if each.number == process:
                self._link.send(Ordered(run=self._run, order=order), each.peer)

    def _hear(self, reported: Reported, peer: str) -> None:
        for each in self._processes.members:
            if each.number == reported.process and each.peer == peer and reported.run == self._run:
                try:
                    self.crew.hear(each.number, reported.report)
                except msgspec.MsgspecError as error:
                    told = f"a report of load process {each.number} cannot be read: {error}"
                    print(f"routerspec: {told}", file=sys.stderr)  # noqa: T201
