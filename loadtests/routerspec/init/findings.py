"""What a router's answers say about it: dialects, modes, model ids, its key. Pure.

No promise is guessed: a concurrency limit or a TTL cannot be seen from a few answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, get_args

import msgspec

from routerspec.init.probe import REFUSED, Answer, ProbeResult
from routerspec.limits import NO_SUCH_MODE
from routerspec.records.load_plan import FAKE_MODEL
from routerspec.targets import Front, Mode, Provider

_NOT_THERE: Final = NO_SUCH_MODE | {None}
_PROVIDERS: Final[dict[str, Provider]] = {name: name for name in get_args(Provider)}
_EPOCH: Final = re.compile(rf"({'|'.join(_PROVIDERS)})-epoch-\d+")
_UNFIT: Final = re.compile(r"[^A-Za-z0-9]+")
_LONGEST_NAME: Final = 60
_MODES: Final[tuple[tuple[Front, str, tuple[Mode, ...]], ...]] = (
    ("openai", "/v1/chat/completions", ("chat", "stream")),
    ("openai", "/v1/completions", ("completions",)),
    ("openai", "/v1/embeddings", ("embeddings",)),
    ("ollama", "/api/chat", ("chat", "stream")),
    ("ollama", "/api/embed", ("embeddings",)),
    ("anthropic", "/v1/messages", ("chat", "stream", "tools")),
    ("responses", "/v1/responses", ("chat", "stream", "tools")),
)
_OF_AGENTS: Final[dict[Front, Provider]] = {"anthropic": "anthropic", "responses": "openai"}
"""The fronts of agents, and the provider whose own API each one is."""
_NAMES: Final[dict[Front, str]] = {"anthropic": "messages", "responses": "responses"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRoute:
    """One route to a provider, as far as it can be seen."""

    name: str
    front: Front
    provider: Provider
    model: str
    """With ``{model}`` in it."""
    modes: tuple[Mode, ...]
    doubt: str
    """What is unknown about it; empty: nothing."""
    only_bearer: bool = False
    """It takes no key as ``x-api-key``, as clients of its front send it."""


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
    listed = model_ids(probed.answers["/v1/models"])
    for_anthropic = model_ids(probed.list_for_anthropic) if probed.list_for_anthropic else []
    ids: dict[Front, list[str]] = {
        "openai": listed,
        "ollama": model_ids(probed.answers["/api/tags"]),
        "anthropic": for_anthropic or listed,
        "responses": listed,
    }
    modes = _modes(probed.answers, document)
    routes = [
        replace(route, only_bearer=probed.only_bearer and front == "anthropic")
        for front in ids
        for route in _routes(front, ids, modes)
    ]
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


def _modes(answers: Mapping[str, Answer], document: Any) -> dict[Front, tuple[Mode, ...]]:
    """Dialect -> modes that it has; a path in the OpenAPI document counts, one that answers too."""
    told = document.get("paths") if isinstance(document, dict) else None
    paths = told if isinstance(told, dict) else {}
    found: dict[Front, tuple[Mode, ...]] = dict.fromkeys(get_args(Front), ())
    for front, path, modes in _MODES:
        if path in paths or answers[path].status not in _NOT_THERE:
            found[front] += modes
    return found


def _routes(
    front: Front, ids: Mapping[Front, list[str]], modes: Mapping[Front, tuple[Mode, ...]]
) -> list[FoundRoute]:
    if not modes[front]:
        return []
    patterns = _patterns(ids[front])
    if not patterns:
        doubt = "its model list has no readable model id: which id do clients request?"
        patterns = {"{model}": (_PROVIDERS.get(front, "openai"), doubt)}
    if front in _OF_AGENTS:
        own = {each: its for each, its in patterns.items() if its[0] == _OF_AGENTS[front]}
        patterns = own or patterns
    return [
        FoundRoute(
            name=_route_name(front, provider),
            front=front,
            provider=provider,
            model=pattern,
            modes=modes[front],
            doubt=doubt,
        )
        for pattern, (provider, doubt) in patterns.items()
    ]


def _route_name(front: Front, provider: Provider) -> str:
    if front in _OF_AGENTS:
        return _NAMES[front] + ("" if provider == _OF_AGENTS[front] else f"-{provider}")
    return provider if front == "openai" else f"{provider}-api"


def _patterns(ids: list[str]) -> dict[str, tuple[Provider, str]]:
    """Model pattern -> (provider, what is in doubt). The fakes' own names leave none."""
    sure = {id_.replace(FAKE_MODEL, "{model}") for id_ in ids if FAKE_MODEL in id_}
    if sure:
        return {pattern: _provider(pattern, ids) for pattern in sorted(sure)}
    likely: dict[str, tuple[Provider, str]] = {}
    for id_ in ids:
        prefix = id_.partition("/")[0] if "/" in id_ else ""
        pattern = f"{prefix}/{{model}}" if prefix else "{model}"
        guess = _guess(prefix or id_.partition("-")[0])
        likely.setdefault(pattern, (guess, f"which provider is behind ids such as {id_}?"))
    return likely


def _guess(text: str) -> Provider:
    """By the prefix of a model's id, or by its first word."""
    if "anthropic" in text or "claude" in text:
        return "anthropic"
    return "ollama" if "ollama" in text else "openai"


def _provider(pattern: str, ids: list[str]) -> tuple[Provider, str]:
    """Which fake answers to a pattern: each marks its list with a name of its own."""
    seen: set[Provider] = set()
    for id_ in ids:
        for found in _EPOCH.finditer(id_):
            if id_.replace(found[0], "{model}") == pattern:
                seen.add(_PROVIDERS[found[1]])
    if len(seen) == 1:
        return seen.pop(), ""
    return _guess(pattern), "which of the fakes is behind it?"


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
        named[name] = replace(route, name=name)
    return list(named.values())


def _ready(answers: Mapping[str, Answer]) -> str:
    for path in ("/health", "/healthz", "/health/liveliness", "/ready"):
        if answers[path].status == 200:
            return path
    return ""


def _needs_key(probed: ProbeResult) -> bool | None:
    if probed.without_key.status in REFUSED:
        return True
    return False if probed.without_key.status == 200 else None


def _name(title: str) -> str:
    return _word(title) or "my-router"


def _word(text: str) -> str:
    """For the name of a file or a table: letters, digits and dashes, cut to a maximum length."""
    return _UNFIT.sub("-", text[:_LONGEST_NAME]).strip("-").lower()
