"""What a worker does in rounds that another load process leads: its share of each job.

Decides nothing about a round. Its own users make the requests, as ``session.jobs``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import gevent
import gevent.event

from fake_providers.records.ledger import boot_identity
from routerspec.scenarios.engine import orders
from routerspec.scenarios.engine.crew import Client
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.rounds import ActiveRound
from routerspec.scenarios.engine.session import Session
from routerspec.scenarios.engine.tally import Tally

_TOLD_EVERY_S: Final = 0.005
_MIXED_TOLD_EVERY_S: Final = 0.05
_SPUN_NS: Final = 2_000_000
"""Before its moment a worker does nothing else: sleeping is exact to a millisecond or two."""


def _nobody(deal: orders.Deal) -> None:
    """No open loop."""


@dataclass(slots=True)
class _Share:
    """A worker's part of a burst or a stampede."""

    order: orders.Prepare
    round: ActiveRound
    last_byte: gevent.event.Event = field(default_factory=gevent.event.Event)
    exchanges: dict[int, Exchange] = field(default_factory=dict)
    """By their numbers within the job."""
    sent: set[int] = field(default_factory=set)
    over: set[int] = field(default_factory=set)
    poised: int = -1
    """As they were last reported."""


@dataclass(slots=True)
class _Mix:
    """A worker's part of the mixed load."""

    tally: Tally = field(default_factory=Tally)
    users: int = 0
    """How many are still at it."""


class Hand:
    """One worker's side of all jobs."""

    def __init__(
        self,
        session: Session,
        tell: Callable[[bytes], None],
        client: Client,
        deal: Callable[[orders.Deal], None] = _nobody,
    ) -> None:
        """``tell`` sends a report to the process that leads; ``client`` is one of the mixed load;
        ``deal`` is called when the open loop's schedule is dealt out.
        """
        self._session = session
        self._tell = tell
        self._client = client
        self._deal = deal
        self._shares: dict[int, _Share] = {}
        self._mixes: dict[int, _Mix] = {}

    def obey(self, message: bytes) -> None:
        """Begin what is ordered, without waiting. Raises msgspec.DecodeError."""
        order = orders.read_order(message)
        match order:
            case orders.Ping():
                pong = orders.Pong(
                    number=order.number, at_ns=time.monotonic_ns(), clock=boot_identity()
                )
                self.report(pong)
            case orders.Prepare():
                self._prepare(order)
            case orders.Go() if share := self._shares.get(order.job):
                gevent.spawn(_set_at, share.last_byte, order.at_ns)
            case orders.Opened() if share := self._shares.get(order.job):
                share.round.retry_no_more()
            case orders.Look():
                self._look(order)
            case orders.Mix():
                self._mix(order)
            case orders.Enough() if mix := self._mixes.get(order.job):
                mix.tally.over = True
            case orders.GiveUp():
                self._give_up(order)
            case orders.Deal():
                self._deal(order)

    def report(self, report: orders.Report) -> None:
        """Tell the process that leads."""
        self._tell(orders.encode(report))

    def _prepare(self, order: orders.Prepare) -> None:
        order.known.teach(self._session)
        share = _Share(order, ActiveRound(self._session, order.round, order.gate))
        self._shares[order.job] = share
        for number in order.lists:
            share.exchanges[number] = share.round.send_list(last_byte=share.last_byte)
        routes = {route.name: route for route in self._session.plan.routes}
        for number, name, mode in order.generations:
            share.exchanges[number] = share.round.send(
                routes[name], mode, hold=order.hold, last_byte=share.last_byte, **order.directives
            )
        gevent.spawn(self._follow, share)

    def _follow(self, share: _Share) -> None:
        """Report what becomes of a share, until nothing of it is left to do."""
        job = share.order.job
        while True:
            over = share.round.is_over  # Before the rest, which is then complete.
            self._report_progress(share)
            if over:
                break
            gevent.sleep(_TOLD_EVERY_S)
        del self._shares[job]
        self.report(orders.Done(job=job))

    def _report_progress(self, share: _Share) -> None:
        sent = tuple(
            number
            for number, each in share.exchanges.items()
            if each.sent_ns is not None and number not in share.sent
        )
        over = tuple(
            orders.Over(number=number, outcome=each.outcome, status=each.status)
            for number, each in share.exchanges.items()
            if each.outcome is not None and number not in share.over
        )
        poised = sum(e.poised or e.outcome is not None for e in share.exchanges.values())
        if not sent and not over and poised == share.poised:
            return
        share.sent.update(sent)
        share.over.update(each.number for each in over)
        share.poised = poised
        self.report(orders.Progress(job=share.order.job, poised=poised, sent=sent, over=over))

    def _look(self, order: orders.Look) -> None:
        share = self._shares.get(order.job)
        nonces = share.round.waiting if share else ()
        self.report(orders.Waiting(job=order.job, look=order.number, nonces=nonces))

    def _mix(self, order: orders.Mix) -> None:
        order.known.teach(self._session)
        mix = self._mixes[order.job] = _Mix(users=order.users)
        until = time.monotonic() + order.within_s

        def user() -> None:
            try:
                self._client(self._session, order.round, until, mix.tally)
            finally:
                mix.users -= 1

        for _ in range(order.users):
            self._session.jobs.put(user)
        gevent.spawn(self._follow_mix, order.job, mix)

    def _follow_mix(self, job: int, mix: _Mix) -> None:
        told: orders.Mixing | None = None
        while mix.users > 0:
            mixing = self._mixing(job, mix)
            if mixing != told:
                self.report(mixing)
                told = mixing
            gevent.sleep(_MIXED_TOLD_EVERY_S)
        self.report(self._mixing(job, mix))
        self._session.kept.close()
        del self._mixes[job]
        self.report(orders.Done(job=job))

    def _mixing(self, job: int, mix: _Mix) -> orders.Mixing:
        now = time.monotonic()
        waiting = [each for each in self._in_flight() if each.waited_s(now) > 0]
        longest = max(waiting, key=lambda each: each.waited_s(now), default=None)
        if longest is None:
            return orders.Mixing(job=job, shown=mix.tally.shown)
        return orders.Mixing(
            job=job,
            shown=mix.tally.shown,
            longest_s=longest.waited_s(now),
            route=longest.route,
            mode=longest.mode,
        )

    def _give_up(self, order: orders.GiveUp) -> None:
        share = self._shares.get(order.job)
        for exchange in share.round.everyone if share else self._in_flight():
            exchange.give_up(order.reason)

    def _in_flight(self) -> Iterator[Exchange]:
        yield from tuple(self._session.service.in_flight.values())


def _set_at(event: gevent.event.Event, at_ns: int) -> None:
    """Set it at this moment, or now where that has passed."""
    gevent.sleep(max(0.0, (at_ns - _SPUN_NS - time.monotonic_ns()) / 1e9))
    while time.monotonic_ns() < at_ns:
        pass
    event.set()
