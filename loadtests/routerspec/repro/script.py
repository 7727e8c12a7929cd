"""The script of one violation: the settings of the router, and the code of the round."""

from __future__ import annotations

import inspect
import pprint
import re
import textwrap
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import msgspec

from routerspec.limits import GROWN_BY, failing_status, fault_s, tried
from routerspec.markup.plain import clean
from routerspec.plan.requests import request_body, request_path
from routerspec.promises import (
    Cap,
    Drain,
    Failover,
    Limits,
    ModelList,
    Promises,
    Reload,
    Retries,
    Silence,
)
from routerspec.records.load_plan import LoadPlan, RoutePlan
from routerspec.records.observations import STREAMED
from routerspec.records.providers import base_of, further
from routerspec.records.run import PATIENT_S, RouterCommand, Settings
from routerspec.repro.bundle import bundled
from routerspec.repro.probes import chosen
from routerspec.repro.setup import fill_in
from routerspec.repro.spoken_answers import asked_in
from routerspec.repro.table import Round
from routerspec.targets.records import MOST_REPLICAS
from routerspec.verdict import Number

_KIT: Final = tuple(
    Path(__file__).parent / "kit" / f"{name}.py"
    for name in (
        "compare",
        "dialects",
        "lab",
        "clients",
        "raw",
        "providers",
        "spoken",
        "anthropic",
        "responses",
    )
)

_READERS: Final = {"anthropic": "Messages", "responses": "Responses"}
"""The classes of the dialects that a script has only where its routes need them."""

_ANY_LIMITS: Final = Limits(requests_per_minute=3, window_s=1.0)
_PORTS: Final = {"openai": 8001, "ollama": 11434, "anthropic": 8003}
NO_INSTANCES: Final[Mapping[str, int]] = {}
_REPLICAS: Final = {str(count): count for count in range(1, MOST_REPLICAS + 1)}
_CHATS: Final = ("chat", *STREAMED)
_STREAMED: Final = dict.fromkeys(STREAMED, "stream")

_SCRIPT: Final = '''\
#!/usr/bin/env python3
"""Reproduces one violation of a router; SETTINGS, below, says of which.

Requirement:
{promised}

What this script does:
{does}

Usage: python repro.py{for_s}
Needs Python 3.11 or newer and the router, nothing else. Exit status: 1 reproduced, 0 not
reproduced, 2 could not be tried. Written by routerspec.
"""

{code}

SETTINGS = {settings}

if __name__ == "__main__":
    run({arguments})
'''


def script_of(
    played: Round, settings: Mapping[str, Any], *, title: str, promised: str, by: str
) -> str:
    """The source of a script. ``settings``: of ``settings_of``; ``by``: our own version.

    Texts of the router, the run and the target are in SETTINGS alone, as ``repr`` writes them.
    """
    module = inspect.getsourcefile(played.play)
    assert module is not None
    code = bundled(
        Path(module), played.play.__name__, _KIT, also=[_READERS[n] for n in settings["dialects"]]
    )
    read = set(re.findall(r"""settings\[["'](\w+)""", code))
    used = {"title": " ".join(clean(title).split()), "routerspec": by}
    used |= {key: value for key, value in settings.items() if key in read}
    extra = {"for_s": played.for_s} if played.for_s else {}
    given = [f"{name}={value!r}" for name, value in (extra | dict(played.parameters)).items()]
    return _SCRIPT.format(
        for_s=f" [SECONDS]      (tries for {played.for_s:g} s by default)" if played.for_s else "",
        promised=textwrap.fill(promised, 96),
        does=inspect.getdoc(played.play),
        code=code.strip(),
        settings=_formatted(used),
        arguments=", ".join([played.play.__name__, "SETTINGS", *given]),
    )


def _formatted(settings: Mapping[str, Any]) -> str:
    """A dict, one setting after the other; of the routes and modes each on one line."""
    lines = ["{"]
    for key, value in settings.items():
        text = pprint.pformat(value, width=96 - len(key), sort_dicts=False)
        if key == "cells":
            text = "\n".join(["[", *(f"    {cell!r}," for cell in value), "]"])
        if key == "probes":
            text = "\n".join(["[", *map(_probe, value), "]"])
        lines.append(textwrap.indent(f"{key!r}: {text},", "    "))
    return "\n".join([*lines, "}"])


def _probe(probe: Mapping[str, Any]) -> str:
    """A dict, of the answers each event or line on one line."""
    lines = ["{"]
    for key, value in probe.items():
        if key == "answers":
            lines.append("    'answers': {")
            for form, texts in value.items():
                lines += [
                    f"        {form!r}: [",
                    *(f"            {t!r}," for t in texts),
                    "        ],",
                ]
            lines.append("    },")
        else:
            lines.append(f"    {key!r}: {value!r},")
    return textwrap.indent("\n".join([*lines, "},"]), "    ")


def settings_of(
    played: Round,
    plan: LoadPlan,
    settings: Settings,
    command: RouterCommand | None,
    numbers: Mapping[str, Number],
    *,
    parts: frozenset[str] = frozenset(),
    instances: Mapping[str, int] = NO_INSTANCES,
) -> dict[str, Any]:
    """What a script can know: how the router is started, what it promises, where to send requests.

    ``command`` is None for a router that was running already; ``numbers`` are the verdict's, and
    ``parts`` the probes that its witness names; ``instances``: of each provider that has several.
    """
    promises = plan.promises
    cap = promises.cap or Cap(limit=settings.cap or 4)
    lists = promises.model_list or ModelList(ttl_s=1.0)
    retries = promises.retries or Retries(max=0)
    cells = _cells(plan, played, numbers)
    needed = _dialects(plan, {cell["route"] for cell in cells})
    served = ["openai", "ollama"]
    if any(route.provider == "anthropic" for route in plan.routes):
        served.append("anthropic")
    served += further(instances)
    return {
        "start": None if command is None else _started(command),
        "url": "" if command else "http://127.0.0.1:8080",
        "ports": {name: 0 if command else _PORTS.get(name, 0) for name in served},
        "pools": {route.name: _pool(route, served) for route in plan.routes},
        "fallbacks": {route.name: dict(route.fallbacks) for route in plan.routes},
        "failover": _failover(promises.failover, parts),
        "balance": _balance(promises),
        "cluster": _cluster(cap, lists),
        "dialects": sorted(needed & _READERS.keys()),
        "environment": environment_of(plan, command),
        "headers": plan.headers,
        "keys": plan.secrets,
        "list_path": plan.list_path,
        "cap": settings.cap or cap.limit,
        "scope": cap.scope,
        "counts": cap.counts,
        "overload": cap.overload,
        "reject_status": list(cap.rejections),
        "queue_limit": tried(cap).queue_limit,
        "queue_timeout_s": tried(cap).queue_timeout_s,
        "promised_places": cap.queue_limit,
        "promised_wait_s": cap.queue_timeout_s,
        "ttl_s": settings.models_ttl_s or lists.ttl_s,
        "partial_within_s": lists.partial_within_s,
        "within_s": promises.cancel.within_s if promises.cancel else 1.0,
        "recovery_s": promises.recovery_s,
        "retries": retries.max,
        "honours_retry_after": retries.honours_retry_after,
        "timeout_s": min(settings.timeout_s, PATIENT_S),
        "rewrites": list(promises.rewrites),
        "max_body_bytes": promises.max_body_bytes,
        "limits": _limits(settings.limits or promises.limits or _ANY_LIMITS)
        | {"failing": failing_status(promises)},
        "drain": _drain(promises.drain),
        "reload": _reload(promises.reload, cap, command),
        "silence": _silence(promises.silence),
        "cells": cells,
        "probes": [
            _spoken(probe, needed)
            for probe in chosen(played.probes, played.named or played.probes, parts)
        ],
    }


def _pool(route: RoutePlan, served: Sequence[str]) -> list[str]:
    """Who may serve it, by name: the instances of its provider, then those of its fallbacks."""
    bases = (route.provider, *(provider for provider, _ in route.fallbacks))
    return [name for base in bases for name in served if base_of(name) == base]


def _cluster(cap: Cap, lists: ModelList) -> dict[str, Any]:
    """What is promised of several replicas."""
    return {
        "coordination": cap.coordination,
        "recovers_within_s": cap.recovers_within_s,
        "store_loss": cap.store_loss,
        "fault_s": fault_s(cap),
        "lock_s": lists.lock_s,
    }


def _failover(promise: Failover | None, parts: frozenset[str]) -> dict[str, Any]:
    """Of the promised failures those that the witness names, or all."""
    if promise is None:
        return {}
    named = {part.partition(": ")[0] for part in parts}
    on = [fault for fault in promise.on if fault in named] or list(promise.on)
    return {"within_s": promise.within_s, "attempts": promise.attempts, "on": on}


def _balance(promises: Promises) -> dict[str, Any]:
    promise = promises.balance
    if promise is None:
        return {}
    its = {field.name: getattr(promise, field.name) for field in fields(promise)}
    return its | {"weights": list(promise.weights), "lists": promises.model_list is not None}


def _drain(promise: Drain | None) -> dict[str, Any]:
    if promise is None:
        return {}
    return {"signal": promise.signal, "within_s": promise.within_s}


def _reload(promise: Reload | None, cap: Cap, command: RouterCommand | None) -> dict[str, Any]:
    """With the router's files as they are before and after it, where they have a cap."""
    if promise is None or command is None:
        return {}
    grown = cap.limit + GROWN_BY
    values = {**command.values, "cap": str(grown)}
    files = {name: fill_in(text, values) for name, text in command.files.items()}
    before = {name: fill_in(text, command.values) for name, text in command.files.items()}
    return {
        "signal": promise.signal or "",
        "command": [fill_in(word, command.values) for word in promise.command],
        "within_s": promise.within_s,
        "files": files,
        "cap": grown if files != before else None,
    }


def _silence(promise: Silence | None) -> dict[str, Any]:
    if promise is None:
        return {}
    return {
        "keepalive_s": promise.keepalive_s,
        "stream_max_s": promise.stream_max_s,
        "idle_timeout_s": promise.idle_timeout_s,
    }


def _limits(limits: Limits) -> dict[str, Any]:
    """Those that are on."""
    return {
        "requests": limits.requests_per_minute,
        "tokens": limits.tokens_per_minute,
        "budget": limits.budget,
        "window_s": limits.window_s,
        "sliding": limits.window == "sliding",
        "scope": limits.scope,
        "failed_count": limits.failed_count,
    }


def _dialects(plan: LoadPlan, names: Set[str]) -> set[str]:
    """What is spoken on these routes; a router may send messages to OpenAI as Responses."""
    routes = [route for route in plan.routes if route.name in names]
    spoken = {"openai", *(route.provider for route in routes), *(route.front for route in routes)}
    return spoken | ({"responses"} if spoken >= {"anthropic", "openai"} else set())


def _spoken(probe: Mapping[str, Any], dialects: Set[str]) -> dict[str, Any]:
    """The probe with the answers in these dialects."""
    answers = probe.get("answers", {})
    its = {form: texts for form, texts in answers.items() if form.partition(" ")[0] in dialects}
    asks = {each: asked_in(each, probe.get("fields", {})) for each in _READERS if each in dialects}
    more = {"answers": its} if its else {}
    return {**probe, **more, **({"asks": asks} if any(asks.values()) else {})}


def _headers(plan: LoadPlan, route: RoutePlan) -> dict[str, str]:
    """Those of each request there; Anthropic's clients send their key as x-api-key."""
    headers = {**plan.headers, **route.headers}
    if route.front != "anthropic":
        return headers
    kind, _, key = headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer":
        del headers["Authorization"]
        headers["x-api-key"] = key
    return {"anthropic-version": "2023-06-01", **headers}


def environment_of(plan: LoadPlan, command: RouterCommand | None) -> list[str]:
    """The names of the keys that a script takes from its environment."""
    return sorted({*plan.references, *(command.references if command else ())})


def _started(command: RouterCommand) -> dict[str, Any]:
    """How to start the router, all filled in but ports, ``{dir}``, ``{replica}`` and the providers'
    URLs.
    """

    def filled(text: str) -> str:
        return fill_in(text, command.values)

    return {
        "command": list(map(filled, command.command)),
        "env": {name: filled(text) for name, text in command.env.items()},
        "files": {name: filled(text) for name, text in command.files.items()},
        "ready": command.ready,
        "install": command.install,
        "replicas": _REPLICAS.get(command.values.get("replicas", ""), 1),
        "services": [
            {
                "name": service.name,
                "command": list(map(filled, service.command)),
                "env": {name: filled(text) for name, text in service.env.items()},
                "files": {name: filled(text) for name, text in service.files.items()},
                "install": service.install,
            }
            for service in command.services
        ],
    }


def _cells(plan: LoadPlan, played: Round, numbers: Mapping[str, Number]) -> list[dict[str, Any]]:
    """The routes and modes to play it on: those that the verdict counted highest, or all."""
    every = [
        (route, mode)
        for route in plan.routes
        for mode in route.modes
        if played.mode in ("", mode, _STREAMED.get(mode))
        and not (played.probes and mode == "tools")
    ]
    most = max((v for k, v in numbers.items() if ":" in k), default=0)
    worst = [
        (route, mode) for route, mode in every if numbers.get(f"{route.name}:{mode}", 0) == most
    ]
    first = [cell for cell in every if played.all_modes or cell[1] in _CHATS] or every
    chosen = first if played.all_routes or not most else worst or first
    return [
        {
            "route": route.name,
            "mode": mode,
            "path": request_path(route, mode),
            "headers": _headers(plan, route),
            "body": msgspec.json.decode(request_body(route, mode, route.model, "<prompt>")),
        }
        for route, mode in chosen
    ]
