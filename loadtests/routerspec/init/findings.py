"""What a router's answers say about it: dialects, modes, model ids, its key. Pure.

No promise is guessed: a concurrency limit or a TTL cannot be seen from a few answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from routerspec.init.probe import Answer, ProbeResult
from routerspec.limits import NO_SUCH_MODE
from routerspec.records.load_plan import FAKE_MODEL

Front = Literal["openai", "ollama"]

_NOT_THERE: Final = NO_SUCH_MODE | {None}
_REFUSED: Final = frozenset({401, 403})
_EPOCH: Final = re.compile(r"(openai|ollama)-epoch-\d+")
_UNFIT: Final = re.compile(r"[^A-Za-z0-9]+")
_LONGEST_NAME: Final = 60
_MODES: Final = (
    ("chat", "openai", "/v1/chat/completions"),
    ("completions", "openai", "/v1/completions"),
    ("embeddings", "openai", "/v1/embeddings"),
    ("chat", "ollama", "/api/chat"),
    ("embeddings", "ollama", "/api/embed"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRoute:
    """One route to a provider, as far as it can be seen."""

    name: str
    front: Front
    provider: Front
    model: str
    """With ``{model}`` in it."""
    modes: tuple[str, ...]
    doubt: str
    """What is unknown about it; empty: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Everything that could be found out about one router."""

    name: str
    version: str
    """As its OpenAPI document says; empty: it has none."""
    ready: str
    """Its health path; empty: none found."""
    needs_key: bool | None
    """None: unknown."""
    routes: tuple[FoundRoute, ...]
    fakes_behind: bool
    """Its model list names the fakes' model: they are its providers."""
    models: int
    """Ids in its model lists."""


def findings(probed: ProbeResult) -> Findings:
    """Read what was seen."""
    document = _json(probed.answers["/openapi.json"])
    told = document.get("info") if isinstance(document, dict) else None
    info = told if isinstance(told, dict) else {}
    ids: dict[Front, list[str]] = {
        "openai": model_ids(probed.answers["/v1/models"]),
        "ollama": model_ids(probed.answers["/api/tags"]),
    }
    modes = _modes(probed.answers, document)
    routes = [*_routes("openai", ids, modes), *_routes("ollama", ids, modes)]
    return Findings(
        name=_name(str(info.get("title", ""))),
        version=str(info.get("version", "")),
        ready=_ready(probed.answers),
        needs_key=_needs_key(probed),
        routes=tuple(_named_apart(routes)),
        fakes_behind=any(FAKE_MODEL in id_ for each in ids.values() for id_ in each),
        models=len({id_ for each in ids.values() for id_ in each}),
    )


def model_ids(answer: Answer) -> list[str]:
    """The ids of a model list in either dialect; none where it is none."""
    body = _json(answer)
    items = body.get("data", body.get("models")) if isinstance(body, dict) else None
    if answer.status != 200 or not isinstance(items, list):
        return []
    names = [item.get("id") or item.get("model") for item in items if isinstance(item, dict)]
    return [name for name in names if isinstance(name, str)]


def _json(answer: Answer) -> Any:
    try:
        return msgspec.json.decode(answer.body) if answer.status == 200 else {}
    except (msgspec.DecodeError, ValueError, RecursionError):
        return {}


def _modes(answers: Mapping[str, Answer], document: Any) -> dict[Front, tuple[str, ...]]:
    """Dialect -> modes that it has; a path in the OpenAPI document counts, one that answers too."""
    told = document.get("paths") if isinstance(document, dict) else None
    paths = told if isinstance(told, dict) else {}
    found: dict[Front, list[str]] = {"openai": [], "ollama": []}
    for mode, front, path in _MODES:
        if path in paths or answers[path].status not in _NOT_THERE:
            found["openai" if front == "openai" else "ollama"] += (
                ["chat", "stream"] if mode == "chat" else [mode]
            )
    return {front: tuple(modes) for front, modes in found.items()}


def _routes(
    front: Front, ids: Mapping[Front, list[str]], modes: Mapping[Front, tuple[str, ...]]
) -> list[FoundRoute]:
    if not modes[front]:
        return []
    patterns = _patterns(ids[front])
    if not patterns:
        doubt = "its model list has no readable model id: which id do clients request?"
        patterns = {"{model}": (front, doubt)}
    return [
        FoundRoute(
            name=provider if front == "openai" else f"{provider}-api",
            front=front,
            provider=provider,
            model=pattern,
            modes=modes[front],
            doubt=doubt,
        )
        for pattern, (provider, doubt) in patterns.items()
    ]


def _patterns(ids: list[str]) -> dict[str, tuple[Front, str]]:
    """Model pattern -> (provider, what is in doubt). The fakes' own names leave none."""
    sure = {id_.replace(FAKE_MODEL, "{model}") for id_ in ids if FAKE_MODEL in id_}
    if sure:
        return {pattern: _provider(pattern, ids) for pattern in sorted(sure)}
    likely: dict[str, tuple[Front, str]] = {}
    for id_ in ids:
        prefix = id_.partition("/")[0] if "/" in id_ else ""
        pattern = f"{prefix}/{{model}}" if prefix else "{model}"
        provider: Front = "ollama" if "ollama" in prefix else "openai"
        likely.setdefault(pattern, (provider, f"which provider is behind ids such as {id_}?"))
    return likely


def _provider(pattern: str, ids: list[str]) -> tuple[Front, str]:
    """Which fake answers to a pattern: each marks its list with a name of its own."""
    seen: set[Front] = set()
    for id_ in ids:
        for found in _EPOCH.finditer(id_):
            if id_.replace(found[0], "{model}") == pattern:
                seen.add("openai" if found[1] == "openai" else "ollama")
    if len(seen) == 1:
        return seen.pop(), ""
    guess: Front = "ollama" if "ollama" in pattern else "openai"
    return guess, "which of the two fakes is behind it?"


def _named_apart(routes: list[FoundRoute]) -> list[FoundRoute]:
    """Each route with a unique name, from the prefix of its model."""
    named: dict[str, FoundRoute] = {}
    for route in routes:
        name = route.name
        if name in named:
            prefix = route.model.replace("{model}", "")
            name = _word(prefix) or f"{name}-{len(named) + 1}"
        while name in named:
            name = f"{name}-{len(named) + 1}"
        named[name] = FoundRoute(
            name=name,
            front=route.front,
            provider=route.provider,
            model=route.model,
            modes=route.modes,
            doubt=route.doubt,
        )
    return list(named.values())


def _ready(answers: Mapping[str, Answer]) -> str:
    for path in ("/health", "/healthz", "/health/liveliness", "/ready"):
        if answers[path].status == 200:
            return path
    return ""


def _needs_key(probed: ProbeResult) -> bool | None:
    if probed.without_key.status in _REFUSED:
        return True
    return False if probed.without_key.status == 200 else None


def _name(title: str) -> str:
    return _word(title) or "my-router"


def _word(text: str) -> str:
    """For the name of a file or a table: letters, digits and dashes, cut to a maximum length."""
    return _UNFIT.sub("-", text[:_LONGEST_NAME]).strip("-").lower()
