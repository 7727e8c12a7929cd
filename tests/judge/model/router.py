"""The model router: calls, retries and streams under permits, as a sound router may have them.

With ``story.rule`` it breaks exactly one rule, at the place where that rule is kept here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.judge.model.fakes import PROVIDERS, Call, Event, Fakes
from tests.judge.model.permits import Permit, Permits, RefusedError
from tests.judge.model.story import ROUTES
from tests.judge.model.virtual_time import Box, Cancelled, Pipe, Signal, Task
from tests.judge.model.world import World

TIMEOUT_S = 60.0
SHORT_TIMEOUT_S = 3.0
"""Of the start on which providers are not answered in time."""


class FailedError(Exception):
    """A provider's call failed before anything of it was passed on."""

    def __init__(self, status: int, retry_after: int | None = None, kind: str = "status") -> None:
        self.status = status
        self.retry_after = retry_after
        self.kind = kind


@dataclass(slots=True, kw_only=True, eq=False)
class Request:
    """A client's request, in the router."""

    nonce: int
    route: str
    mode: str
    told: dict[str, Any]
    model: str
    reply: Pipe[Event]
    """To the client."""
    gone: bool = False
    """Its client's close is there, whether it was noticed or not."""
    headed: bool = False
    """The head of a good answer was sent."""
    begun: bool = False
    """Something of the answer was sent."""
    provider: str = ""
    """Where it is asked now, when not where its route says."""
    ended: str = ""
    """How its answer was broken off, after it began."""
    worker: int = 0
    task: Task | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Upstream:
    """The router's end of one call."""

    router: Router
    call: Call
    box: Box[Event]
    closed: bool = False

    @classmethod
    def open(
        cls, router: Router, request: Request, step: int, nonces: tuple[int, ...] = ()
    ) -> Upstream:
        route = ROUTES[request.route]
        family = "embeddings" if request.mode == "embeddings" else route.calls[step]
        last = step == len(route.calls) - 1
        box: Box[Event] = Box(router.clock)
        told = request.told
        if request.model == "nonsense":
            told = told | {"model": "nonsense"}
        call = Call(
            provider=request.provider or route.provider,
            family=family,
            model="fake-chat",
            stream=family == "chat"
            and last
            and (route.gathers or (route.streams and request.mode == "stream")),
            nonces=nonces or (request.nonce,),
            body=f"{request.nonce:x}{step}".rjust(16, "0"),
            told=told,
            keys=router.keys_for(request.provider or route.provider, request),
            answer=Pipe(router.clock, router.world.lag, box.put),
        )
        upstream = cls(router=router, call=call, box=box)
        router.clock.after(router.world.lag(), upstream._arrive)
        return upstream

    def _arrive(self) -> None:
        if self.closed and self.router.world.rng.random() < 0.5:
            return  # Its connection was given up before the request was written.
        self.router.fakes.when_awake(self._arrive_awake)

    def _arrive_awake(self) -> None:
        self.router.fakes.arrive(self.call)
        if self.closed:
            self._leave()

    def close(self) -> None:
        """Close the call, if it is still open."""
        if not self.closed:
            self.closed = True
            self.router.clock.after(self.router.world.lag(), self._leave)

    def _leave(self) -> None:
        if self.call.arrived:
            self.router.fakes.when_awake(lambda: self.router.fakes.peer_left(self.call))


@dataclass(slots=True, eq=False)
class Batch:
    """Embeddings that are asked for in one call."""

    requests: list[Request]
    over: Signal
    task: Task | None = None
    fault: Exception | None = None


@dataclass(slots=True, eq=False)
class Running:
    """What is open, for rules that reach over to others."""

    calls: dict[Request, Upstream] = field(default_factory=dict)


class Router:
    """One router with all its workers."""

    def __init__(self, world: World, fakes: Fakes) -> None:
        self.world = world
        self.story = world.story
        self.clock = world.clock
        self.fakes = fakes
        self.behaves = False
        """It breaks no rule just now: while smoke is played, or nothing would be judged."""
        cap = self.story.promises.cap
        shared = cap is None or cap.scope != "process"
        if self.breaks("limiter-per-worker"):
            shared = False
        workers = range(1 if shared else self.story.promises.workers)
        self._permits = [Permits(self, world.start.cap) for _ in workers]
        self._of_route: dict[str, Permits] = {}
        self._running = Running()
        short = self.story.play in {"after-timeout", "slow-stream"}
        self._timeout_s = SHORT_TIMEOUT_S if short else TIMEOUT_S
        self._requests: dict[Request, None] = {}
        self.dead = False
        self.broken = 0
        """How often its rule was broken."""
        self._shut_until = 0
        self._batches: dict[str, Batch] = {}
        if self.story.polls:
            self.clock.spawn(self._poll())
        self._texts: list[str] = []

    def breaks(self, rule: str) -> bool:
        """Whether this is the rule that it breaks; asked where it would be kept."""
        return self.story.rule == rule and not self.behaves

    def broke(self, rule: str, *, really: bool = True) -> bool:
        """The same, where it is broken now (if ``really``): that is counted."""
        broken = self.breaks(rule) and really
        self.broken += broken
        return broken

    def die(self) -> None:
        """The process is gone, and with it every connection."""
        self.dead = True
        for request in tuple(self._requests):
            if request.task is not None:
                request.task.cancel()
            if not request.gone:
                request.reply.put(("broken", None))

    def keys_for(self, provider: str, request: Request | None) -> tuple[str, ...]:
        """Names of the keys in a request to this provider."""
        if self.story.promises.keys == "passthrough":
            return ("client_key",)
        failing = request is not None and bool(request.told.get("status"))
        if self.broke("key-swapped", really=failing):
            return (f"{PROVIDERS[provider == PROVIDERS[0]]}_key",)
        if self.broke("client-key-passed", really=request is not None):
            return ("client_key", f"{provider}_key")
        return (f"{provider}_key",)

    # -- clients --------------------------------------------------------------------------------

    def receive(self, request: Request) -> None:
        """A whole request is there."""
        if self.dead:
            request.reply.put(("broken", None))
            return
        self._requests[request] = None
        request.worker = self.world.rng.randrange(self.story.promises.workers)
        request.task = self.clock.spawn(self._serve(request))

    def client_left(self, request: Request) -> None:
        """The client's close is there; it is noticed in due time, or never."""
        request.gone = True
        task = request.task
        if task is None:
            return
        self.broke("hang-up-ignored", really=request in self._requests)
        if self.hears == "watch":
            self.clock.after(self._notice_s(), task.cancel)
        if self.breaks("kills-neighbours"):
            for other in self._running.calls:
                if other is not request and other.task is not None:
                    self.broken += 1
                    self.clock.after(0.005, other.task.cancel)
                    self.clock.after(0.006, partial(other.reply.put, ("broken", None)))

    @property
    def hears(self) -> str:
        """How hang-ups are noticed: at once, where that is promised."""
        if self.breaks("hang-up-ignored") or self.breaks("retry-for-nobody"):
            return "never"
        return "watch" if self.story.promises.cancel else self.story.hears

    def _notice_s(self) -> float:
        cancel = self.story.promises.cancel
        most = (cancel.within_s if cancel else 0.5) * self.story.hears_within
        return self.world.rng.uniform(0.0, most)

    # -- serving --------------------------------------------------------------------------------

    async def _serve(self, request: Request) -> None:
        await self.clock.sleep(self.world.think())
        route = ROUTES[request.route]
        outer: Permit | None = None
        ended = ""
        try:
            self._refuse_while_shut()
            if self._sends_heads_early(request):
                self._head(request)
            if self._is_batched(request):
                await self._join_batch(request)
                return
            if self._whole_request():
                outer = await self._take(request)
            if route.side_by_side and outer is not None and self._counts_requests():
                await self._side_by_side(request, outer)
                return
            for step in range(len(route.calls) if request.mode != "embeddings" else 1):
                await self._step(request, step, outer)
        except RefusedError as refused:
            self._refuse(request, refused.status, own=True)
        except FailedError as failed:
            ended = failed.kind
            self._tell_failed(request, failed)
        except Cancelled:
            ended = "hang-up"
            raise
        finally:
            self._running.calls.pop(request, None)
            self._requests.pop(request, None)
            if outer is not None:
                self._give(outer, ended or request.ended)

    def _sends_heads_early(self, request: Request) -> bool:
        """Not where it may have to refuse, nor where a stream that just ends tells of failures."""
        cap = self.story.promises.cap
        waits = cap is None or (
            cap.overload == "queue" and cap.queue_limit is None and cap.queue_timeout_s is None
        )
        early = self.story.heads_early and self.story.tells != "end"
        return request.mode == "stream" and early and waits and not self.story.breaker

    def _refuse_while_shut(self) -> None:
        if self.clock.now < self._shut_until:
            raise RefusedError(503)

    def _counts_requests(self) -> bool:
        cap = self.story.promises.cap
        return cap is not None and cap.counts == "requests"

    def _whole_request(self) -> bool:
        cap = self.story.promises.cap
        if cap is None:
            return False
        return (
            cap.counts == "requests" or self.story.span == "request" or self.breaks("self-deadlock")
        )

    async def _take(self, request: Request) -> Permit:
        cap = self.story.promises.cap
        route = ROUTES[request.route]
        group = ""
        if cap is not None and cap.scope == "provider":
            group = request.provider or route.provider
        elif cap is not None and cap.scope == "model":
            group = f"{request.provider or route.provider}/fake-chat"
        permits = self.permits_of(request.worker)
        if self.breaks("limiter-per-route"):
            permits = self._of_route.setdefault(request.route, Permits(self, self.world.start.cap))
        if self.breaks("route-unlimited") and request.route == self.story.routes[0]:
            permits = Permits(self, None)
        return await permits.take(group)

    def permits_of(self, worker: int) -> Permits:
        return self._permits[worker % len(self._permits)]

    async def _step(self, request: Request, step: int, outer: Permit | None) -> None:
        """One call of the request, with as many attempts as it takes."""
        if self.breaks("self-deadlock"):
            outer = None
        permit = outer
        ended = ""
        attempt = 0
        try:
            while True:
                attempt += 1
                permit = permit or await self._permit(request, attempt)
                ended = ""
                try:
                    await self._attempt(request, step, permit)
                    return
                except FailedError as fault:
                    ended = fault.kind
                    if self._is_final(request, attempt, fault):
                        if outer is not None or not self._may_fall_back(request, fault):
                            raise
                        request.provider = PROVIDERS[ROUTES[request.route].provider == PROVIDERS[0]]
                        attempt = 0
                        self._give(permit, ended)
                        permit = None
                        continue
                    if outer is None and not self.story.holds_retries:
                        self._give(permit, ended)
                        permit = None
                    await self.clock.sleep(self._backoff_s(fault))
                    if request.gone and not self.broke("retry-for-nobody"):
                        raise
        except Cancelled:
            ended = "hang-up"
            raise
        finally:
            if permit is not None and outer is None:
                self._give(permit, ended or request.ended)

    def _may_fall_back(self, request: Request, fault: FailedError) -> bool:
        story = self.story
        can = story.falls_back and fault.status >= 500 and not request.provider
        return can and not request.headed and not request.gone and not story.rule

    async def _side_by_side(self, request: Request, outer: Permit) -> None:
        """All calls at once; the last one is the answer, and the permit is for all of them."""
        last = len(ROUTES[request.route].calls) - 1
        done = [Signal(self.clock) for _ in range(last)]
        tasks = [
            self.clock.spawn(self._beside(request, step, outer, over))
            for step, over in enumerate(done)
        ]
        try:
            await self._step(request, last, outer)
            for over in done:
                await over.wait()
        except BaseException:
            for task in tasks:
                task.cancel()
            raise

    async def _beside(self, request: Request, step: int, outer: Permit, over: Signal) -> None:
        try:
            await self._step(request, step, outer)
        except (FailedError, RefusedError):
            pass
        finally:
            over.fire()

    # -- batches, and what is asked for nobody --------------------------------------------------

    def _is_batched(self, request: Request) -> bool:
        cap = self.story.promises.cap
        by_call = cap is None or cap.counts == "calls"
        return self.story.batches and request.mode == "embeddings" and by_call

    async def _join_batch(self, request: Request) -> None:
        key = f"{request.route} {request.worker} {sorted(request.told.items())} {request.model}"
        batch = self._batches.get(key)
        if batch is None:
            batch = self._batches[key] = Batch([request], Signal(self.clock))
            batch.task = self.clock.spawn(self._run_batch(key, batch))
        else:
            batch.requests.append(request)
        try:
            await batch.over.wait()
        except Cancelled:
            batch.requests.remove(request)
            if not batch.requests and batch.task is not None:
                self._batches.pop(key, None)
                batch.task.cancel()
            raise
        if batch.fault is not None:
            raise batch.fault

    async def _run_batch(self, key: str, batch: Batch) -> None:
        permit: Permit | None = None
        upstream: Upstream | None = None
        try:
            await self.clock.sleep(0.003)
            permit = await self._take(batch.requests[0])
            self._batches.pop(key, None)
            asked = tuple(batch.requests)
            nonces = tuple(request.nonce for request in asked)
            upstream = Upstream.open(self, asked[0], 0, nonces)
            kind, what = await self._read(upstream)
            if kind != "answer" or what[0] >= 400 or not what[1]:
                status = what[0] if kind == "answer" and what[0] >= 400 else 502
                batch.fault = FailedError(status, kind="error")
            for request in () if batch.fault else asked:
                self._pass_whole(request, f"embedding:{request.nonce}")
        except RefusedError as refused:
            batch.fault = refused
        finally:
            self._batches.pop(key, None)
            if upstream is not None:
                upstream.close()
            if permit is not None:
                permit.give()
            batch.over.fire()

    async def _poll(self) -> None:
        """A short call to each provider, now and then."""
        number = 0
        while not self.dead:
            await self.clock.sleep(3.0)
            number += 1
            box: Box[Event] = Box(self.clock)
            call = Call(
                provider=PROVIDERS[number % 2],
                family="chat",
                model="fake-chat",
                stream=False,
                nonces=(),
                body=f"{number:016x}",
                told={"first": 0.005},
                keys=self.keys_for(PROVIDERS[number % 2], None),
                answer=Pipe(self.clock, self.world.lag, box.put),
            )
            self.fakes.when_awake(partial(self.fakes.arrive, call))

    async def _permit(self, request: Request, attempt: int) -> Permit:
        if attempt > 1 and self.breaks("retry-free"):
            return Permit(Permits(self, None), "", counts=False)
        return await self._take(request)

    def _is_final(self, request: Request, attempt: int, fault: FailedError) -> bool:
        """Nothing is tried again after this attempt."""
        story = self.story
        if story.breaker and story.promises.recovery_s and fault.status >= 500:
            self._shut_until = self.clock.now + int(0.8e9 * story.promises.recovery_s)
        promised = story.promises.retries
        again = promised.max if promised else story.retries
        if attempt > again and not self.broke("one-retry-more", really=attempt == again + 1):
            return True
        if request.gone and not self.breaks("retry-for-nobody"):
            return True
        return request.begun and not self.breaks("replay")

    def _give(self, permit: Permit, ended: str) -> None:
        if ended and self.broke(f"leak-{ended}", really=permit.taken):
            permit.lose()
        elif ended and self.broke("double-release"):
            permit.give_twice()
        else:
            permit.give()

    def _backoff_s(self, fault: FailedError) -> float:
        retries = self.story.promises.retries
        wait = self.world.rng.uniform(0.0, 0.1)
        if self.broke("retry-too-early", really=bool(fault.retry_after)):
            return wait
        if fault.retry_after and retries is not None and retries.honours_retry_after:
            wait += fault.retry_after
        return wait

    async def _attempt(self, request: Request, step: int, permit: Permit | None) -> None:
        upstream = Upstream.open(self, request, step)
        self._running.calls[request] = upstream
        runs_on = False
        try:
            await self._relay(request, step, upstream, permit)
        except Cancelled:
            runs_on = self._frees_early(upstream.call)
            raise
        finally:
            if runs_on:
                pass
            elif self.story.closes_first or permit is None:
                upstream.close()
            else:
                self.clock.after(0.0002, upstream.close)

    def _frees_early(self, call: Call) -> bool:
        """Its client left; its slot comes back, and the call runs on."""
        if call.over:
            return False
        if call.head_ns is None:
            phase = "before-head"
        elif not call.pieces:
            phase = "after-head"
        else:
            phase = "after-piece-1" if call.pieces == 1 else "after-piece-n"
        return self.broke("freed-on-hang-up") or self.broke(f"freed-{phase}")

    async def _relay(
        self, request: Request, step: int, upstream: Upstream, permit: Permit | None
    ) -> None:
        """Read the answer of one call; the last one's is passed on."""
        route = ROUTES[request.route]
        last = request.mode == "embeddings" or step == len(route.calls) - 1
        kind, what = await self._read(upstream)
        if kind == "answer":
            status, text, retry_after = what
            if status >= 400:
                raise FailedError(status, retry_after, "error")
            if not text:
                raise FailedError(502, kind="malformed")
            if permit is not None and not self._whole_request() and self.story.frees == "early":
                permit.give()
            await self.clock.sleep(self.world.think())
            if not last:
                if self.story.shows_all and route.calls[step] == "chat":
                    request.told = request.told | {"shown": text + "\n"}
                return
            if request.mode == "embeddings":
                text = f"embedding:{request.nonce}"
            self._pass_whole(request, text)
            await self.clock.sleep(self.world.think())
        elif kind == "head" and request.mode != "stream":
            await self._gather(request, upstream, permit)
        elif kind == "head":
            await self._stream(request, upstream, permit)
        else:
            raise FailedError(502, kind="reset")

    async def _read(self, upstream: Upstream, over: int | None = None) -> Event:
        """``over``: when the timeout would have passed since the stream began."""
        if over is not None and self.broke("total-timeout", really=self.clock.now >= over):
            raise FailedError(504, kind="timeout")
        event = await upstream.box.get(self._timeout_s)
        if event is None:
            raise FailedError(504, kind="timeout")
        return event

    async def _gather(self, request: Request, upstream: Upstream, permit: Permit | None) -> None:
        """A stream of the provider becomes a whole answer."""
        texts: list[str] = []
        kind, what = await self._read(upstream)
        while kind == "piece":
            texts.append(what)
            kind, what = await self._read(upstream)
        if kind != "finish":
            if self.broke("cut-called-done"):
                self._pass_whole(request, "".join(texts))
                return
            raise FailedError(502, kind="cut")
        if permit is not None and not self._whole_request() and self.story.frees == "early":
            permit.give()
        await self.clock.sleep(self.world.think())
        self._pass_whole(request, "".join(texts))

    async def _stream(self, request: Request, upstream: Upstream, permit: Permit | None) -> None:
        if permit is not None and self.breaks("freed-at-head"):
            permit.give()
        if self.world.rng.randrange(2):
            self._head(request)
        kept: list[str] = []
        passed = 0
        anew = request.begun
        over = self.clock.now + int(self._timeout_s * 1e9)
        while True:
            kind, what = await self._read(upstream, over)
            if kind == "piece":
                if not passed and not self.breaks("buffered"):
                    self._begin(request)
                passed += 1
                if self.broke("buffered"):
                    kept.append(what)
                else:
                    self._send(request, ("piece", what))
                continue
            break
        if kind == "finish":
            self.broke("replay", really=anew)
            if permit is not None and not self._whole_request() and self.story.frees == "early":
                permit.give()
            await self.clock.sleep(self.world.think())
            self._begin(request)
            for text in kept:
                self._send(request, ("piece", text))
            self._send(request, ("finish", "stop"))
            await self.clock.sleep(self.world.think())
            return
        if self.broke("cut-called-done"):
            self._begin(request)
            self._send(request, ("finish", "stop"))
            return
        if not request.begun or self.breaks("replay"):
            raise FailedError(502, kind="cut")
        request.ended = "cut"
        self._tell_broken(request)

    def _head(self, request: Request) -> None:
        if not request.headed:
            request.headed = True
            self._send(request, ("head", (200, "", False)))

    def _begin(self, request: Request) -> None:
        """The head, unless it was sent; and what the router puts in front of every answer."""
        if not request.begun:
            self._head(request)
            request.begun = True
            front = self.story.preface + request.told.get("shown", "")
            if front:
                self._send(request, ("piece", front))

    # -- answering ------------------------------------------------------------------------------

    def _send(self, request: Request, event: Event) -> None:
        if request.gone and self.hears == "write":
            raise Cancelled
        if not request.gone:
            request.reply.put(event)

    def _pass_whole(self, request: Request, text: str) -> None:
        if request.mode != "embeddings":
            spoilt = self._spoilt(text)
            self.broken += spoilt != text
            text = spoilt
            text = self.story.preface + request.told.get("shown", "") + text
        request.begun = True
        if request.mode == "stream":
            self._head(request)
            self._send(request, ("piece", text))
            self._send(request, ("finish", "stop"))
        else:
            self._send(request, ("whole", (200, text)))

    def _spoilt(self, text: str) -> str:
        """The text as it is, but for a router that breaks it."""
        words = text.split(" ")
        if self.breaks("foreign-token"):
            self._texts.append(text)
            return self._texts[-2] if len(self._texts) % 3 == 2 else text
        if self.world.rng.random() < 0.3 and len(words) > 2:
            if self.breaks("missing-token"):
                words.pop(1)
            elif self.breaks("doubled-token"):
                words.insert(1, words[0])
            elif self.breaks("swapped-tokens"):
                words[0], words[1] = words[1], words[0]
        return " ".join(words)

    def _refuse(self, request: Request, status: int, *, own: bool = False) -> None:
        if self.broke("error-as-200", really=not own and status != 404):
            self._send(request, ("whole", (200, "Sorry, something went wrong.")))
            return
        if request.headed:
            self._tell_broken(request)
            return
        plain = self.broke("plain-refusal" if own else "error-as-html")
        told = "" if own and self.broke("no-retry-after") else "1"
        self._send(request, ("head", (status, told, not plain)))
        self._send(request, ("end", None))

    def _tell_failed(self, request: Request, failed: FailedError) -> None:
        """Of a failure before (or, of a stream, after) the answer began."""
        if request.headed:
            self._tell_broken(request)
        else:
            same = self.world.rng.randrange(2)
            self._refuse(request, failed.status if same or failed.status == 404 else 502)

    def _tell_broken(self, request: Request) -> None:
        tell: dict[str, Callable[[], None]] = {
            "event": lambda: self._send(request, ("error", "upstream broke off")),
            "break": lambda: self._send(request, ("broken", None)),
            "end": lambda: self._send(request, ("end", None)),
        }
        tell[self.story.tells]()
