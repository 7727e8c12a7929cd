"""The keys: each provider's goes to that provider only, the client's to none, and none to clients.

Answers, errors of every kind, and the model list; errors are where keys are mostly shown.
"""

from __future__ import annotations

from typing import Any

from routerspec.repro.kit import Answer, Exchange, Lab, cannot_try, say

FAULTS = (200, 401, 429, 500, 0)
"""What the provider answers; 0: it breaks the connection off."""


def show(lab: Lab) -> bool:
    """True when a key was seen where it does not belong."""
    asked: list[Exchange] = []
    for status in FAULTS:
        lab.answer_with(lambda answer, status=status: _answer(answer, status))  # type: ignore[misc]
        lab.list_with(Answer.models if status in (0, 200) else _refused)
        clients = [lab.client(route, mode).ask() for route, mode in lab.told["cells"]]
        clients.append(lab.lister().ask())
        for client in clients:
            client.over.wait(30)
        asked += clients
    astray = [*_at_providers(lab), *_at_clients(lab, asked)]
    if not lab.told["keys"]:
        cannot_try("No keys are known.")
    for told in dict.fromkeys(astray):
        say(f"{told}, {astray.count(told)} times")
    if not astray:
        say(f"{len(lab.calls)} calls and {len(asked)} answers: no key where it does not belong")
    return bool(astray)


def _answer(answer: Answer, status: int) -> None:
    if status == 200:
        answer.whole()
    elif status:
        answer.error(status)
    else:
        answer.reset()


def _refused(answer: Answer) -> None:
    answer.error(401)


def _at_providers(lab: Lab) -> list[str]:
    keys: dict[str, Any] = lab.told["keys"]
    return [
        f"{name} was sent to {provider.dialect}, in {call.path}"
        for provider in lab.providers
        for call in (*provider.calls, *provider.lists)
        for name, key in keys.items()
        if name != f"{provider.dialect}_key" and key in f"{call.headers} {call.path} {call.said}"
    ]


def _at_clients(lab: Lab, asked: list[Exchange]) -> list[str]:
    keys: dict[str, Any] = lab.told["keys"]
    return [
        f"{name} was shown to a client, in an answer of status {client.status}"
        for client in asked
        for name, key in keys.items()
        if name != "client_key" and key in f"{client.headers} {client.text}"
    ]
