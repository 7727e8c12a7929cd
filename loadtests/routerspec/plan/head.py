"""The head of a request, as the dialects' own Python clients send it.

A router should find nothing in it by which to tell the load from its users. Two things are left
out: Accept-Encoding, for pieces that are compressed have no time of their own, and the fields by
which a client describes its machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from routerspec.records.load_plan import RoutePlan

_JSON: Final = "application/json"
OPENAI_CLIENT: Final = "OpenAI/Python 2.8.1"
OLLAMA_CLIENT: Final = "ollama-python/0.6.1 (x86_64 linux) Python/3.12.11"
ANTHROPIC_CLIENT: Final = "Anthropic/Python 0.125.0"
ANTHROPIC_VERSION: Final = {"anthropic-version": "2023-06-01"}
_BEARER: Final = "bearer "


def route_headers(
    route: RoutePlan, headers: Mapping[str, str], *, bearer: bool = False
) -> dict[str, str]:
    """The headers of a request on this route: those of every client, then the route's own.

    ``bearer``: the key goes as on other fronts, as newer clients of Anthropic send it.
    """
    if route.front != "anthropic":
        return {**headers, **route.headers}
    return {**anthropic_headers(headers, bearer=bearer), **route.headers}


def anthropic_headers(headers: Mapping[str, str], *, bearer: bool = False) -> dict[str, str]:
    """The same headers as a client of Anthropic's API sends them: its key has one of its own."""
    given = {name.lower() for name in headers}
    version = {} if "anthropic-version" in given else ANTHROPIC_VERSION
    sent = {}
    for name, value in headers.items():
        is_key = name.lower() == "authorization" and value.lower().startswith(_BEARER)
        if is_key and not bearer and "x-api-key" not in given:
            sent["x-api-key"] = value[len(_BEARER) :]
        else:
            sent[name] = value
    return {**sent, **version}


def request_head(
    method: str, host: str, path: str, headers: Mapping[str, str], body_length: int
) -> bytes:
    """The request line and the fields, to the blank line. ``host``: the base URL of the router.

    ``headers`` are sent in any case, and in place of a field of the same name.
    """
    content = {"content-type": _JSON} if body_length else {}
    given = {name.lower() for name in headers}
    if "/api/" in path:
        own = content | {"accept": _JSON, "user-agent": OLLAMA_CLIENT}
        fields = [*own.items(), *headers.items()]
    else:
        client = ANTHROPIC_CLIENT if "anthropic-version" in given else OPENAI_CLIENT
        own = {"accept": _JSON} | content | {"user-agent": client}
        first = [name for name in headers if name.lower() == "authorization"]
        fields = [(name, headers[name]) for name in first]
        fields += own.items()
        fields += [(name, value) for name, value in headers.items() if name not in first]
    always = [("Host", urlsplit(host).netloc), ("Connection", "keep-alive")]
    length = [("Content-Length", str(body_length))] if body_length else []
    lines = "".join(
        f"{name}: {value}\r\n"
        for name, value in (*always, *fields, *length)
        if name in headers or name.lower() not in given
    )
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode()
