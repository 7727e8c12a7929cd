"""The crew of several load processes: each worker makes a share of what many clients make at once.

The process that leads deals it out, names the moment, and hears what becomes of it. What rounds and
watches ask of an exchange, they ask of a stand-in here.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import gevent
import gevent.event

from fake_providers.records.ledger import boot_identity
from routerspec.records.load_processes import name_of
from routerspec.scenarios.engine import orders
from routerspec.scenarios.engine.crew import Cell, Client, OwnUsers
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.messages import Known
from routerspec.scenarios.engine.offsets import Offset
from routerspec.scenarios.engine.rounds import ActiveRound
from routerspec.scenarios.engine.service import CLIENT_TIMEOUT_S
from routerspec.scenarios.engine.session import Session
from routerspec.scenarios.engine.tally import Tally
from routerspec.scenarios.engine.waiting import wait_until

_POISED_WITHIN_S: Final = 3.0
"""Until all are connected; those that are not send when they are."""
_AHEAD_NS: Final = 30_000_000
"""The moment is this far ahead when it is named: it must reach every worker before."""
_LOOKED_WITHIN_S: Final = 2.0
_POLL_S: Final = 0.005
_SLACK_S: Final = 5.0
_PINGS: Final = 5

Send = Callable[[int, bytes], None]
"""Send a message to the worker with this number."""


class StandIn(Exchange):
    """A request that a worker makes, as far as the process that leads knows of it.

    Its times are those at which this process heard: never earlier than the truth.
    """

    __slots__ = ("stop",)
    stop: Callable[[str], None]

    def give_up(self, reason: str) -> None:
        """Have its client wait no longer."""
        self.stop(reason)


@dataclass(slots=True)
class _Job:
    """A job, and what was heard of it."""

    number: int
    left: set[int]
    """The workers that are still at it."""
    send: Send
    stand_ins: dict[int, StandIn] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    poised: dict[int, int] = field(default_factory=dict)
    looks: int = 0
    seen: defaultdict[int, dict[int, tuple[int, ...]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    """Look -> worker -> the nonces of its clients that wait."""
    over: gevent.event.Event = field(default_factory=gevent.event.Event)

    def tell(self, order: orders.Order) -> None:
        """Send it to all workers that are still at it."""
        message = orders.encode(order)
        for process in sorted(self.left):
            self.send(process, message)

    def waiting(self) -> tuple[int, ...]:
        """As ``rounds.Dealt`` has it."""
        self.looks += 1
        seen = self.seen[self.looks]
        self.tell(orders.Look(job=self.number, number=self.looks))
        wait_until(lambda: self.left <= seen.keys(), _LOOKED_WITHIN_S, 0.001)
        del self.seen[self.looks]
        return tuple(nonce for process in sorted(seen) for nonce in seen[process])

    def retry_no_more(self) -> None:
        """As ``rounds.Dealt`` has it."""
        self.tell(orders.Opened(job=self.number))

    def done(self, process: int) -> None:
        """A worker has done its share, or is gone."""
        self.left.discard(process)
        if not self.left:
            self.over.set()


class Workers:
    """The workers of one start. Where there is none, users of this process make everything."""

    def __init__(
        self, session: Session, send: Send, *, changed: Callable[[], None] = lambda: None
    ) -> None:
        """``changed`` is called when a worker has joined or is gone."""
        self._session = session
        self._own = OwnUsers(session)
        self._changed = changed
        self._send = send
        self._present: dict[int, Offset] = {}
        self._clock = boot_identity()
        self._jobs: dict[int, _Job] = {}
        self._last_job = 0
        self._rounds: dict[int, ActiveRound] = {}
        self._shares: dict[int, dict[int, int]] = {}
        """Job -> number of a request within it -> the worker that makes it."""
        self._asked: dict[tuple[int, int], int] = {}
        """(worker, number of a ping) -> when it was sent."""
        self._pings = 0
        self._arrived: dict[int, orders.Arrived] = {}

    @property
    def present(self) -> tuple[int, ...]:
        """The numbers of the workers, in order."""
        return tuple(sorted(self._present))

    @property
    def arrived(self) -> orders.Arrived:
        """The requests of the open loop so far, of all that ever were there."""
        return sum(self._arrived.values(), start=orders.Arrived())

    def joined(self, process: int) -> None:
        """A worker can be given work from now on."""
        if process not in self._present:
            self._present[process] = Offset()
            self._ping([process])
            self._changed()

    def gone(self, process: int, reason: str) -> None:
        """A worker does nothing more; ``reason``: a clause. What it was at does not end well."""
        if self._present.pop(process, None) is None:
            return
        for job in [each for each in self._jobs.values() if process in each.left]:
            round_ = self._rounds.get(job.number)
            if round_ is not None:
                round_.incident = round_.incident or f"{name_of(process)} {reason}"
            for number in [n for n, its in self._shares[job.number].items() if its == process]:
                self._ends(job, orders.Over(number=number, outcome="failed", status=None))
            self._done(job, process)
        self._changed()

    def hear(self, process: int, message: bytes) -> None:
        """A report of a worker. Raises msgspec.DecodeError."""
        report = orders.read_report(message)
        if isinstance(report, orders.Pong):
            self._pong(process, report)
            return
        if isinstance(report, orders.Arrived):
            self._arrived[process] = report
            return
        job = self._jobs.get(report.job)
        if job is None:
            return
        match report:
            case orders.Progress():
                self._progress(job, process, report)
            case orders.Waiting():
                if report.look in job.seen:
                    job.seen[report.look][process] = report.nonces
            case orders.Mixing():
                job.tally.hear(process, report.shown)
                self._mixing(job, process, report)
            case orders.Done():
                self._done(job, process)

    def moment(self, process: int, at_ns: int) -> int:
        """That moment of this process's clock, by that of a worker."""
        return at_ns + self._present[process].ns

    def mixed(
        self,
        round_: ActiveRound,
        users: int,
        until: float,
        tally: Tally,
        client: Client,
    ) -> None:
        """As ``Crew`` has it. Each worker has its own ``client``."""
        processes = self.present
        if not processes:
            self._own.mixed(round_, users, until, tally, client)
            return
        job = self._begin(round_, processes)
        job.tally = tally
        shares = {p: len(range(n, users, len(processes))) for n, p in enumerate(processes)}
        for process, share in shares.items():
            order = orders.Mix(
                job=job.number,
                round=round_.number,
                users=share,
                within_s=max(0.0, until - time.monotonic()),
                known=Known.of(self._session),
            )
            self._send(process, orders.encode(order))
        give_up, enough = until + CLIENT_TIMEOUT_S + _SLACK_S, False
        while not job.over.wait(timeout=_POLL_S) and time.monotonic() < give_up:
            if tally.over and not enough:
                enough = True
                job.tell(orders.Enough(job=job.number))
        if job.left:
            names = ", ".join(map(name_of, sorted(job.left)))
            round_.incident = round_.incident or f"clients of {names} did not finish"
        self._end(job)

    def lists(self, round_: ActiveRound, count: int) -> None:
        """As ``Crew`` has it."""
        if not self.present:
            self._own.lists(round_, count)
            return
        requests = [self._stand_in(round_, route="models", mode="list") for _ in range(count)]
        self._at_once(round_, requests, {}, hold="")

    def burst(
        self, round_: ActiveRound, requests: Sequence[Cell], *, hold: str = "", **directives: Any
    ) -> None:
        """As ``Crew`` has it."""
        if not self.present:
            self._own.burst(round_, requests, hold=hold, **directives)
            return
        stand_ins = [
            self._stand_in(round_, route=route.name, mode=mode) for route, mode in requests
        ]
        self._at_once(round_, stand_ins, directives, hold=hold)

    def deal(self, zero_ns: int, from_s: float) -> None:
        """Deal out the open loop's schedule to the workers that are there now.

        ``zero_ns``: when it began, by this process's clock.
        """
        for process in self.present:
            deal = orders.Deal(
                zero_ns=self.moment(process, zero_ns), from_s=from_s, hands=self.present
            )
            self._send(process, orders.encode(deal))

    def _at_once(
        self,
        round_: ActiveRound,
        stand_ins: Sequence[StandIn],
        directives: Mapping[str, Any],
        *,
        hold: str,
    ) -> None:
        processes = self.present
        job = self._begin(round_, processes)
        job.stand_ins = dict(enumerate(stand_ins))
        whose = {number: processes[number % len(processes)] for number in job.stand_ins}
        self._shares[job.number] = whose
        for stand_in in stand_ins:
            stand_in.stop = lambda reason: job.tell(orders.GiveUp(job=job.number, reason=reason))
            round_.exchanges.append(stand_in)
            self._session.service.begins(stand_in)
        round_.dealt.append(job)
        for process in processes:
            its = [number for number, one in whose.items() if one == process]
            order = orders.Prepare(
                job=job.number,
                round=round_.number,
                gate=round_.gate,
                lists=tuple(n for n in its if stand_ins[n].mode == "list"),
                generations=tuple(
                    (n, stand_ins[n].route, stand_ins[n].mode)
                    for n in its
                    if stand_ins[n].mode != "list"
                ),
                hold=hold,
                directives=dict(directives),
                known=Known.of(self._session),
            )
            self._send(process, orders.encode(order))
        for _ in range(_PINGS):  # While they connect.
            self._ping(processes)
        wait_until(lambda: _all_poised(job, whose), _POISED_WITHIN_S, _POLL_S)
        at_ns = time.monotonic_ns() + _AHEAD_NS
        for process in sorted(job.left):
            order_ = orders.Go(job=job.number, at_ns=self.moment(process, at_ns))
            self._send(process, orders.encode(order_))
        gevent.sleep(max(0.0, (at_ns - time.monotonic_ns()) / 1e9))

    def _begin(self, round_: ActiveRound, processes: Iterable[int]) -> _Job:
        self._last_job += 1
        job = _Job(self._last_job, set(processes), self._send)
        self._jobs[job.number], self._rounds[job.number] = job, round_
        self._shares[job.number] = {}
        return job

    def _end(self, job: _Job) -> None:
        for kept in (self._jobs, self._rounds, self._shares):
            kept.pop(job.number, None)

    def _stand_in(self, round_: ActiveRound, *, route: str, mode: str) -> StandIn:
        return StandIn(
            host=self._session.host,
            method="GET" if mode == "list" else "POST",
            path="",
            headers={},
            body=b"",
            timeout_s=CLIENT_TIMEOUT_S,
            round=round_.number,
            route=route,
            mode=mode,
        )

    def _progress(self, job: _Job, process: int, report: orders.Progress) -> None:
        now_ns = time.monotonic_ns()
        job.poised[process] = report.poised
        for number in report.sent:
            if number in job.stand_ins:
                job.stand_ins[number].sent_ns = now_ns
        for over in report.over:
            self._ends(job, over)

    def _ends(self, job: _Job, over: orders.Over) -> None:
        stand_in = job.stand_ins.get(over.number)
        if stand_in is None or stand_in.outcome is not None:
            return
        stand_in.end_ns = time.monotonic_ns()
        stand_in.outcome, stand_in.status = over.outcome, over.status
        stand_in.over.set()
        self._session.service.ends(stand_in)

    def _mixing(self, job: _Job, process: int, report: orders.Mixing) -> None:
        """One stand-in a worker, for the client that waits longest: the watch asks no more."""
        its = job.stand_ins.get(process)
        if report.longest_s <= 0:
            if its is not None:
                self._session.service.in_flight.pop(id(its), None)
                del job.stand_ins[process]
            return
        if its is None:
            its = self._stand_in(self._rounds[job.number], route=report.route, mode=report.mode)
            its.stop = lambda reason: job.tell(orders.GiveUp(job=job.number, reason=reason))
            job.stand_ins[process] = its
            self._session.service.begins(its)
        its.route, its.mode = report.route, report.mode
        its.sent_ns = time.monotonic_ns() - int(report.longest_s * 1e9)

    def _done(self, job: _Job, process: int) -> None:
        job.done(process)
        if job.over.is_set():
            for stand_in in job.stand_ins.values():
                self._session.service.in_flight.pop(id(stand_in), None)
            self._end(job)

    def _ping(self, processes: Iterable[int]) -> None:
        self._pings += 1
        message = orders.encode(orders.Ping(number=self._pings))
        for process in processes:
            self._asked[process, self._pings] = time.monotonic_ns()
            self._send(process, message)

    def _pong(self, process: int, report: orders.Pong) -> None:
        answered_ns = time.monotonic_ns()
        asked_ns = self._asked.pop((process, report.number), None)
        offset = self._present.get(process)
        if asked_ns is None or offset is None:
            return
        if report.clock == self._clock:  # One clock: there is nothing to estimate.
            offset.hear(answered_ns, answered_ns, answered_ns)
        else:
            offset.hear(asked_ns, report.at_ns, answered_ns)


def _all_poised(job: _Job, whose: Mapping[int, int]) -> bool:
    wanted: defaultdict[int, int] = defaultdict(int)
    for process in whose.values():
        wanted[process] += 1
    return all(job.poised.get(process, 0) >= wanted[process] for process in job.left)
