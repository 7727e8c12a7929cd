"""A few requests to a running router that make no model work, and their answers.

Bodies are an empty JSON object: a server that has the path rejects it, and generates nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httpx

from routerspec.errors import TargetNotReady
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
POST: Final = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/api/chat",
    "/api/embed",
)
_PATIENCE_S: Final = 10.0
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


def snapshot(url: str, key: str) -> ProbeResult:
    """Ask the router at ``url``. Raises TargetNotReady where nothing answers at all."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    tls = httpx.URL(url).scheme == "https"  # reading the certificates takes 26 ms
    with httpx.Client(base_url=url, timeout=_PATIENCE_S, trust_env=False, verify=tls) as client:
        answers = {path: _asked(client, "GET", path, headers) for path in GET}
        if all(answer.status is None for answer in answers.values()):
            said = answers[GET[0]].body.decode()
            raise TargetNotReady(
                f"No router answers at {url} ({said}): start it first, or correct --url."
            )
        answers |= {path: _asked(client, "POST", path, headers) for path in POST}
        lists = "/v1/models" if answers["/v1/models"].status != 404 else "/api/tags"
        without_key = _asked(client, "GET", lists, {}) if key else answers[lists]
    return ProbeResult(url=url, answers=answers, without_key=without_key, key_given=bool(key))


def _asked(client: httpx.Client, method: str, path: str, headers: dict[str, str]) -> Answer:
    body = b"{}" if method == "POST" else None
    kind = {"Content-Type": "application/json"} if body else {}
    try:
        with client.stream(method, path, content=body, headers=headers | kind) as response:
            read = bytearray()
            for part in response.iter_bytes():
                read += part
                if len(read) > _LONGEST:
                    break
            return Answer(
                status=response.status_code, headers=dict(response.headers), body=bytes(read)
            )
    except httpx.HTTPError as error:
        return Answer(status=None, headers={}, body=words(error).encode())
