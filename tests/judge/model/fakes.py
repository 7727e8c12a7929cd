"""The fake providers of the model: what they are sent, what they do about it, what they record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.judge.model import records
from tests.judge.model.virtual_time import Pipe, Signal, Task
from tests.judge.model.world import World

PATHS = {
    ("openai", "chat"): "/v1/chat/completions",
    ("openai", "embeddings"): "/v1/embeddings",
    ("ollama", "chat"): "/api/chat",
    ("ollama", "embeddings"): "/api/embed",
}
LIST_PATHS = {"openai": "/v1/models", "ollama": "/api/tags"}
PROVIDERS = ("openai", "ollama")

Event = tuple[str, Any]
"""What a router reads of an answer: (kind, what of it)."""


@dataclass(slots=True, kw_only=True, eq=False)
class Call:
    """A generation call, open at its provider."""

    provider: str
    family: str
    model: str
    stream: bool
    nonces: tuple[int, ...]
    body: str
    told: dict[str, Any]
    keys: tuple[str, ...]
    answer: Pipe[Event]
    number: int = 0
    attempt: int = 1
    accepted_ns: int = 0
    read_ns: int = 0
    held_ns: int | None = None
    let_go_ns: int | None = None
    head_ns: int | None = None
    first_ns: int | None = None
    peer_closed_ns: int | None = None
    status: int | None = None
    pieces: int = 0
    sent: int = 0
    over: bool = False
    arrived: bool = False
    may_go: Signal | None = None
    task: Task | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Fetch:
    """A fetch of a model list, open at its provider."""

    provider: str
    keys: tuple[str, ...]
    answer: Pipe[Event]
    number: int = 0
    epoch: int = 0
    read_ns: int = 0
    held: bool = False
    arrived: bool = False
    over: bool = False
    may_go: Signal | None = None
    task: Task | None = None


@dataclass(slots=True)
class Lists:
    """How one provider's model list stands."""

    epoch: int = 0
    status: int | None = None
    nonsense: bool = False
    hold_next: int = 0
    fetches: int = 0
    last_answered_ns: int = 0


@dataclass(slots=True)
class Gates:
    open: set[str] = field(default_factory=set)
    held: dict[Call, None] = field(default_factory=dict)


class Fakes:
    """Both providers; they share a process, and so their stalls."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._clock = world.clock
        self._gates = Gates()
        self._attempts: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        self._open_fetches: dict[Fetch, None] = {}
        self.calls: dict[Call, None] = {}
        self.arrived = dict.fromkeys(PROVIDERS, 0)
        self.last_arrival_ns = 0
        self.lists = {name: Lists() for name in PROVIDERS}
        self.everyone_is_told: dict[str, Any] = {}
        """Said to every call, over what its prompt says."""

    # -- what reaches them ----------------------------------------------------------------------

    def when_awake(self, do: Callable[[], None]) -> None:
        """Do it now, or when this process runs again."""
        until = self._world.fakes_stall.until(self._clock.now)
        if until > self._clock.now:
            self._clock.at(until, lambda: self.when_awake(do))
        else:
            do()

    def arrive(self, call: Call) -> None:
        """The whole request of a call is there."""
        self.arrived[call.provider] += 1
        call.number = self.arrived[call.provider]
        call.accepted_ns = self._clock.stamp()
        call.read_ns = self.last_arrival_ns = self._clock.stamp()
        key = (call.provider, call.family, call.body)
        self._attempts[key] += 1
        call.attempt = self._attempts[key]
        call.arrived = True
        call.told = call.told | self.everyone_is_told
        self.calls[call] = None
        start = self._world.start
        start.peak_open = max(start.peak_open, len(self.calls))
        call.task = self._clock.spawn(self._play(call))

    def peer_left(self, call: Call) -> None:
        """The router closed the call."""
        if call.over:
            return
        call.peer_closed_ns = now = self._clock.stamp()
        if call.task is not None:
            call.task.cancel()
        self._end(call, "peer", now, now, finished=False)

    def arrive_fetch(self, fetch: Fetch) -> None:
        its = self.lists[fetch.provider]
        its.fetches += 1
        fetch.number = its.fetches
        fetch.epoch = its.epoch
        fetch.read_ns = self._clock.stamp()
        fetch.held = its.hold_next > 0
        its.hold_next -= fetch.held
        fetch.may_go = Signal(self._clock)
        fetch.arrived = True
        self._open_fetches[fetch] = None
        fetch.task = self._clock.spawn(self._play_fetch(fetch))

    def fetch_left(self, fetch: Fetch) -> None:
        """The router closed the fetch."""
        if fetch.over:
            return
        now = self._clock.stamp()
        if fetch.task is not None:
            fetch.task.cancel()
        self._end_fetch(fetch, now, now, status=None, closed_ns=now)

    # -- control --------------------------------------------------------------------------------

    def held(self) -> list[Call]:
        return list(self._gates.held)

    def open_gate(self, name: str) -> int:
        self._gates.open.add(name)
        return self.let_go(name, len(self._gates.held))

    def let_go(self, name: str, count: int) -> int:
        """Let the oldest at this gate go."""
        its = [call for call in self._gates.held if call.told.get("gate") == name][:count]
        for call in its:
            del self._gates.held[call]
            call.let_go_ns = self._clock.stamp()
            assert call.may_go is not None
            call.may_go.fire()
        return len(its)

    def release_lists(self) -> int:
        for its in self.lists.values():
            its.hold_next = 0
        held = [f for f in self._open_fetches if f.held and f.may_go and not f.may_go.fired]
        for fetch in held:
            assert fetch.may_go is not None
            fetch.may_go.fire()
        return len(held)

    def fetch_held(self) -> bool:
        return any(f.held and f.may_go and not f.may_go.fired for f in self._open_fetches)

    def close(self) -> None:
        """Record what is still open, as a fake does that is stopped."""
        now = self._clock.stamp()
        for call in tuple(self.calls):
            self._end(call, "shutdown", now, now, finished=False)
        for fetch in tuple(self._open_fetches):
            self._end_fetch(fetch, now, now, status=None, closed_ns=None)
        self._world.start.evidence += self._world.fakes_stall.reports(now)

    # -- what they do ---------------------------------------------------------------------------

    async def _nap(self, seconds: float) -> None:
        if seconds:
            await self._clock.sleep(seconds)
        while (until := self._world.fakes_stall.until(self._clock.now)) > self._clock.now:
            await self._clock.sleep((until - self._clock.now) / 1e9)

    async def _hold(self, call: Call) -> None:
        if call.told.get("gate") in self._gates.open:
            return
        call.held_ns = self._clock.stamp()
        call.may_go = Signal(self._clock)
        self._gates.held[call] = None
        await call.may_go.wait()

    async def _play(self, call: Call) -> None:
        told = call.told
        hold = told.get("hold", "") if call.attempt >= told.get("from_", 1) else ""
        fails = call.attempt <= told.get("attempts", 1 << 30)
        if hold == "head":
            await self._hold(call)
        await self._nap(told.get("first", 0.0))
        if told.get("model") == "nonsense":
            self._answer(call, 404, "", finished=False)
        elif fails and told.get("status"):
            self._answer(call, told["status"], "", finished=False)
        elif fails and (told.get("cut") == 0 or told.get("fin") == 0):
            self._cut(call)
        elif not call.stream:
            if hold == "open":
                call.head_ns = self._clock.stamp()
                await self._hold(call)
            whole = not (fails and "malformed" in told)
            self._answer(call, 200, self._text(call) if whole else "", finished=whole)
        else:
            await self._stream(call, hold, fails)

    def _answer(self, call: Call, status: int, text: str, *, finished: bool) -> None:
        call.status, call.pieces = status, int(finished)
        inner_ns = self._clock.stamp()
        retry_after = call.told.get("retry_after") if status >= 400 else None
        call.answer.put(("answer", (status, text, retry_after)))
        self._sent(call, inner_ns, finished=finished)

    def _sent(self, call: Call, inner_ns: int, *, finished: bool) -> None:
        """The last byte is written. That is noted later: a close meanwhile changes nothing."""
        call.over = True
        gap_ns = 1_000_000 if self._world.rng.random() < 0.05 else 20_000

        def note() -> None:
            now = self._clock.stamp()
            call.head_ns = call.head_ns or now
            if call.pieces and call.first_ns is None:
                call.first_ns = now
            self._end(call, "fake", inner_ns, now, finished=finished)

        self._clock.at(inner_ns + gap_ns, note)

    async def _stream(self, call: Call, hold: str, fails: bool) -> None:
        told = call.told
        count = told.get("tokens", 4)
        ending = next((e for e in ("cut", "fin", "clean", "error") if e in told), "")
        ending = ending if fails else ""
        call.status, call.head_ns = 200, self._clock.stamp()
        call.answer.put(("head", 200))
        if hold == "open":
            await self._hold(call)
        nonce = call.nonces[0]
        hold_at = {"first": 1, "piece": told.get("at", 1)}.get(hold, 0)
        for number in range(count + 1):
            if ending and number >= told[ending]:
                break
            if number:
                await self._nap(told.get("gap", 0.0))
            if number < count:
                text = records.piece(nonce, call.provider, call.number, number)
            else:
                text = records.last_piece(
                    self._world.start.token, nonce, call.provider, call.number, count
                )
            call.answer.put(("piece", text))
            call.pieces += 1
            call.sent += len(text) + told.get("pad", 0) // told.get("at", 1)
            if number == 0:
                call.first_ns = self._clock.stamp()
            if call.pieces == hold_at:
                await self._hold(call)
        await self._nap(0.0)
        inner_ns = self._clock.stamp()
        if ending in {"cut", "fin"}:
            self._cut(call)
        elif ending:
            call.answer.put(("failed", None) if ending == "error" else ("end", None))
            self._sent(call, inner_ns, finished=False)
        else:
            call.answer.put(("finish", "stop"))
            self._sent(call, inner_ns, finished=True)

    def _cut(self, call: Call) -> None:
        now = self._clock.stamp()
        call.answer.put(("reset", None))
        self._end(call, "cut", now, self._clock.stamp(), finished=False)

    def _text(self, call: Call) -> str:
        count = call.told.get("tokens", 4)
        if call.family == "embeddings" or not call.nonces:
            return "embedding"
        nonce = call.nonces[0]
        row = "".join(
            records.piece(nonce, call.provider, call.number, number) for number in range(count)
        )
        return row + records.last_piece(
            self._world.start.token, nonce, call.provider, call.number, count
        )

    def _end(self, call: Call, by: Any, inner_ns: int, outer_ns: int, *, finished: bool) -> None:
        if call not in self.calls:
            return
        del self.calls[call]
        self._gates.held.pop(call, None)
        call.over = True
        self._world.start.evidence.append(
            records.Call(
                provider=call.provider,
                call=call.number,
                route=PATHS[call.provider, call.family],
                family="embeddings" if call.family == "embeddings" else "chat",
                model=call.model,
                stream=call.stream,
                run=self._world.start.token if call.nonces else "",
                nonces=call.nonces,
                body_hash=call.body,
                attempt=call.attempt,
                gate=call.told.get("gate", ""),
                accepted_ns=call.accepted_ns,
                read_ns=call.read_ns,
                held_ns=call.held_ns,
                let_go_ns=call.let_go_ns,
                head_ns=call.head_ns,
                first_ns=call.first_ns,
                inner_end_ns=inner_ns,
                outer_end_ns=outer_ns,
                ended_by=by,
                peer_closed_ns=call.peer_closed_ns,
                status=call.status,
                pieces=call.pieces,
                finished=finished,
                sent_bytes=call.sent,
                late_ns=20_000,
                canaries=call.keys,
            )
        )

    async def _play_fetch(self, fetch: Fetch) -> None:
        its = self.lists[fetch.provider]
        if fetch.held and fetch.may_go is not None:
            await fetch.may_go.wait()
        await self._nap(self._world.rng.uniform(0.0, 0.004))
        status = its.status or 200
        inner_ns = self._clock.stamp()
        good = status == 200 and not its.nonsense
        fetch.answer.put(("list", (status, fetch.epoch if good else None)))
        self._end_fetch(fetch, inner_ns, self._clock.stamp(), status=status, closed_ns=None)

    def _end_fetch(
        self,
        fetch: Fetch,
        inner_ns: int,
        outer_ns: int,
        *,
        status: int | None,
        closed_ns: int | None,
    ) -> None:
        if fetch not in self._open_fetches:
            return
        del self._open_fetches[fetch]
        fetch.over = True
        if status is not None:
            self.lists[fetch.provider].last_answered_ns = outer_ns
        self._world.start.evidence.append(
            records.ListFetch(
                provider=fetch.provider,
                fetch=fetch.number,
                route=LIST_PATHS[fetch.provider],
                epoch=fetch.epoch,
                read_ns=fetch.read_ns,
                held=fetch.held,
                inner_end_ns=inner_ns,
                outer_end_ns=outer_ns,
                answered=status is not None,
                peer_closed_ns=closed_ns,
                status=status,
                canaries=fetch.keys,
            )
        )
