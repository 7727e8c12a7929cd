"""The router's model list: a cache with one fetch in flight, in all the ways that are sound."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from tests.judge.model.fakes import Event, Fakes, Fetch
from tests.judge.model.router import Router
from tests.judge.model.story import ROUTES
from tests.judge.model.virtual_time import Box, Cancelled, Pipe, Signal, Task
from tests.judge.model.world import World

FETCH_S = 10.0
AHEAD = 0.7
"""Of the TTL: from then on a list is fetched ahead of its end."""
MODELS = 2
"""Of each provider."""


@dataclass(slots=True, kw_only=True, eq=False)
class ListRequest:
    """A client's request for the list, or for one model of it."""

    model: str
    reply: Pipe[Event]
    worker: int = 0
    task: Task | None = None


@dataclass(slots=True, eq=False)
class Entry:
    epoch: int
    stamp_ns: int


@dataclass(slots=True, eq=False)
class Flight:
    """A fetch under way, of one provider or of all."""

    providers: tuple[str, ...]
    since_ns: int
    over: Signal
    owner: ListRequest | None
    task: Task | None = None
    aborted: bool = False
    """It ended with its owner, and brought nothing."""
    killed: bool = False
    """So it did, and took those with it that had joined."""


@dataclass(slots=True)
class Cache:
    """What one worker of the router has."""

    entries: dict[str, Entry] = field(default_factory=dict)
    older: dict[str, int] = field(default_factory=dict)
    """The epoch before, for a router that shows it again."""
    resting_until: dict[str, int] = field(default_factory=dict)
    flights: dict[str, Flight] = field(default_factory=dict)
    """Provider -> the flight that fetches it."""


class ModelList:
    """The list of one router."""

    def __init__(self, world: World, fakes: Fakes, router: Router) -> None:
        self._world = world
        self._clock = world.clock
        self._fakes = fakes
        self._router = router
        self._story = world.story
        promised = self._story.promises.model_list
        self._promised = promised
        self._ttl_ns = int((promised.ttl_s if promised else 2.0) * 1e9)
        self._providers = tuple(dict.fromkeys(ROUTES[name].provider for name in self._story.routes))
        self._caches = [Cache() for _ in range(self._story.promises.workers)]
        self._offset_ns = world.rng.randrange(1_000_000_000)
        self._early = self._ttl_ns >= 2_000_000_000 and bool(world.rng.randrange(2))
        self._served = 0
        if self._story.prefetch:
            for cache in self._caches:
                self._begin(cache, self._providers, None)
        if self._story.timer and self._story.promises.model_list:
            self._clock.spawn(self._by_itself())

    def receive(self, request: ListRequest) -> None:
        if self._router.dead:
            request.reply.put(("list", (None, {}, 0)))
            return
        request.worker = self._world.rng.randrange(len(self._caches))
        request.task = self._clock.spawn(self._serve(request))

    def client_left(self, request: ListRequest) -> None:
        if request.task is not None and self._router.hears == "watch":
            self._clock.after(self._world.think(), request.task.cancel)

    async def _by_itself(self) -> None:
        while True:
            await self._clock.sleep(1.1 * self._ttl_ns / 1e9)
            for cache in self._caches:
                if not cache.flights:
                    self._begin(cache, self._providers, None)

    # -- serving --------------------------------------------------------------------------------

    async def _serve(self, request: ListRequest) -> None:
        await self._clock.sleep(self._world.think())
        permit = None
        try:
            under_cap = self._promised is not None and self._promised.under_cap
            if under_cap or self._router.breaks("lists-behind-cap"):
                since = self._clock.now
                permit = await self._router.permits_of(request.worker).take("")
                waited = self._clock.now - since > 900_000_000
                self._router.broke("lists-behind-cap", really=waited)
            await self._answer(request, self._caches[request.worker])
        except Cancelled:
            for flight in set(self._caches[request.worker].flights.values()):
                if flight.owner is request and flight.task is not None:
                    flight.killed = self._router.breaks("leader-takes-all")
                    flight.task.cancel()
            raise
        except Exception as refused:
            status = getattr(refused, "status", 500)
            request.reply.put(("list", (status, {}, 0)))
        finally:
            if permit is not None:
                permit.give()

    async def _answer(self, request: ListRequest, cache: Cache) -> None:
        deadline_ns = self._clock.now + self._patience_ns()
        shown = {p for p, entry in cache.entries.items() if self._fresh(entry)}
        while True:
            wanted = [p for p in self._providers if self._wants(cache, p)]
            flights = self._fetch(cache, wanted, request)
            for flight in flights:
                if not self._is_late(flight):
                    await flight.over.wait(max(0, deadline_ns - self._clock.now) / 1e9)
                if flight.killed:
                    self._router.broken += 1
                    request.reply.put(("list", (500, {}, 0)))
                    return
                shown.update(flight.providers)
            if self._clock.now >= deadline_ns or not any(f.aborted for f in flights):
                break
        self._reply(request, cache, shown)

    def _is_late(self, flight: Flight) -> bool:
        """Somebody has waited for it in vain: nobody else does."""
        return self._clock.now - flight.since_ns >= self._patience_ns()

    def _is_partial(self) -> bool:
        return self._promised is not None and self._promised.partial

    def _patience_ns(self) -> int:
        """How long a client waits for a fetch before it gets what is there."""
        if self._promised is None or not self._promised.partial:
            return int(30e9)
        return int(0.6e9 * self._promised.partial_within_s)

    def _wants(self, cache: Cache, provider: str) -> bool:
        """Its list is missing or expired, and it is not left alone just now."""
        if self._clock.now < cache.resting_until.get(provider, 0):
            return False
        entry = cache.entries.get(provider)
        return entry is None or not self._fresh(entry)

    def _fresh(self, entry: Entry) -> bool:
        now, stamp = self._clock.now, entry.stamp_ns
        old_s = (now - stamp) / self._ttl_ns
        if self._router.breaks("never-refreshed"):
            self._router.broke("never-refreshed", really=old_s > 1)
            return True
        if self._router.breaks("uncached"):
            self._router.broke("uncached", really=0.01 < old_s < 0.5)
            return False
        if self._story.whole_seconds:
            whole = (now + self._offset_ns) // 10**9 - (stamp + self._offset_ns) // 10**9
            most = self._ttl_ns // 10**9
            return whole < most if self._early else whole <= most
        return now - stamp < self._ttl_ns

    def _fetch(self, cache: Cache, wanted: list[str], request: ListRequest) -> list[Flight]:
        """Have these fetched, and those that are old enough; the flights to wait for."""
        flights: list[Flight] = []
        alone = self._router.breaks("not-shared")
        if wanted and self._story.one_entry:
            wanted = [
                p for p in self._providers if self._clock.now >= cache.resting_until.get(p, 0)
            ]
        missing = [p for p in wanted if alone or p not in cache.flights]
        self._router.broke("not-shared", really=any(p in cache.flights for p in missing))
        stale = self._story.stale and all(p in cache.entries for p in wanted)
        if missing:
            owner = request if self._story.leader_owns and not stale else None
            if self._router.breaks("leader-takes-all"):
                owner = request
            groups = [tuple(missing)] if self._story.one_entry else [(p,) for p in missing]
            flights += [self._begin(cache, group, owner) for group in groups]
        elif self._story.ahead:
            self._fetch_ahead(cache)
        if stale and not self._router.breaks("uncached"):
            return []
        flights += [cache.flights[p] for p in wanted if p in cache.flights]
        return list(dict.fromkeys(flights))

    def _fetch_ahead(self, cache: Cache) -> None:
        """Have those fetched whose list is near its end: all of them, where they are one entry."""
        old = [
            provider
            for provider, entry in cache.entries.items()
            if self._clock.now - entry.stamp_ns > AHEAD * self._ttl_ns
            and self._clock.now >= cache.resting_until.get(provider, 0)
        ]
        if self._story.one_entry:
            if old and not cache.flights:
                self._begin(cache, self._providers, None)
            return
        for provider in old:
            if provider not in cache.flights:
                self._begin(cache, (provider,), None)

    def _reply(self, request: ListRequest, cache: Cache, shown: set[str]) -> None:
        """``shown``: whose lists were fresh when it was asked for, or waited for since."""
        self._served += 1
        epochs: dict[str, int] = {}
        for provider in self._providers:
            entry = cache.entries.get(provider)
            if entry is None or entry.epoch < 0:
                continue
            if provider in shown or self._story.stale or self._fresh(entry):
                epochs[provider] = entry.epoch
        if self._router.breaks("older-after-newer") and self._served % 3 == 0:
            self._router.broken += any(
                epochs.get(provider, -1) > epoch for provider, epoch in cache.older.items()
            )
            epochs |= cache.older
        missing = len(epochs) < len(self._providers)
        all_or_nothing = not self._is_partial() and self._story.one_entry
        kept = any(entry.epoch < 0 for entry in cache.entries.values())
        dead = self._router.broke("dead-takes-all", really=missing and bool(epochs))
        if (missing and (dead or (all_or_nothing and not kept))) or (not epochs and not kept):
            request.reply.put(("list", (502, {}, 0)))
        elif request.model:
            provider = request.model.partition("/")[0]
            found = provider in epochs
            request.reply.put(("list", (200 if found else 404, {}, int(found))))
        else:
            request.reply.put(("list", (200, epochs, MODELS * len(epochs))))

    # -- fetching -------------------------------------------------------------------------------

    def _begin(self, cache: Cache, providers: tuple[str, ...], owner: ListRequest | None) -> Flight:
        flight = Flight(providers, self._clock.now, Signal(self._clock), owner)
        for provider in providers:
            cache.flights[provider] = flight
        flight.task = self._clock.spawn(self._fly(cache, flight))
        return flight

    async def _fly(self, cache: Cache, flight: Flight) -> None:
        begun = self._clock.now
        boxes: list[Signal] = []
        came: dict[str, int | None] = {}
        tasks = []
        try:
            for provider in flight.providers:
                done = Signal(self._clock)
                boxes.append(done)
                tasks.append(self._clock.spawn(self._get(provider, came, done)))
            for done in boxes:
                await done.wait()
            self._store(cache, came, begun)
        except Cancelled:
            for task in tasks:
                task.cancel()
            flight.aborted = True
            raise
        finally:
            for provider in flight.providers:
                if cache.flights.get(provider) is flight:
                    del cache.flights[provider]
            flight.over.fire()

    def _store(self, cache: Cache, came: dict[str, int | None], begun: int) -> None:
        from_request = self._promised is not None and self._promised.ttl_from == "request"
        if self._router.breaks("stamped-before"):
            from_request = True
            slow = self._clock.now - begun > 0.6 * self._ttl_ns
            self._router.broke("stamped-before", really=slow)
        stamp = begun if from_request else self._clock.now
        for provider, epoch in came.items():
            if epoch is not None:
                old = cache.entries.get(provider)
                if old is not None and 0 <= old.epoch < epoch:
                    cache.older[provider] = old.epoch
                cache.entries[provider] = Entry(epoch, stamp)
                cache.resting_until.pop(provider, None)
            elif self._router.broke("failure-kept"):
                cache.entries[provider] = Entry(-1, stamp)
            elif not self._router.broke("asked-anew"):
                rest_ns = int(self._story.rest * self._ttl_ns)
                cache.resting_until[provider] = self._clock.now + rest_ns
                kept = cache.entries.get(provider)
                if kept is not None and not self._story.stale and not self._fresh(kept):
                    del cache.entries[provider]

    async def _get(self, provider: str, came: dict[str, int | None], done: Signal) -> None:
        """One provider's epoch; None where it has no list for us."""
        came[provider] = None
        gives_up = self._story.gives_up_s
        try:
            for patience in (gives_up, FETCH_S) if gives_up else (FETCH_S,):
                box: Box[Event] = Box(self._clock)
                fetch = Fetch(
                    provider=provider,
                    keys=self._router.keys_for(provider, None),
                    answer=Pipe(self._clock, self._world.lag, box.put),
                )
                self._clock.after(self._world.lag(), partial(self._arrive, fetch))
                try:
                    event = await box.get(patience)
                finally:
                    self._clock.after(self._world.lag(), partial(self._leave, fetch))
                if event is not None:
                    status, epoch = event[1]
                    came[provider] = epoch if status == 200 else None
                    return
        finally:
            done.fire()

    def _arrive(self, fetch: Fetch) -> None:
        self._fakes.when_awake(lambda: self._fakes.arrive_fetch(fetch))

    def _leave(self, fetch: Fetch) -> None:
        if fetch.arrived:
            self._fakes.when_awake(lambda: self._fakes.fetch_left(fetch))
