"""A target as the harness knows it: how to start a router, how to reach it, what it promises.

Decides the records and the one rule of placeholders: exactly the names in ``PLACEHOLDERS`` are
replaced, by pattern, and every other brace stays as it is (nginx!). Refuses to know TOML, how a
process is started, and what a promise is worth.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from routerspec.processes import own_code
from routerspec.processes.child import output_of
from routerspec.promises import Promises
from routerspec.records.run import RouteInfo

Provider = Literal["openai", "ollama"]
Mode = Literal["chat", "stream", "embeddings", "completions"]

PLACEHOLDERS: Final = (
    "port",
    "dir",
    "cap",
    "models_ttl_s",
    "timeout_s",
    "workers",
    "openai_url",
    "ollama_url",
    "openai_key",
    "ollama_key",
    "client_key",
    "model",
)
IMPLIED_MODES: Final[tuple[Mode, ...]] = ("chat", "stream", "embeddings")
NO_KEY: Final = "none"

_PATTERN: Final = re.compile(r"\{(" + "|".join(PLACEHOLDERS) + r")\}")
_VERSION_PATIENCE_S: Final = 60.0
UNKNOWN: Final = "unknown"
"""The version where the command has no word for it: mostly the router is not installed."""


def fill(text: str, values: Mapping[str, str]) -> str:
    """``text`` with its placeholders replaced; one that ``values`` lacks stays as it is."""
    return _PATTERN.sub(lambda found: values.get(found[1], found[0]), text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """How the router is started. All texts may hold placeholders."""

    command: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    ready: str | None = None
    """Path that answers below 500 once the router is up; None: its port takes connections."""
    files: dict[str, str] = field(default_factory=dict)
    """Name relative to ``{dir}`` -> content."""
    ready_timeout_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One way through the router to a provider."""

    name: str
    provider: Provider
    front: Provider
    """The dialect that the router speaks to clients on this route."""
    path: str = ""
    """Base path in front of the dialect's own paths, without a trailing slash."""
    model: str
    """The model id to ask for, with ``{model}`` in place of the provider's own name for it."""
    modes: tuple[Mode, ...]
    implied: bool
    """The modes were not stated: one that the router lacks is not a fault."""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Documented:
    """A promise in the words of the router's own documentation. Shown, never judged."""

    promise: str
    """Which promise they make, as in ``[promises]``: ``cap``, ``model_list`` ..."""
    words: str
    source: str
    """Where they stand: a URL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One router: everything that its target file says."""

    name: str
    variant: str = ""
    homepage: str = ""
    install: str = ""
    version_command: tuple[str, ...] = ()
    start: Start | None = None
    client_key: str = "{client_key}"
    """``none``: clients send no Authorization header."""
    client_headers: dict[str, str] = field(default_factory=dict)
    routes: tuple[Route, ...]
    promises: Promises
    known: dict[str, str] = field(default_factory=dict)
    """Check id -> the public issue under which its violation is known."""
    documented: tuple[Documented, ...] = ()

    @property
    def title(self) -> str:
        """``name`` or ``name:variant``, as it is typed."""
        return f"{self.name}:{self.variant}" if self.variant else self.name

    @property
    def list_path(self) -> str:
        """Path of the model list, in the dialect of the first route that speaks OpenAI's."""
        for route in self.routes:
            if route.front == "openai":
                return f"{route.path}/v1/models"
        return f"{self.routes[0].path}/api/tags"

    def uses(self, placeholder: str) -> bool:
        """Whether the router is told this value when it is started."""
        if self.start is None:
            return False
        texts = (*self.start.command, *self.start.env.values(), *self.start.files.values())
        return any(f"{{{placeholder}}}" in text for text in texts)

    def client_request_headers(self, values: Mapping[str, str]) -> dict[str, str]:
        """Headers of every client request, the key among them, with placeholders filled."""
        key = fill(self.client_key, values)
        headers = {} if key == NO_KEY else {"Authorization": f"Bearer {key}"}
        return headers | {name: fill(text, values) for name, text in self.client_headers.items()}

    def route_infos(self) -> tuple[RouteInfo, ...]:
        """The routes as ``run.json`` keeps them for the judge."""
        return tuple(
            RouteInfo(name=route.name, front=route.front, modes=route.modes, implied=route.implied)
            for route in self.routes
        )

    def version(self) -> str:
        """First line that the version command prints; ``unknown`` when it cannot be had."""
        if not self.version_command:
            return UNKNOWN
        command, env = own_code.resolve(self.version_command)
        said = output_of(command, env, _VERSION_PATIENCE_S)
        lines = (line.strip() for line in (said or "").splitlines())
        return next((line for line in lines if line), UNKNOWN)
