"""The words of an Ollama server: its native API under /api.

Decides the JSON and the framing (one JSON object a line). Refuses to know when anything is sent.
A body is parsed whatever its Content-Type says, as Ollama does; ``options`` are read past.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from math import isinf
from typing import Any, Final

import msgspec

from fake_providers.answers import Stream, Whole, whole
from fake_providers.behaviour import Behaviour
from fake_providers.clock import Clock, rfc3339
from fake_providers.evidence import Family
from fake_providers.provider import Request
from fake_providers.recorder import OpenCall
from fake_providers.text import pieces, prompt_tokens, tool_arguments, tool_wanted, vectors

JSON: Final = b"application/json; charset=utf-8"
TEXT: Final = b"text/plain; charset=utf-8"
LINES: Final = b"application/x-ndjson"
VERSION: Final = "0.12.0"
MODIFIED: Final = "2026-01-01T00:00:00.000000000Z"
NEVER: Final = "2318-01-01T00:00:00Z"
"""When a model is unloaded that is kept for ever."""
CONTEXT_LENGTH: Final = 4096
LOAD_NS: Final = 1_000_000
"""A warm model's load, as every answer tells it."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

ToolCalls = tuple[dict[str, Any], ...]

USUAL: Final = {
    400: "invalid request",
    401: "unauthorized",
    403: "forbidden",
    404: "model not found",
    413: "request body too large",
    429: "too many requests",
    499: "request canceled",
    500: "model runner has unexpectedly stopped, this may be due to resource limitations",
    503: "server busy, please try again.  maximum pending requests exceeded",
}


class Ollama:
    """The dialect of an Ollama server."""

    def __init__(
        self,
        *,
        clock: Clock,
        chance: random.Random,
        epoch: Callable[[], int],
        resident: Callable[[], list[tuple[str, float]]] = list,
    ) -> None:
        """``resident``: the loaded models and when each is unloaded (see ``desk``)."""
        self.name = "ollama"
        self.lists: tuple[str, ...] = ("/api/tags",)
        self.generates: dict[str, Family] = {
            "/api/chat": "chat",
            "/api/generate": "generate",
            "/api/embed": "embeddings",
            "/api/embeddings": "embeddings",
        }
        self._clock = clock
        self._chance = chance
        self._epoch = epoch
        self._resident = resident

    # -- errors, lists and trivia ------------------------------------------------------------

    def error(self, status: int, message: str = "") -> Whole:
        """Ollama's error object."""
        fallback = USUAL[500] if status >= 500 else USUAL[400]
        return _json(status, {"error": message or USUAL.get(status, fallback)})

    def list(self, epoch: int) -> Whole:
        """The models of this epoch, as ``/api/tags`` has them."""
        models = [_tags_item(name) for name in self._names(epoch)]
        return _json(200, {"models": models}, finished=True)

    def other(self, method: str, path: str) -> Whole:
        """The small routes, and Ollama's bare 404 and 405."""
        small = {
            "/": ("GET", "HEAD"),
            "/api/version": ("GET", "HEAD"),
            "/api/ps": ("GET",),
            "/api/tags": ("HEAD",),
        }
        if method not in small.get(path, ()):
            known = path in small or path in self.generates
            status = 405 if known else 404
            text = b"405 method not allowed" if known else b"404 page not found"
            return whole(status, TEXT, text)
        match path:
            case "/":
                return whole(200, TEXT, b"Ollama is running", finished=True)
            case "/api/version":
                return _json(200, {"version": VERSION}, finished=True)
            case "/api/ps":
                models = [_ps_item(name, at_s) for name, at_s in self._resident()]
                return _json(200, {"models": models}, finished=True)
        return self.list(self._epoch())

    def _names(self, epoch: int) -> tuple[str, str, str]:
        return "fake-chat:latest", "fake-embed:latest", f"ollama-epoch-{epoch}:latest"

    # -- requests ----------------------------------------------------------------------------

    def understand(self, family: Family, body: bytes) -> Request:
        """Parse a body and look for what Ollama would refuse."""
        fields, complaint = _parse(body)
        model = fields.get("model")
        name = model if isinstance(model, str) else ""
        stream = fields.get("stream") is not False and family != "embeddings"
        fault = (400, complaint) if complaint else self._fault(family, name, fields)
        loads_only = fault is None and _loads_only(family, fields)
        return Request(
            model=name,
            # Loading is one plain object even where streaming was implied.
            stream=stream and not loads_only and not complaint,
            fields=fields,
            size=len(body),
            loads_only=loads_only,
            refusal=None if fault is None else self.error(*fault),
        )

    def _fault(self, family: Family, name: str, fields: dict[str, Any]) -> tuple[int, str] | None:
        legacy = family == "embeddings" and "input" not in fields and "prompt" in fields
        if not name and (family == "chat" or legacy):
            return 400, "model is required"
        tagged = name if ":" in name else f"{name}:latest"
        if tagged not in self._names(self._epoch()):
            if family == "embeddings" and name:
                return 404, f'model "{name}" not found, try pulling it first'
            return 404, f"model '{name}' not found"
        given = fields.get("prompt" if legacy else "input", [])
        if family == "embeddings" and vectors(given) is None:
            return 400, "invalid input type"
        return None

    # -- answers -----------------------------------------------------------------------------

    def answer(self, request: Request, call: OpenCall, behaviour: Behaviour) -> Stream | Whole:
        """The answer to a chat, a generation or an embeddings call."""
        if call.family == "embeddings":
            return self._embeddings(request, call)
        if _loads_only(call.family, request.fields):
            reason = "unload" if request.fields.get("keep_alive") == 0 else "load"
            return _json(200, {**self._line(request, call, ""), **_done(reason)}, finished=True)
        tool = tool_wanted(request.fields, behaviour) if call.family == "chat" else None
        calls = (self._tool_call(tool, call),) if tool is not None else ()
        metrics = _Metrics(self._clock, call, behaviour, request.size)
        if request.stream:
            return self._stream(request, call, behaviour, calls, metrics)
        text = "" if calls else "".join(pieces(call, behaviour))
        line = self._line(request, call, text, calls)
        return _json(200, {**line, **_done("stop"), **metrics.read()}, finished=True)

    def _stream(
        self,
        request: Request,
        call: OpenCall,
        behaviour: Behaviour,
        calls: ToolCalls,
        metrics: _Metrics,
    ) -> Stream:
        def lines() -> Iterator[bytes]:
            for text in ("",) if calls else pieces(call, behaviour):
                line = self._line(request, call, text, calls)
                yield _encode({**line, "done": False}) + b"\n"

        def finish() -> bytes:
            line = self._line(request, call, "")
            return _encode({**line, **_done("stop"), **metrics.read()}) + b"\n"

        headers = [(b"content-type", LINES)]
        return Stream(headers=headers, opening=b"", pieces=lines(), finish=finish)

    def _line(
        self, request: Request, call: OpenCall, text: str, calls: ToolCalls = ()
    ) -> dict[str, Any]:
        line: dict[str, Any] = {"model": request.model, "created_at": self._clock.rfc3339()}
        if call.family == "chat":
            line["message"] = {"role": "assistant", "content": text}
            if calls:
                line["message"]["tool_calls"] = calls
        else:
            line["response"] = text
        return line

    def _tool_call(self, function: dict[str, Any], call: OpenCall) -> dict[str, Any]:
        return {
            "id": f"call_{self._chance.getrandbits(32):08x}",
            "function": {
                "index": 0,
                "name": str(function.get("name", "")),
                "arguments": tool_arguments(function, call),
            },
        }

    def _embeddings(self, request: Request, call: OpenCall) -> Whole:
        fields = request.fields
        if call.route == "/api/embeddings":
            found = vectors(fields.get("prompt", fields.get("input", ""))) or [[]]
            return _json(200, {"embedding": found[0]}, finished=True)
        given = fields.get("input", [])
        content = {
            "model": request.model,
            "embeddings": (vectors(given) or []) if given else [],
            "total_duration": self._clock.stamp() - call.read_ns,
            "load_duration": LOAD_NS,
            "prompt_eval_count": prompt_tokens(request.size),
        }
        if call.pace is not None:
            told = call.pace.durations(self._clock.stamp())
            content |= {key: told[key] for key in ("total_duration", "load_duration")}
        return _json(200, content, finished=True)


class _Metrics:
    """The numbers at the end of an answer. What is in none of them was spent waiting."""

    def __init__(self, clock: Clock, call: OpenCall, behaviour: Behaviour, size: int) -> None:
        self._clock = clock
        self._call = call
        self._behaviour = behaviour
        self._size = size
        self._began_ns = clock.stamp()

    def read(self) -> dict[str, int]:
        now = self._clock.stamp()
        counts = {
            "prompt_eval_count": prompt_tokens(self._size),
            "eval_count": self._behaviour.tokens + 1,
        }
        if self._call.pace is not None:
            return {**self._call.pace.durations(now), **counts}
        return {
            **counts,
            "total_duration": now - self._call.read_ns + LOAD_NS,
            "load_duration": LOAD_NS,
            "prompt_eval_duration": max(1, round(self._behaviour.first_s * 1e9)),
            "eval_duration": max(1, now - self._began_ns),
        }


def _done(reason: str) -> dict[str, Any]:
    return {"done": True, "done_reason": reason}


def _loads_only(family: Family, fields: dict[str, Any]) -> bool:
    if family == "chat":
        return not fields.get("messages")
    return family == "generate" and not fields.get("prompt")


def _parse(body: bytes) -> tuple[dict[str, Any], str]:
    """The fields of a body, or what Go's decoder would say of it, as near as it matters."""
    try:
        fields = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}, _complaint(body)
    if isinstance(fields, dict):
        return fields, ""
    kind = {list: "array", str: "string", bool: "bool"}.get(type(fields), "number")
    return {}, f"json: cannot unmarshal {kind} into Go value of type api.Request"


def _complaint(body: bytes) -> str:
    text = body.decode("utf-8", "replace").lstrip()
    if not text:
        return "missing request body"
    if text[0] in '{["-0123456789tfn':
        return "unexpected EOF"
    return f"invalid character '{text[0]}' looking for beginning of value"


def _json(status: int, content: object, *, finished: bool = False) -> Whole:
    return whole(status, JSON, _encode(content), finished=finished)


def _tags_item(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "model": name,
        "modified_at": MODIFIED,
        "size": 1_000_000_000,
        "digest": hashlib.sha256(name.encode()).hexdigest(),
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": "fake",
            "families": ["fake"],
            "parameter_size": "1.0B",
            "quantization_level": "Q8_0",
        },
    }


def _ps_item(name: str, expires_s: float) -> dict[str, Any]:
    item = _tags_item(name)
    del item["modified_at"]
    expires_at = NEVER if isinf(expires_s) else rfc3339(expires_s)
    vram = {"size_vram": item["size"], "context_length": CONTEXT_LENGTH}
    return {**item, "expires_at": expires_at, **vram}
