"""The part of the control API that scripts behaviour: rules, canaries, accept delays.

An invalid directive is rejected when the rule is added, not when a request matches it.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from fastapi import Body, FastAPI
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, field_validator

from fake_providers.calls.provider import SharedState
from fake_providers.calls.recorder import PROVIDERS
from fake_providers.prompt.behaviour import (
    ATTEMPTS,
    MAX_WAIT_S,
    Behaviour,
    UnknownDirective,
    apply,
    for_attempt,
)
from fake_providers.prompt.rules import Rule, parse

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
HEADER_VALUE = re.compile(r"[\x20-\x7e]{0,1000}")
ProviderName = Literal["openai", "ollama"]
Secret = Annotated[str, Field(min_length=4, max_length=1000)]
SecretName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]

NAMED = Body(json_schema_extra={"additionalProperties": False})


class NewRule(BaseModel):
    """Directives for the requests that it matches."""

    model_config = ConfigDict(extra="forbid")
    wants: str = Field("", max_length=1000)
    provider: ProviderName | None = None
    model: str | None = Field(None, max_length=200)
    times: int | None = Field(None, ge=1)
    body: str | None = Field(None, max_length=1_000_000)
    headers: dict[str, str] = Field(default_factory=dict, max_length=50)

    @field_validator("wants")
    @classmethod
    def _known(cls, wants: str) -> str:
        parsed = parse(wants)
        try:
            for_attempt(parsed, 1)
            apply({k: v for k, v in parsed.items() if k not in ATTEMPTS}, Behaviour())
        except UnknownDirective as error:
            raise ValueError(str(error)) from error
        return wants

    @field_validator("headers")
    @classmethod
    def _sendable(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if not HEADER_NAME.fullmatch(name) or not HEADER_VALUE.fullmatch(value):
                raise ValueError(f"{name!r} cannot be sent as a header")
        return headers


class Accepting(BaseModel):
    """Seconds during which nothing is read from a new connection."""

    model_config = ConfigDict(extra="forbid")
    provider: ProviderName | None = None
    delay_s: float = Field(ge=0, le=MAX_WAIT_S)


def add_rule_routes(app: FastAPI, shared: SharedState) -> None:
    """Add the routes to ``app``."""

    @app.post("/control/behaviours")
    async def add_rule(rule: Annotated[NewRule, Body()]) -> Response:
        error: dict[str, Any] = {}
        if rule.body is not None:
            error["text"] = rule.body
        if rule.headers:
            error["headers"] = tuple(rule.headers.items())
        shared.rules.add(
            Rule(
                directives=parse(rule.wants),
                provider=rule.provider,
                model=rule.model,
                left=rule.times,
                error=error,
            )
        )
        return _rules_in_force(shared)

    @app.get("/control/behaviours")
    async def list_rules() -> Response:
        return _rules_in_force(shared)

    @app.delete("/control/behaviours")
    async def clear_rules() -> Response:
        shared.rules.clear()
        return _rules_in_force(shared)

    @app.post("/control/canaries")
    async def add_canaries(secrets: Annotated[dict[SecretName, Secret], NAMED]) -> Response:
        shared.canaries.add(secrets)
        return _json({"canaries": shared.canaries.names})

    @app.delete("/control/canaries")
    async def clear_canaries() -> Response:
        shared.canaries.clear()
        return _json({"canaries": shared.canaries.names})

    @app.post("/control/accepting")
    async def change_accepting(change: Annotated[Accepting, Body()]) -> Response:
        for provider in PROVIDERS if change.provider is None else (change.provider,):
            shared.accept_delays_s[provider] = change.delay_s
        return _json(shared.accept_delays_s)


def _rules_in_force(shared: SharedState) -> Response:
    rules = [
        {
            "provider": rule.provider,
            "model": rule.model,
            "left": rule.left,
            "wants": ",".join(f"{key}={value}" for key, value in rule.directives.items()),
        }
        for rule in shared.rules
    ]
    return _json({"behaviours": rules})


def _json(content: object) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")
