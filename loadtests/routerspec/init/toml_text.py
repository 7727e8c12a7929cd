"""The target file of a probed router, with a TODO for everything unknown. Pure.

The text is a whole target file: ``targets.read_target`` takes it as it is.
"""

from __future__ import annotations

import json
from typing import Final

from routerspec.init.findings import Findings, FoundRoute
from routerspec.markup.plain import clean
from routerspec.targets import IMPLIED_MODES

NOT_FOUND: Final = "# TODO:"

_ESCAPED: Final = frozenset('"\\')


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
        f"# Written by `routerspec init`, from the answers of {url}.{version}\n"
        f"# Fill in every line marked `{NOT_FOUND}`.\n\n"
        f"name = {_quoted(found.name)}\n"
        f"{NOT_FOUND} how to install it, and the command that prints its version.\n"
        '# install = "pip install my-router"\n'
        '# version = { command = ["my-router", "--version"] }'
    )


def _start(found: Findings) -> str:
    ready = f"ready = {_quoted(found.ready)}" if found.ready else 'ready = "/health"'
    doubt = "" if found.ready else f"{NOT_FOUND} a health path.\n"
    leads_there = any(route.provider == "anthropic" for route in found.routes)
    third = 'ANTHROPIC_BASE_URL = "{anthropic_url}", ' if leads_there else ""
    return (
        f"{NOT_FOUND} how to start it. Without [start] the running router is verified (--url);\n"
        "# with it, checks start a fresh router on a free port, with the settings they need.\n"
        "# [start]\n"
        '# command = ["my-router", "--port", "{port}"]\n'
        f'# env = {{ OPENAI_BASE_URL = "{{openai_url}}/v1", {third}MAX_CONCURRENCY = "{{cap}}" }}\n'
        f"{doubt}# {ready}"
    )


def _client(found: Findings) -> str:
    if found.needs_key:
        said = 'key = "{client_key}"          # it rejects requests without one: pass it with --key'
    elif found.needs_key is False:
        said = 'key = "none"                  # it lists its models without a key'
    else:
        said = f'{NOT_FOUND} whether it requires a key; "none": no Authorization.\nkey = "none"'
    return f"[client]\n{said}"


def _route(route: FoundRoute) -> str:
    lines = [f"[routes.{route.name}]", f"model = {_quoted(route.model)}"]
    if route.doubt:
        lines.insert(1, f"{NOT_FOUND} {_line(route.doubt)}")
    lines.append(f'provider = "{route.provider}"')
    if route.front != "openai":
        lines.append(f'front = "{route.front}"')
    if set(route.modes) != set(IMPLIED_MODES[route.front]):
        lines.append(f"modes = {json.dumps(list(route.modes))}")
    if route.only_bearer:
        lines.append('headers = { Authorization = "Bearer {client_key}" }  # it takes no x-api-key')
    return "\n".join(lines)


_MORE_ROUTES: Final = f"""{NOT_FOUND} routes that its model list lacks (agents, RAG, other paths).
# [routes.agent]
# model = "agent/{{model}}"
# modes = ["chat", "stream"]"""

_PROMISES: Final = f"""[promises]
# Only what is promised is judged; take it from the router's documentation, and quote it:
# [[documented]]
# promise = "cap"
# words = "..."
# source = "https://..."
{NOT_FOUND} its concurrency limit, if it promises one.
# cap = {{ limit = 4, scope = "global", overload = "queue" }}
{NOT_FOUND} how long it caches the model list, if it does.
# model_list = {{ ttl_s = 30.0 }}
{NOT_FOUND} how soon after a client disconnects its upstream call is cancelled.
# cancel = {{ within_s = 1.0 }}
{NOT_FOUND} how often it retries.
# retries = {{ max = 0 }}"""


def _quoted(text: str) -> str:
    """A TOML text. JSON's is none: it writes a character as two halves, and DEL as it is."""
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(char: str) -> str:
    if char in _ESCAPED:
        return f"\\{char}"
    return char if char.isprintable() else f"\\U{ord(char):08x}"


def _line(text: str) -> str:
    """For a comment: text from the network may contain anything."""
    return clean("".join(char if char.isprintable() else " " for char in text)[:200])
