"""Commands that send one request through the lab's router with the clients of users. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Final

from routerspec.processes.launch import Router
from routerspec.processes.router import DEFAULT_KEYS
from routerspec.records.load_plan import FAKE_MODEL
from routerspec.targets import Front, Route, Target, fill
from routerspec.targets.records import NO_KEY

_PROMPT: Final = "hello"
_TITLES: Final[dict[Front, str]] = {
    "openai": "OpenAI's SDK, chat completions",
    "ollama": "curl, Ollama's API",
    "anthropic": "Claude Code, and Anthropic's SDK",
    "responses": "OpenAI's SDK, Responses",
}


def client_lines(target: Target, router: Router) -> Iterator[str]:
    """For each front of the target, a title and the commands for its first route."""
    first: dict[Front, Route] = {}
    for route in target.routes:
        first.setdefault(route.front, route)
    for front, route in first.items():
        yield ""
        yield f"{_TITLES[front]} (route {route.name}):"
        yield from (f"  {line}" for line in _commands(target, route, router.url + route.path))


def _commands(target: Target, route: Route, url: str) -> Iterator[str]:
    key = fill(target.client_key, DEFAULT_KEYS)
    key = "any" if key == NO_KEY or key.startswith("env:") else key
    model = fill(route.model, {"model": FAKE_MODEL})
    openai = f"OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY={key}"
    anthropic = f"ANTHROPIC_BASE_URL={url} ANTHROPIC_API_KEY={key}"
    says = [{"role": "user", "content": _PROMPT}]
    match route.front:
        case "openai":
            call = f"chat.completions.create(model={_text(model)}, messages={_text(says)})"
            result = "choices[0].message.content"
            yield f"{openai} {_python(f'import openai; print(openai.OpenAI().{call}.{result})')}"
        case "responses":
            call = f"responses.create(model={_text(model)}, input={_text(_PROMPT)})"
            yield f"{openai} {_python(f'import openai; print(openai.OpenAI().{call}.output_text)')}"
        case "anthropic":
            yield f"{anthropic} claude --model {shlex.quote(model)} -p {_PROMPT}"
            call = f"messages.create(model={_text(model)}, max_tokens=64, messages={_text(says)})"
            client = "anthropic.Anthropic()"
            yield f"{anthropic} {_python(f'import anthropic; print({client}.{call}.content)')}"
        case "ollama":
            body = json.dumps({"model": model, "messages": says})
            header = shlex.quote(f"Authorization: Bearer {key}")
            yield f"curl {url}/api/chat -H {header} -d {shlex.quote(body)}"


def _text(value: object) -> str:
    """A literal of Python without single quotes, which the shell needs."""
    return json.dumps(value)


def _python(code: str) -> str:
    return f"python -c {shlex.quote(code)}"
