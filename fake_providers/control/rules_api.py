"""The part of the control API that scripts behaviour: rules, canaries, connections.

An invalid directive is rejected when the rule is added, not when a request matches it.
"""

from __future__ import annotations

import re
from typing import Any, Final

from fake_providers.calls.provider import SharedState
from fake_providers.control.bodies import Accepting, Connections, Listening, NewRule, Secrets
from fake_providers.control.routes import Parsed, Rejected, Route, json_answer
from fake_providers.http.answers import WholeAnswer
from fake_providers.prompt.behaviour import (
    ATTEMPTS,
    Behaviour,
    UnknownDirective,
    apply,
    for_attempt,
)
from fake_providers.prompt.instances import is_about
from fake_providers.prompt.rules import Rule, parse

HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
HEADER_VALUE: Final = re.compile(r"[\x20-\x7e]{0,1000}")
SECRET_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def rule_routes(shared: SharedState) -> list[Route]:
    """The routes."""
    behaviours, canaries = "/control/behaviours", "/control/canaries"

    def add_rule(parsed: Parsed) -> WholeAnswer:
        shared.rules.add(_rule(parsed.body))
        return _rules_in_force(shared)

    def list_rules(_: Parsed) -> WholeAnswer:
        return _rules_in_force(shared)

    def clear_rules(_: Parsed) -> WholeAnswer:
        shared.rules.clear()
        return _rules_in_force(shared)

    def add_canaries(parsed: Parsed) -> WholeAnswer:
        for name in parsed.body:
            if not SECRET_NAME.fullmatch(name):
                raise Rejected(422, f"body: {name!r} is not a name of 1 to 64 letters and digits.")
        shared.canaries.add(parsed.body)
        return json_answer({"canaries": shared.canaries.names})

    def clear_canaries(_: Parsed) -> WholeAnswer:
        shared.canaries.clear()
        return json_answer({"canaries": shared.canaries.names})

    def change_accepting(parsed: Parsed) -> WholeAnswer:
        change: Accepting = parsed.body
        for provider in shared.accept_delays_s:
            if is_about(change.provider, provider):
                shared.accept_delays_s[provider] = change.delay_s
        return json_answer(shared.accept_delays_s)

    def change_listening(parsed: Parsed) -> WholeAnswer:
        change: Listening = parsed.body
        for provider, listener in shared.listeners.items():
            if is_about(change.provider, provider):
                listener.turn(on=change.on)
        return json_answer({name: listener.on for name, listener in shared.listeners.items()})

    def change_connections(parsed: Parsed) -> WholeAnswer:
        kept = shared.keep_alive
        kept.seconds, kept.exact = parsed.body.keep_s, True
        return json_answer({"keep_s": kept.seconds})

    return [
        Route(method="POST", path=behaviours, summary="Add a rule", handle=add_rule, body=NewRule),
        Route(method="GET", path=behaviours, summary="The rules in force", handle=list_rules),
        Route(method="DELETE", path=behaviours, summary="Remove all rules", handle=clear_rules),
        Route(
            method="POST",
            path=canaries,
            summary="Search requests for these secrets",
            handle=add_canaries,
            body=Secrets,
        ),
        Route(
            method="DELETE", path=canaries, summary="Search for no secret", handle=clear_canaries
        ),
        Route(
            method="POST",
            path="/control/accepting",
            summary="Read nothing from a new connection for a while",
            handle=change_accepting,
            body=Accepting,
        ),
        Route(
            method="POST",
            path="/control/listening",
            summary="Refuse connections, or accept them again",
            handle=change_listening,
            body=Listening,
        ),
        Route(
            method="POST",
            path="/control/connections",
            summary="Close idle connections after a while, or never",
            handle=change_connections,
            body=Connections,
        ),
    ]


def _rule(new: NewRule) -> Rule:
    directives = parse(new.wants)
    try:
        for_attempt(directives, 1)
        apply({k: v for k, v in directives.items() if k not in ATTEMPTS}, Behaviour())
    except UnknownDirective as error:
        raise Rejected(422, f"body.wants: {error}") from None
    for name, value in new.headers.items():
        if not HEADER_NAME.fullmatch(name) or not HEADER_VALUE.fullmatch(value):
            raise Rejected(422, f"body.headers: {name!r} cannot be sent as a header.")
    error_fields: dict[str, Any] = {}
    if new.body is not None:
        error_fields["text"] = new.body
    if new.headers:
        error_fields["headers"] = tuple(new.headers.items())
    return Rule(
        directives=directives,
        provider=new.provider,
        model=new.model,
        left=new.times,
        error=error_fields,
    )


def _rules_in_force(shared: SharedState) -> WholeAnswer:
    rules = [
        {
            "provider": rule.provider,
            "model": rule.model,
            "left": rule.left,
            "wants": ",".join(f"{key}={value}" for key, value in rule.directives.items()),
        }
        for rule in shared.rules
    ]
    return json_answer({"behaviours": rules})
