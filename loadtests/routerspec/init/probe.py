"""A few requests to a running router that make no model work, and their answers.

Bodies are an empty JSON object: a server that has the path rejects it, and generates nothing.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from routerspec.errors import TargetNotReady
from routerspec.limits import NO_SUCH_MODE
from routerspec.processes import foreign
from routerspec.processes.child import words

GET: Final = (
    "/openapi.json",
    "/v1/models",
    "/api/tags",
    "/health",
    "/healthz",
    "/health/liveliness",
    "/ready",
)
MESSAGES: Final = "/v1/messages"
POST: Final = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    MESSAGES,
    "/api/chat",
    "/api/embed",
)
REFUSED: Final = frozenset({401, 403})
_VERSION: Final = {"anthropic-version": "2023-06-01"}
_EACH_WITHIN_S: Final = 10.0
_ALL_WITHIN_S: Final = 40.0
_LONGEST: Final = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to one request; ``status`` None: there was none."""

    status: int | None
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """All answers of one router."""

    url: str
    answers: Mapping[str, Answer]
    """Path -> its answer, with the key where one was given."""
    without_key: Answer
    """To ``/v1/models``, or ``/api/tags`` where that is not there, without any key."""
    key_given: bool
    list_for_anthropic: Answer | None = None
    """To ``/v1/models`` of a client of Anthropic, where ``/v1/messages`` is there."""
    only_bearer: bool = False
    """``/v1/messages`` takes the key as ``Authorization: Bearer``, and not as ``x-api-key``."""


def snapshot(url: str, key: str) -> ProbeResult:
    """Ask the router at ``url``. Raises TargetNotReady where nothing answers at all."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    for_anthropic = _VERSION | ({"x-api-key": key} if key else {})
    until = time.monotonic() + _ALL_WITHIN_S
    answers = {path: _asked(url, "GET", path, headers, until) for path in GET}
    if all(answer.status is None for answer in answers.values()):
        said = answers[GET[0]].body.decode()
        raise TargetNotReady(
            f"No router answers at {url} ({said}): start it first, or correct --url."
        )
    for path in POST:
        more = for_anthropic if path == MESSAGES else {}
        answers[path] = _asked(url, "POST", path, headers | more, until)
    list_for_anthropic, only_bearer = None, False
    if answers[MESSAGES].status not in {*NO_SUCH_MODE, None}:
        list_for_anthropic = _asked(url, "GET", "/v1/models", headers | for_anthropic, until)
        if key and answers[MESSAGES].status not in REFUSED:
            by_x_api_key = _asked(url, "POST", MESSAGES, for_anthropic, until)
            only_bearer = by_x_api_key.status in REFUSED
    lists = "/v1/models" if answers["/v1/models"].status != 404 else "/api/tags"
    without_key = _asked(url, "GET", lists, {}, until) if key else answers[lists]
    return ProbeResult(
        url=url,
        answers=answers,
        without_key=without_key,
        key_given=bool(key),
        list_for_anthropic=list_for_anthropic,
        only_bearer=only_bearer,
    )


def _asked(url: str, method: str, path: str, headers: dict[str, str], until: float) -> Answer:
    body = b"{}" if method == "POST" else b""
    kind = {"Content-Type": "application/json"} if body else {}
    left_s = until - time.monotonic()
    if left_s <= 0:
        return Answer(status=None, headers={}, body=b"the router took too long to answer others")
    try:
        reply = foreign.request(
            url,
            path,
            within_s=min(_EACH_WITHIN_S, left_s),
            method=method,
            headers=headers | kind,
            body=body,
            at_most=_LONGEST,
        )
    except (OSError, http.client.HTTPException) as error:
        return Answer(status=None, headers={}, body=words(error).encode())
    return Answer(status=reply.status, headers=reply.headers, body=reply.body)
