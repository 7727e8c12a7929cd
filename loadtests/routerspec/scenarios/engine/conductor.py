"""The conductor: leads one start of the router through its scenarios, round by round.

Decides when requests are sent and when the fakes are asked what they hold, and logs all of it as
it happens; Locust's users do the work. Refuses to judge: which promise a round tests is the
scenario's business, and what it proves the judge's.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent

from fake_providers.records.evidence import Stall
from fake_providers.records.ledger import Ledger
from routerspec.records.load_plan import LoadPlan
from routerspec.records.observations import Round
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.rounds import ActiveRound
from routerspec.scenarios.engine.session import Session

_STALL_NS = 10_000_000
_HEARTBEAT_S = 0.01
_STALLS_KEPT = 1000


class Conductor(Session):
    """A session, and the rounds that are played in it."""

    def __init__(
        self,
        plan: LoadPlan,
        host: str,
        log: Ledger,
        report: Callable[[Exchange, str], None],
        announce: Callable[[str], None] = lambda label: None,
    ) -> None:
        """``announce`` is called with the label of each round: ``hold-head openai:chat``."""
        super().__init__(plan, host, log, report)
        self._announce = announce
        self._rounds = 0
        self._stalls: deque[Stall] = deque(maxlen=_STALLS_KEPT)

    @contextmanager
    def round(
        self,
        scenario: str,
        *,
        route: str = "",
        mode: str = "",
        gate: bool = False,
        offered: int = 0,
        part: str = "",
    ) -> Iterator[ActiveRound]:
        """Play one round: logged from begin to end, its gate opened and its clients awaited."""
        self._rounds += 1
        name = f"g{self._rounds}" if gate else ""
        active = ActiveRound(self, self._rounds, name)
        self.log.append(
            Round(
                round=self._rounds,
                scenario=scenario,
                at_ns=time.monotonic_ns(),
                route=route,
                mode=mode,
                gate=name,
                offered=offered,
                part=part,
            )
        )
        self._announce(f"{scenario} {route}{':' if mode else ''}{mode} {part}".rstrip())
        try:
            yield active
            active.finish()
        except BaseException:
            active.abandon()
            raise
        finally:
            self.kept.close()

    def watch_stalls(self) -> None:
        """Log each time that this process was kept from running; runs until killed."""
        while True:
            due = time.monotonic_ns() + int(_HEARTBEAT_S * 1e9)
            gevent.sleep(_HEARTBEAT_S)
            late = time.monotonic_ns() - due
            if late > _STALL_NS:
                self._stalls.append(Stall(at_ns=time.monotonic_ns(), stalled_ns=late))
                self.log.append(self._stalls[-1])

    def stalled_s(self, since_ns: int) -> float:
        """The longest stall of this process that was not over at ``since_ns``; 0 for none."""
        return max((s.stalled_ns for s in self._stalls if s.at_ns >= since_ns), default=0) / 1e9
