"""The words of an OpenAI-compatible server: /v1/models, chat, completions, embeddings.

Decides the JSON and the framing (server-sent events). Refuses to know when anything is sent.
Any key is accepted, or none; ``max_tokens``, ``n`` and sampling are read past, because an
answer's length is a matter of what its prompt wants.
"""

from __future__ import annotations

import base64
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from fake_providers.answers import Stream, Whole, whole
from fake_providers.behaviour import Behaviour
from fake_providers.clock import Clock
from fake_providers.evidence import Family
from fake_providers.exchange import Headers
from fake_providers.provider import Request
from fake_providers.recorder import OpenCall
from fake_providers.sse import DONE, Chunks
from fake_providers.text import pieces, prompt_tokens, tool_arguments, tool_wanted, vectors
from fake_providers.wants import DIMENSIONS

JSON: Final = b"application/json"
CREATED: Final = 1_700_000_000
"""When the models were made. A constant, so that lists of one epoch are equal."""

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
        }
        self._clock = clock
        self._chance = chance
        self._epoch = epoch

    # -- errors, lists and trivia ------------------------------------------------------------

    def error(self, status: int, message: str = "") -> Whole:
        """OpenAI's error object with the type and code that it uses for this status."""
        fallback = USUAL[500] if status >= 500 else USUAL[400]
        text, kind, code = USUAL.get(status, fallback)
        return self._failure(status, message or text, kind=kind, code=None if message else code)

    def list(self, epoch: int) -> Whole:
        """The models of this epoch."""
        data = [self._model(name) for name in self._names(epoch)]
        return self._json(200, {"object": "list", "data": data}, finished=True)

    def other(self, method: str, path: str) -> Whole:
        """A single model, or an error."""
        if path.startswith("/v1/models/") and method in {"GET", "HEAD"}:
            name = path.removeprefix("/v1/models/")
            if name in self._names(self._epoch()):
                return self._json(200, self._model(name), finished=True)
            return self._unknown(name)
        if path in self.generates or path in self.lists:
            text = f"Not allowed to {method} on {path}."
            return self._failure(405, text, code="method_not_supported")
        return self._failure(404, f"Invalid URL ({method} {path})")

    def _names(self, epoch: int) -> tuple[str, str, str]:
        return "fake-chat", "fake-embed", f"openai-epoch-{epoch}"

    def _model(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": CREATED, "owned_by": "fake-providers"}

    def _unknown(self, name: str) -> Whole:
        text = f"The model `{name}` does not exist or you do not have access to it."
        return self._failure(404, text, param="model", code="model_not_found")

    # -- requests ----------------------------------------------------------------------------

    def understand(self, family: Family, body: bytes) -> Request:
        """Parse a body and look for what OpenAI would refuse."""
        try:
            fields = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            text = "We could not parse the JSON body of your request."
            fault = self._failure(400, text)
            return Request(model="", stream=False, fields={}, size=len(body), refusal=fault)
        model = fields.get("model")
        name = model if isinstance(model, str) else ""
        stream = fields.get("stream") is True and family != "embeddings"
        refusal = self._refusal(family, name, fields)
        return Request(model=name, stream=stream, fields=fields, size=len(body), refusal=refusal)

    def _refusal(self, family: Family, name: str, fields: dict[str, Any]) -> Whole | None:
        if not name:
            return self._failure(400, "you must provide a model parameter")
        if name not in self._names(self._epoch()):
            return self._unknown(name)
        key = {"chat": "messages", "completions": "prompt"}.get(family, "input")
        if key not in fields:
            text = f"Missing required parameter: '{key}'."
            return self._failure(400, text, param=key, code="missing_required_parameter")
        if key == "messages" and not (isinstance(fields[key], list) and fields[key]):
            return self._failure(400, "[] is too short - 'messages'", param=key)
        if key == "input" and vectors(fields[key]) is None:
            return self._failure(400, "'$.input' is invalid.", param=key)
        return None

    # -- answers -----------------------------------------------------------------------------

    def answer(self, request: Request, call: OpenCall, behaviour: Behaviour) -> Stream | Whole:
        """The answer to a chat, a completion or an embeddings call."""
        if call.family == "embeddings":
            return self._embeddings(request)
        tool = tool_wanted(request.fields, behaviour) if call.family == "chat" else None
        chat = call.family == "chat"
        head = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{self._chance.getrandbits(96):024x}",
            "object": "chat.completion" if chat else "text_completion",
            "created": int(self._clock.wall_s()),
            "model": request.model,
        }
        if request.stream:
            return self._stream(request, call, behaviour, head, tool)
        choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": "stop"}
        if tool is not None:
            choice["message"] = {
                "role": "assistant",
                "content": None,
                "refusal": None,
                "tool_calls": [self._tool_call(tool, call)],
            }
            choice["finish_reason"] = "tool_calls"
        elif chat:
            text = "".join(pieces(call, behaviour))
            choice["message"] = {"role": "assistant", "content": text, "refusal": None}
        else:
            choice["text"] = "".join(pieces(call, behaviour))
        usage = _usage(request, behaviour)
        return self._json(200, {**head, "choices": [choice], "usage": usage}, finished=True)

    def _stream(
        self,
        request: Request,
        call: OpenCall,
        behaviour: Behaviour,
        head: dict[str, Any],
        tool: dict[str, Any] | None,
    ) -> Stream:
        chat = call.family == "chat"
        if chat:
            head["object"] = "chat.completion.chunk"
        options = request.fields.get("stream_options")
        counted = isinstance(options, dict) and options.get("include_usage") is True
        chunks = Chunks(head, chat=chat, counted=counted)
        opening = chunks.delta({"role": "assistant", "content": "" if tool is None else None})
        finish = chunks.last("stop" if tool is None else "tool_calls")
        if counted:
            finish += chunks.usage(_usage(request, behaviour))
        made = (
            (chunks.content(text) for text in pieces(call, behaviour))
            if tool is None
            else self._tool_pieces(chunks, tool, call)
        )
        return Stream(
            headers=self._headers(b"text/event-stream; charset=utf-8"),
            opening=opening if chat else b"",
            pieces=made,
            finish=lambda: finish + DONE,
        )

    def _tool_call(self, function: dict[str, Any], call: OpenCall) -> dict[str, Any]:
        arguments = _encode(tool_arguments(function, call)).decode()
        return {
            "id": f"call_{self._chance.getrandbits(96):024x}",
            "type": "function",
            "function": {"name": str(function.get("name", "")), "arguments": arguments},
        }

    def _tool_pieces(
        self, chunks: Chunks, function: dict[str, Any], call: OpenCall
    ) -> Iterator[bytes]:
        whole_call = self._tool_call(function, call)
        arguments = whole_call["function"]["arguments"]
        whole_call["function"]["arguments"] = ""
        yield chunks.delta({"tool_calls": [{"index": 0, **whole_call}]})
        yield chunks.delta({"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]})

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
        return self._json(
            200,
            {
                "object": "list",
                "data": data,
                "model": request.model,
                "usage": {"prompt_tokens": count, "total_tokens": count},
            },
            finished=True,
        )

    # -- framing -----------------------------------------------------------------------------

    def _headers(self, content_type: bytes) -> Headers:
        return [
            (b"content-type", content_type),
            (b"x-request-id", b"req_%032x" % self._chance.getrandbits(128)),
        ]

    def _json(self, status: int, content: object, *, finished: bool = False) -> Whole:
        extra = self._headers(JSON)[1:]
        return whole(status, JSON, _encode(content), extra=extra, finished=finished)

    def _failure(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
    ) -> Whole:
        error = {"message": message, "type": kind, "param": param, "code": code}
        return self._json(status, {"error": error})


def _usage(request: Request, behaviour: Behaviour) -> dict[str, int]:
    prompt, completion = prompt_tokens(request.size), behaviour.tokens + 1
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *vector)).decode()
