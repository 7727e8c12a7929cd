"""A target file for what was found out, with a remark wherever something was not. Pure.

Decides wording. The text is a whole target file: ``targets.read_target`` takes it as it is.
"""

from __future__ import annotations

import json
from typing import Final

from routerspec.init.findings import Findings, FoundRoute

NOT_FOUND: Final = "# not found out:"

_IMPLIED: Final = ("chat", "stream", "embeddings")


def target_text(found: Findings, url: str) -> str:
    """The target file."""
    parts = [_head(found, url), _start(found), _client(found)]
    parts += [_route(route) for route in found.routes]
    parts += [_MORE_ROUTES, _PROMISES]
    return "\n\n".join(parts) + "\n"


def _head(found: Findings, url: str) -> str:
    version = (
        f"\n# Its OpenAPI document says version {_line(found.version)}." if found.version else ""
    )
    return (
        f"# Written by `routerspec init`, from what answers at {url}.{version}\n"
        f"# Every line that begins with `{NOT_FOUND}` waits for you.\n\n"
        f"name = {_quoted(found.name)}\n"
        f"{NOT_FOUND} how it is installed, and which command tells its version.\n"
        '# install = "pip install my-router"\n'
        '# version = { command = ["my-router", "--version"] }'
    )


def _start(found: Findings) -> str:
    ready = f"ready = {_quoted(found.ready)}" if found.ready else 'ready = "/health"'
    doubt = "" if found.ready else f"{NOT_FOUND} a path that says it is up.\n"
    return (
        f"{NOT_FOUND} how it is started. Without [start] it is verified where it runs, by its\n"
        "# --url; with it, every check has a fresh router, on a free port, with its own settings.\n"
        "# [start]\n"
        '# command = ["my-router", "--port", "{port}"]\n'
        '# env = { OPENAI_BASE_URL = "{openai_url}/v1", MAX_CONCURRENCY = "{cap}" }\n'
        f"{doubt}# {ready}"
    )


def _client(found: Findings) -> str:
    if found.needs_key:
        said = 'key = "{client_key}"          # it refuses who has none: give it with --key'
    elif found.needs_key is False:
        said = 'key = "none"                  # it lists its models for anybody'
    else:
        said = f'{NOT_FOUND} whether it wants a key; "none" sends no Authorization.\nkey = "none"'
    return f"[client]\n{said}"


def _route(route: FoundRoute) -> str:
    lines = [f"[routes.{route.name}]", f"model = {_quoted(route.model)}"]
    if route.doubt:
        lines.insert(1, f"{NOT_FOUND} {_line(route.doubt)}")
    lines.append(f'provider = "{route.provider}"')
    if route.front != "openai":
        lines.append(f'front = "{route.front}"')
    if set(route.modes) != set(_IMPLIED):
        lines.append(f"modes = {json.dumps(list(route.modes))}")
    return "\n".join(lines)


_MORE_ROUTES: Final = f"""{NOT_FOUND} routes that its model list does not name (agents, RAG, paths).
# [routes.agent]
# model = "agent/{{model}}"
# modes = ["chat", "stream"]"""

_PROMISES: Final = f"""[promises]
# Only what is promised is judged; take it from the router's documentation, and quote it:
# [[documented]]
# promise = "cap"
# words = "..."
# source = "https://..."
{NOT_FOUND} how many requests it lets through at once, if it promises that.
# cap = {{ limit = 4, scope = "global", overload = "queue" }}
{NOT_FOUND} for how long it keeps the model list, if it does.
# model_list = {{ ttl_s = 30.0 }}
{NOT_FOUND} within what time a client's hang-up ends the call to the provider.
# cancel = {{ within_s = 1.0 }}
{NOT_FOUND} how often it tries again.
# retries = {{ max = 0 }}"""


def _quoted(text: str) -> str:
    """A TOML text: JSON's is one, too."""
    return json.dumps(text)


def _line(text: str) -> str:
    """Fit for a remark: what came off a wire may hold anything."""
    return "".join(char if char.isprintable() else " " for char in text)[:200]
