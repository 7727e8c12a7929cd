"""Ollama's own OpenAI-compatible routes, and where they differ from OpenAI's.

Identifiers repeat, errors have three types, some fields are ignored (``n``, ``tool_choice``,
``max_completion_tokens``), the role comes with the first content, and a stream that fails looks
like a short answer. The rest is ``openai``'s.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from fake_providers.calls.provider import Request
from fake_providers.calls.recorder import OpenCall
from fake_providers.content.logprobs import MAX_CHAT_ALTERNATIVES
from fake_providers.content.thoughts import remaining
from fake_providers.http.answers import WholeAnswer
from fake_providers.http.heads import Headers
from fake_providers.http.request import HttpRequest
from fake_providers.ollama import objects
from fake_providers.ollama.refusals import bad_history
from fake_providers.ollama.thinking import EFFORTS, effort_of, thinking_error, thoughts
from fake_providers.openai.completions import Style
from fake_providers.openai.dialect import OpenAI, Tools
from fake_providers.openai.headers import EVENT_STREAM
from fake_providers.openai.refusals import Refusal
from fake_providers.openai.sse import Chunks
from fake_providers.prompt.sizes import prompt_tokens
from fake_providers.records.evidence import Family

MODELS: Final = "/v1/models/"
NATIVE: Final = frozenset({"keep_alive", "options"})
IDENTIFIER_RANGE: Final = 999
"""Ollama's identifiers are below this."""


class OllamaV1(OpenAI):
    """The dialect of Ollama's routes under /v1."""

    _hosted = False

    def parse(self, http_request: HttpRequest, body: bytes) -> Request:
        """As OpenAI; fields of the native API are ignored."""
        request, route = super().parse(http_request, body), http_request.path
        fields = {name: value for name, value in request.fields.items() if name not in NATIVE}
        if request.refusal is None and self.generates[route] == "chat":
            think = EFFORTS.get(effort_of(fields))
            thought = thoughts(request.model, think, request.limit)
            limit = remaining(request.limit, thought)
            return replace(request, fields=fields, thoughts=thought, limit=limit)
        if request.refusal is not None or self.generates[route] != "embeddings":
            return replace(request, fields=fields)
        given = fields["input"]
        texts = [given] if isinstance(given, str) else given
        return replace(
            request, fields=fields, inputs=tuple(prompt_tokens(len(text)) for text in texts)
        )

    def error(self, status: int, message: str = "", route: str = "") -> WholeAnswer:
        """OpenAI's error object with one of Ollama's three types."""
        return self._failure(status, message or objects.error_text(status))

    def one_model(self, method: str, path: str) -> WholeAnswer | None:
        """The answer to a request for a single model; None: it is for something else.

        Ollama has no route for a name with a slash.
        """
        name = path.removeprefix(MODELS)
        if not path.startswith(MODELS) or not name or "/" in name or method != "GET":
            return None
        if not self._has_model(name):
            return self._unknown_model(name)
        return self._json(200, self._model(name), finished=True)

    def _names(self, epoch: int) -> tuple[str, ...]:
        return objects.names(epoch)

    def _has_model(self, name: str) -> bool:
        return objects.tagged(name) in self._names(self._epoch())

    def _model(self, name: str) -> dict[str, Any]:
        created = objects.MODIFIED_S
        return {"id": name, "object": "model", "created": created, "owned_by": "library"}

    def _unknown_model(self, name: str) -> WholeAnswer:
        return self.error(404, f"model '{name}' not found")

    def _unreadable(self, body: bytes) -> WholeAnswer:
        _, complaint = objects.parse(body)
        return self.error(400, "EOF" if not body.strip() else complaint)

    def _refusal(self, family: Family, name: str, fields: dict[str, Any]) -> WholeAnswer | None:
        fault = self._no_such_model(family, name) or _body_refusal(family, name, fields)
        if fault is not None:
            return self.error(*fault)
        # A completion without a prompt has an empty one.
        return super()._refusal(family, name, {"prompt": "", **fields})

    def _no_such_model(self, family: Family, name: str) -> tuple[int, str] | None:
        if not name and family == "chat":
            return 400, "model is required"
        if self._has_model(name):
            return None
        if family == "embeddings" and name:
            return 404, f'model "{name}" not found, try pulling it first'
        return 404, f"model '{name}' not found"

    def _limit_names(self, family: Family) -> tuple[str, ...]:
        return ("max_output_tokens",) if family == "responses" else ("max_tokens",)

    def _choices(self, family: Family, fields: dict[str, Any]) -> int:
        return 1

    def _bad_history(self, family: Family, fields: dict[str, Any]) -> Refusal | None:
        fault = bad_history(family, fields)
        return None if fault is None else Refusal(fault[1], None)

    def _counts(self) -> dict[str, int | None]:
        return {}

    def _tool_choice(self, request: Request) -> object:
        return None

    def _style(self, request: Request, call: OpenCall, tools: Tools) -> Style:
        chat = call.family == "chat"
        number = self._chance.randrange(IDENTIFIER_RANGE)
        return Style(
            head={
                "id": f"{'chatcmpl' if chat else 'cmpl'}-{number}",
                "object": self._object(request, chat=chat),
                "created": int(self._clock.wall_s()),
                "model": request.model,
                "system_fingerprint": "fp_ollama",
            },
            headers=self._headers(EVENT_STREAM, request, call) if request.stream else (),
            call_id=self._call_id,
            failure=Chunks.empty,
            tools=tools,
            role_apart=False,
            logprobs=False,
            extras=False,
            counts_all=True,
        )

    def _call_id(self) -> str:
        return f"call_{self._chance.getrandbits(32):08x}"

    def _headers(self, content_type: bytes, request: Request, call: OpenCall) -> Headers:
        return [(b"content-type", content_type.partition(b";")[0])]

    def _call_headers(self, request: Request, call: OpenCall) -> Headers:
        return ()

    def _common_headers(self) -> Headers:
        return ()

    def _failure(
        self,
        status: int,
        message: str,
        *,
        kind: str = "",
        param: str | None = None,
        code: str | None = None,
        extra: Headers = (),
    ) -> WholeAnswer:
        types = {400: "invalid_request_error", 404: "not_found_error"}
        error = {
            "message": message,
            "type": types.get(status, "api_error"),
            "param": None,
            "code": None,
        }
        return self._json(status, {"error": error})


def _body_refusal(family: Family, name: str, fields: dict[str, Any]) -> tuple[int, str] | None:
    prompt = fields.get("prompt", "")
    if family == "chat" and (complaint := _bad_chat(name, fields)):
        return 400, complaint
    if family == "embeddings" and not fields.get("input"):
        return 400, "invalid input"
    if family == "embeddings" and not _texts(fields["input"]):
        return 400, "invalid input type"
    if family == "completions" and not isinstance(prompt, str):
        return 400, (
            f"json: cannot unmarshal {objects.kind(prompt)} into Go struct field "
            "CompletionRequest.prompt of type string"
        )
    if objects.only_embeds(name) and family != "embeddings":
        verb = "generate" if family == "completions" else "chat"
        return 400, f'"{name}" does not support {verb}'
    return None


def _bad_chat(name: str, fields: dict[str, Any]) -> str:
    if not fields.get("messages"):
        return "[] is too short - 'messages'"
    top = fields.get("top_logprobs")
    if isinstance(top, int) and not 0 <= top <= MAX_CHAT_ALTERNATIVES:
        return f"top_logprobs must be between 0 and {MAX_CHAT_ALTERNATIVES}"
    effort = effort_of(fields)
    if effort and effort not in EFFORTS:
        known = '"minimal", "low", "medium", "high", "xhigh", "ultra", "max", or "none"'
        return f'invalid reasoning value: "{effort}" (must be {known})'
    return "" if objects.only_embeds(name) else thinking_error(name, EFFORTS.get(effort))


def _texts(given: object) -> bool:
    """Ollama accepts no token ids, unlike OpenAI."""
    several = isinstance(given, list) and all(isinstance(item, str) for item in given)
    return isinstance(given, str) or several
