"""The words of an OpenAI-compatible server: its routes, errors and headers, and what it refuses.

Decides which answer a route gives. Refuses to know when anything is sent, and how choices are put
together (``completions``, ``responses``). Any key is accepted, or none; sampling is read past.
"""

from __future__ import annotations

import base64
import random
import struct
from collections.abc import Callable
from typing import Any, Final

import msgspec

from fake_providers.answers import Stream, Whole, whole
from fake_providers.behaviour import Behaviour
from fake_providers.clock import Clock
from fake_providers.completions import Completion, Words
from fake_providers.evidence import Family
from fake_providers.heads import Headers
from fake_providers.openai_faults import MOST_CHOICES, fault_of
from fake_providers.provider import Request
from fake_providers.recorder import OpenCall
from fake_providers.responses import Response
from fake_providers.sse import Chunks, event
from fake_providers.text import prompt_tokens, tool_wanted, vectors
from fake_providers.wants import DIMENSIONS

JSON: Final = b"application/json"
CREATED: Final = 1_700_000_000
"""When the models were made. A constant, so that lists of one epoch are equal."""

EVENTS: Final = b"text/event-stream; charset=utf-8"
LIMITS: Final[Headers] = (
    (b"openai-version", b"2020-10-01"),
    (b"openai-organization", b"fake-providers"),
    (b"openai-processing-ms", b"1"),
    (b"x-ratelimit-limit-requests", b"10000"),
    (b"x-ratelimit-limit-tokens", b"2000000"),
)
"""Told with every answer to a call. Nothing is really limited: an error has to be wanted."""
PLENTY: Final[Headers] = (
    *LIMITS,
    (b"x-ratelimit-remaining-requests", b"9999"),
    (b"x-ratelimit-remaining-tokens", b"1999000"),
    (b"x-ratelimit-reset-requests", b"6ms"),
    (b"x-ratelimit-reset-tokens", b"30ms"),
)
NONE_LEFT: Final[Headers] = (
    *LIMITS,
    (b"x-ratelimit-remaining-requests", b"0"),
    (b"x-ratelimit-remaining-tokens", b"0"),
    (b"x-ratelimit-reset-requests", b"1s"),
    (b"x-ratelimit-reset-tokens", b"6m0s"),
)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

USUAL: Final[dict[int, tuple[str, str, str | None]]] = {
    400: ("The request is invalid.", "invalid_request_error", None),
    401: ("Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
    403: ("Country, region, or territory not supported.", "request_forbidden", None),
    404: ("The model does not exist.", "invalid_request_error", "model_not_found"),
    413: ("The request is larger than 8 MiB.", "invalid_request_error", "request_too_large"),
    429: ("Rate limit reached for requests.", "requests", "rate_limit_exceeded"),
    500: ("The server had an error while processing your request.", "server_error", None),
    503: (
        "The server is overloaded, please try again later.",
        "service_unavailable_error",
        "server_is_overloaded",
    ),
}


class OpenAI:
    """The dialect of an OpenAI-compatible server."""

    def __init__(self, *, clock: Clock, chance: random.Random, epoch: Callable[[], int]) -> None:
        self.name = "openai"
        self.lists: tuple[str, ...] = ("/v1/models",)
        self.generates: dict[str, Family] = {
            "/v1/chat/completions": "chat",
            "/v1/completions": "completions",
            "/v1/embeddings": "embeddings",
            "/v1/responses": "responses",
        }
        self._clock = clock
        self._chance = chance
        self._epoch = epoch

    # -- errors, lists and trivia ------------------------------------------------------------

    def error(self, status: int, message: str = "", route: str = "") -> Whole:
        """OpenAI's error object with the type and code that it uses for this status."""
        fallback = USUAL[500] if status >= 500 else USUAL[400]
        text, kind, code = USUAL.get(status, fallback)
        code = None if message else code
        limits = NONE_LEFT if status == 429 else ()
        return self._failure(status, message or text, kind=kind, code=code, extra=limits)

    def list(self, epoch: int, route: str) -> Whole:
        """The models of this epoch."""
        data = [self._model(name) for name in self._names(epoch)]
        return self._json(200, {"object": "list", "data": data}, finished=True)

    def other(self, method: str, path: str, body: bytes) -> Whole:
        """A single model, or an error."""
        if path.startswith("/v1/models/") and method in {"GET", "HEAD"}:
            name = path.removeprefix("/v1/models/")
            if self._knows(name):
                return self._json(200, self._model(name), finished=True)
            return self._unknown(name)
        if path in self.generates or path in self.lists:
            text = f"Not allowed to {method} on {path}."
            return self._failure(405, text, code="method_not_supported")
        return self._failure(404, f"Invalid URL ({method} {path})")

    def _names(self, epoch: int) -> tuple[str, str, str]:
        return "fake-chat", "fake-embed", f"openai-epoch-{epoch}"

    def _knows(self, name: str) -> bool:
        return name in self._names(self._epoch())

    def _model(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": CREATED, "owned_by": "fake-providers"}

    def _unknown(self, name: str) -> Whole:
        text = f"The model `{name}` does not exist or you do not have access to it."
        return self._failure(404, text, param="model", code="model_not_found")

    # -- requests ----------------------------------------------------------------------------

    def understand(self, route: str, body: bytes) -> Request:
        """Parse a body and look for what OpenAI would refuse."""
        family = self.generates[route]
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
        return Request(
            model=name,
            stream=fields.get("stream") is True and family != "embeddings",
            fields=fields,
            size=len(body),
            limit=None if refusal else self._limit(family, fields),
            choices=1 if refusal else self._choices(family, fields),
            refusal=refusal,
        )

    def _unreadable(self, body: bytes) -> Whole:
        return self._failure(400, "We could not parse the JSON body of your request.")

    def _refusal(self, family: Family, name: str, fields: dict[str, Any]) -> Whole | None:
        if not name:
            return self._failure(400, "you must provide a model parameter")
        if not self._knows(name):
            return self._unknown(name)
        bounds = self._counts() | dict.fromkeys(self._limit_names(family))
        fault = fault_of(family, fields, bounds)
        if fault is None:
            return None
        text, param, code = fault
        return self._failure(400, text, param=param, code=code)

    def _counts(self) -> dict[str, int | None]:
        """What must be a number from 1 on, and how much at most."""
        return {"n": MOST_CHOICES}

    def _limit_names(self, family: Family) -> tuple[str, ...]:
        """What bounds the length of an answer; the first that is there counts."""
        by_family: dict[Family, tuple[str, ...]] = {
            "chat": ("max_completion_tokens", "max_tokens"),
            "completions": ("max_tokens",),
            "responses": ("max_output_tokens",),
        }
        return by_family.get(family, ())

    def _limit(self, family: Family, fields: dict[str, Any]) -> int | None:
        found = (fields.get(name) for name in self._limit_names(family))
        return next((number for number in found if number is not None), None)

    def _choices(self, family: Family, fields: dict[str, Any]) -> int:
        return fields.get("n") or 1 if family in {"chat", "completions"} else 1

    # -- answers -----------------------------------------------------------------------------

    def answer(self, request: Request, call: OpenCall, behaviour: Behaviour) -> Stream | Whole:
        """The answer to a chat, a completion, a response or an embeddings call."""
        if call.family == "embeddings":
            return self._embeddings(request)
        tool = None
        if call.family != "completions":
            tool = tool_wanted(request.fields, behaviour, self._tool_choice(request))
        if call.family == "responses":
            response = Response(
                request,
                call,
                behaviour,
                new_id=lambda prefix: f"{prefix}_{self._chance.getrandbits(192):048x}",
                created=int(self._clock.wall_s()),
                tool=tool,
            )
            if request.stream:
                return response.stream(self._headers(EVENTS))
            return self._json(200, response.whole(), finished=True)
        completion = Completion(self._words(request, call, tool), request, call, behaviour)
        if request.stream:
            return completion.stream()
        return self._json(200, completion.whole(), finished=True)

    def _tool_choice(self, request: Request) -> object:
        return request.fields.get("tool_choice")

    def _words(self, request: Request, call: OpenCall, tool: dict[str, Any] | None) -> Words:
        chat = call.family == "chat"
        return Words(
            head={
                "id": f"{'chatcmpl' if chat else 'cmpl'}-{self._chance.getrandbits(96):024x}",
                "object": self._object(request, chat=chat),
                "created": int(self._clock.wall_s()),
                "model": request.model,
            },
            headers=self._headers(EVENTS) if request.stream else (),
            call_id=lambda: f"call_{self._chance.getrandbits(96):024x}",
            failure=self._event_of_failure,
            tool=tool,
        )

    def _object(self, request: Request, *, chat: bool) -> str:
        if not chat:
            return "text_completion"
        return "chat.completion.chunk" if request.stream else "chat.completion"

    def _event_of_failure(self, chunks: Chunks) -> bytes:
        text, kind, code = USUAL[500]
        return event({"error": {"message": text, "type": kind, "param": None, "code": code}})

    def _embeddings(self, request: Request) -> Whole:
        found = vectors(request.fields["input"]) or []
        packed = request.fields.get("encoding_format") == "base64"
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": _base64(vector) if packed else vector,
            }
            for index, vector in enumerate(found)
        ]
        count = prompt_tokens(request.size)
        content = {
            "object": "list",
            "data": data,
            "model": request.model,
            "usage": {"prompt_tokens": count, "total_tokens": count},
        }
        return self._json(200, content, finished=True)

    # -- framing -----------------------------------------------------------------------------

    def _request_id(self) -> tuple[bytes, bytes]:
        return b"x-request-id", b"req_%032x" % self._chance.getrandbits(128)

    def _headers(self, content_type: bytes) -> Headers:
        """Of a stream."""
        return [(b"content-type", content_type), self._request_id(), *PLENTY]

    def _json(
        self, status: int, content: object, *, finished: bool = False, extra: Headers = ()
    ) -> Whole:
        told = [*self._told(finished=finished), *extra]
        return whole(status, JSON, _encode(content), extra=told, finished=finished)

    def _told(self, *, finished: bool) -> Headers:
        """The headers of an answer in one go."""
        return [self._request_id(), *(PLENTY if finished else ())]

    def _failure(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        extra: Headers = (),
    ) -> Whole:
        error = {"message": message, "type": kind, "param": param, "code": code}
        return self._json(status, {"error": error}, extra=extra)


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *vector)).decode()
