"""The API of an OpenAI-compatible server: its routes, errors, headers and validation.

Any key is accepted, or none; sampling parameters are ignored.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from fake_providers.calls.provider import Request
from fake_providers.calls.recorder import OpenCall
from fake_providers.content.thoughts import remaining
from fake_providers.content.tool_calls import tools_to_call
from fake_providers.content.tool_history import may_have_results
from fake_providers.http.answers import Stream, WholeAnswer, whole_answer
from fake_providers.http.heads import Headers
from fake_providers.http.request import HttpRequest
from fake_providers.openai.completions import Completion, Style, prompts_of
from fake_providers.openai.embeddings import embeddings
from fake_providers.openai.headers import (
    EVENT_STREAM,
    EXHAUSTED,
    SERVER,
    UNLIMITED,
    rate_limit_headers,
    retry_after_headers,
)
from fake_providers.openai.refusals import (
    ERRORS,
    MAX_CHOICES,
    Refusal,
    bad_history,
    rate_limit_message,
    refusal_of,
)
from fake_providers.openai.responses.answer import Response
from fake_providers.openai.responses.reasoning import thoughts
from fake_providers.openai.responses.requests import refusal_of_response
from fake_providers.openai.responses.routes import PREFIX, other_route_of_responses
from fake_providers.openai.responses.stored import Stored, Turn
from fake_providers.openai.responses.tools import response_tools, results_in
from fake_providers.openai.sse import Chunks, event
from fake_providers.pacing.rate_limits import RateLimits
from fake_providers.prompt.behaviour import Behaviour
from fake_providers.prompt.sizes import prompt_tokens
from fake_providers.records.clock import Clock
from fake_providers.records.evidence import Family

JSON: Final = b"application/json"
CREATED: Final = 1_700_000_000
"""Creation time of the models. A constant, so that lists of one epoch are equal."""

LIMIT_NAMES: Final[dict[Family, tuple[str, ...]]] = {
    "chat": ("max_completion_tokens", "max_tokens"),
    "completions": ("max_tokens",),
    "responses": ("max_output_tokens",),
}

Tools = tuple[dict[str, Any], ...]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class OpenAI:
    """The dialect of an OpenAI-compatible server."""

    _hosted = True
    """It has what only OpenAI's own servers have: responses that are stored, reasoning in them,
    refusals, annotations and log probabilities."""

    def __init__(
        self,
        *,
        clock: Clock,
        chance: random.Random,
        epoch: Callable[[], int],
        limits: RateLimits | None = None,
    ) -> None:
        """``limits``: requests and tokens per minute and model; None: unlimited."""
        self.name = "openai"
        self.by_go = False
        self.lists: tuple[str, ...] = ("/v1/models",)
        self.counts: tuple[str, ...] = ()
        self.generates: dict[str, Family] = {
            "/v1/chat/completions": "chat",
            "/v1/completions": "completions",
            "/v1/embeddings": "embeddings",
            "/v1/responses": "responses",
        }
        self._clock = clock
        self._chance = chance
        self._epoch = epoch
        self._limits = limits
        self._stored = Stored()
        self._bounds = {
            family: self._counts() | dict.fromkeys(self._limit_names(family))
            for family in self.generates.values()
        }
        """By family: fields that must be a number of at least 1, and their maximum."""

    # -- errors, lists and small routes ------------------------------------------------------

    def error(self, status: int, message: str = "", route: str = "") -> WholeAnswer:
        """OpenAI's error object with the type and code that it uses for this status."""
        fallback = ERRORS[500] if status >= 500 else ERRORS[400]
        text, kind, code = ERRORS.get(status, fallback)
        code = None if message else code
        limits = EXHAUSTED if status == 429 else ()
        return self._failure(status, message or text, kind=kind, code=code, extra=limits)

    def list(self, epoch: int, http_request: HttpRequest) -> WholeAnswer:
        """The models of this epoch."""
        data = [self._model(name) for name in self._names(epoch)]
        return self._json(200, {"object": "list", "data": data}, finished=True)

    def other_route(self, http_request: HttpRequest, body: bytes) -> WholeAnswer:
        """A model, a stored response, an error, or /health, which vLLM has (and OpenAI not)."""
        method, path = http_request.method, http_request.path
        if path == "/health" and method in {"GET", "HEAD"}:
            return whole_answer(200, JSON, b"", extra=self._common_headers(), finished=True)
        if path.startswith("/v1/models/") and method in {"GET", "HEAD"}:
            name = path.removeprefix("/v1/models/")
            if self._has_model(name):
                return self._json(200, self._model(name), finished=True)
            return self._unknown_model(name)
        if self._hosted and path.startswith(PREFIX):
            return self._stored_response(method, path, body)
        if path in self.generates or path in self.lists:
            text = f"Not allowed to {method} on {path}."
            return self._failure(405, text, code="method_not_supported")
        return self._failure(404, f"Invalid URL ({method} {path})")

    def _stored_response(self, method: str, path: str, body: bytes) -> WholeAnswer:
        found = other_route_of_responses(method, path, body, self._stored)
        if isinstance(found, Refusal):
            return self._invalid(found)
        return self._json(200, found, finished=True)

    def _names(self, epoch: int) -> tuple[str, ...]:
        return "fake-chat", "fake-embed", f"openai-epoch-{epoch}"

    def _has_model(self, name: str) -> bool:
        return name in self._names(self._epoch())

    def _model(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": CREATED, "owned_by": "fake-providers"}

    def _unknown_model(self, name: str) -> WholeAnswer:
        text = f"The model `{name}` does not exist or you do not have access to it."
        return self._failure(404, text, param="model", code="model_not_found")

    # -- requests ----------------------------------------------------------------------------

    def parse(self, http_request: HttpRequest, body: bytes) -> Request:
        """Parse a body and validate it as OpenAI does."""
        family = self.generates[http_request.path]
        try:
            fields = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            fault = self._unreadable(body)
            return Request(model="", stream=False, fields={}, size=len(body), refusal=fault)
        model = fields.get("model")
        name = model if isinstance(model, str) else ""
        refusal = self._refusal(family, name, fields)
        if refusal is None and (family == "responses" or may_have_results(body)):
            bad = self._bad_history(family, fields)
            refusal = None if bad is None else self._invalid(bad)
        limit = None if refusal else self._limit(family, fields)
        thought: tuple[str, ...] = ()
        if refusal is None and family == "responses" and self._hosted:
            thought = thoughts(fields, limit)
        return Request(
            model=name,
            stream=fields.get("stream") is True and family != "embeddings",
            fields=fields,
            size=len(body),
            limit=remaining(limit, thought),
            thoughts=thought,
            choices=1 if refusal else self._choices(family, fields),
            prompts=1 if refusal else prompts_of(family, fields),
            refusal=refusal,
        )

    def _unreadable(self, body: bytes) -> WholeAnswer:
        return self._failure(400, "We could not parse the JSON body of your request.")

    def _refusal(self, family: Family, name: str, fields: dict[str, Any]) -> WholeAnswer | None:
        if not name:
            return self._failure(400, "you must provide a model parameter")
        if not self._has_model(name):
            return self._unknown_model(name)
        fault = refusal_of(family, fields, self._bounds[family])
        return None if fault is None else self._invalid(fault)

    def _invalid(self, fault: Refusal) -> WholeAnswer:
        return self._failure(fault.status, fault.message, param=fault.param, code=fault.code)

    def _bad_history(self, family: Family, fields: dict[str, Any]) -> Refusal | None:
        if family == "responses":
            return refusal_of_response(fields, self._stored)
        return bad_history(family, fields)

    def _counts(self) -> dict[str, int | None]:
        """Fields that must be a number of at least 1, and their maximum."""
        return {"n": MAX_CHOICES}

    def _limit_names(self, family: Family) -> tuple[str, ...]:
        """Fields that limit the length of an answer; the first that is given counts."""
        return LIMIT_NAMES.get(family, ())

    def _limit(self, family: Family, fields: dict[str, Any]) -> int | None:
        for name in self._limit_names(family):
            if (number := fields.get(name)) is not None:
                return number  # type: ignore[no-any-return]  # validated by then
        return None

    def _choices(self, family: Family, fields: dict[str, Any]) -> int:
        return fields.get("n") or 1 if family in {"chat", "completions"} else 1

    def admit(self, request: Request, now_ns: int) -> Request:
        """Take a valid call from the budgets of its model, or reject it with a 429."""
        if self._limits is None:
            return request
        # As OpenAI counts: the estimated prompt, or the most that the answer may have.
        tokens = max(prompt_tokens(request.size), (request.limit or 0) * request.choices)
        statuses = self._limits.take(request.model, tokens, now_ns)
        budget = rate_limit_headers(statuses)
        over = next((status for status in statuses if status.exceeded), None)
        if over is None:
            return replace(request, budget=budget)
        headers = [*budget, *([] if over.never_fits else retry_after_headers(over.wait_s))]
        text, code = rate_limit_message(over, request.model), "rate_limit_exceeded"
        refusal = self._failure(429, text, kind=over.kind, code=code, extra=headers)
        return replace(request, refusal=refusal)

    def done(self, request: Request, now_ns: int) -> None:
        """No state is kept of a call: its budget stays spent."""

    # -- answers -----------------------------------------------------------------------------

    def answer(
        self, request: Request, call: OpenCall, behaviour: Behaviour
    ) -> Stream | WholeAnswer:
        """The answer to a chat, a completion, a response or an embeddings call."""
        if call.family == "embeddings":
            return self._answered(embeddings(request), request, call)
        if call.family == "responses":
            response = self._response(request, call, behaviour)
            if request.stream:
                return response.stream(self._headers(EVENT_STREAM, request, call))
            return self._answered(response.whole(), request, call)
        tools: Tools = ()
        if call.family != "completions":
            tools = tools_to_call(request.fields, behaviour, self._tool_choice(request))
        completion = Completion(self._style(request, call, tools), request, call, behaviour)
        if request.stream:
            return completion.stream()
        return self._answered(completion.whole(), request, call)

    def _response(self, request: Request, call: OpenCall, behaviour: Behaviour) -> Response:
        fields = request.fields
        previous = self._stored.get(fields.get("previous_response_id"))
        results = results_in(fields.get("input")) + (previous.results if previous else 0)

        def store(response: dict[str, Any]) -> None:
            if response["store"] and self._hosted:
                given, size = fields.get("input"), request.size
                self._stored.add(Turn(response=response, results=results, input=given, size=size))

        return Response(
            request,
            call,
            behaviour,
            new_id=lambda prefix: f"{prefix}_{self._chance.getrandbits(192):048x}",
            call_id=self._call_id,
            created=int(self._clock.wall_s()),
            tools=response_tools(fields, self._tool_choice(request), behaviour, results),
            extras=self._hosted,
            on_end=store,
        )

    def _tool_choice(self, request: Request) -> object:
        return request.fields.get("tool_choice")

    def _style(self, request: Request, call: OpenCall, tools: Tools) -> Style:
        chat = call.family == "chat"
        return Style(
            head={
                "id": f"{'chatcmpl' if chat else 'cmpl'}-{self._chance.getrandbits(96):024x}",
                "object": self._object(request, chat=chat),
                "created": int(self._clock.wall_s()),
                "model": request.model,
            },
            headers=self._headers(EVENT_STREAM, request, call) if request.stream else (),
            call_id=self._call_id,
            failure=self._event_of_failure,
            tools=tools,
        )

    def _call_id(self) -> str:
        """An identifier of a tool call, short enough for every server."""
        return f"call_{self._chance.getrandbits(96):024x}"

    def _object(self, request: Request, *, chat: bool) -> str:
        if not chat:
            return "text_completion"
        return "chat.completion.chunk" if request.stream else "chat.completion"

    def _event_of_failure(self, chunks: Chunks) -> bytes:
        text, kind, code = ERRORS[500]
        return event({"error": {"message": text, "type": kind, "param": None, "code": code}})

    # -- framing -----------------------------------------------------------------------------

    def _request_id(self) -> tuple[bytes, bytes]:
        return b"x-request-id", b"req_%032x" % self._chance.getrandbits(128)

    def _headers(self, content_type: bytes, request: Request, call: OpenCall) -> Headers:
        """Of a stream."""
        return [(b"content-type", content_type), *self._call_headers(request, call)]

    def _call_headers(self, request: Request, call: OpenCall) -> Headers:
        """Headers of every answer to a call."""
        spent_ms = (self._clock.stamp() - call.read_ns) // 1_000_000
        spent = b"openai-processing-ms", b"%d" % max(1, spent_ms)
        return [self._request_id(), *SERVER, spent, *(request.budget or UNLIMITED)]

    def _answered(self, content: object, request: Request, call: OpenCall) -> WholeAnswer:
        """A whole answer to a call."""
        extra = self._call_headers(request, call)
        return whole_answer(200, JSON, _encode(content), extra=extra, finished=True)

    def _json(
        self, status: int, content: object, *, finished: bool = False, extra: Headers = ()
    ) -> WholeAnswer:
        """A list, a model or an error."""
        headers = [*self._common_headers(), *extra]
        return whole_answer(status, JSON, _encode(content), extra=headers, finished=finished)

    def _common_headers(self) -> Headers:
        """Headers of everything."""
        return [self._request_id(), *SERVER]

    def _failure(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        extra: Headers = (),
    ) -> WholeAnswer:
        error = {"message": message, "type": kind, "param": param, "code": code}
        return self._json(status, {"error": error}, extra=extra)
