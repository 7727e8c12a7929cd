"""A provider: what OpenAI's and Ollama's servers have in common.

Decides the way of a request: route, read, recognise its prompt, number it, have it played.
Refuses to know any dialect's words; a ``Dialect`` supplies them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Protocol

from fake_providers.calls.admission import Desk
from fake_providers.calls.canaries import Canaries
from fake_providers.calls.gates import Gates
from fake_providers.calls.host_guard import TURNED_AWAY, HostGuard
from fake_providers.calls.model_lists import Lists
from fake_providers.calls.playback import Playback
from fake_providers.calls.recorder import PROVIDERS, OpenCall, Recorder
from fake_providers.calls.scripted_errors import ordered, redirected
from fake_providers.http.answers import Stream, Whole
from fake_providers.http.exchange import Exchange
from fake_providers.http.heads import Headers
from fake_providers.http.request import Arrival
from fake_providers.pacing.rate_limits import RateLimits
from fake_providers.prompt.behaviour import Behaviour, UnknownWant, for_attempt, told
from fake_providers.prompt.directives import find_tokens
from fake_providers.prompt.rules import Rules
from fake_providers.prompt.sizes import answer_tokens, prompt_tokens
from fake_providers.records.clock import Clock
from fake_providers.records.evidence import Family


class Stage:
    """What both providers and the control API share: one process's state, in one place."""

    def __init__(
        self,
        *,
        recorder: Recorder,
        clock: Clock,
        chance: random.Random,
        default: Behaviour,
        desks: Mapping[str, Desk] | None = None,
        limits: RateLimits | None = None,
    ) -> None:
        """``desks``: of the providers that have a latency profile; the others are never slow.

        ``limits``: the budgets of the OpenAI fake, where it has any.
        """
        self.recorder = recorder
        self.clock = clock
        self.chance = chance
        self.gates = Gates(clock)
        self.lists = Lists(recorder=recorder, clock=clock)
        self.rules = Rules()
        self.canaries = Canaries()
        self.accept_delays_s = dict.fromkeys(PROVIDERS, 0.0)
        """So long a new connection is left alone before anything of it is read."""
        self.desks = desks or {}
        self.limits = limits
        self.default = default
        """The behaviour of requests whose prompt wants nothing."""
        self.first_default = default
        """The same as told on the command line."""

    def accept_delay_s(self, server: str) -> float:
        """How long a new connection to this server is left alone."""
        return self.accept_delays_s.get(server, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A body as its dialect understands it."""

    model: str
    stream: bool
    fields: dict[str, Any]
    size: int
    """Length of the body in bytes."""
    loads_only: bool = False
    """It wants its model loaded or unloaded, and no answer."""
    limit: int | None = None
    """The answer has no more pieces than this."""
    thoughts: tuple[str, ...] = ()
    """Tokens that come before the answer, of which they are no part."""
    choices: int = 1
    """So many answers to each prompt."""
    prompts: int = 1
    """So many prompts, each with answers of its own."""
    budget: Headers = ()
    """Told with the answer: what is left of the budgets that it was taken from."""
    inputs: tuple[int, ...] = ()
    """Tokens of each input that is worked on by itself, one after another. Empty: one prompt."""
    refusal: Whole | None = None
    """The dialect's own complaint about this body: it is the answer."""


class Dialect(Protocol):
    """The words of one provider."""

    name: str
    lists: tuple[str, ...]
    """Paths that serve the model list."""
    generates: dict[str, Family]
    """Path -> family of generation call."""

    def understand(self, route: str, body: bytes) -> Request:
        """Parse a body. Never raises: what is wrong with it becomes its refusal."""

    def admit(self, request: Request, now_ns: int) -> Request:
        """The same request when it may be worked on now; else with a refusal."""

    def over(self, request: Request, now_ns: int) -> None:
        """A request that was admitted has been answered, or its client has left."""

    def answer(self, request: Request, call: OpenCall, behaviour: Behaviour) -> Stream | Whole:
        """The answer to a call that nothing is wrong with."""

    def error(self, status: int, message: str = "", route: str = "") -> Whole:
        """An error in this route's shape; without a message, its usual one."""

    def list(self, epoch: int, route: str) -> Whole:
        """The model list of this epoch, as this route has it."""

    def other(self, method: str, path: str, body: bytes) -> Whole:
        """Everything that is neither a list nor a generation: trivia, 404 and 405."""


class Provider:
    """One provider."""

    def __init__(self, dialect: Dialect, stage: Stage, *, guard: HostGuard | None = None) -> None:
        """``guard``: turns away who asks for another host."""
        self._dialect = dialect
        self._stage = stage
        self._guard = guard

    async def answer(self, arrival: Arrival, exchange: Exchange) -> None:
        """Answer one request."""
        method, path, body = arrival.method, arrival.path, arrival.body
        if self._stage.recorder.closed:
            # What can no longer be recorded must not be answered.
            exchange.cut()
            return
        if body is None:
            await self._say(exchange, self._dialect.error(413, route=path))
            return
        if self._guard is not None and not self._guard.allows(_host(arrival)):
            await self._say(exchange, TURNED_AWAY)
            return
        family = self._dialect.generates.get(path)
        if family is not None and method == "POST":
            await self._generate(exchange, family, arrival, body)
        elif path in self._dialect.lists and method == "GET":
            await self._stage.lists.serve(
                exchange,
                provider=self._dialect.name,
                route=path,
                compose=lambda epoch, status: self._list(epoch, status, path),
                canaries=self._stage.canaries.seen(arrival),
            )
        else:
            await self._say(exchange, self._dialect.other(method, path, body))

    async def _generate(
        self, exchange: Exchange, family: Family, arrival: Arrival, body: bytes
    ) -> None:
        stage, dialect, route = self._stage, self._dialect, arrival.path
        read_ns = stage.clock.stamp()
        run, nonces, wants = find_tokens(body)
        request = dialect.understand(route, body)
        body_hash = blake2b(body, digest_size=8).hexdigest()
        attempt = stage.recorder.attempt(route, body_hash)
        behaviour, request, wants = self._told(route, wants, request, attempt)
        answered = behaviour.status is None and behaviour.redirect is None
        if admitted := request.refusal is None and answered:
            request = dialect.admit(request, read_ns)
        call = OpenCall(
            exchange=exchange,
            provider=dialect.name,
            call=stage.recorder.next_call(dialect.name),
            route=route,
            family=family,
            model=request.model,
            stream=request.stream,
            run=run,
            nonces=nonces,
            body_hash=body_hash,
            attempt=attempt,
            gate=behaviour.gate if behaviour.holds_at(stream=request.stream) else "",
            accepted_ns=arrival.accepted_ns,
            read_ns=read_ns,
            canaries=stage.canaries.seen(arrival),
        )
        desk = None
        if request.refusal is None and answered:
            desk = stage.desks.get(dialect.name)
        if desk is not None:
            behaviour = self._paced(desk, call, request, behaviour, wants)
        playback = Playback(
            call, behaviour, recorder=stage.recorder, gates=stage.gates, clock=stage.clock
        )
        try:
            await playback.play(self._composer(request, call, behaviour), desk)
        finally:
            # Only a fault of our own leaves a call open here; the connection is closed then.
            if call in stage.recorder.calls:
                now = stage.clock.stamp()
                stage.recorder.end(call, "fake", inner_end_ns=now, outer_end_ns=now)
            if admitted:
                dialect.over(request, stage.clock.stamp())

    def _paced(
        self,
        desk: Desk,
        call: OpenCall,
        request: Request,
        behaviour: Behaviour,
        wants: Mapping[str, str],
    ) -> Behaviour:
        """Give the call its pace. What was told stays; an untold length is drawn."""
        size = prompt_tokens(request.size)
        draw = desk.draw(call.call, size, request.inputs)
        told = "tokens" in wants or behaviour.tokens != self._stage.first_default.tokens
        if desk.draws_lengths and not told:
            behaviour = replace(behaviour, tokens=draw.tokens)
        count = len(request.thoughts) + answer_tokens(behaviour, request.limit)
        if call.stream and not behaviour.counts_pieces:
            behaviour = replace(
                behaviour, chunks=draw.chunks(count, request.choices * request.prompts)
            )
        call.pace = desk.pace(
            draw,
            model=request.model,
            fields=request.fields,
            prompt_tokens=size,
            loads_only=request.loads_only,
            embeds=call.family == "embeddings",
            gaps=count - 1,
            told_first_s=behaviour.first_s,
            told_gap_s=behaviour.gap_s,
        )
        return behaviour

    def _told(
        self, route: str, wants: dict[str, str], request: Request, attempt: int
    ) -> tuple[Behaviour, Request, dict[str, str]]:
        """What this attempt is told by the rules, and over them by its own prompt."""
        default = self._stage.default
        rules = self._stage.rules.met(self._dialect.name, request.model)
        if not wants and not rules:
            return default, request, wants
        try:
            merged: dict[str, str] = {}
            for rule in rules:
                own = for_attempt(rule.wants, attempt)
                merged |= own
                if len(own) or not rule.wants:
                    default = replace(default, **rule.error)
            merged |= for_attempt(wants, attempt)
            return told(merged, default), request, merged
        except UnknownWant as error:
            refusal = self._dialect.error(400, str(error), route)
            return self._stage.default, replace(request, refusal=refusal), {}

    def _composer(
        self, request: Request, call: OpenCall, behaviour: Behaviour
    ) -> Callable[[], Stream | Whole]:
        def compose() -> Stream | Whole:
            if request.refusal is not None:
                return replace(request.refusal, refused=True)
            if behaviour.redirect is not None:
                return redirected(behaviour.redirect)
            if behaviour.status is not None:
                return ordered(self._dialect.error(behaviour.status, route=call.route), behaviour)
            if call.pace is not None and call.pace.refused:
                return self._dialect.error(503, route=call.route)
            return self._dialect.answer(request, call, behaviour)

        return compose

    def _list(self, epoch: int, status: int | None, route: str) -> Whole:
        if status is not None:
            return self._dialect.error(status, route=route)
        return self._dialect.list(epoch, route)

    async def _say(self, exchange: Exchange, answer: Whole) -> None:
        message = await exchange.prepare(answer.status, answer.headers, answer.body)
        exchange.whole(answer.status, message, len(answer.body))


def _host(arrival: Arrival) -> bytes:
    """The Host header; empty: there is none."""
    return next((value for name, value in arrival.headers if name == b"host"), b"")
