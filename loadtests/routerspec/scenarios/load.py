"""The mixed load: closed-loop users that send, read, and now and then disconnect.

Chat and streaming on every route; some requests fail at the provider, some are cut, and of the
rest a quarter of the clients disconnect half-way.

A call must take longer than the router needs to admit the next ones, or slots are free again
before all are occupied: by Little's law, a router that spends 30 ms of one processor on a request
never has four calls open at a provider that answers in 8 ms, however many clients there are. So
where a saturated router rejects, providers and disconnecting clients are slowed down to the
router's pace. Whether a router is slow is a guess from a few requests; a second attempt, after an
inconclusive one, always slows the providers down.

It ends when it has shown what its checks need to see (``_Seen``), and no later than after
``load_s``. A second attempt, and a duration that was asked for, last to their end.
"""

from __future__ import annotations

import time
from collections import Counter

import gevent

from routerspec.limits import FILLS, LOAD_CALLS, LOAD_LEAST_S, USERS
from routerspec.processes.control import Now
from routerspec.records.load_plan import RoutePlan
from routerspec.records.observations import STREAMED
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.prompt import Directives
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.engine.session import Session
from routerspec.scenarios.engine.tally import Tally

_FAILING = 0.04
_CUT = 0.04
_DISCONNECTING = 0.25
_QUICK_S = 0.008
"""A router with less latency than this gets the fastest providers at the first attempt."""
_SLOWEST_S = 0.6
"""A provider is slowed down to this at most: there must be time for many calls."""
_CONTENDED = 8
"""Factor on a router's latency under load: it also spends time on refusals."""
_LOOK_S = 0.05
_ENDINGS = {"chat": {"answered", "error", "cut", "left"}}
_ENDINGS["stream"] = _ENDINGS["tools"] = _ENDINGS["chat"] | {"left mid-stream"}


@scenario("load")
def load(conductor: Conductor) -> None:
    """One round of mixed load by ``USERS`` x cap users."""
    users = USERS * (conductor.limit if conductor.plan.promises.cap else 4)
    began = time.monotonic()
    deadline = began + conductor.plan.load_s
    with conductor.round("load", offered=0) as round_:
        tally = Tally()
        seen = _Seen(conductor, began, tally)
        watching = None if _lasts(conductor) else gevent.spawn(seen.watch)
        try:
            conductor.crew.mixed(round_, users, deadline, tally, mixed_client)
        finally:
            gevent.killall([watching] if watching else [])


def mixed_client(session: Session, round_number: int, until: float, tally: Tally) -> None:
    """One user: a request of the mix after the other, until then or until the tally is over."""
    while time.monotonic() < until and not tally.over:
        exchange, ending = _mixed(session, round_number)
        with tally.waits(exchange):
            session.make(exchange)
        tally.ends(exchange, ending)
        if exchange.outcome in {"refused", "failed"}:
            gevent.sleep(0.02 + slowed_s(session))


def _lasts(conductor: Conductor) -> bool:
    return conductor.plan.whole_load or conductor.plan.attempt > 1


class _Seen:
    """Whether what the mixed load has shown so far is everything that it must.

    All slots occupied with a client waiting, in as many looks as ``cap/under-load`` needs fills:
    many more happen between two looks;
    on each route and mode each way in which a request ends; as many requests as a rare race needs
    to show; for longer than a limiter's window.
    """

    def __init__(self, conductor: Conductor, began: float, tally: Tally) -> None:
        self._conductor, self._began, self._tally = conductor, began, tally
        self._fills = self._arrived = 0
        self._wanted = {
            (route.name, mode, ending)
            for route, mode in _cells(conductor)
            for ending in _ENDINGS.get(mode, {"answered"})
        }

    def watch(self) -> None:
        """Look at the fakes until everything is seen."""
        while not self._tally.over:
            gevent.sleep(_LOOK_S)
            now = self._conductor.control.now()
            arrived = sum(now.arrived.values())
            self._fills += self._is_full(now) and arrived > self._arrived
            self._arrived = arrived
            self._tally.over = (
                not any(map(self._tally.lacks, self._wanted))
                and self._tally.calls >= LOAD_CALLS
                and time.monotonic() - self._began >= LOAD_LEAST_S
                and (self._fills >= FILLS or self._conductor.plan.promises.cap is None)
            )

    def _is_full(self, now: Now) -> bool:
        """All slots are occupied, of one provider where it has its own, and a client waits."""
        cap = self._conductor.plan.promises.cap
        if cap is None:
            return False
        waiting: Counter[str] = Counter()
        for route, clients in self._tally.waiting.items():
            waiting[self._provider_of(route)] += clients
        if cap.scope in {"provider", "model"}:
            return any(
                cap.limit <= calls < waiting[provider] for provider, calls in now.open.items()
            )
        return cap.limit <= sum(now.open.values()) < waiting.total()

    def _provider_of(self, name: str) -> str:
        routes = self._conductor.plan.routes
        return next((route.provider for route in routes if route.name == name), "")


def mixed_request(session: Session, round_number: int, *, paced: bool = False) -> Exchange:
    """The next request of the mix, by the run's seeded random generator.

    ``paced``: the fakes have a latency profile, and no request sets its own pace.
    """
    return _mixed(session, round_number, paced=paced)[0]


def _mixed(session: Session, round_number: int, *, paced: bool = False) -> tuple[Exchange, str]:
    """The next request, and how it is to end: ``answered``, ``error``, ``cut`` or ``left``."""
    rng = session.rng
    route, mode = _choose(session)
    slow_s = slowed_s(session)
    directives: Directives = {
        "first": round(slow_s + rng.uniform(0.001, 0.008), 4),
        "gap": round(rng.uniform(0.0, 0.003), 4),
        "tokens": rng.choice((2, 4, 8)),
    }
    if paced:
        directives = {}
    ending, fate = "answered", rng.random()
    if fate < _FAILING:
        ending, directives["status"] = "error", rng.choice((500, 503))
    elif fate < _FAILING + _CUT:
        ending, directives["cut"] = "cut", rng.choice((0, 1))
    exchange = session.generation(route, mode, round_number=round_number, **directives)
    exchange.kept = session.kept_for(exchange)
    if ending == "answered" and rng.random() < _DISCONNECTING:
        ending = "left"
        if mode in STREAMED and rng.random() < 0.5:
            exchange.disconnect_after_pieces = 1
        else:
            within_s = 1.0 if paced else 0.03 + 2 * slow_s
            exchange.disconnect_after_s = rng.uniform(0.0, within_s)
    exchange.expected_failure = ending in {"error", "cut"}
    return exchange, ending


def slowed_s(session: Session) -> float:
    """How much later providers answer, in seconds, so that all slots get occupied; 0: no need.

    Long enough for ``cap`` calls to arrive one after the other. Taken from the fastest route: the
    first request of another may include warming up. A router that queues fills its slots from
    its queue.
    """
    cap = session.plan.promises.cap
    latency_s = min(session.latency_s.values(), default=0.0)
    if cap is None or cap.overload != "reject":
        return 0.0
    if latency_s < _QUICK_S and session.plan.attempt == 1:
        return 0.0
    return min(_SLOWEST_S, _CONTENDED * session.limit * latency_s)


def _choose(session: Session) -> tuple[RoutePlan, str]:
    return session.rng.choice(_cells(session))


def _cells(session: Session) -> list[tuple[RoutePlan, str]]:
    """The routes and modes of the mix."""
    return [
        (route, mode) for mode in ("chat", "stream", "tools") for route in session.routes_with(mode)
    ] or session.cells()
