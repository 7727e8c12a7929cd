"""A target as the harness knows it: how to start a router, how to reach it, what it promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from annotated_types import Ge, Le, MinLen

from fake_providers.prompt.instances import MOST
from routerspec.promises import Matches, PromiseName, Promises, Seconds
from routerspec.records.placeholders import fill
from routerspec.records.run import RouteInfo

Provider = Literal["openai", "ollama", "anthropic"]
Front = Literal["openai", "ollama", "anthropic", "responses"]
Mode = Literal["chat", "stream", "tools", "embeddings", "completions"]

IMPLIED_MODES: Final[dict[Front, tuple[Mode, ...]]] = {
    "openai": ("chat", "stream", "embeddings"),
    "ollama": ("chat", "stream", "embeddings"),
    "anthropic": ("chat", "stream", "tools"),
    "responses": ("chat", "stream", "tools"),
}
MODES: Final[dict[Front, tuple[Mode, ...]]] = {
    "openai": ("chat", "stream", "tools", "embeddings", "completions"),
    "ollama": ("chat", "stream", "embeddings", "completions"),
    "anthropic": ("chat", "stream", "tools"),
    "responses": ("chat", "stream", "tools"),
}
"""Those that a front can have."""
NO_KEY: Final = "none"
MOST_INSTANCES: Final = MOST
MOST_REPLICAS: Final = 9

Filled = Annotated[str, MinLen(1)]
Command = Annotated[tuple[str, ...], MinLen(1)]
Url = Annotated[str, Matches(r"^https?://")]
_EnvName = Annotated[str, Matches(r"^[A-Za-z_][A-Za-z0-9_]*$")]
_FIRST_PART: Final = r"(?:\.|\.?[^/.][^/]*|\.\.[^/]+)"
_PART: Final = r"(?:\.?|\.?[^/.][^/]*|\.\.[^/]+)"
_PathWithin = Annotated[str, Matches(f"^{_FIRST_PART}(?:/{_PART})*$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """How to start the router. Every text may contain placeholders."""

    command: Command
    """Program and arguments. It must stay in the foreground and listen on 127.0.0.1:{port}."""
    env: dict[_EnvName, str] = field(default_factory=dict)
    """More environment variables."""
    ready: Annotated[str, Matches("^/")] | None = None
    """Path that answers below 500 once the router is up; without it, its port takes connections."""
    files: dict[_PathWithin, str] = field(default_factory=dict)
    """Name relative to {dir} -> content."""
    ready_timeout_s: Seconds = 30.0
    """Longest time from the start to the first answer, s."""
    replicas: Annotated[int, Ge(1), Le(MOST_REPLICAS)] = 1
    """How many of it share what is promised in the scope ``cluster``. Each has a port and a {dir}
    of its own; {replica} is its number, from 1, {replicas} how many there are. Checks that are not
    about replicas are played with one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What the router needs beside its providers, such as a store that its replicas share."""

    name: Annotated[str, Matches(r"^[a-z][a-z0-9_]*$")]
    """{NAME_port} is its port; for a replica, that of a relay which can be cut off."""
    command: Command
    """Program and arguments. It must stay in the foreground and listen on
    127.0.0.1:{NAME_port}."""
    env: dict[_EnvName, str] = field(default_factory=dict)
    """More environment variables."""
    files: dict[_PathWithin, str] = field(default_factory=dict)
    """Name relative to {dir} -> content."""
    ready: Annotated[str, Matches("^/")] | None = None
    """Path that answers below 500 once it is up; without it, its port takes connections."""
    ready_timeout_s: Seconds = 30.0
    """Longest time from the start to the first answer, s."""
    install: str = ""
    """How to install it; shown when it is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """Who serves a route where its own provider fails."""

    provider: Provider
    model: str = "{model}"
    """The model that is asked for there, with ``{model}`` for the one of the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route through the router to a provider."""

    name: str
    provider: Provider
    front: Front
    """The dialect that the router speaks to clients on this route."""
    path: str = ""
    """Base path in front of the dialect's own paths, without a trailing slash."""
    model: str
    """The model id to request, with ``{model}`` in place of the provider's own name for it."""
    modes: tuple[Mode, ...]
    implied: bool
    """The modes were not stated: one that the router lacks is not a fault."""
    headers: dict[str, str] = field(default_factory=dict)
    provider_stated: bool = True
    """False: neither its table nor its name says which provider it leads to."""
    fallbacks: tuple[Fallback, ...] = ()
    """In the order in which they are tried, after all instances of its provider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Documented:
    """A promise in the words of the router's own documentation. Shown, never judged."""

    promise: PromiseName
    """The promise that they state, as in [promises]."""
    words: Annotated[str, Matches(r"\S")]
    """The quotation."""
    source: Url
    """URL of the documentation."""


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
    instances: dict[str, int] = field(default_factory=dict)
    """Provider -> how many servers of it there are; 1 where it is not stated."""
    services: tuple[Service, ...] = ()
    """Started before the router, in this order."""
    attached: int = 1
    """How many replicas there are of a router that runs already."""

    @property
    def title(self) -> str:
        """``name`` or ``name:variant``, as it is typed."""
        return f"{self.name}:{self.variant}" if self.variant else self.name

    @property
    def replicas(self) -> int:
        """How many of the router there are where checks are about replicas."""
        return self.start.replicas if self.start else self.attached

    @property
    def list_path(self) -> str:
        """Path of the model list: the promised one, else as of the first OpenAI route, or of the
        first that is not Ollama's.
        """
        if self.promises.model_list is not None and self.promises.model_list.paths:
            return self.promises.model_list.paths[0]
        by_front = sorted(self.routes, key=lambda route: route.front != "openai")
        for route in by_front:
            if route.front != "ollama":
                return f"{route.path}/v1/models"
        return f"{self.routes[0].path}/api/tags"

    @property
    def list_paths(self) -> tuple[str, ...]:
        """Every path at which the router may have a model list, the judged one first."""
        bases = ("", *(route.path for route in self.routes))
        found = [f"{base}{path}" for base in bases for path in ("/v1/models", "/api/tags")]
        return tuple(dict.fromkeys((self.list_path, *found)))

    def uses(self, placeholder: str) -> bool:
        """Whether the router is given this value when it is started."""
        if self.start is None:
            return False
        texts = (*self.start.command, *self.start.env.values(), *self.start.files.values())
        return any(f"{{{placeholder}}}" in text for text in texts)

    @property
    def needs_anthropic(self) -> bool:
        """Whether the Anthropic fake is served: a route leads there, or its URL is used."""
        headers = (self.client_headers, *(route.headers for route in self.routes))
        return (
            any(route.provider == "anthropic" for route in self.routes)
            or self.uses("anthropic_url")
            or any("{anthropic_url}" in text for each in headers for text in each.values())
        )

    def client_request_headers(self, values: Mapping[str, str]) -> dict[str, str]:
        """Headers of every client request, the key among them, with placeholders filled."""
        key = fill(self.client_key, values)
        headers = {} if key == NO_KEY else {"Authorization": f"Bearer {key}"}
        return headers | {name: fill(text, values) for name, text in self.client_headers.items()}

    def route_infos(self) -> tuple[RouteInfo, ...]:
        """The routes as ``run.json`` keeps them for the judge."""
        return tuple(
            RouteInfo(
                name=route.name,
                front=route.front,
                modes=route.modes,
                implied=route.implied,
                provider=route.provider if route.provider_stated else "",
                fallbacks=tuple((each.provider, each.model) for each in route.fallbacks),
            )
            for route in self.routes
        )
