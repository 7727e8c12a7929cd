"""The words of an Ollama server: its native API under /api.

Decides the JSON and the framing (one JSON object a line). Refuses to know when anything is sent,
what is wrong with a body (``ollama_faults``) and the routes under /v1 (``ollama_v1``), to which it
hands on. A body is parsed whatever its Content-Type says, as Ollama does.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

from fake_providers import ollama_words as words
from fake_providers.answers import Stream, Whole, whole
from fake_providers.behaviour import Behaviour
from fake_providers.clock import Clock
from fake_providers.engine import KEEP_ALIVE_NS, MOST_LOADED
from fake_providers.evidence import Family
from fake_providers.keep_alive import keep_alive_ns
from fake_providers.ollama_faults import fault_of, is_legacy
from fake_providers.ollama_v1 import OllamaV1
from fake_providers.provider import Request
from fake_providers.recorder import OpenCall
from fake_providers.residence import Residence
from fake_providers.text import (
    json_frame,
    length,
    pieces,
    prompt_tokens,
    tool_arguments,
    tool_wanted,
    vectors,
)

JSON: Final = b"application/json; charset=utf-8"
TEXT: Final = b"text/plain; charset=utf-8"
LINES: Final = b"application/x-ndjson"
MALFORMED: Final = b'{"model":"fake-chat","created_at":"2026-01-01T00:0\n'
LOAD_NS: Final = 1_000_000
"""A warm model's load, as every answer tells it."""
V1: Final = "/v1/"

_encode = msgspec.json.Encoder().encode

ToolCalls = tuple[dict[str, Any], ...]


class Ollama:
    """The dialect of an Ollama server."""

    def __init__(
        self,
        *,
        clock: Clock,
        chance: random.Random,
        epoch: Callable[[], int],
        resident: Callable[[], list[tuple[str, float]]] | None = None,
        keep_alive_ns: int = KEEP_ALIVE_NS,
        most_loaded: int = MOST_LOADED,
    ) -> None:
        """``resident``: the loaded models and when each is unloaded (see ``desk``).

        Without it they are those that were called lately, as many and as long as told.
        """
        self._v1 = OllamaV1(clock=clock, chance=chance, epoch=epoch)
        self.name = "ollama"
        self.lists: tuple[str, ...] = ("/api/tags", *self._v1.lists)
        self.generates: dict[str, Family] = {
            "/api/chat": "chat",
            "/api/generate": "generate",
            "/api/embed": "embeddings",
            "/api/embeddings": "embeddings",
            **self._v1.generates,
        }
        self._clock = clock
        self._chance = chance
        self._epoch = epoch
        self._resident = resident or list
        self._residence: Residence | None = None
        if resident is None:
            self._residence = Residence(keep_alive_ns=keep_alive_ns, most_loaded=most_loaded)

    # -- errors, lists and trivia ------------------------------------------------------------

    def error(self, status: int, message: str = "", route: str = "") -> Whole:
        """Ollama's error object."""
        if route.startswith(V1):
            return self._v1.error(status, message, route)
        return _json(status, {"error": message or words.usual(status)})

    def list(self, epoch: int, route: str) -> Whole:
        """The models of this epoch, as ``/api/tags`` has them."""
        if route.startswith(V1):
            return self._v1.list(epoch, route)
        models = [words.tags_item(name) for name in words.names(epoch)]
        return _json(200, {"models": models}, finished=True)

    def other(self, method: str, path: str, body: bytes) -> Whole:
        """The small routes, and Ollama's bare 404 and 405."""
        small = {
            "/": ("GET", "HEAD"),
            "/api/version": ("GET", "HEAD"),
            "/api/ps": ("GET",),
            "/api/show": ("POST",),
            "/api/tags": ("HEAD",),
        }
        if method not in small.get(path, ()):
            if (model := self._v1.one_model(method, path)) is not None:
                return model
            known = path in small or path in self.generates or path in self.lists
            status = 405 if known else 404
            text = b"405 method not allowed" if known else b"404 page not found"
            return whole(status, TEXT, text)
        if path == "/":
            return whole(200, TEXT, b"Ollama is running", finished=True)
        if path == "/api/show":
            return self._show(body)
        if path == "/api/tags":
            return self.list(self._epoch(), path)
        told: dict[str, Any] = {"version": words.VERSION}
        if path == "/api/ps":
            told = {"models": self._loaded()}
        return _json(200, told, finished=True)

    def _loaded(self) -> Sequence[dict[str, Any]]:
        if self._residence is None:
            return [words.ps_item(name, at_s) for name, at_s in self._resident()]
        now_s, found = self._clock.wall_s(), self._residence.resident(self._clock.stamp())
        return [words.ps_item(name, now_s + left_s) for name, left_s in found]

    def _show(self, body: bytes) -> Whole:
        fields, complaint = words.parse(body)
        if complaint:
            return self.error(400, complaint)
        name = fields.get("model") or fields.get("name")
        if not isinstance(name, str):
            return self.error(400, "model is required")
        if words.tagged(name) not in words.names(self._epoch()):
            return self.error(404, f"model '{words.tagged(name)}' not found")
        told = words.show(words.tagged(name), verbose=fields.get("verbose") is True)
        return _json(200, told, finished=True)

    # -- requests ----------------------------------------------------------------------------

    def understand(self, route: str, body: bytes) -> Request:
        """Parse a body and look for what Ollama would refuse."""
        if route.startswith(V1):
            return self._v1.understand(route, body)
        family = self.generates[route]
        fields, complaint = words.parse(body)
        model = fields.get("model")
        names = words.names(self._epoch())
        fault = (400, complaint) if complaint else fault_of(family, fields, names)
        loads_only = fault is None and _loads_only(family, fields)
        stream = fields.get("stream") is not False and family != "embeddings"
        return Request(
            model=model if isinstance(model, str) else "",
            # Loading is one plain object even where streaming was implied.
            stream=stream and not loads_only and not complaint,
            fields=fields,
            size=len(body),
            limit=None if fault else _limit(fields),
            loads_only=loads_only,
            inputs=() if fault else _inputs(family, fields),
            refusal=None if fault is None else self.error(*fault),
        )

    def admit(self, request: Request, now_ns: int) -> Request:
        """Ollama lets in whatever it understands; its queue is the engine's."""
        if self._residence is not None:
            kept = keep_alive_ns(request.fields.get("keep_alive"))
            self._residence.enter(words.tagged(request.model), kept, now_ns)
        return request

    def over(self, request: Request, now_ns: int) -> None:
        """The time of its model begins to run when nobody else needs it."""
        if self._residence is not None:
            self._residence.leave(words.tagged(request.model), now_ns)

    # -- answers -----------------------------------------------------------------------------

    def answer(self, request: Request, call: OpenCall, behaviour: Behaviour) -> Stream | Whole:
        """The answer to a chat, a generation or an embeddings call."""
        if call.route.startswith(V1):
            return self._v1.answer(request, call, behaviour)
        if call.family == "embeddings":
            return self._embeddings(request, call)
        if request.loads_only:
            unloads = keep_alive_ns(request.fields.get("keep_alive")) == 0
            reason = "unload" if unloads else "load"
            return _json(200, {**self._line(request, call, ""), **_done(reason)}, finished=True)
        tool = tool_wanted(request.fields, behaviour) if call.family == "chat" else None
        calls = (self._tool_call(tool, call),) if tool is not None else ()
        ending = _Ending(self._clock, call, behaviour, request)
        if request.stream:
            return self._stream(request, call, behaviour, calls, ending)
        text = "" if calls else "".join(_texts(request, call, behaviour))
        line = self._line(request, call, text, calls)
        return _json(200, {**line, **ending.read()}, finished=True)

    def _stream(
        self,
        request: Request,
        call: OpenCall,
        behaviour: Behaviour,
        calls: ToolCalls,
        ending: _Ending,
    ) -> Stream:
        def lines() -> Iterator[bytes]:
            for text in ("",) if calls else _texts(request, call, behaviour):
                line = self._line(request, call, text, calls)
                yield _encode({**line, "done": False}) + b"\n"

        def finish() -> bytes:
            return _encode({**self._line(request, call, ""), **ending.read()}) + b"\n"

        return Stream(
            headers=[(b"content-type", LINES)],
            opening=b"",
            pieces=lines(),
            finish=finish,
            failure=lambda: _encode({"error": words.usual(500)}) + b"\n",
            malformed=MALFORMED,
        )

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
        if not request.inputs:
            return _json(200, {"model": request.model, "embeddings": []}, finished=True)
        content = {
            "model": request.model,
            "embeddings": vectors(fields["input"]) or [],
            "total_duration": self._clock.stamp() - call.read_ns + LOAD_NS,
            "load_duration": LOAD_NS,
            "prompt_eval_count": sum(request.inputs),
        }
        if call.pace is not None:
            told = call.pace.durations(self._clock.stamp())
            content |= {key: told[key] for key in ("total_duration", "load_duration")}
        return _json(200, content, finished=True)


class _Ending:
    """The end of an answer: why, and the numbers. What is in none of them was spent waiting."""

    def __init__(
        self, clock: Clock, call: OpenCall, behaviour: Behaviour, request: Request
    ) -> None:
        self._clock = clock
        self._call = call
        self._behaviour = behaviour
        self._request = request
        self._began_ns = clock.stamp()

    def read(self) -> dict[str, Any]:
        now = self._clock.stamp()
        count = length(self._behaviour, self._request.limit)
        told = _done("length" if count <= self._behaviour.tokens else "stop")
        if self._call.family == "generate" and not self._request.fields.get("raw"):
            told["context"] = list(range(1, count + 1))
        told["prompt_eval_count"] = prompt_tokens(self._request.size)
        told["eval_count"] = count
        if self._call.pace is not None:
            return {**told, **self._call.pace.durations(now)}
        # A timer may ring a little early: no part is longer than the time there was for it.
        first_ns = min(round(self._behaviour.first_s * 1e9), self._began_ns - self._call.read_ns)
        return {
            **told,
            "total_duration": now - self._call.read_ns + LOAD_NS,
            "load_duration": LOAD_NS,
            "prompt_eval_duration": max(1, first_ns),
            "eval_duration": max(1, now - self._began_ns),
        }


def _texts(request: Request, call: OpenCall, behaviour: Behaviour) -> Iterator[str]:
    form = request.fields.get("format")
    frame = json_frame(form) if form else ("", "")
    return pieces(call, behaviour, limit=request.limit, frame=frame)


def _done(reason: str) -> dict[str, Any]:
    return {"done": True, "done_reason": reason}


def _limit(fields: dict[str, Any]) -> int | None:
    wanted = (fields.get("options") or {}).get("num_predict")
    return int(wanted) if wanted and wanted > 0 else None


def _inputs(family: Family, fields: dict[str, Any]) -> tuple[int, ...]:
    """Ollama calls its model once for each input of an embeddings request."""
    if family != "embeddings":
        return ()
    return tuple(prompt_tokens(len(text)) for text in _embedded(fields))


def _embedded(fields: dict[str, Any]) -> Sequence[str]:
    """The texts that are to become vectors."""
    given = fields.get("prompt" if is_legacy(fields) else "input") or []
    return [given] if isinstance(given, str) else given


def _loads_only(family: Family, fields: dict[str, Any]) -> bool:
    if family == "embeddings":
        return not _embedded(fields)
    if family == "chat":
        return not fields.get("messages")
    return family == "generate" and not fields.get("prompt")


def _json(status: int, content: object, *, finished: bool = False) -> Whole:
    return whole(status, JSON, _encode(content), finished=finished)
