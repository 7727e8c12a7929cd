"""The script: what is looked for, on which routes, and the code that looks.

Decides what is written into the script of one violation. Refuses to know how a run is read.
"""

from __future__ import annotations

import ast
import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from routerspec.limits import tried
from routerspec.promises import Cap, ModelList, Retries
from routerspec.records.load_plan import LoadPlan
from routerspec.records.run import PATIENT_S, RouterCommand, Settings
from routerspec.repro.bundle import bundled
from routerspec.repro.table import Show
from routerspec.verdict import Number

_HERE: Final = Path(__file__).parent
_KIT: Final = tuple(
    _HERE / "kit" / f"{name}.py" for name in ("lab", "clients", "providers", "wire")
)

_SCRIPT: Final = '''\
#!/usr/bin/env python3
"""{title}.

Promised:
{promised}

What is tried:
{shown}

Usage: python repro.py{for_s}
Needs Python 3.11 or newer, and the router; nothing else. Ends with status 1 when the violation was
seen again, with 0 when it was not, and with 2 when it could not be tried.
Written by routerspec {routerspec}. First what is looked for, then the clients and the providers.
"""

{code}

TOLD = json.loads(
    r"""{told}"""
)

if __name__ == "__main__":
    run(show, TOLD)
'''


def script_of(show: Show, told: Mapping[str, Any], *, title: str, promised: str, by: str) -> str:
    """The source of a script. ``told``: see there; ``by``: the version that writes it."""
    path = _HERE / "shows" / f"{show.file}.py"
    code = bundled(path, _KIT)
    used = {key: value for key, value in told.items() if f'told["{key}"]' in code}
    return _SCRIPT.format(
        title=title,
        routerspec=by,
        for_s=f" [SECONDS]      (looks for {show.for_s:g} s unless told)" if show.for_s else "",
        promised=textwrap.fill(promised, 96),
        shown=ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))),
        code=code.strip(),
        told=json.dumps(used, indent=1),
    )


def told_of(
    show: Show,
    plan: LoadPlan,
    settings: Settings,
    words: RouterCommand | None,
    numbers: Mapping[str, Number],
) -> dict[str, Any]:
    """What the script is told: how the router is started, what it promises, where to look.

    ``words`` is None for a router that was running already; ``numbers`` are the verdict's.
    """
    promises = plan.promises
    cap = promises.cap or Cap(limit=settings.cap or 4)
    lists = promises.model_list or ModelList(ttl_s=1.0)
    retries = promises.retries or Retries(max=0)
    return {
        "start": None if words is None else msgspec.to_builtins(words),
        "url": "" if words else "http://127.0.0.1:8080",
        "ports": [0, 0] if words else [8001, 11434],
        "headers": plan.headers,
        "keys": plan.secrets,
        "list_path": plan.list_path,
        "cap": settings.cap or cap.limit,
        "scope": cap.scope,
        "counts": cap.counts,
        "overload": cap.overload,
        "reject_status": cap.reject_status,
        "queue_limit": tried(cap).queue_limit,
        "queue_timeout_s": tried(cap).queue_timeout_s,
        "ttl_s": settings.models_ttl_s or lists.ttl_s,
        "partial_within_s": lists.partial_within_s,
        "within_s": promises.cancel.within_s if promises.cancel else 1.0,
        "recovery_s": promises.recovery_s,
        "retries": retries.max,
        "honours_retry_after": retries.honours_retry_after,
        "timeout_s": min(settings.timeout_s, PATIENT_S),
        "how": show.how,
        "mode": show.mode,
        "together": show.together,
        "for_s": show.for_s,
        "cells": _cells(plan, show, numbers),
    }


def _cells(plan: LoadPlan, show: Show, numbers: Mapping[str, Number]) -> list[Any]:
    """The routes and modes to show it on: those that the verdict counted highest, or all."""
    every = [
        (route, mode)
        for route in plan.routes
        for mode in route.modes
        if show.mode in ("", mode) or show.file == "after_ending"
    ]
    most = max((v for k, v in numbers.items() if ":" in k), default=0)
    worst = [
        (route, mode) for route, mode in every if numbers.get(f"{route.name}:{mode}", 0) == most
    ]
    first = [cell for cell in every if show.every or cell[1] in ("chat", "stream")] or every
    chosen = first if show.together or not most else worst or first
    return [[msgspec.to_builtins(route), mode] for route, mode in chosen]
