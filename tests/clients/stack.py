"""Running fakes, and a reference router before them, for clients outside of this event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import fake_providers
from fake_providers import Fakes
from reference_router.settings import Settings
from tests.router.world import serving

RUN = "cl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a client sends its requests, and the model that it asks for there."""

    url: str
    model: str
    provider: str
    """Who answers."""
    relayed: bool
    """Client and provider speak the same dialect."""


MESSAGES = {
    "direct": "anthropic",
    "claude": "anthropic",
    "claude-openai": "openai",
    "claude-ollama": "ollama",
}
"""Place of a client of /v1/messages -> who answers."""
RESPONSES = {"direct": "openai", "responses": "openai", "responses-claude": "anthropic"}
"""Place of a client of /v1/responses -> who answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Running fakes and a running router."""

    fakes: Fakes
    router_url: str

    def place(self, name: str, provider: str, own: str) -> Place:
        """``own``: the provider of the client's own dialect."""
        direct = {"anthropic": self.fakes.anthropic_url, "openai": self.fakes.openai_url}
        at_fake = name == "direct"
        return Place(
            url=direct[own] if at_fake else self.router_url,
            model="fake-chat" if at_fake else f"{provider}/fake-chat",
            provider=provider,
            relayed=provider == own,
        )


@contextlib.contextmanager
def running() -> Iterator[Stack]:
    """Fakes in a process, and a router in a thread of this one."""
    with fake_providers.running(run=RUN, anthropic=True) as fakes:
        settings = Settings(
            openai_url=fakes.openai_url,
            ollama_url=fakes.ollama_url,
            anthropic_url=fakes.anthropic_url,
        )
        with _in_a_thread(settings) as url:
            yield Stack(fakes=fakes, router_url=url)


@contextlib.contextmanager
def _in_a_thread(settings: Settings) -> Iterator[str]:
    loop = asyncio.new_event_loop()
    stop, started = asyncio.Event(), threading.Event()
    urls: list[str] = []

    async def serve() -> None:
        async with serving(settings) as (url, _):
            urls.append(url)
            started.set()
            await stop.wait()

    def work() -> None:
        try:
            loop.run_until_complete(serve())
        finally:
            started.set()

    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    try:
        yield urls[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
