"""The API of Anthropic: its routes, errors, headers and validation.

Any key is accepted, or none.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

import msgspec

from fake_providers.anthropic import models
from fake_providers.anthropic.headers import (
    EVENT_STREAM,
    ORGANIZATION,
    limit_headers,
    version_of,
)
from fake_providers.anthropic.messages import Message
from fake_providers.anthropic.refusals import bad_message, bad_prompt, bad_version, error_object
from fake_providers.anthropic.thinking import thoughts
from fake_providers.anthropic.tools import tools_of
from fake_providers.calls.provider import Request
from fake_providers.calls.recorder import OpenCall
from fake_providers.content.thoughts import remaining
from fake_providers.http.answers import Stream, WholeAnswer, whole_answer
from fake_providers.http.heads import Headers
from fake_providers.http.request import HttpRequest
from fake_providers.prompt.behaviour import Behaviour
from fake_providers.prompt.sizes import prompt_tokens
from fake_providers.records.clock import Clock
from fake_providers.records.evidence import Family

JSON: Final = b"application/json"
MESSAGES: Final = "/v1/messages"
COUNT: Final = "/v1/messages/count_tokens"
MODELS: Final = "/v1/models"
ONE_MODEL: Final = "/v1/models/"
PROBES: Final = ("/", "/api/hello")
"""Asked for by clients that want to know whether there is a server."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Anthropic:
    """The dialect of Anthropic's API."""

    def __init__(self, *, clock: Clock, chance: random.Random, epoch: Callable[[], int]) -> None:
        self.name = "anthropic"
        self.by_go = False
        self.lists: tuple[str, ...] = (MODELS,)
        self.counts: tuple[str, ...] = (COUNT,)
        self.generates: dict[str, Family] = {MESSAGES: "messages"}
        self._clock = clock
        self._chance = chance
        self._epoch = epoch

    # -- errors, lists and small routes ------------------------------------------------------

    def error(self, status: int, message: str = "", route: str = "") -> WholeAnswer:
        """Anthropic's error object with the type that it uses for this status."""
        request_id = self._request_id()
        limits = self._limits(exhausted=True) if status == 429 else ()
        content = error_object(status, message, request_id)
        return self._json(status, content, request_id=request_id, extra=limits)

    def list(self, epoch: int, http_request: HttpRequest) -> WholeAnswer:
        """A page of the models of this epoch."""
        if fault := bad_version(version_of(http_request.headers)):
            return self.error(400, fault)
        try:
            page = models.page(models.names(epoch), http_request.query)
        except models.BadPage as error:
            return self.error(400, str(error))
        return self._json(200, page, finished=True)

    def other_route(self, http_request: HttpRequest, body: bytes) -> WholeAnswer:
        """A token count, a single model, the probes of clients, or an error."""
        method, path = http_request.method, http_request.path
        if path in PROBES and method in {"GET", "HEAD"}:
            return self._json(200, {"message": "hello"}, finished=True)
        if path == COUNT and method == "POST":
            return self._count(http_request, body)
        if path.startswith(ONE_MODEL) and method == "GET":
            return self._model(http_request)
        if path in {*self.generates, *self.lists, COUNT}:
            return self.error(405, "Method Not Allowed")
        return self.error(404)

    def _model(self, http_request: HttpRequest) -> WholeAnswer:
        name = http_request.path.removeprefix(ONE_MODEL)
        if fault := bad_version(version_of(http_request.headers)):
            return self.error(400, fault)
        if not self._has_model(name):
            return self.error(404, f"model: {name}")
        return self._json(200, models.model(name), finished=True)

    def _count(self, http_request: HttpRequest, body: bytes) -> WholeAnswer:
        fields, version = _object(body), version_of(http_request.headers)
        refusal = self._refusal(http_request, fields)
        if refusal is None and (fault := bad_prompt(fields or {}, version)):
            refusal = self.error(400, fault)
        return refusal or self._json(200, {"input_tokens": prompt_tokens(len(body))}, finished=True)

    def _has_model(self, name: str) -> bool:
        return name in models.names(self._epoch())

    # -- requests ----------------------------------------------------------------------------

    def parse(self, http_request: HttpRequest, body: bytes) -> Request:
        """Parse a body and validate it as Anthropic does."""
        fields, version = _object(body), version_of(http_request.headers)
        refusal = self._refusal(http_request, fields)
        fields = fields or {}
        if refusal is None and (fault := bad_message(fields, version)):
            refusal = self.error(400, fault)
        limit = fields.get("max_tokens") if refusal is None else None
        thought = thoughts(fields, limit) if refusal is None else ()
        model = fields.get("model")
        return Request(
            model=model if isinstance(model, str) else "",
            stream=fields.get("stream") is True,
            fields=fields,
            size=len(body),
            limit=remaining(limit, thought),
            thoughts=thought,
            refusal=refusal,
        )

    def _refusal(
        self, http_request: HttpRequest, fields: dict[str, Any] | None
    ) -> WholeAnswer | None:
        """The error of headers, of a body that is no object, or of its model."""
        if fault := bad_version(version_of(http_request.headers)):
            return self.error(400, fault)
        if fields is None:
            return self.error(400, "The request body is not valid JSON")
        model = fields.get("model")
        if not isinstance(model, str) or not model:
            return self.error(400, "model: Field required")
        return None if self._has_model(model) else self.error(404, f"model: {model}")

    def admit(self, request: Request, now_ns: int) -> Request:
        """Every valid request is admitted."""
        return request

    def done(self, request: Request, now_ns: int) -> None:
        """No state is kept of a call."""

    # -- answers -----------------------------------------------------------------------------

    def answer(
        self, request: Request, call: OpenCall, behaviour: Behaviour
    ) -> Stream | WholeAnswer:
        """The answer to a message."""
        request_id = self._request_id()
        message = Message(
            request,
            call,
            behaviour,
            new_id=lambda prefix: f"{prefix}_{self._chance.getrandbits(96):024x}",
            request_id=request_id,
            tools=tools_of(request.fields, behaviour),
        )
        extra = self._limits()
        if request.stream:
            headers = (b"content-type", EVENT_STREAM), (b"cache-control", b"no-cache")
            return message.stream([*headers, *_common(request_id), *extra])
        return self._json(200, message.whole(), request_id=request_id, extra=extra, finished=True)

    # -- framing -----------------------------------------------------------------------------

    def _request_id(self) -> str:
        return f"req_{self._chance.getrandbits(96):024x}"

    def _limits(self, *, exhausted: bool = False) -> Headers:
        return limit_headers(int(self._clock.wall_s()), exhausted=exhausted)

    def _json(
        self,
        status: int,
        content: object,
        *,
        request_id: str = "",
        finished: bool = False,
        extra: Headers = (),
    ) -> WholeAnswer:
        headers = [*_common(request_id or self._request_id()), *extra]
        return whole_answer(status, JSON, _encode(content), extra=headers, finished=finished)


def _common(request_id: str) -> Headers:
    """Headers of every answer."""
    return (b"request-id", request_id.encode()), ORGANIZATION


def _object(body: bytes) -> dict[str, Any] | None:
    """The fields of a body; None: it is no JSON object."""
    try:
        fields = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None
