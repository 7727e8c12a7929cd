"""What the router was told by its environment.

Decides names, defaults and what is refused. Refuses to know what the settings are used for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

OPENAI_URL = "http://127.0.0.1:8001"
OLLAMA_URL = "http://127.0.0.1:11434"


class SettingsError(ValueError):
    """A variable has a value that cannot be used: the message names both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All times in seconds."""

    max_concurrency: int | None = None
    """Client requests in flight at once, over all routes; None: unlimited."""
    models_cache_ttl_s: float = 30.0
    models_timeout_s: float = 10.0
    """A provider's model list must be there within this time."""
    openai_url: str = OPENAI_URL
    openai_key: str = ""
    ollama_url: str = OLLAMA_URL
    ollama_key: str = ""
    upstream_timeout_s: float = 60.0
    """A provider may be silent for this long before and within an answer."""
    agent_steps: int = 4
    """Upstream calls of one agent request at most."""
    embed_model: str = "nomic-embed-text"
    """What the RAG route embeds with, at the provider that then generates."""
    flaw: str = ""


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Settings of ``ROUTER_*``; a variable that is unset or empty means its default.

    Raises SettingsError.
    """
    default = Settings()
    read = _Reader(environment)
    return Settings(
        max_concurrency=read.count("ROUTER_MAX_CONCURRENCY", None),
        models_cache_ttl_s=read.seconds("ROUTER_MODELS_CACHE_TTL_S", default.models_cache_ttl_s),
        models_timeout_s=read.seconds("ROUTER_MODELS_TIMEOUT_S", default.models_timeout_s),
        openai_url=read.url("ROUTER_OPENAI_URL", default.openai_url),
        openai_key=read.text("ROUTER_OPENAI_KEY", ""),
        ollama_url=read.url("ROUTER_OLLAMA_URL", default.ollama_url),
        ollama_key=read.text("ROUTER_OLLAMA_KEY", ""),
        upstream_timeout_s=read.seconds("ROUTER_UPSTREAM_TIMEOUT_S", default.upstream_timeout_s),
        agent_steps=read.count("ROUTER_AGENT_STEPS", default.agent_steps) or default.agent_steps,
        embed_model=read.text("ROUTER_EMBED_MODEL", default.embed_model),
        flaw=read.text("ROUTER_FLAW", ""),
    )


class _Reader:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, name: str, default: str) -> str:
        return self._environment.get(name, "").strip() or default

    def url(self, name: str, default: str) -> str:
        url = self.text(name, default)
        if not url.startswith(("http://", "https://")):
            raise SettingsError(f"{name}={url} is not an http or https URL.")
        return url.rstrip("/")

    def count(self, name: str, default: int | None) -> int | None:
        text = self.text(name, "")
        if not text:
            return default
        if not text.isdecimal() or int(text) < 1:
            raise SettingsError(f"{name}={text} is not a whole number of at least 1.")
        return int(text)

    def seconds(self, name: str, default: float) -> float:
        text = self.text(name, "")
        try:
            seconds = float(text) if text else default
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < float("inf"):
            raise SettingsError(f"{name}={text} is not a number of seconds.")
        return seconds
