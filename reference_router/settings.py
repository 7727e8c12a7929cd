"""The router's settings, read from its environment.

Decides names, defaults and what is refused. Refuses to know what the settings are used for.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeVar, get_args

OPENAI_URL = "http://127.0.0.1:8001"
OLLAMA_URL = "http://127.0.0.1:11434"

PROVIDERS = ("openai", "ollama", "anthropic")
CapScope = Literal["global", "provider"]
Policy = Literal["first", "round-robin", "random", "least-busy"]
ModelsRefresh = Literal["on-expiry", "ahead", "stale"]
Overload = Literal["queue", "reject"]
Coordination = Literal["none", "static", "redis"]
Word = TypeVar("Word", bound=str)
Count = TypeVar("Count", int, None)
Seconds = TypeVar("Seconds", float, None)


class SettingsError(ValueError):
    """A variable has a value that cannot be used: the message names both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """``openai=ollama`` or ``openai=ollama/MODEL``: who stands in for whom."""

    instead_of: str
    provider: str
    model: str = ""
    """Empty: the one of the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All times in seconds."""

    max_concurrency: int | None = None
    """Client requests in flight at once, over all routes; None: unlimited."""
    cap_scope: CapScope = "global"
    """``provider``: the cap holds for each provider; agent and RAG requests count at theirs."""
    workers: int = 1
    """Processes that serve together; the cap is one over all of them."""
    coordination: Coordination = "none"
    """How replicas share the cap: not at all, each has a fixed part, or by a store."""
    replica: int = 1
    """The number of this one."""
    replicas: int = 1
    redis_url: str = ""
    lease_s: float = 3.0
    """After so long without a word of a replica, others get what it held."""
    overload: Overload = "queue"
    """What becomes of a request that finds all permits taken."""
    queue_limit: int | None = None
    """At most this many requests wait, the others get 503; None: unbounded."""
    queue_timeout_s: float | None = None
    """So long they wait at most, and then get 503; None: for ever."""
    models_cache_ttl_s: float = 30.0
    models_refresh: ModelsRefresh = "on-expiry"
    """When a list is fetched again, and what is shown meanwhile."""
    models_timeout_s: float = 10.0
    """A provider's model list must be there within this time."""
    openai_url: str = OPENAI_URL
    """Of a provider with several instances: all of them, with commas between."""
    openai_key: str = ""
    ollama_url: str = OLLAMA_URL
    ollama_key: str = ""
    anthropic_url: str = ""
    """Empty: there is no such provider."""
    anthropic_key: str = ""
    upstream_timeout_s: float = 60.0
    """A provider may be silent for this long before and within an answer."""
    retries: int = 0
    """Attempts beyond the first at a provider that refused with 429 or 5xx, or did not connect."""
    attempts: int = 4
    """Calls for one request at most, over all instances of its provider and its fallbacks."""
    fallbacks: tuple[Fallback, ...] = ()
    """Who serves requests for a provider whose instances all fail, in this order."""
    cooldown_s: float = 0.0
    """An instance that fails is left alone for so long; 0: never."""
    ejected_within: int = 1
    """Failures in a row after which it is."""
    balance: Policy = "first"
    """How calls are spread over the instances of a provider."""
    weights: tuple[int, ...] = ()
    """The share of each instance, taken in turn; 1 where there is none."""
    affinity: str = ""
    """The request header whose value keeps a session on one instance; empty: there is none."""
    instance_cap: int | None = None
    """Calls in flight at each instance of several at most; others wait; None: unlimited."""
    requests_per_minute: int | None = None
    """For each key; what is beyond a limit is refused with 429. None: unlimited."""
    tokens_per_minute: int | None = None
    """Of prompts and answers, for each key. The request that reaches it is the last one."""
    budget: int | None = None
    """Tokens of each key in all, as long as the router runs."""
    window_s: float = 60.0
    """The minute of the limits. It begins with the first request of a key after the last one."""
    keepalive_s: float = 0.0
    """The client of a stream gets a comment after so much silence; 0: never."""
    drain_s: float = 0.0
    """After SIGTERM what was accepted has so long to end, and then the router exits with 0;
    0: it has a second, and the router ends by the signal."""
    config: str = ""
    """A TOML file of these settings, read at the start and again on SIGHUP; empty: none."""
    agent_steps: int = 4
    """Upstream calls of one agent request at most."""
    embed_model: str = "nomic-embed-text"
    """What the RAG route embeds with, at the provider that then generates."""
    flaw: str = ""

    @property
    def limited(self) -> bool:
        """Whether a key may use only so much."""
        limits = (self.requests_per_minute, self.tokens_per_minute, self.budget)
        return any(limit is not None for limit in limits)

    @property
    def permits(self) -> int | None:
        """Of this router by itself: the cap, or its part of it."""
        if self.max_concurrency is None or self.coordination != "static":
            return self.max_concurrency
        each, left = divmod(self.max_concurrency, self.replicas)
        return each + (self.replica <= left)

    def urls_of(self, provider: str) -> tuple[str, ...]:
        """The instances of ``provider``, the first one first."""
        told: str = getattr(self, f"{provider}_url")
        return tuple(told.split(","))


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Settings of ``ROUTER_*``; a variable that is unset or empty means its default.

    What the file ``ROUTER_CONFIG`` says comes first. Raises SettingsError.
    """
    default = Settings()
    read = _Reader(environment)
    if config := read.text("ROUTER_CONFIG", ""):
        read = _Reader({**environment, **_written(config)})
    told = Settings(
        max_concurrency=read.count("ROUTER_MAX_CONCURRENCY", None),
        cap_scope=read.word("ROUTER_CAP_SCOPE", default.cap_scope, get_args(CapScope)),
        workers=read.count("ROUTER_WORKERS", default.workers),
        coordination=read.word("ROUTER_COORDINATION", default.coordination, get_args(Coordination)),
        replica=read.count("ROUTER_REPLICA", default.replica),
        replicas=read.count("ROUTER_REPLICAS", default.replicas),
        redis_url=read.text("ROUTER_REDIS_URL", ""),
        lease_s=read.seconds("ROUTER_LEASE_S", default.lease_s),
        overload=read.word("ROUTER_OVERLOAD", default.overload, get_args(Overload)),
        queue_limit=read.count("ROUTER_QUEUE_LIMIT", None, least=0),
        queue_timeout_s=read.seconds("ROUTER_QUEUE_TIMEOUT_S", None),
        models_cache_ttl_s=read.seconds("ROUTER_MODELS_CACHE_TTL_S", default.models_cache_ttl_s),
        models_timeout_s=read.seconds("ROUTER_MODELS_TIMEOUT_S", default.models_timeout_s),
        models_refresh=read.word(
            "ROUTER_MODELS_REFRESH", default.models_refresh, get_args(ModelsRefresh)
        ),
        openai_url=read.urls("ROUTER_OPENAI_URL", default.openai_url),
        openai_key=read.text("ROUTER_OPENAI_KEY", ""),
        ollama_url=read.urls("ROUTER_OLLAMA_URL", default.ollama_url),
        ollama_key=read.text("ROUTER_OLLAMA_KEY", ""),
        anthropic_url=read.urls("ROUTER_ANTHROPIC_URL", default.anthropic_url),
        anthropic_key=read.text("ROUTER_ANTHROPIC_KEY", ""),
        upstream_timeout_s=read.seconds("ROUTER_UPSTREAM_TIMEOUT_S", default.upstream_timeout_s),
        attempts=read.count("ROUTER_ATTEMPTS", default.attempts),
        fallbacks=read.fallbacks("ROUTER_FALLBACKS"),
        cooldown_s=read.seconds("ROUTER_COOLDOWN_S", default.cooldown_s),
        ejected_within=read.count("ROUTER_EJECTED_WITHIN", default.ejected_within),
        balance=read.word("ROUTER_BALANCE", default.balance, get_args(Policy)),
        weights=read.counts("ROUTER_WEIGHTS"),
        affinity=read.text("ROUTER_AFFINITY", ""),
        instance_cap=read.count("ROUTER_INSTANCE_CAP", None),
        requests_per_minute=read.count("ROUTER_REQUESTS_PER_MINUTE", None),
        tokens_per_minute=read.count("ROUTER_TOKENS_PER_MINUTE", None),
        budget=read.count("ROUTER_BUDGET", None),
        window_s=read.seconds("ROUTER_WINDOW_S", default.window_s),
        keepalive_s=read.seconds("ROUTER_KEEPALIVE_S", default.keepalive_s),
        drain_s=read.seconds("ROUTER_DRAIN_S", default.drain_s),
        config=read.text("ROUTER_CONFIG", ""),
        retries=read.count("ROUTER_RETRIES", default.retries, least=0),
        agent_steps=read.count("ROUTER_AGENT_STEPS", default.agent_steps),
        embed_model=read.text("ROUTER_EMBED_MODEL", default.embed_model),
        flaw=read.text("ROUTER_FLAW", ""),
    )
    _refuse_contradictions(told)
    return told


def _refuse_contradictions(told: Settings) -> None:
    """Raise SettingsError for settings that cannot all be meant."""
    bounded = told.queue_limit is not None or told.queue_timeout_s is not None
    if told.overload == "reject" and bounded:
        raise SettingsError("ROUTER_OVERLOAD=reject has no queue that could have a bound.")
    if told.workers > 1 and (told.drain_s or told.config):
        raise SettingsError("ROUTER_WORKERS above 1: leave out ROUTER_DRAIN_S and ROUTER_CONFIG.")
    if told.workers > 1 and (told.limited or told.instance_cap):
        raise SettingsError(
            "ROUTER_WORKERS above 1 count nothing together but permits: leave out "
            "ROUTER_REQUESTS_PER_MINUTE, ROUTER_TOKENS_PER_MINUTE, ROUTER_BUDGET and "
            "ROUTER_INSTANCE_CAP."
        )
    if told.workers > 1 and (bounded or told.overload == "reject" or told.cap_scope != "global"):
        raise SettingsError(
            "ROUTER_WORKERS above 1 share one cap and wait for it without end: leave out "
            "ROUTER_OVERLOAD, ROUTER_QUEUE_LIMIT, ROUTER_QUEUE_TIMEOUT_S and ROUTER_CAP_SCOPE."
        )
    if told.replica > told.replicas:
        raise SettingsError("ROUTER_REPLICA is the number of one of ROUTER_REPLICAS.")
    if told.coordination != "none":
        _refuse_uncoordinated(told, bounded=bounded)


def _refuse_uncoordinated(told: Settings, *, bounded: bool) -> None:
    if told.workers > 1:
        raise SettingsError(
            "ROUTER_COORDINATION: replicas have one worker, leave out ROUTER_WORKERS."
        )
    if told.coordination == "static":
        if told.max_concurrency is not None and told.max_concurrency < told.replicas:
            raise SettingsError(
                "ROUTER_COORDINATION=static gives each replica a part of the cap: "
                "ROUTER_MAX_CONCURRENCY must be at least ROUTER_REPLICAS."
            )
        return
    if not told.redis_url.startswith(("redis://", "rediss://", "unix://")) or not told.lease_s:
        raise SettingsError(
            "ROUTER_COORDINATION=redis needs ROUTER_REDIS_URL, as in redis://127.0.0.1:6379, "
            "and ROUTER_LEASE_S above 0."
        )
    if find_spec("redis") is None:
        raise SettingsError(
            "ROUTER_COORDINATION=redis needs redis-py: pip install 'routerspec[redis]'"
        )
    if bounded or told.overload == "reject" or told.cap_scope != "global":
        raise SettingsError(
            "ROUTER_COORDINATION=redis shares one cap, and its queue has no bound: leave out "
            "ROUTER_OVERLOAD, ROUTER_QUEUE_LIMIT, ROUTER_QUEUE_TIMEOUT_S and ROUTER_CAP_SCOPE."
        )
    if told.models_refresh != "on-expiry":
        raise SettingsError("ROUTER_COORDINATION=redis: leave out ROUTER_MODELS_REFRESH.")
    if told.limited or told.keepalive_s or told.drain_s:
        raise SettingsError(
            "ROUTER_COORDINATION=redis shares nothing but the cap and the model list: leave out "
            "ROUTER_REQUESTS_PER_MINUTE, ROUTER_TOKENS_PER_MINUTE, ROUTER_BUDGET, "
            "ROUTER_KEEPALIVE_S and ROUTER_DRAIN_S."
        )


def _written(config: str) -> dict[str, str]:
    """What a file says, as if the environment said it."""
    try:
        table = tomllib.loads(Path(config).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"ROUTER_CONFIG={config} cannot be read: {error}") from None
    return {f"ROUTER_{name.upper()}": str(value) for name, value in table.items()}


class _Reader:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, name: str, default: str) -> str:
        return self._environment.get(name, "").strip() or default

    def urls(self, name: str, default: str) -> str:
        urls = [url.strip() for url in self.text(name, default).split(",")]
        for url in filter(None, urls):
            if not url.startswith(("http://", "https://")):
                raise SettingsError(f"{name}={url} is not an http or https URL.")
        return ",".join(url.rstrip("/") for url in urls if url)

    def fallbacks(self, name: str) -> tuple[Fallback, ...]:
        found = []
        for text in filter(None, self.text(name, "").split(",")):
            instead_of, _, other = text.strip().partition("=")
            provider, _, model = other.partition("/")
            if instead_of not in PROVIDERS or provider not in PROVIDERS:
                raise SettingsError(
                    f"{name}={text} is not PROVIDER=PROVIDER or PROVIDER=PROVIDER/MODEL."
                )
            found.append(Fallback(instead_of=instead_of, provider=provider, model=model))
        return tuple(found)

    def word(self, name: str, default: Word, words: tuple[Word, ...]) -> Word:
        text = self.text(name, default)
        for word in words:
            if word == text:
                return word
        raise SettingsError(f"{name}={text} is not one of: {', '.join(words)}.")

    def count(self, name: str, default: Count, *, least: int = 1) -> int | Count:
        text = self.text(name, "")
        if not text:
            return default
        if not text.isdecimal() or int(text) < least:
            raise SettingsError(f"{name}={text} is not a whole number of at least {least}.")
        return int(text)

    def counts(self, name: str) -> tuple[int, ...]:
        texts = [text.strip() for text in self.text(name, "").split(",")]
        for text in filter(None, texts):
            if not text.isdecimal() or not int(text):
                raise SettingsError(f"{name}={text} is not a whole number of at least 1.")
        return tuple(int(text) for text in texts if text)

    def seconds(self, name: str, default: Seconds) -> float | Seconds:
        text = self.text(name, "")
        if not text:
            return default
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < float("inf"):
            raise SettingsError(f"{name}={text} is not a number of seconds.")
        return seconds
