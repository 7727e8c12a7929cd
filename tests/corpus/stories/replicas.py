"""Stories of several replicas of one router, some of them disturbed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from fake_providers.records.evidence import Call
from routerspec.limits import IN_TURN, WITHOUT_STORE
from routerspec.promises import Cap, ModelList, Promises
from routerspec.records.observations import Disturbed, Observation
from tests.corpus.builder import LIMIT, TTL, Start
from tests.corpus.registry import Story, bad, good

REPLICAS = 3
LEASE = 1.0
RECOVERS = 2.0
VICTIM = REPLICAS

LEASED = Cap(
    limit=LIMIT, scope="cluster", coordination="lease", lease_s=LEASE, recovers_within_s=RECOVERS,
    store_loss="closed",
)  # fmt: skip
BOUND = Cap(limit=LIMIT, scope="cluster", coordination="session")
LISTS = ModelList(ttl_s=TTL, scope="cluster", lock_s=1.0)
FAULTS = (
    "cap/replica-killed", "cap/replica-paused", "cap/replica-cut-off", "cap/store-restarted",
    "cap/store-gone",
)  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Client:
    """One client, and its one call; times are seconds since its round began."""

    replica: int
    sent: float = 0.1
    read: float | None = None
    """When its call arrived; None: there was none."""
    end: float = 9.5
    closed: bool = False
    """The router closed the call then."""
    failed: bool = False
    first: bool = False
    """The call was streamed, and held after its first piece."""


class Play:
    """One round of several replicas while it is being made up."""

    def __init__(
        self, start: Start, scenario: str, begin: float, clients: list[Client], *,
        part: str = "", lasts: float = 10.0, release: float = 9.0,
    ) -> None:  # fmt: skip
        """``release``: when the gate was opened, since the round began."""
        self.start, self.begin, self.released = start, begin, release
        self.number = start.round(scenario, begin, begin + lasts, route="openai", mode="chat",
                                  part=part)  # fmt: skip
        self.all: list[tuple[Client, Observation, Call | None]] = []
        for client in clients:
            self._play(client)

    def _play(self, client: Client) -> None:
        start, begin = self.start, self.begin
        nonce = start.nonce()
        end, call = begin + client.end, None
        if client.read is not None:
            held = client.read < self.released
            ended: dict[str, Any] = {}
            if client.closed:
                ended = {"ended_by": "peer", "peer_closed": end, "status": None, "headless": True}
            first = begin + client.read + 0.01 if client.first else None
            call = start.call(nonce, read=begin + client.read, end=end, held=held, first=first,
                              stream=client.first, **ended)  # fmt: skip
        failed = client.failed or client.closed
        observed = start.client(
            nonce, self.number, sent=begin + client.sent, end=end + 0.05,
            text="" if failed or call is None else start.whole(nonce, call),
            outcome="failed" if failed else "answered" if call else "refused",
            status=None if failed else 200 if call else 503,
            error="ConnectionResetError: reset" if failed else "",
            mode="stream" if client.first else "chat", replica=client.replica,
        )  # fmt: skip
        self.all.append((client, observed, call))

    def look(self, *moments: float, settled: bool = False) -> None:
        """A snapshot at each of these."""
        for at in moments:
            held = [
                call
                for client, _, call in self.all
                if call and client.read is not None and client.read < at < client.end
            ]
            waiting = [o.nonce for c, o, _ in self.all if c.sent < at < c.end]
            self.start.snapshot(self.number, self.begin + at, held, waiting, settled=settled)

    def done(self, at: float, what: Disturbed, *, replica: int = 0, service: str = "") -> None:
        """Something was done to a replica or a service."""
        self.start.disturbed(self.number, self.begin + at, what, replica=replica, service=service)

    def release(self) -> None:
        """The gate was opened."""
        self.start.release(self.number, self.begin + self.released, "gate", LIMIT)


def queue(
    count: int, *, replicas: tuple[int, ...], sent: float = 0.2, **fields: Any
) -> list[Client]:
    """Clients that wait until the gate is opened."""
    return [
        Client(replica=replicas[n % len(replicas)], sent=sent, read=9.1 + 0.01 * n,
               end=9.6 + 0.01 * n, **fields)
        for n in range(count)
    ]  # fmt: skip


def together(
    start: Start, scenario: str, begin: float, *, part: str = "", held: int = LIMIT,
) -> None:  # fmt: skip
    """Nine clients of all replicas, of whom so many are let in at once."""
    clients = [
        Client(replica=n % REPLICAS + 1, read=0.11 + 0.01 * n if n < held else 2.1 + 0.01 * n,
               end=2.05 if n < held else 2.5)
        for n in range(3 * REPLICAS)
    ]  # fmt: skip
    played = Play(start, scenario, begin, clients, part=part, lasts=3.0, release=2.0)
    played.look(0.8, 1.1, settled=True)
    played.release()


def in_turn(start: Start, begin: float) -> None:
    """Six clients in turn, let in one after the other, the last before the fifth."""
    reads = (0.11, 0.12, 1.0, 1.1, 1.3, 1.2)
    clients = [
        Client(replica=n % REPLICAS + 1, sent=0.1 + 0.02 * n, read=read, end=read + 0.5)
        for n, read in enumerate(reads)
    ]
    Play(start, "replicas", begin, clients, part=IN_TURN, lasts=3.0, release=2.9).release()


def held_by_victim() -> list[Client]:
    """A call of the victim and one of another replica occupy all slots."""
    return [Client(replica=VICTIM, read=0.11), Client(replica=1, read=0.12)]


OTHERS = (1, 2)


def killed(start: Start, begin: float, *, back: float | None, over: bool = False) -> None:
    """The victim is killed at 1.0; ``back``: when another client had its slot."""
    mine, other = held_by_victim()
    mine.end, mine.closed = 1.01, True
    waiting = queue(5, replicas=OTHERS)
    if back is not None:
        waiting[0].read = back
    if over:
        waiting[1].read = back
    play = Play(start, "replica-killed", begin, [mine, other, *waiting], part="1")
    play.look(0.8, settled=True)
    play.done(1.0, "killed", replica=VICTIM)
    until = 2.9 if back is not None and back < RECOVERS else 8.4
    play.look(*(1.2 + 0.3 * n for n in range(round((until - 1.2) / 0.3))))
    play.done(until + 0.1, "started", replica=VICTIM)
    play.release()
    together(start, "replica-killed", begin + 15, part="after")


def paused(start: Start, begin: float, *, over: float | None, until: float | None = None) -> None:
    """The victim is paused from 1.0 to 4.5. ``over``: when another client had its slot; ``until``:
    when the victim closed its own call then."""
    mine, other = held_by_victim()
    if until is not None:
        mine.end, mine.closed = until, True
    waiting = queue(5, replicas=OTHERS)
    if over is not None:
        waiting[0].read = over
    play = Play(start, "replica-paused", begin, [mine, other, *waiting], part="pause")
    play.look(0.8, settled=True)
    play.done(1.0, "paused", replica=VICTIM)
    play.look(*(1.2 + 0.3 * n for n in range(11)))
    play.done(4.5, "resumed", replica=VICTIM)
    play.look(*(4.6 + 0.3 * n for n in range(14)))
    play.release()
    together(start, "replica-paused", begin + 15, part="after")


def cut_off(start: Start, begin: float, *, fenced: float | None) -> None:
    """The victim is cut off from 1.0 to 4.5, and another client has its slot at 2.2."""
    mine, other = held_by_victim()
    if fenced is not None:
        mine.end, mine.closed = fenced, True
    waiting = [*queue(4, replicas=OTHERS), *queue(2, replicas=(VICTIM,))]
    waiting[0].read = 2.2
    play = Play(start, "replica-cut-off", begin, [mine, other, *waiting], part="cut off")
    play.look(0.8, settled=True)
    play.done(1.0, "cut-off", replica=VICTIM, service="redis")
    play.look(*(1.2 + 0.3 * n for n in range(11)))
    play.done(4.5, "rejoined", replica=VICTIM, service="redis")
    play.look(*(4.6 + 0.3 * n for n in range(10)))
    play.release()
    together(start, "replica-cut-off", begin + 15, part="after")


def restarted(start: Start, begin: float, *, forgotten: bool = False) -> None:
    """The store is restarted at 1.0, requests are sent at 1.5. ``forgotten``: two are let in."""
    waiting = [*queue(3, replicas=(1, 2, 3)), *queue(4, replicas=(3, 2, 1), sent=1.5)]
    if forgotten:
        waiting[3].read = waiting[4].read = 1.6
    play = Play(start, "store-restarted", begin, [*held_by_victim(), *waiting], part="restarted")
    play.look(0.8, settled=True)
    play.done(1.0, "restarted", service="redis")
    play.look(*(1.7 + 0.3 * n for n in range(10)))
    play.release()
    together(start, "store-restarted", begin + 15, part="after")


def gone(start: Start, begin: float, *, each: int = 0, cut: bool = False) -> None:
    """The store is killed at 1.0, two clients of each replica are sent at 5.0, and it is back at
    7.0. ``each``: how many of a replica are let in without it."""
    mine = [Client(replica=n, read=0.1, end=1.3, first=True) for n in (1, 2)]
    if cut:
        mine[0].closed, mine[0].end = True, 1.2
    play = Play(start, "store-gone", begin, mine, part="gone", lasts=1.5, release=1.1)
    play.look(0.8, settled=True)
    play.done(1.0, "gone", service="redis")
    play.release()
    clients = [
        Client(replica=n % REPLICAS + 1, sent=5.0 - 4.6, read=0.5 if n < each * REPLICAS else 2.6,
               end=5.3)
        for n in range(3 * REPLICAS)
    ]  # fmt: skip
    if not each:  # Two of them, once the store is back.
        for client in clients[2:]:
            client.read = 5.1
    else:
        for client in clients[each * REPLICAS :]:
            client.read = 5.1
    play = Play(start, "store-gone", begin + 4.6, clients, part=WITHOUT_STORE, lasts=6.0,
                release=5.0)  # fmt: skip
    play.look(0.8, 1.1, 1.4, 1.7, 2.0)
    play.done(2.2, "back", service="redis")
    if not each:
        play.look(2.4, 3.0, 4.1, 4.5)
    play.release()
    together(start, "store-gone", begin + 15, part="after")


def lists(start: Start, begin: float, part: str, *, fetches: int = 1, held: float = 0.4) -> None:
    """Twelve clients of all replicas, whose list is fetched so many times."""
    number = start.round("lists-replicas", begin, begin + held + 1, part=part)
    for n in range(fetches):
        start.fetch(begin + 0.12 + 0.01 * n, begin + held, held=not n)
    for n in range(12):
        start.ask_list(number, begin + 0.1, begin + held + 0.01 + 0.001 * n,
                       replica=n % REPLICAS + 1)  # fmt: skip


def fetcher_killed(start: Start, begin: float, *, taken: float | None = 0.9) -> None:
    """A replica is killed while it fetches; ``taken``: when another one fetched, after the kill."""
    number = start.round("lists-replica-killed", begin, begin + 8, part="killed")
    start.fetch(begin + 0.12, begin + 1.01, held=True, answered=False, status=None,
                peer_closed=begin + 1.01)  # fmt: skip
    start.ask_list(number, begin + 0.1, begin + 1.01, outcome="failed", status=None, epochs={},
                   replica=VICTIM)  # fmt: skip
    start.disturbed(number, begin + 1.0, "killed", replica=VICTIM)
    end = begin + 1.0 + (taken or 4.2)
    if taken is not None:
        start.fetch(end, end + 0.01)
    answer: dict[str, Any] = {} if taken else {"outcome": "failed", "status": None, "epochs": {}}
    for n in range(10):
        start.ask_list(number, begin + 0.3, end + 0.02 + 0.001 * n, replica=n % 2 + 1, **answer)
    start.disturbed(number, begin + 6, "started", replica=VICTIM)


# -- the stories -----------------------------------------------------------------------------


def _of(*starts: Start, cap: Cap = LEASED) -> Story:
    return starts, {"promises": Promises(cap=cap, model_list=LISTS)}


def _start(name: str = "one", token: str = "k3") -> Start:
    return Start(name, token=token, replicas=REPLICAS)


@good("replicas-that-share-a-cap")
def sharing() -> Story:
    start = _start()
    lists(start, 0, "cold")
    lists(start, 5, "expired")
    together(start, "replicas", 10, part="together")
    in_turn(start, 20)
    start_of_kill = _start("replica-killed", "k4")
    fetcher_killed(start_of_kill, 0)
    starts, info = _of(start, start_of_kill)
    selected = ("cap/replicas", "slots/replicas-order", "models/one-fetch-cluster")
    return starts, {"selected": selected, **info}


@good("replicas-with-a-lease-that-are-disturbed")
def leased() -> Story:
    starts = [_start(name, f"k{n}") for n, name in enumerate(FAULTS, 1)]
    killed(starts[0], 0, back=2.1)
    paused(starts[1], 0, over=2.1, until=4.51)
    cut_off(starts[2], 0, fenced=1.7)
    restarted(starts[3], 0)
    gone(starts[4], 0)
    for start in starts:
        start.name = start.name.replace("/", "-")
    told, info = _of(*starts)
    return told, {"selected": FAULTS, **info}


@good("replicas-bound-to-their-connections")
def bound() -> Story:
    start = _start()
    paused(start, 0, over=None)
    starts, info = _of(start, cap=BOUND)
    return starts, {"selected": ("cap/replica-paused",), **info}


@good("replicas-by-themselves-without-a-store")
def by_themselves() -> Story:
    start = _start()
    gone(start, 0, each=LIMIT)
    starts, info = _of(start, cap=replace(LEASED, store_loss="local"))
    return starts, {"selected": ("cap/store-gone",), **info}


@bad("cap/replicas")
def one_limiter_each() -> Story:
    start = _start()
    together(start, "replicas", 0, part="together", held=LIMIT * REPLICAS)
    return _of(start)


@bad("cap/replica-killed")
def slots_gone_with_it() -> Story:
    start = _start()
    killed(start, 0, back=None)
    return _of(start)


@bad("cap/replica-paused")
def held_beyond_its_lease() -> Story:
    start = _start()
    paused(start, 0, over=2.1)
    return _of(start)


@bad("cap/replica-cut-off")
def not_fenced() -> Story:
    start = _start()
    cut_off(start, 0, fenced=None)
    return _of(start)


@bad("cap/store-restarted")
def an_empty_store_is_free() -> Story:
    start = _start()
    restarted(start, 0, forgotten=True)
    return _of(start)


@bad("cap/store-gone")
def open_without_a_store() -> Story:
    start = _start()
    gone(start, 0, each=1)
    return _of(start)


@bad("models/one-fetch-cluster")
def a_lock_in_each_process() -> Story:
    start = _start()
    lists(start, 0, "cold", fetches=REPLICAS)
    return _of(start)
