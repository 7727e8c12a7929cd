"""The conductor of the model: rounds, snapshots and releases, as the scenarios' own conductor has
them, on the virtual clock."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from tests.judge.model import records
from tests.judge.model.clients import PATIENCE_S, Client, ListClient
from tests.judge.model.fakes import PROVIDERS, Call, Fakes
from tests.judge.model.model_list import ModelList
from tests.judge.model.router import Request, Router
from tests.judge.model.story import ROUTES, Story
from tests.judge.model.virtual_time import Pipe, Signal
from tests.judge.model.world import World

SETTLE_S = 0.5
APART_S = 0.27
FULL_S = APART_S
AGAIN_S = 0.1
POLL_S = 0.02


class Conductor:
    """What the scenarios of one start share."""

    def __init__(self, story: Story, start: records.Start) -> None:
        self.story = story
        self.promises = story.promises
        self.world = World(story, start)
        self.clock = self.world.clock
        self.rng = self.world.rng
        self.fakes = Fakes(self.world)
        self.router = Router(self.world, self.fakes)
        self.lists = ModelList(self.world, self.fakes, self.router)
        self.capacity = 0
        self.start = start
        self._nonces = self._rounds = self._asked = 0

    @property
    def limit(self) -> int:
        assert self.promises.cap is not None
        return self.start.cap or self.promises.cap.limit

    @property
    def ttl_s(self) -> float:
        assert self.promises.model_list is not None
        return self.promises.model_list.ttl_s

    def routes_with(self, mode: str) -> list[str]:
        return [name for name in self.story.routes if mode in ROUTES[name].modes]

    def first(self) -> tuple[str, str]:
        return self.story.routes[0], "chat"

    def keep(self, record: Any) -> None:
        self.start.observations.append(record)

    def nonce(self) -> int:
        self._nonces += 1
        return self._nonces

    def asked(self) -> int:
        self._asked += 1
        return self._asked

    async def nap(self, seconds: float) -> None:
        """Sleep; longer, when the load process stands still at the end of it."""
        await self.clock.sleep(seconds)
        while (until := self.world.load_stall.until(self.clock.now)) > self.clock.now:
            await self.clock.sleep((until - self.clock.now) / 1e9)

    async def wait_until(self, true: Callable[[], bool], within_s: float) -> bool:
        give_up = self.clock.now + int(within_s * 1e9)
        while not true():
            if self.clock.now >= give_up:
                return False
            await self.nap(POLL_S)
        return True

    async def wait_over(self, client: Client | ListClient, within_s: float) -> bool:
        return await client.over.wait(within_s)

    async def round(
        self,
        scenario: str,
        play: Callable[[RoundInPlay], Awaitable[Any]],
        *,
        route: str = "",
        mode: str = "",
        gate: bool = False,
        part: str = "",
    ) -> Any:
        """Play one round: its gate is opened and its clients are awaited at the end."""
        self._rounds += 1
        name = f"g{self._rounds}" if gate else ""
        played = RoundInPlay(self, self._rounds, name)
        self.keep(
            records.Round(
                round=self._rounds,
                scenario=scenario,
                at_ns=self.clock.stamp(),
                route=route,
                mode=mode,
                gate=name,
                offered=0,
                part=part,
            )
        )
        self.router.behaves = scenario == "smoke"
        came = await play(played)
        await played.finish()
        return came


class RoundInPlay:
    """One round while it is played."""

    def __init__(self, conductor: Conductor, number: int, gate: str) -> None:
        self.number = number
        self.conductor = conductor
        self.clients: list[Client] = []
        self.again: list[Client] = []
        """Those that a rejecting router refused, offered once more."""
        self.lists: list[ListClient] = []
        self._gate = gate
        self._open = not gate

    # -- requests -------------------------------------------------------------------------------

    def ask(
        self,
        route: str,
        mode: str,
        *,
        hold: str = "",
        go: Signal | None = None,
        retry_rejected: bool = True,
        patience_s: float = PATIENCE_S,
        leaves: tuple[float | None, int | None] = (None, None),
        model: str = "fake-chat",
        again: bool = False,
        **told: Any,
    ) -> Client:
        if hold:
            told = {"hold": hold, "gate": self._gate, **told}
        conductor = self.conductor
        nowhere: Pipe[Any] = Pipe(conductor.clock, conductor.world.lag, lambda _: None)
        request = Request(
            nonce=conductor.nonce(), route=route, mode=mode, told=told, model=model, reply=nowhere
        )
        client = Client(
            conductor.world,
            conductor.router,
            request,
            round_=self.number,
            patience_s=patience_s,
            leaves=leaves,
        )
        if retry_rejected and self._gate and conductor.promises.cap is not None:
            client.when_over = self._maybe_again
        if told.get("status") and conductor.router.breaks("key-in-answer"):
            client.secrets = ("openai_key",)
        (self.again if again else self.clients).append(client)
        client.begin(go)
        return client

    def _maybe_again(self, client: Client) -> None:
        """Offered again, where a full router refused it while we hold."""
        cap = self.conductor.promises.cap
        assert cap is not None
        if self._open or client.outcome != "refused" or client.status not in cap.reject_status:
            return
        asked = client.request

        def offer() -> None:
            if not self._open:
                told = {k: v for k, v in asked.told.items() if k not in {"hold", "gate", "shown"}}
                hold = asked.told.get("hold", "")
                self.ask(asked.route, asked.mode, hold=hold, again=True, **told)

        self.conductor.clock.after(AGAIN_S, offer)

    def ask_list(
        self, go: Signal | None = None, *, model: str = "", patience_s: float = PATIENCE_S
    ) -> ListClient:
        conductor = self.conductor
        client = ListClient(
            conductor.world,
            conductor.lists,
            number=conductor.asked(),
            round_=self.number,
            model=model,
        )
        self.lists.append(client)
        client.begin(go, patience_s)
        return client

    # -- what is held ---------------------------------------------------------------------------

    def held(self) -> int:
        return self._count(self.conductor.fakes.held())

    def _count(self, calls: Iterable[Call | records.Held]) -> int:
        """Calls, or the requests that they are for, as the cap counts."""
        cap = self.conductor.promises.cap
        if cap is not None and cap.counts == "requests":
            return len({nonce for call in calls for nonce in call.nonces})
        return sum(1 for _ in calls)

    def holds(self, client: Client) -> bool:
        return any(client.nonce in call.nonces for call in self.conductor.fakes.held())

    async def wait_held(self, count: int, within_s: float = 5.0) -> bool:
        return await self.conductor.wait_until(lambda: self.held() >= count, within_s)

    async def settle(self, quiet_s: float = SETTLE_S) -> bool:
        conductor = self.conductor
        cap = conductor.promises.cap
        longest_ns, full_ns = int(quiet_s * 1e9), int(min(quiet_s, FULL_S) * 1e9)
        give_up = conductor.clock.now + int(10e9) + longest_ns
        while conductor.clock.now < give_up:
            counted = self._counted()
            if cap is not None and counted > cap.limit:
                return False
            quiet_ns = full_ns if cap is not None and counted == cap.limit else longest_ns
            first = [c for c in self.clients if c.sent_ns is None and not c.outcome]
            moments = [c.sent_ns or c.end_ns for c in self.clients]
            last = max([conductor.fakes.last_arrival_ns, *moments])
            left_ns = quiet_ns - (conductor.clock.now - last)
            if not first and left_ns <= 0:
                return True
            # No sooner can it be quiet for long enough; more calls than the cap show by then.
            await conductor.nap(min(max(left_ns / 1e9, POLL_S), 0.1))
        return False

    def _counted(self) -> int:
        cap = self.conductor.promises.cap
        own = cap is not None and cap.scope in {"provider", "model"}
        groups: defaultdict[str, list[Call]] = defaultdict(list)
        for call in self.conductor.fakes.held():
            groups[call.provider if own else ""].append(call)
        return max(map(self._count, groups.values()), default=0)

    async def snapshot(self, *, settled: bool) -> int:
        conductor = self.conductor
        asked_ns = conductor.clock.stamp()
        await conductor.nap(conductor.world.lag())
        fakes = conductor.fakes
        until = conductor.world.fakes_stall.until(conductor.clock.now)
        await conductor.clock.sleep((until - conductor.clock.now) / 1e9)
        at_ns = conductor.clock.stamp()
        held = tuple(
            records.Held(provider=c.provider, call=c.number, nonces=c.nonces, read_ns=c.read_ns)
            for c in fakes.held()
        )
        open_ = dict.fromkeys(PROVIDERS, 0) | Counter(call.provider for call in fakes.calls)
        await conductor.nap(conductor.world.lag())
        answered_ns = conductor.clock.stamp()
        conductor.keep(
            records.snapshot(
                round_=self.number,
                span=(asked_ns, at_ns, answered_ns),
                held=held,
                open_=open_,
                waiting=tuple(c.nonce for c in (*self.clients, *self.again) if c.waiting),
                settled=settled,
            )
        )
        return self._count(held)

    async def snapshot_twice(self, quiet_s: float = SETTLE_S) -> int:
        settled = await self.settle(quiet_s)
        held = await self.snapshot(settled=settled)
        if not settled:
            await self.conductor.nap(APART_S)
            held = await self.snapshot(settled=False)
        return held

    # -- releases -------------------------------------------------------------------------------

    def let_go(self, count: int) -> None:
        self.conductor.fakes.let_go(self._gate, count)

    def release(self) -> None:
        if not self._open:
            self._open = True
            at_ns = self.conductor.clock.stamp()
            count = self.conductor.fakes.open_gate(self._gate)
            self._released(at_ns, "gate", count)

    def release_lists(self) -> None:
        at_ns = self.conductor.clock.stamp()
        self._released(at_ns, "lists", self.conductor.fakes.release_lists())

    def _released(self, at_ns: int, what: Any, count: int) -> None:
        self.conductor.keep(
            records.Released(round=self.number, at_ns=at_ns, what=what, count=count)
        )

    def move_epoch(self) -> int:
        conductor = self.conductor
        before = conductor.clock.stamp()
        states = conductor.fakes.lists.values()
        epoch = 1 + max(state.epoch for state in states)
        for state in states:
            state.epoch = epoch
        conductor.keep(
            records.EpochMoved(
                round=self.number, epoch=epoch, before_ns=before, after_ns=conductor.clock.stamp()
            )
        )
        return epoch

    async def finish(self) -> None:
        self.release()
        for over in [one.over for one in (*self.clients, *self.again)]:
            await over.wait()
        for asked in self.lists:
            await asked.over.wait()
        self.conductor.keep(records.round_end(self.number, self.conductor.clock.stamp()))
