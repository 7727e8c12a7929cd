"""What a person who starts the fakes by hand is told: where they listen, what to point at them.

Decides the words. Refuses to know how anything is started.
"""

from __future__ import annotations

from collections.abc import Mapping

from fake_providers.calls.host_guard import on_loopback
from fake_providers.pacing.profiles import Profile


def banner(urls: Mapping[str, str], profiles: Mapping[str, Profile], seed: int | None) -> str:
    """The lines for standard output."""
    openai, ollama, control = urls["openai"], urls["ollama"], urls["control"]
    played = ", ".join(f"{name}: {profile.name}" for name, profile in profiles.items())
    pace = f"{played} (play it again with --seed {seed})" if profiles else "none: at once"
    lines = [
        f"OpenAI    {openai}/v1",
        f"Ollama    {ollama}",
        f"Control   {control}/docs",
        f"Profile   {pace}",
        "",
        "Point a client at them:",
        f"  export OPENAI_BASE_URL={openai}/v1 OPENAI_API_KEY=any",
        f"  export OLLAMA_HOST={ollama}",
        f'  openai.OpenAI(base_url="{openai}/v1", api_key="any")',
        f'  ollama.Client(host="{ollama}")',
        f'  ChatOpenAI(model="fake-chat", base_url="{openai}/v1", api_key="any")',
        f'  ChatOllama(model="fake-chat", base_url="{ollama}")',
        "or the reference router:",
        f"  export ROUTER_OPENAI_URL={openai} ROUTER_OLLAMA_URL={ollama}",
        "",
        "Ctrl-C ends it.",
    ]
    return "\n".join(lines)


def warning(host: str) -> str:
    """One sentence when others than this machine can reach it; else empty."""
    if on_loopback(host):
        return ""
    return (
        f"The fakes listen on {host}, not on this machine alone: whoever reaches them can steer "
        "them and read all that they were sent."
    )
