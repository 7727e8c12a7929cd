"""The conductor: leads one start of the router through its scenarios, round by round.

Decides when requests are sent and when the fakes are asked what they hold, and logs all of it as
it happens; Locust's users do the work. Refuses to judge: which promise a round tests is the
scenario's business, and what it proves the judge's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import gevent

from fake_providers.records.ledger import Ledger
from routerspec.records.load_plan import LoadPlan
from routerspec.records.observations import Round
from routerspec.scenarios.engine.crew import Crew, OwnUsers
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.rounds import ActiveRound
from routerspec.scenarios.engine.router_process import Asks, RouterProcess, nobody
from routerspec.scenarios.engine.service import GivenUp
from routerspec.scenarios.engine.session import Session
from routerspec.scenarios.engine.waiting import wait_until

SERVED: Final = "still-served"
"""The rounds in which a request is sent by itself, to see whether the router serves anybody."""
_IDLE_WITHIN_S = 3.0
_TRY_S = 0.5
_TRY_AGAIN_S = 0.3


class Conductor(Session):
    """A session, and the rounds that are played in it."""

    def __init__(
        self,
        plan: LoadPlan,
        host: str,
        log: Ledger,
        report: Callable[[Exchange, str], None],
        announce: Callable[[str], None] = lambda label: None,
        *,
        say: Callable[[str], None] = lambda text: None,
        asks: Asks = nobody,
    ) -> None:
        """``announce`` is called with the label of each round: ``hold-head openai:chat``; ``say``
        with what is being waited for where that takes long; ``asks`` with questions to the process
        that started the router.
        """
        super().__init__(plan, host, log, report)
        self.router = RouterProcess(asks, log)
        self.crew: Crew = OwnUsers(self)
        self.service.say = say
        self.gives_up = False
        """A router that serves nobody any more ends the play: ``round`` may raise GivenUp."""
        self._announce = announce
        self._rounds = 0

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
        """Play one round: logged from begin to end, its gate opened and its clients awaited.

        Raises GivenUp, before it begins, where the router is shown to serve nobody any more.
        """
        self.check_service()
        with self._begun(
            scenario, route=route, mode=mode, gate=gate, offered=offered, part=part
        ) as active:
            yield active

    @contextmanager
    def _begun(
        self, scenario: str, *, route: str, mode: str, gate: bool, offered: int, part: str
    ) -> Iterator[ActiveRound]:
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

    @contextmanager
    def to_its_end(self) -> Iterator[None]:
        """Rounds that show what was lost: played also where the router serves nobody any more."""
        gives_up, self.gives_up = self.gives_up, False
        try:
            yield
        finally:
            self.gives_up = gives_up

    @contextmanager
    def transcripts(self) -> Iterator[None]:
        """The bytes of every call that arrives within are recorded by its provider."""
        self.control.transcripts(on=True)
        try:
            yield
        finally:
            self.control.transcripts(on=False)

    def check_service(self) -> None:
        """Raise GivenUp where the router is shown to serve nobody any more."""
        if not self.gives_up:
            return
        if self.service.given_up:
            raise GivenUp(self.service.given_up)
        suspect = self.service.take_suspect()
        if suspect is None or self._serves(*suspect):
            return
        within_s = self.service.served_within_s(suspect[0])
        self.service.given_up = (
            f"the router served nobody any more: clients waited with nothing open at any provider, "
            f"and then a request by itself ({':'.join(suspect)}) was not let in for {within_s:g} s"
        )
        raise GivenUp(self.service.given_up)

    def _serves(self, route: str, mode: str) -> bool:
        """Whether a request by itself is let in, or nothing can be said of that."""
        if not wait_until(self._nothing_open, _IDLE_WITHIN_S):
            return True
        (its,) = (each for each in self.plan.routes if each.name == route)
        began_ns, arrived = time.monotonic_ns(), self.calls_arrived()
        within_s = self.service.served_within_s(route)
        give_up = time.monotonic() + within_s
        with self._begun(SERVED, route=route, mode=mode, gate=False, offered=1, part="") as round_:
            while (left := give_up - time.monotonic()) > 0:
                exchange = round_.send(its, mode, tokens=2, retry_rejected=False)
                exchange.timeout_s, exchange.expected_failure = max(left, _TRY_S), True
                exchange.over.wait(timeout=left + _TRY_S)
                if exchange.outcome == "answered" or self.calls_arrived() > arrived:
                    return True
                gevent.sleep(_TRY_AGAIN_S)
        return self.stalled_s(began_ns) > within_s / 10

    def _nothing_open(self) -> bool:
        return not self.service.in_flight and not self.calls_open()
