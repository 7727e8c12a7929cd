"""A provider: what the fake servers have in common.

Decides the way of a request: route it, parse it, number it, apply its directives, play it. Refuses
to know any dialect: a ``Dialect`` parses requests and writes answers.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import Any, Protocol

import msgspec

from fake_providers.calls.admission import Admission
from fake_providers.calls.canaries import Canaries
from fake_providers.calls.framing import reframed
from fake_providers.calls.gates import Gates
from fake_providers.calls.host_guard import FORBIDDEN, HostGuard
from fake_providers.calls.model_lists import ModelLists
from fake_providers.calls.playback import Playback
from fake_providers.calls.recorder import OpenCall, Recorder
from fake_providers.calls.scripted_errors import redirect_to, scripted_error
from fake_providers.calls.transcribed import Transcribed
from fake_providers.http.answers import Stream, WholeAnswer, gzipped
from fake_providers.http.exchange import Exchange
from fake_providers.http.heads import Headers
from fake_providers.http.listening import Listener
from fake_providers.http.request import HttpRequest
from fake_providers.http.slow_clients import KeepAlive
from fake_providers.pacing.rate_limits import RateLimits
from fake_providers.prompt.behaviour import Behaviour, UnknownDirective, apply, for_attempt
from fake_providers.prompt.directives import find_tokens
from fake_providers.prompt.forms import USUAL
from fake_providers.prompt.rules import Rules
from fake_providers.prompt.sizes import answer_tokens, prompt_tokens
from fake_providers.records.clock import Clock
from fake_providers.records.evidence import Family, TokenCount


class SharedState:
    """The state of one process, shared by its providers and the control API."""

    def __init__(
        self,
        *,
        recorder: Recorder,
        clock: Clock,
        chance: random.Random,
        default: Behaviour,
        admissions: Mapping[str, Admission] | None = None,
        limits: RateLimits | None = None,
    ) -> None:
        """``admissions``: of the providers with a latency profile; the others add no delays.

        ``limits``: the budgets of the OpenAI fake, if it has any.
        """
        self.recorder = recorder
        self.clock = clock
        self.chance = chance
        self.gates = Gates(clock)
        self.lists = ModelLists(recorder=recorder, clock=clock)
        self.rules = Rules()
        self.canaries = Canaries()
        self.transcripts = False
        """Each call is recorded with its bytes as well."""
        self.keep_alive = KeepAlive()
        """Of connections to the providers."""
        self.accept_delays_s = dict.fromkeys(recorder.providers, 0.0)
        """Seconds, by provider, during which nothing is read from a new connection."""
        self.listeners: dict[str, Listener] = {}
        """The listening socket of each provider."""
        self.admissions = admissions or {}
        self.limits = limits
        self.default = default
        """The behaviour of requests without directives."""
        self.initial_default = default
        """The default behaviour as given on the command line."""

    def accept_delay_s(self, server: str) -> float:
        """Seconds during which nothing is read from a new connection to this server."""
        return self.accept_delays_s.get(server, 0.0)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request body, parsed by its dialect."""

    model: str
    stream: bool
    fields: dict[str, Any]
    size: int
    """Length of the body in bytes."""
    loads_only: bool = False
    """It only loads or unloads its model; there is no answer."""
    limit: int | None = None
    """The most pieces that the answer may have."""
    thoughts: tuple[str, ...] = ()
    """Thinking tokens, which precede the answer and are no part of it."""
    choices: int = 1
    """Answers to each prompt."""
    prompts: int = 1
    """Prompts, each with answers of its own."""
    budget: Headers = ()
    """Headers of the answer that say what is left of the rate limits."""
    inputs: tuple[int, ...] = ()
    """Tokens of each input that is processed separately, one after another. Empty: one prompt."""
    refusal: WholeAnswer | None = None
    """The dialect's error for an invalid body: it is the answer."""


class Dialect(Protocol):
    """The API of one provider."""

    name: str
    lists: tuple[str, ...]
    """Paths that serve the model list."""
    generates: dict[str, Family]
    """Path -> family of generation call."""
    counts: tuple[str, ...]
    """Paths of ``other_route`` that count the tokens of a prompt."""
    by_go: bool
    """Its JSON is written by Go, which escapes a few characters more."""

    def parse(self, http_request: HttpRequest, body: bytes) -> Request:
        """Parse a body. Never raises: an invalid one gets a refusal."""

    def admit(self, request: Request, now_ns: int) -> Request:
        """The same request if it is admitted now; else with a refusal."""

    def done(self, request: Request, now_ns: int) -> None:
        """An admitted request was answered, or its client disconnected."""

    def answer(
        self, request: Request, call: OpenCall, behaviour: Behaviour
    ) -> Stream | WholeAnswer:
        """The answer to a valid call."""

    def error(self, status: int, message: str = "", route: str = "") -> WholeAnswer:
        """An error in this route's shape; without a message, the usual one."""

    def list(self, epoch: int, http_request: HttpRequest) -> WholeAnswer:
        """The model list of this epoch, in the shape of the route."""

    def other_route(self, http_request: HttpRequest, body: bytes) -> WholeAnswer:
        """Everything but lists and generation: small routes, 404 and 405."""


class Provider:
    """One provider."""

    def __init__(
        self, dialect: Dialect, shared: SharedState, *, guard: HostGuard | None = None
    ) -> None:
        """``guard`` rejects requests for a foreign host."""
        self._dialect = dialect
        self._shared = shared
        self._guard = guard
        if dialect.counts:
            shared.recorder.counted.setdefault(dialect.name, 0)

    async def answer(self, http_request: HttpRequest, exchange: Exchange) -> None:
        """Answer one request."""
        method, path, body = http_request.method, http_request.path, http_request.body
        if self._shared.recorder.closed:
            # A call that can no longer be recorded must not be answered.
            exchange.reset()
            return
        if body is None:
            await self._send(exchange, self._dialect.error(413, route=path))
            return
        if self._guard is not None and not self._guard.allows(_host(http_request)):
            await self._send(exchange, FORBIDDEN)
            return
        family = self._dialect.generates.get(path)
        if family is not None and method == "POST":
            await self._generate(exchange, family, http_request, body)
        elif path in self._dialect.lists and method == "GET":
            await self._shared.lists.serve(
                exchange,
                provider=self._dialect.name,
                route=path,
                compose=lambda epoch, status: self._list(epoch, status, http_request),
                canaries=self._shared.canaries.found_in(http_request),
            )
        elif path in self._dialect.counts and method == "POST":
            await self._count(exchange, http_request, body)
        else:
            await self._send(exchange, self._dialect.other_route(http_request, body))

    async def _generate(
        self, exchange: Exchange, family: Family, http_request: HttpRequest, body: bytes
    ) -> None:
        shared, dialect, route = self._shared, self._dialect, http_request.path
        read_ns = shared.clock.stamp()
        run, nonces, directives = find_tokens(body)
        request = dialect.parse(http_request, body)
        body_hash = blake2b(body, digest_size=8).hexdigest()
        attempt = shared.recorder.attempt(route, body_hash)
        behaviour, request, directives = self._behaviour_of(route, directives, request, attempt)
        answered = behaviour.status is None and behaviour.redirect is None
        if admitted := request.refusal is None and answered:
            request = dialect.admit(request, read_ns)
        call = OpenCall(
            exchange=exchange,
            provider=dialect.name,
            call=shared.recorder.next_call(dialect.name),
            route=route,
            family=family,
            model=request.model,
            stream=request.stream,
            run=run,
            nonces=nonces,
            body_hash=body_hash,
            attempt=attempt,
            gate=behaviour.gate if behaviour.holds_at(stream=request.stream) else "",
            accepted_ns=http_request.accepted_ns,
            read_ns=read_ns,
            canaries=shared.canaries.found_in(http_request),
        )
        admission = None
        if request.refusal is None and answered:
            admission = shared.admissions.get(dialect.name)
        if admission is not None:
            behaviour = self._with_pace(admission, call, request, behaviour, directives)
        if shared.transcripts:
            call.transcript = Transcribed(http_request, exchange, shared.canaries)
        playback = Playback(
            call, behaviour, recorder=shared.recorder, gates=shared.gates, clock=shared.clock
        )
        try:
            packs = behaviour.gzip and _accepts_gzip(http_request)
            await playback.play(self._composer(request, call, behaviour, packs=packs), admission)
        finally:
            # Only an internal error leaves a call open here; its connection is closed then.
            if call in shared.recorder.calls:
                now = shared.clock.stamp()
                shared.recorder.end(call, "fake", inner_end_ns=now, outer_end_ns=now)
            if admitted:
                dialect.done(request, shared.clock.stamp())

    async def _count(self, exchange: Exchange, http_request: HttpRequest, body: bytes) -> None:
        """Count tokens: at once, whatever the directives of the prompt."""
        shared, provider = self._shared, self._dialect.name
        read_ns = shared.clock.stamp()
        run, nonces, _ = find_tokens(body)
        answer = self._dialect.other_route(http_request, body)
        await self._send(exchange, answer)
        shared.recorder.record_count(
            TokenCount(
                provider=provider,
                count=shared.recorder.counted[provider] + 1,
                route=http_request.path,
                run=run,
                nonces=nonces,
                read_ns=read_ns,
                outer_end_ns=shared.clock.stamp(),
                status=answer.status,
                canaries=shared.canaries.found_in(http_request),
            )
        )

    def _with_pace(
        self,
        admission: Admission,
        call: OpenCall,
        request: Request,
        behaviour: Behaviour,
        directives: Mapping[str, str],
    ) -> Behaviour:
        """Give the call its pace. A length that is not scripted is drawn."""
        size = prompt_tokens(request.size)
        draw = admission.draw(call.call, size, request.inputs)
        scripted = "tokens" in directives or behaviour.tokens != self._shared.initial_default.tokens
        if admission.draws_lengths and not scripted:
            behaviour = replace(behaviour, tokens=draw.tokens)
        count = len(request.thoughts) + answer_tokens(behaviour, request.limit)
        if call.stream and not behaviour.counts_pieces:
            behaviour = replace(
                behaviour, chunks=draw.chunks(count, request.choices * request.prompts)
            )
        call.pace = admission.pace(
            draw,
            model=request.model,
            fields=request.fields,
            prompt_tokens=size,
            loads_only=request.loads_only,
            embeds=call.family == "embeddings",
            gaps=count - 1,
            scripted_first_s=behaviour.first_s,
            scripted_gap_s=behaviour.gap_s,
        )
        return behaviour

    def _behaviour_of(
        self, route: str, directives: dict[str, str], request: Request, attempt: int
    ) -> tuple[Behaviour, Request, dict[str, str]]:
        """The behaviour of this attempt: the rules' directives, then those of its own prompt."""
        default = self._shared.default
        rules = self._shared.rules.take(self._dialect.name, request.model)
        if not directives and not rules:
            return default, request, directives
        try:
            merged: dict[str, str] = {}
            for rule in rules:
                own = for_attempt(rule.directives, attempt)
                merged |= own
                if len(own) or not rule.directives:
                    default = replace(default, **rule.error)
            merged |= for_attempt(directives, attempt)
            return apply(merged, default), request, merged
        except UnknownDirective as error:
            refusal = self._dialect.error(400, str(error), route)
            return self._shared.default, msgspec.structs.replace(request, refusal=refusal), {}

    def _composer(
        self, request: Request, call: OpenCall, behaviour: Behaviour, *, packs: bool
    ) -> Callable[[], Stream | WholeAnswer]:
        def compose() -> Stream | WholeAnswer:
            if request.refusal is not None:
                return msgspec.structs.replace(request.refusal, refused=True)
            if behaviour.redirect is not None:
                return redirect_to(behaviour.redirect)
            if behaviour.status is not None:
                return scripted_error(
                    self._dialect.error(behaviour.status, route=call.route), behaviour
                )
            if call.pace is not None and call.pace.refused:
                return self._dialect.error(503, route=call.route)
            answer = self._dialect.answer(request, call, behaviour)
            if behaviour.framing is not USUAL or behaviour.content.text:
                answer = reframed(answer, behaviour, by_go=self._dialect.by_go)
            return gzipped(answer) if packs and isinstance(answer, WholeAnswer) else answer

        return compose

    def _list(self, epoch: int, status: int | None, http_request: HttpRequest) -> WholeAnswer:
        if status is not None:
            return self._dialect.error(status, route=http_request.path)
        return self._dialect.list(epoch, http_request)

    async def _send(self, exchange: Exchange, answer: WholeAnswer) -> None:
        message = await exchange.prepare(answer.status, answer.headers, answer.body)
        exchange.send_prepared(answer.status, message, len(answer.body))


def _accepts_gzip(http_request: HttpRequest) -> bool:
    return any(b"gzip" in v for name, v in http_request.headers if name == b"accept-encoding")


def _host(http_request: HttpRequest) -> bytes:
    """The Host header; empty: there is none."""
    return next((value for name, value in http_request.headers if name == b"host"), b"")
