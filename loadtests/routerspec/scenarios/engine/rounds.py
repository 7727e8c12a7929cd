"""One round while it is being played: its requests, its snapshots, and its release.

Decides when a round counts as settled and what a snapshot records. Refuses to know why the round
is played, and judges nothing.
"""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, Unpack

import gevent
import gevent.event

from routerspec.processes.control import HeldCall, Now
from routerspec.records.load_plan import RoutePlan
from routerspec.records.observations import EpochMoved, Held, Released, RoundEnd, Snapshot
from routerspec.records.providers import base_of
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.prompt import Directives
from routerspec.scenarios.engine.service import CLIENT_TIMEOUT_S
from routerspec.scenarios.engine.session import Session
from routerspec.scenarios.engine.waiting import wait_until

SNAPSHOTS_APART_S = 0.27
"""Between two snapshots. They prove a hold when 250 ms apart: this is that and a margin."""

SETTLE_S = 0.5
FULL_S = SNAPSHOTS_APART_S
"""As many calls are held as the cap allows: a further one comes at once, or breaks a cap that
``hold-long`` tries for longer."""
SENT_WITHIN_S = 10.0
_POLL_S = 0.02
_RETRY_S = 0.1
_RETRIES = 20
_RETRY_LATER_S = 0.5
"""Between two retries after the quick ones: a router that still refuses has no slot soon."""
_NO_MORE_S = 0.5
"""Without an arrival, where no more slots have filled in earlier rounds."""
_SLACK_S = 5.0
"""Beyond a client's timeout, until it counts as unfinished."""


class Dealt(Protocol):
    """A part of a round that other load processes do."""

    over: gevent.event.Event
    """Nothing of it is left to do, and all of it is recorded."""

    def waiting(self) -> tuple[int, ...]:
        """The nonces of its requests that are sent in full, and whose clients wait."""

    def retry_no_more(self) -> None:
        """The gate is open: no request that was refused is sent again."""


class ActiveRound:
    """One round while it is being played."""

    def __init__(self, session: Session, number: int, gate: str) -> None:
        self.number = number
        self.exchanges: list[Exchange] = []
        self.incident = ""
        self._session = session
        self.dealt: list[Dealt] = []
        """What other load processes do in it."""
        self._gate = gate
        self._open = not gate
        self._retries: list[Exchange] = []

    @property
    def gate(self) -> str:
        """The gate at which its requests hold; empty: it has none."""
        return self._gate

    def send(
        self,
        route: RoutePlan,
        mode: str,
        *,
        hold: str = "",
        model: str = "",
        body: Mapping[str, Any] | None = None,
        earlier: Sequence[Mapping[str, Any]] = (),
        raw: bool = False,
        bearer: bool = False,
        last_byte: gevent.event.Event | None = None,
        retry_rejected: bool = True,
        replica: int = 1,
        **directives: Unpack[Directives],
    ) -> Exchange:
        """Have a user make one generation request; see ``Session.generation``.

        ``hold``: ``head``, ``first`` or ``piece``, at the round's gate. ``retry_rejected``: send it
        again for as long as a rejecting router refuses it while the gate is closed. ``replica``:
        the one of the router that it is sent to, from 1.
        """
        generate = partial(
            self._session.generation,
            route,
            mode,
            round_number=self.number,
            model=model,
            body=body,
            earlier=earlier,
            raw=raw,
            bearer=bearer,
            hold=hold,
            gate=self._gate,
            replica=replica,
            **directives,
        )
        exchange = generate()
        exchange.last_byte = last_byte
        self.exchanges.append(exchange)
        if retry_rejected:
            self._session.jobs.put(lambda: self._make_until_admitted(exchange, generate))
        else:
            self._session.jobs.put(lambda: self._session.make(exchange))
        return exchange

    def send_list(
        self,
        last_byte: gevent.event.Event | None = None,
        *,
        model: str = "",
        path: str = "",
        at: str = "",
        looked_for: tuple[str, ...] = (),
        replica: int = 1,
    ) -> Exchange:
        """Have a user request the model list (another one ``at`` its path), or one ``model``.

        See ``Session.list_request``.
        """
        exchange = self._session.list_request(
            round_number=self.number,
            model=model,
            path=path,
            at=at,
            looked_for=looked_for,
            replica=replica,
        )
        exchange.last_byte = last_byte
        self.exchanges.append(exchange)
        self._session.jobs.put(lambda: self._session.make(exchange))
        return exchange

    def _make_until_admitted(self, exchange: Exchange, generate: Callable[[], Exchange]) -> None:
        self._session.make(exchange)
        tries = 0
        while self._rejected_while_held(exchange):
            gevent.sleep(_RETRY_S if tries < _RETRIES else _RETRY_LATER_S)
            tries += 1
            if self._open:
                return
            exchange = generate()
            self._retries.append(exchange)
            self._session.make(exchange)

    def _rejected_while_held(self, exchange: Exchange) -> bool:
        cap = self._session.plan.promises.cap
        return (
            not self._open
            and not self._session.service.given_up
            and cap is not None
            and exchange.outcome == "refused"
            and exchange.status in cap.rejections
        )

    def work(self, users: int, job: Callable[[], None], until: float) -> None:
        """Have ``users`` users do ``job`` at once, and wait until all have done it.

        ``until``: when (``time.monotonic``) a job begins no further request. A user that then
        takes longer than any client's timeout makes the round an incident.
        """
        ends = [gevent.event.Event() for _ in range(users)]

        def do(end: gevent.event.Event) -> None:
            try:
                job()
            finally:
                end.set()

        for end in ends:
            self._session.jobs.put(partial(do, end))
        give_up = until + CLIENT_TIMEOUT_S + _SLACK_S
        for end in ends:
            end.wait(timeout=max(0.0, give_up - time.monotonic()))
        if unfinished := sum(not end.is_set() for end in ends):
            self.incident = self.incident or f"{unfinished} clients did not finish"

    def settle(self, quiet_s: float = 0.0) -> bool:
        """Wait until every request is sent in full and no call arrives any more.

        True once nothing arrived for ``quiet_s`` (by default as long as the slowest route of the
        round needs, at least half a second; ``FULL_S`` where all slots are occupied). False as
        soon as the fakes hold more than the cap, which needs no settling; and when calls keep
        arriving, as endless retries do.
        """
        quiet_ns = int((quiet_s or self._settling_time()) * 1e9)
        full_ns = min(quiet_ns, int(self._settling_time(FULL_S) * 1e9))
        give_up = time.monotonic() + SENT_WITHIN_S + quiet_ns / 1e9
        while time.monotonic() < give_up:
            now = self._session.control.now()
            counted, limit = self._counted(now), self._limit
            if limit is not None and counted > limit:
                return False
            unsent = [e for e in self.exchanges if e.sent_ns is None and e.outcome is None]
            moments = [e.sent_ns or e.end_ns for e in self.exchanges]
            last = max([now.last_arrival_ns or 0, *moments])
            if not unsent and now.taken_ns - last >= (full_ns if counted == limit else quiet_ns):
                return True
            gevent.sleep(_POLL_S)
        return False

    def _settling_time(self, least_s: float = SETTLE_S) -> float:
        latency = max(
            (self._session.latency_s.get(e.route, 0.0) for e in self.exchanges), default=0
        )
        return max(least_s, 5 * latency * len(self.exchanges))

    @property
    def _limit(self) -> int | None:
        cap = self._session.plan.promises.cap
        return cap.limit if cap else None

    def _counted(self, now: Now) -> int:
        """How many calls of this start are held, at one provider where each has its own cap."""
        cap = self._session.plan.promises.cap
        groups: defaultdict[str, list[HeldCall]] = defaultdict(list)
        for call in self._ours(now):
            own = cap is not None and cap.scope in {"provider", "model"}
            groups[base_of(call.provider) if own else ""].append(call)
        return max(map(self._count, groups.values()), default=0)

    def _ours(self, now: Now) -> list[HeldCall]:
        return [call for call in now.held if call.run == self._session.plan.token]

    def _count(self, calls: Iterable[Held | HeldCall]) -> int:
        """Calls, or the requests that they are for, as the cap counts."""
        cap = self._session.plan.promises.cap
        if cap is not None and cap.counts == "requests":
            return len({nonce for call in calls for nonce in call.nonces})
        return sum(1 for _ in calls)

    def held(self) -> int:
        """How many calls of this start the fakes hold now, as the cap counts."""
        return self._count(self._ours(self._session.control.now()))

    def is_held(self, exchange: Exchange) -> bool:
        """Whether the fakes hold a call of this request now."""
        now = self._session.control.now()
        token = self._session.plan.token
        return any(call.run == token and exchange.nonce in call.nonces for call in now.held)

    def wait_held(self, count: int, within_s: float = 5.0, *, every_s: float = _POLL_S) -> bool:
        """Wait until ``count`` calls are held.

        Shorter where earlier rounds have shown that fewer get in: until those are
        held and no call arrives any more.
        """
        most = self._session.filled.most
        if most is None or most >= count:
            return wait_until(lambda: self.held() >= count, within_s, every_s)
        wait_until(lambda: self.held() >= count or self._no_more(most), within_s, every_s)
        return self.held() >= count

    def _no_more(self, most: int) -> bool:
        """As many calls are held as ever were, and none has arrived for a while."""
        now = self._session.control.now()
        latest = [each.sent_ns for each in self.exchanges if each.sent_ns is not None]
        last = max([now.last_arrival_ns or 0, *latest])
        quiet_s = max(_NO_MORE_S, 5 * max(self._session.latency_s.values(), default=0.0))
        return len(now.held) >= most and now.taken_ns - last >= quiet_s * 1e9

    def wait_saturated(self) -> bool:
        """Wait until as many calls are held as the cap allows, at most the settling time."""
        return self.wait_held(self._session.limit, self._settling_time())

    @property
    def everyone(self) -> list[Exchange]:
        """Its exchanges, with those that were made again."""
        return [*self.exchanges, *self._retries]

    @property
    def waiting(self) -> tuple[int, ...]:
        """The nonces of this process's requests that are sent in full, and whose clients wait."""
        return tuple(e.nonce for e in self.everyone if e.waiting and e.nonce and e.mode != "list")

    @property
    def is_over(self) -> bool:
        """All of its requests are over, and none of them will be sent again."""
        return self._open and all(each.over.is_set() for each in self.everyone)

    def retry_no_more(self) -> None:
        """Its gate is open."""
        self._open = True
        for each in self.dealt:
            each.retry_no_more()

    def snapshot(self, *, settled: bool) -> int:
        """Log what the fakes hold now; how many calls, as the cap counts."""
        asked_ns = time.monotonic_ns()
        now = self._session.control.now()
        answered_ns = time.monotonic_ns()
        token = self._session.plan.token
        held = tuple(
            Held(provider=c.provider, call=c.call, nonces=c.nonces, read_ns=c.read_ns)
            for c in now.held
            if c.run == token
        )
        waiting = (*self.waiting, *(nonce for each in self.dealt for nonce in each.waiting()))
        self._session.log.append(
            Snapshot(
                round=self.number,
                asked_ns=asked_ns,
                at_ns=now.at_ns,
                answered_ns=answered_ns,
                at=now.at,
                held=held,
                open=now.open,
                waiting=waiting,
                settled=settled,
            )
        )
        busy = sum(now.open.values())
        self._session.filled.saw(
            self.number,
            held=len(held),
            open_=busy,
            kept_out=settled and len(waiting) > busy,
            limit=self._cap_in_all(),
        )
        return self._count(held)

    def _cap_in_all(self) -> int:
        cap = self._session.plan.promises.cap
        return cap.limit if cap else 0

    def snapshot_twice(self, *, quiet_s: float = 0.0) -> int:
        """Settle and take a snapshot; where that is over the cap, a second one 0.27 s later."""
        settled = self.settle(quiet_s)
        held = self.snapshot(settled=settled)
        if not settled:
            gevent.sleep(SNAPSHOTS_APART_S)
            held = self.snapshot(settled=False)
        return held

    def release_oldest(self, count: int) -> None:
        """Release the ``count`` oldest calls at the round's gate, which stays closed."""
        self._session.control.let_go(self._gate, count)

    def wait_arrived(self, count: int, within_s: float) -> bool:
        """Wait until ``count`` calls have arrived since the start began."""
        return wait_until(lambda: self._session.calls_arrived() >= count, within_s, _POLL_S)

    def release(self) -> None:
        """Open the round's gate for good."""
        if not self._open:
            self.retry_no_more()
            at_ns = time.monotonic_ns()
            count = self._session.control.open_gate(self._gate)
            self._session.log.append(
                Released(round=self.number, at_ns=at_ns, what="gate", count=count)
            )

    def release_lists(self) -> None:
        """Release held list fetches."""
        at_ns = time.monotonic_ns()
        count = self._session.control.release_lists()
        self._session.log.append(
            Released(round=self.number, at_ns=at_ns, what="lists", count=count)
        )

    def move_epoch(self) -> int:
        """Give the lists of all providers a new epoch; its number."""
        before_ns = time.monotonic_ns()
        now = self._session.control.now()
        epoch = 1 + max(state.epoch for state in now.lists.values())
        self._session.control.lists(epoch=epoch)
        self._session.log.append(
            EpochMoved(
                round=self.number, epoch=epoch, before_ns=before_ns, after_ns=time.monotonic_ns()
            )
        )
        return epoch

    def abandon(self) -> None:
        """Close the round in the log without waiting: the load was stopped half-way.

        Its records so far are kept; the judge notices what is missing.
        """
        self._session.log.append(
            RoundEnd(round=self.number, at_ns=time.monotonic_ns(), incident="")
        )

    def finish(self) -> None:
        """Release everything, wait for every client, and close the round in the log."""
        self.release()
        give_up = time.monotonic() + CLIENT_TIMEOUT_S + _SLACK_S
        parts = itertools.chain[Exchange | Dealt](self.exchanges, self._retries, self.dealt)
        for each in parts:  # Retries are added meanwhile.
            each.over.wait(timeout=max(0.0, give_up - time.monotonic()))
        exchanges = self.everyone
        self._session.service.round_over(self.number)
        if unfinished := sum(exchange.outcome is None for exchange in exchanges):
            self.incident = self.incident or f"{unfinished} clients did not finish"
        self._session.log.append(
            RoundEnd(round=self.number, at_ns=time.monotonic_ns(), incident=self.incident)
        )
