"""A provider that answers an error: does its client learn of it, in words that it can read?"""

from __future__ import annotations

import json
from typing import Any

from routerspec.repro.kit import Answer, Client, Lab, say


def show(lab: Lab) -> bool:
    """True when an error came out as a success, or (as named) as something that is no JSON."""
    broken = []
    for route, mode in lab.told["cells"]:
        for status in (500, 503, 429):
            lab.answer_with(lambda answer, status=status: answer.error(status))  # type: ignore[misc]
            client = lab.client(route, mode).ask()
            client.over.wait(30)
            calls = lab.calls_of(client)
            if not calls or any(call.finished for call in calls):
                continue
            wrong = _no_error if lab.told["how"] == "status" else _no_json
            if wrong(client):
                broken.append((route["name"], mode))
                say(
                    f"{route['name']} {mode}: the provider answered {status}, the client got "
                    f"{client.status}: {client.text[:120]!r} {client.failed}"
                )
    if not broken:
        say(f"{len(lab.told['cells'])} routes and modes: every error was told as one")
    lab.answer_with(Answer.whole)
    return _twice(broken)


def _twice(broken: list[Any]) -> bool:
    """One odd answer may be an accident; two on one route and mode are not."""
    return any(broken.count(cell) >= 2 for cell in broken)


def _no_error(client: Client) -> bool:
    """Called a success, or broken off without a status."""
    if client.status is None:
        return client.over.is_set() and "Timeout" not in client.failed
    if client.mode == "stream" and (client.failed or client.told_of_error):
        return False
    return client.status < 400 and not client.failed


def _no_json(client: Client) -> bool:
    """An error status with a body that is no JSON object."""
    if client.status is None or client.status < 400 or client.failed:
        return False
    try:
        return not isinstance(json.loads(client.text), dict)
    except ValueError:
        return True
