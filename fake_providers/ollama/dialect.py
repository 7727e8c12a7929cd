"""The native API of an Ollama server, under /api.

A body is parsed whatever its Content-Type, as by Ollama. Routes under /v1 are ``v1``'s.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Final

from fake_providers.calls.provider import Request
from fake_providers.calls.recorder import OpenCall
from fake_providers.content.thoughts import remaining
from fake_providers.content.tool_history import may_have_results
from fake_providers.http.answers import Stream, WholeAnswer, whole_answer
from fake_providers.http.request import HttpRequest
from fake_providers.ollama import objects
from fake_providers.ollama.answers import Answer, json_answer
from fake_providers.ollama.refusals import bad_history, embedding_inputs, refusal_of
from fake_providers.ollama.thinking import thoughts
from fake_providers.ollama.v1 import OllamaV1
from fake_providers.pacing.keep_alive import keep_alive_ns
from fake_providers.pacing.loaded_models import LoadedModels
from fake_providers.pacing.scheduler import KEEP_ALIVE_NS, MAX_LOADED
from fake_providers.prompt.behaviour import Behaviour
from fake_providers.prompt.sizes import prompt_tokens
from fake_providers.records.clock import Clock
from fake_providers.records.evidence import Family

TEXT: Final = b"text/plain; charset=utf-8"
BARE: Final = b"text/plain"
"""Content type of Ollama's own 404 and 405."""
V1: Final = "/v1/"
LEGACY: Final = "/api/embeddings"


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
        max_loaded: int = MAX_LOADED,
    ) -> None:
        """``resident``: the loaded models and when each is unloaded (see ``Admission``).

        Without it they are those called lately, ``max_loaded`` at most, for ``keep_alive_ns``.
        """
        self._v1 = OllamaV1(clock=clock, chance=chance, epoch=epoch)
        self.name = "ollama"
        self.by_go = True
        self.lists: tuple[str, ...] = ("/api/tags", *self._v1.lists)
        self.counts: tuple[str, ...] = ()
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
        self._loaded_models: LoadedModels | None = None
        if resident is None:
            self._loaded_models = LoadedModels(keep_alive_ns=keep_alive_ns, max_loaded=max_loaded)

    # -- errors, lists and small routes ------------------------------------------------------

    def error(self, status: int, message: str = "", route: str = "") -> WholeAnswer:
        """Ollama's error object."""
        if route.startswith(V1):
            return self._v1.error(status, message, route)
        return json_answer(status, {"error": message or objects.error_text(status)})

    def list(self, epoch: int, http_request: HttpRequest) -> WholeAnswer:
        """The models of this epoch, in the shape of the route."""
        if http_request.path.startswith(V1):
            return self._v1.list(epoch, http_request)
        models = [objects.tags_item(name) for name in objects.names(epoch)]
        return json_answer(200, {"models": models}, finished=True)

    def other_route(self, http_request: HttpRequest, body: bytes) -> WholeAnswer:
        """The small routes, and Ollama's bare 404 and 405."""
        method, path = http_request.method, http_request.path
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
            return whole_answer(status, BARE, text)
        if path == "/":
            return whole_answer(200, TEXT, b"Ollama is running", finished=True)
        if path == "/api/show":
            return self._show(body)
        if path == "/api/tags":
            return self.list(self._epoch(), http_request)
        content: dict[str, Any] = {"version": objects.VERSION}
        if path == "/api/ps":
            content = {"models": self._loaded()}
        return json_answer(200, content, finished=True)

    def _loaded(self) -> Sequence[dict[str, Any]]:
        if self._loaded_models is None:
            return [objects.ps_item(name, at_s) for name, at_s in self._resident()]
        now_s, found = self._clock.wall_s(), self._loaded_models.resident(self._clock.stamp())
        return [objects.ps_item(name, now_s + left_s) for name, left_s in found]

    def _show(self, body: bytes) -> WholeAnswer:
        fields, complaint = objects.parse(body)
        if complaint:
            return self.error(400, complaint)
        name = fields.get("model") or fields.get("name")
        if not isinstance(name, str):
            return self.error(400, "model is required")
        if objects.tagged(name) not in objects.names(self._epoch()):
            return self.error(404, f"model '{objects.tagged(name)}' not found")
        content = objects.show(objects.tagged(name), verbose=fields.get("verbose") is True)
        return json_answer(200, content, finished=True)

    # -- requests ----------------------------------------------------------------------------

    def parse(self, http_request: HttpRequest, body: bytes) -> Request:
        """Parse a body and validate it as Ollama does."""
        route = http_request.path
        if route.startswith(V1):
            return self._v1.parse(http_request, body)
        family = self.generates[route]
        fields, complaint = objects.parse(body)
        model = fields.get("model")
        names = objects.names(self._epoch())
        legacy = route == LEGACY
        fault = (400, complaint) if complaint else None
        fault = fault or refusal_of(family, fields, names, legacy=legacy)
        if fault is None and may_have_results(body):
            fault = bad_history(family, fields)
        inputs = () if fault else _inputs(family, fields, legacy=legacy)
        loads_only = fault is None and _loads_only(family, fields, inputs)
        limit = None if fault else _limit(fields)
        generates = fault is None and family != "embeddings" and not loads_only
        thought = thoughts(str(model), fields.get("think"), limit) if generates else ()
        stream = fields.get("stream") is not False and family != "embeddings"
        return Request(
            model=model if isinstance(model, str) else "",
            # Loading is one plain object even where streaming is the default.
            stream=stream and not loads_only and not complaint,
            fields=fields,
            size=len(body),
            limit=remaining(limit, thought),
            thoughts=thought,
            loads_only=loads_only,
            inputs=inputs,
            refusal=None if fault is None else self.error(*fault),
        )

    def admit(self, request: Request, now_ns: int) -> Request:
        """Ollama admits every valid request; the queue is the scheduler's."""
        if self._loaded_models is not None:
            kept = keep_alive_ns(request.fields.get("keep_alive"))
            self._loaded_models.enter(objects.tagged(request.model), kept, now_ns)
        return request

    def done(self, request: Request, now_ns: int) -> None:
        """The keep-alive of its model starts when no other call uses it."""
        if self._loaded_models is not None:
            self._loaded_models.leave(objects.tagged(request.model), now_ns)

    # -- answers -----------------------------------------------------------------------------

    def answer(
        self, request: Request, call: OpenCall, behaviour: Behaviour
    ) -> Stream | WholeAnswer:
        """The answer to a chat, a generation or an embeddings call."""
        if call.route.startswith(V1):
            return self._v1.answer(request, call, behaviour)
        answer = Answer(request, call, behaviour, clock=self._clock, chance=self._chance)
        if call.family == "embeddings":
            return answer.embeddings()
        if request.loads_only:
            return answer.loaded()
        return answer.stream() if request.stream else answer.whole()


def _limit(fields: dict[str, Any]) -> int | None:
    wanted = (fields.get("options") or {}).get("num_predict")
    return int(wanted) if wanted and wanted > 0 else None


def _inputs(family: Family, fields: dict[str, Any], *, legacy: bool) -> tuple[int, ...]:
    """Tokens of each input: Ollama calls its model once per input of an embeddings request."""
    if family != "embeddings":
        return ()
    given = embedding_inputs(fields, legacy=legacy)
    texts = filter(None, [given]) if isinstance(given, str) else given
    return tuple(prompt_tokens(len(text)) for text in texts)


def _loads_only(family: Family, fields: dict[str, Any], inputs: tuple[int, ...]) -> bool:
    if family == "embeddings":
        return not inputs
    if family == "chat":
        return not fields.get("messages")
    return family == "generate" and not fields.get("prompt")
